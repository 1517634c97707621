import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Call } from '../model/call.ts'
import type { Lease } from '../model/credential.ts'
import { agentLeft, Refusal } from '../model/refusal.ts'
import { type Answer, type Beside, call, type Steps } from './call.ts'

type Change = (said: string[]) => Partial<Record<keyof Steps | 'intent' | 'answer', unknown>>

/** Steps that say their name when they are called; `change` replaces some of them. */
function stage(change: Change = () => ({}), status = 200, bytesOut = 7): { readonly said: string[]; play(): Promise<void> } {
  const said: string[] = []
  const other = change(said)
  const say = (name: string, result?: unknown) => (): unknown => {
    said.push(name)
    return result
  }
  const part = (name: keyof Steps | 'intent' | 'answer', result?: unknown): unknown => other[name] ?? say(name, result)
  const upstream = { head: { status }, cut: say('answer.cut') } as unknown as Answer
  const record = {
    identified: () => {},
    decided: () => {},
    leased: () => {},
    intent: part('intent'),
    outcome: (code: number, bytes: number, found: number, beside?: Beside) =>
      said.push(`outcome ${code} ${bytes} ${found}${beside === undefined ? '' : ` ${beside.ended}`}`),
    refused: (refusal: Refusal) => said.push(`refused ${refusal.code}`),
  }
  const steps = {
    record: say('record', record),
    identify: part('identify', {}),
    decide: part('decide', {}),
    obtain: part('obtain', { id: 'lease-1', credential: { kind: 'none' } }),
    inject: part('inject', {}),
    forward: part('forward', Promise.resolve(upstream)),
    scrub: part('scrub', { edits: {}, found: () => 3 }),
    watch: part('watch', say('unwatch')),
    distrust: (lease: Lease) => said.push(`distrust ${lease.id}`),
    defect: () => {
      said.push('defect')
      return new Refusal('flow.defect')
    },
  } as unknown as Steps
  const incoming = {
    id: 'call-1',
    bytesOut,
    answer: part('answer', Promise.resolve()),
    refuse: (refusal: Refusal, id: string) => said.push(`answered ${refusal.code} ${id}`),
    cut: say('cut'),
  } as unknown as Call
  return { said, play: () => call(steps, incoming) }
}

const order = ['record', 'identify', 'decide', 'obtain', 'inject', 'intent', 'watch', 'forward', 'scrub', 'answer']

test('the steps, in their order, each once; the outcome has what was answered', async () => {
  const { said, play } = stage()
  await play()
  assert.deepEqual(said, [...order, 'outcome 200 7 3', 'unwatch'])
})

test('nothing is forwarded, watched or answered while the intent is not durable', async () => {
  let durable = (): void => {}
  const { said, play } = stage((words) => ({
    intent: () => {
      words.push('intent')
      return new Promise<void>((resolve) => {
        durable = resolve
      })
    },
  }))
  const played = play()
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.deepEqual(said, order.slice(0, 6))
  durable()
  await played
  assert.ok(said.includes('forward'))
})

test('an intent that cannot be written is a refusal, and nothing is forwarded', async () => {
  const { said, play } = stage(() => ({ intent: () => Promise.reject(new Refusal('audit.unavailable')) }))
  await play()
  assert.deepEqual(said, [...order.slice(0, 5), 'refused audit.unavailable', 'answered audit.unavailable call-1'])
})

for (const [step, code] of [
  ['identify', 'identify.none'],
  ['decide', 'decide.denied'],
  ['obtain', 'obtain.secret_missing'],
  ['inject', 'inject.no_placeholder'],
  ['forward', 'forward.reset'],
  ['scrub', 'scrub.encoding'],
  ['answer', 'forward.reset'],
] as const) {
  test(`a refusal of ${step} is recorded and answered once, no later step is called, what was opened is closed`, async () => {
    for (const async of [false, true]) {
      const { said, play } = stage(
        () => ({
          [step]: () => {
            if (async && step !== 'inject' && step !== 'scrub') return Promise.reject(new Refusal(code))
            throw new Refusal(code)
          },
        }),
        200,
        -1,
      )
      await play()
      const after = order.indexOf(step)
      const opened = after > order.indexOf('forward') ? ['answer.cut'] : []
      const watched = after > order.indexOf('watch') ? ['unwatch'] : []
      assert.deepEqual(said, [...order.slice(0, after), ...opened, `refused ${code}`, `answered ${code} call-1`, ...watched])
    }
  })

  test(`a defect of ${step} is flow.defect, never what was thrown`, async () => {
    const { said, play } = stage(() => ({
      [step]: () => {
        throw new TypeError('sk-secret')
      },
    }))
    await play()
    assert.ok(said.includes('defect') && said.includes('refused flow.defect') && said.includes('answered flow.defect call-1'), `${said}`)
    assert.ok(!said.some((word) => word.includes('sk-secret') || word.startsWith('outcome')))
  })
}

