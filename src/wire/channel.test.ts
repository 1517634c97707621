import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deserialize, serialize } from 'node:v8'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import { type Answers, type Channel, createChannel } from './channel.ts'

type Here = { double: (asked: number) => number; lease: (asked: { readonly token: Secret | null }) => { readonly of: readonly Secret[] } }
type There = { note: (asked: string) => void }

/** Two ends, and everything that crossed as bytes. */
function pair(answers: Partial<Answers<Here>> = {}, late = false) {
  const crossed: string[] = []
  const noted: string[] = []
  const held: (() => void)[] = []
  const over = (to: () => Channel<never>) => (message: object) => {
    const bytes = serialize(message)
    crossed.push(bytes.toString('latin1'))
    const deliver = (): void => to().take(deserialize(bytes))
    if (late) held.push(deliver)
    else queueMicrotask(deliver)
  }
  const one: Channel<There> = createChannel<Here, There>(
    over(() => other as never),
    { double: (asked) => asked * 2, lease: ({ token }) => ({ of: token === null ? [] : [token, token] }), ...answers },
  )
  const other: Channel<Here> = createChannel<There, Here>(
    over(() => one as never),
    { note: (text) => void noted.push(text) },
  )
  return { one, other, crossed, noted, held }
}

const soon = (): AbortSignal => AbortSignal.timeout(5_000)

test('what is asked is answered, and what is told arrives before what is asked behind it', async () => {
  const { one, other, noted } = pair()
  const both = [other.ask('double', 2, soon()), other.ask('double', 21, soon())]
  assert.deepEqual(await Promise.all(both), [4, 42])
  one.tell('note', 'first')
  await one.ask('note', 'second', soon())
  assert.deepEqual(noted, ['first', 'second'])
})

test('a Secret crosses as one, wherever it stands, and one that stands twice stays one', async () => {
  const { other } = pair()
  const token = new Secret('sk-the-token')
  const { of } = await other.ask('lease', { token }, soon())
  assert.ok(of[0] instanceof Secret && of[0] === of[1])
  assert.ok(of[0].equals(token))
  of[0].wipe()
  assert.equal(token.size, 12, 'each side wipes its own')
})

test('an object of an agent that looks like the place of a Secret is none', async () => {
  const { other } = pair({ lease: (asked) => ({ of: [asked as never] }) })
  const asked = { token: null, '[secret]': 0 } as never
  const { of } = await other.ask('lease', asked, soon())
  assert.deepEqual(of, [asked])
})

test('a refusal arrives with its code and detail; what nobody expected as a defect', async () => {
  const refusing = pair({
    double() {
      throw new Refusal('obtain.revoked', 'openai')
    },
    lease: () => Promise.reject(new Error('the disk is gone')),
  })
  await assert.rejects(refusing.other.ask('double', 1, soon()), { code: 'obtain.revoked', detail: 'openai' })
  await assert.rejects(refusing.other.ask('lease', { token: null }, soon()), { code: 'flow.defect' })
  await assert.rejects(pair().other.ask('toString' as never, null as never, soon()), { code: 'flow.defect' })
})

test('no answer in time, and no other side any more: who waits is refused, and a late answer finds nobody', async () => {
  const { other, held } = pair({}, true)
  const end = new AbortController()
  const late = other.ask('double', 1, end.signal)
  end.abort()
  await assert.rejects(late, { code: 'wire.no_answer' })
  for (let deliver = held.shift(); deliver !== undefined; deliver = held.shift()) {
    deliver()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const waiting = other.ask('double', 1, soon())
  other.close()
  await assert.rejects(waiting, { code: 'wire.no_answer' })
  await assert.rejects(other.ask('double', 1, soon()), { code: 'wire.no_answer' })
})

test('questions that wait have a limit', async () => {
  const { other } = pair({}, true)
  const all = Array.from({ length: limits.wireAsksMax }, () => other.ask('double', 1, soon()))
  await assert.rejects(other.ask('double', 1, soon()), { code: 'wire.no_answer' })
  other.close()
  await Promise.allSettled(all)
})
