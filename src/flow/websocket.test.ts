import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Refusal } from '../model/refusal.ts'
import type { Piece, Side, SideSink } from '../model/socket.ts'
import type { CallRecord } from './call.ts'
import { type Ask, type SocketSteps, websocket } from './websocket.ts'

/** One end that writes down what is asked of it. */
function side(name: string, heard: string[]) {
  let sink: SideSink | null = null
  let slow = false
  const one: Side & { sink(): SideSink; slow(value: boolean): void } = {
    start: (given) => {
      sink = given
    },
    send({ bytes, last }) {
      heard.push(`${name} gets ${bytes.toString()}${last ? '' : '…'}`)
      return !slow
    },
    pause: () => void heard.push(`${name} pauses`),
    resume: () => void heard.push(`${name} resumes`),
    close: (code, reason) => void heard.push(`${name} closes ${code} ${reason}`),
    sink: () => sink as SideSink,
    slow: (value) => {
      slow = value
    },
  }
  return one
}

const message = (text: string, first = true, last = true): Piece => ({ text: true, bytes: Buffer.from(text), first, last })
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function stage(more: Partial<SocketSteps> = {}) {
  const heard: string[] = []
  const agent = side('agent', heard)
  const host = side('host', heard)
  const release: (() => void)[] = []
  const steps: SocketSteps = {
    read: (bytes) => (bytes.toString().startsWith('ask') ? [{ model: bytes.toString(), tools: [] }] : []),
    record: () => {
      const record: Partial<CallRecord> = {
        identified: () => void heard.push('identified'),
        decided: () => void heard.push('decided'),
        leased() {},
        intent: () =>
          new Promise((resolve) =>
            release.push(() => {
              heard.push('durable')
              resolve()
            }),
          ),
        outcome: (status) => void heard.push(`outcome ${status}`),
        refused: (refusal) => void heard.push(`refused ${refusal.code}`),
      }
      return record as CallRecord
    },
    identify: () => ({}) as never,
    decide: (_identity, ask: Ask) => {
      if (ask.model?.includes('no') === true) throw new Refusal('decide.denied')
      return {} as never
    },
    scrub: (piece) => piece,
    scrubReason: (reason) => reason,
    received() {},
    note: (text) => void heard.push(`note ${text}`),
    defect: () => new Refusal('flow.defect'),
    ...more,
  }
  const { ended: talk, end } = websocket(steps, null, agent, host)
  return { heard, agent, host, release, talk, end }
}

test('a message that asks is identified, decided and durably on record before it goes on, and nothing overtakes it', async () => {
  const { heard, agent, release } = stage()
  agent.sink().piece(message('ask', true, false))
  agent.sink().piece(message(' me', false, true))
  await turn()
  assert.deepEqual(heard, ['agent pauses', 'identified', 'decided'])
  release[0]?.()
  await turn()
  assert.deepEqual(heard.slice(3), ['durable', 'outcome 101', 'host gets ask me', 'agent resumes'])
})

test('a host that drains meanwhile does not let the next message in', async () => {
  const { heard, agent, host, release } = stage()
  agent.sink().piece(message('ask'))
  await turn()
  host.sink().drained()
  assert.ok(!heard.includes('agent resumes'))
  host.slow(true)
  release[0]?.()
  await turn()
  assert.ok(!heard.includes('agent resumes'))
  host.sink().drained()
  assert.equal(heard.at(-1), 'agent resumes')
})

test('a no closes the socket, and nothing was sent', async () => {
  const { heard, agent, talk } = stage()
  agent.sink().piece(message('ask no'))
  assert.deepEqual(await talk, { bytes: 0, messagesIn: 0, messagesOut: 0 })
  assert.deepEqual(heard.slice(2), [
    'refused decide.denied',
    'note closed: decide.denied',
    'host closes 1001 ',
    'agent closes 1008 decide.denied',
  ])
})

test('of two asks in one message the second no refuses the first', async () => {
  const { heard, agent, release, talk } = stage({
    read: () => [
      { model: 'ask', tools: [] },
      { model: 'ask no', tools: [] },
    ],
  })
  agent.sink().piece(message('x'))
  await turn()
  release[0]?.()
  await talk
  assert.deepEqual(
    heard.filter((one) => one.startsWith('refused')),
    ['refused decide.denied', 'refused decide.denied'],
  )
  assert.ok(!heard.some((one) => one.startsWith('host gets') || one.startsWith('outcome')))
})

test('no durable record, no message', async () => {
  const { heard, agent, talk } = stage({
    record: () =>
      ({
        identified() {},
        decided() {},
        leased() {},
        intent: () => Promise.reject(new Refusal('audit.unavailable')),
        refused() {},
      }) as unknown as CallRecord,
  })
  agent.sink().piece(message('ask'))
  await talk
  assert.ok(!heard.some((one) => one.startsWith('host gets')))
  assert.equal(heard.at(-1), 'agent closes 1011 audit.unavailable')
})

test('what cannot be checked does not pass: the socket ends', async () => {
  const { heard, host, talk } = stage({
    scrub: () => {
      throw new Refusal('obtain.revoked')
    },
  })
  host.sink().piece(message('secret'))
  await talk
  assert.ok(!heard.some((one) => one.startsWith('agent gets')))
  assert.equal(heard.at(-1), 'agent closes 1008 obtain.revoked')
})

test('ended from outside, it is over: both sides are told', async () => {
  const { heard, talk, end } = stage()
  end(1008, 'flow.revoked')
  await talk
  assert.deepEqual(heard, ['note closed: flow.revoked', 'host closes 1001 ', 'agent closes 1008 flow.revoked'])
})

test('messages that are not read pass in pieces; a slow side makes the other wait', () => {
  const { heard, agent, host } = stage({ read: null })
  host.slow(true)
  agent.sink().piece(message('a', true, false))
  assert.deepEqual(heard, ['host gets a…', 'agent pauses'])
  agent.slow(true)
  host.sink().piece(message('b'))
  assert.deepEqual(heard.slice(2), ['agent gets b', 'host pauses'])
  agent.sink().drained()
  assert.equal(heard.at(-1), 'host resumes')
})

test('when one side goes, the other is closed', async () => {
  for (const [who, code, broken, said] of [
    ['agent', 4001, null, ['host closes 4001 bye', 'agent closes 4001 bye']],
    ['agent', 1006, null, ['host closes 1001 ', 'agent closes 1006 bye']],
    ['agent', 1002, 'RSV', ['note the agent broke RFC 6455: RSV', 'host closes 1001 ', 'agent closes 1002 RSV']],
    ['host', 1000, null, ['agent closes 1000 bye', 'host closes 1000 bye']],
    ['host', 1006, null, ['agent closes 1011 forward.reset', 'host closes 1006 bye']],
    ['host', 1007, 'text', ['note the host broke RFC 6455: text', 'agent closes 1011 forward.reset', 'host closes 1007 text']],
  ] as const) {
    const { heard, talk, agent, host } = stage()
    const sides = { agent, host }
    sides[who].sink().ended(code, Buffer.from('bye'), broken)
    await talk
    assert.deepEqual(heard, said)
  }
})