test('a revocation while forward is under way cuts the agent, closes the upstream and answers nothing', async () => {
  let arrive = (_: unknown): void => {}
  let revoke = (): void => {}
  const { said, play } = stage((words) => ({
    watch: (_call: unknown, _identity: unknown, _lease: unknown, cut: () => void) => {
      revoke = cut
      return () => words.push('unwatch')
    },
    forward: () =>
      new Promise((resolve) => {
        arrive = resolve
      }),
  }))
  const played = play()
  await new Promise((resolve) => setImmediate(resolve))
  revoke()
  arrive({ head: { status: 200 }, cut: () => said.push('answer.cut') })
  await played
  assert.deepEqual(said.slice(6), ['cut', 'answer.cut', 'refused flow.revoked', 'answered flow.revoked call-1', 'unwatch'])
})

test('a revocation in mid-stream cuts both sides', async () => {
  let revoke = (): void => {}
  const { said, play } = stage((words) => ({
    watch: (_call: unknown, _identity: unknown, _lease: unknown, cut: () => void) => {
      revoke = cut
      return () => words.push('unwatch')
    },
    answer: async () => {
      revoke()
      throw new Refusal('flow.revoked')
    },
  }))
  await play()
  assert.deepEqual(said.slice(8), ['answer.cut', 'cut', 'answer.cut', 'refused flow.revoked', 'answered flow.revoked call-1', 'unwatch'])
})

for (const [refusal, ended] of [
  [new Refusal('forward.reset', agentLeft), agentLeft],
  [new Refusal('forward.reset', 'ECONNRESET'), 'the host broke off: ECONNRESET'],
  [new Refusal('forward.bad_answer'), 'the host broke off: The answer of the host is not valid HTTP.'],
] as const)
  test(`an answer that has begun and breaks off was answered: ${ended}`, async () => {
    const { said, play } = stage(() => ({ answer: () => Promise.reject(refusal) }), 200, 5)
    await play()
    assert.deepEqual(said.slice(9), ['answer.cut', 'cut', `outcome 200 5 3 ${ended}`, 'unwatch'])
  })

test('a secret that cannot be looked for any more is a refusal, however much had gone; so is a revocation that the agent tells of', async () => {
  const unreadable = stage(() => ({ answer: () => Promise.reject(new Refusal('scrub.broken')) }))
  await unreadable.play()
  assert.deepEqual(unreadable.said.slice(9), ['answer.cut', 'refused scrub.broken', 'answered scrub.broken call-1', 'unwatch'])
  let revoke = (): void => {}
  const revoked = stage(() => ({
    watch: (_call: unknown, _identity: unknown, _lease: unknown, cut: () => void) => {
      revoke = cut
      return () => {}
    },
    answer: async () => {
      revoke()
      throw new Refusal('forward.reset', agentLeft)
    },
  }))
  await revoked.play()
  assert.ok(revoked.said.includes('refused flow.revoked'), `${revoked.said}`)
})

test('401 makes the lease worthless, once, and the call is answered, not repeated; 403 and no lease do not', async () => {
  const refused = stage(undefined, 401)
  await refused.play()
  assert.deepEqual(refused.said.slice(7), ['forward', 'distrust lease-1', 'scrub', 'answer', 'outcome 401 7 3', 'unwatch'])
  const bare = stage(() => ({ inject: () => ({ bare: true }) }), 401)
  for (const { said, play } of [stage(undefined, 403), stage(() => ({ obtain: () => null }), 401), bare]) {
    await play()
    assert.ok(said.includes('answer') && !said.some((word) => word.startsWith('distrust')), `${said}`)
  }
})
