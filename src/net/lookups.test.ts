import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turns } from 'node:timers/promises'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { createLookups } from './lookups.ts'

const small = { lookupsMax: 4, lookupsPerSenderMax: 2, lookupsWaitingPerSenderMax: 50, lookupWaitMs: 60, resolveMs: 60 }
const slow = { ...small, lookupWaitMs: 60_000, resolveMs: 60_000 }

/** Half of libuv's threads: so many names at a time, the others in order; a name that begins with `dead` holds its thread until told. */
function threads(count = small.lookupsMax) {
  const asked: string[] = []
  const queue: (() => void)[] = []
  const dead = new Map<string, () => void>()
  let busy = 0
  let most = 0
  async function ask(host: string): Promise<readonly string[]> {
    asked.push(host)
    if (busy === count) await new Promise<void>((go) => queue.push(go))
    busy += 1
    most = Math.max(most, busy)
    await turns()
    if (host.startsWith('dead')) await new Promise<void>((go) => dead.set(host, go))
    busy -= 1
    queue.shift()?.()
    if (host.startsWith('dead')) throw Object.assign(new Error('no answer'), { code: 'EAI_AGAIN' })
    return ['192.0.2.1']
  }
  return { ask, asked, dead, most: () => most }
}

const many = (count: number, name: (n: number) => string): string[] => Array.from({ length: count }, (_, n) => name(n))
const refused = (code: string, detail?: string) => (error: unknown) =>
  error instanceof Refusal && error.code === code && (detail === undefined || error.detail === detail)

test('who calls many dead names waits alone: the names of others are looked up at once', async () => {
  const system = threads()
  const lookup = createLookups(system.ask, slow)
  const dead = many(40, (n) => `dead-${n}.test`).map((host) => lookup(host, 'bad').catch(() => 'over'))
  await turns()
  for (const sender of ['good', 'other', 'good']) assert.deepEqual(await lookup(`${sender}.test`, sender), ['192.0.2.1'])
  assert.equal(system.asked.filter((host) => host.startsWith('dead')).length, small.lookupsPerSenderMax)
  // The dead ones end one after the other, and each has its turn.
  for (let left = 40; left > 0; ) {
    await turns()
    for (const [host, end] of system.dead) {
      system.dead.delete(host)
      end()
      left -= 1
    }
  }
  assert.equal((await Promise.all(dead)).length, 40)
  assert.ok(system.most() <= small.lookupsMax)
})

test('where all is in use, the next turn is of who has least under way, and in the order of asking', async () => {
  const system = threads()
  const lookup = createLookups(system.ask, slow)
  const waits = ['a', 'b'].flatMap((sender) =>
    many(4, (n) => `dead-${sender}${n}.test`).map((host) => lookup(host, sender).catch(() => [])),
  )
  await turns()
  assert.deepEqual(system.asked, ['dead-a0.test', 'dead-a1.test', 'dead-b0.test', 'dead-b1.test'])
  const late = [lookup('one.test', 'c'), lookup('two.test', 'c')]
  await turns()
  assert.equal(system.asked.length, 4)
  system.dead.get('dead-a0.test')?.()
  assert.deepEqual(await Promise.all(late), [['192.0.2.1'], ['192.0.2.1']])
  assert.deepEqual(system.asked.slice(4, 6), ['one.test', 'two.test'])
  await turns()
  assert.deepEqual(system.asked.slice(6), ['dead-a2.test'])
  for (let turn = 0; turn < 10; turn++) {
    await turns()
    for (const [host, end] of system.dead) {
      system.dead.delete(host)
      end()
    }
  }
  await Promise.all(waits)
})

test('one name is looked up once at a time, whoever asks, and again when it is asked again', async () => {
  const system = threads()
  const lookup = createLookups(system.ask, slow)
  const [first, second] = await Promise.all([lookup('api.test', 'a'), lookup('api.test', 'b'), lookup('api.test', 'a')])
  assert.equal(first, second)
  assert.deepEqual(system.asked, ['api.test'])
  await lookup('api.test', 'b')
  assert.deepEqual(system.asked, ['api.test', 'api.test'])
})

test('names that wait for their turn are each one name too, however many ask', async () => {
  const system = threads()
  const lookup = createLookups(system.ask, slow)
  const dead = ['dead-0', 'dead-1'].map((host) => lookup(host, 'a').catch(() => []))
  const same = many(1_000, () => 'api.test').map((host) => lookup(host, 'a'))
  await turns()
  assert.equal(system.asked.length, 2)
  system.dead.get('dead-0')?.()
  await Promise.all(same)
  assert.deepEqual(system.asked, ['dead-0', 'dead-1', 'api.test'])
  system.dead.get('dead-1')?.()
  await Promise.all(dead)
})

test('a turn that does not come is a refusal that names the limit; nobody looks up what nobody waits for', async () => {
  const system = threads()
  const lookup = createLookups(system.ask, small)
  const first = ['dead-0', 'dead-1'].map((host) => assert.rejects(lookup(host, 'a'), { code: 'ETIMEOUT' }))
  await assert.rejects(lookup('api.test', 'a'), refused('forward.busy', 'lookupsPerSenderMax'))
  await Promise.all(first)
  // Whoever asks again while the system still waits takes no second thread.
  await assert.rejects(lookup('dead-0', 'a'), { code: 'ETIMEOUT' })
  await Promise.all(['dead-2', 'dead-3'].map((host) => assert.rejects(lookup(host, 'b'), { code: 'ETIMEOUT' })))
  await assert.rejects(lookup('api.test', 'c'), refused('forward.busy', 'lookupsMax'))
  for (const end of system.dead.values()) end()
  await turns()
  await turns()
  assert.deepEqual(system.asked, ['dead-0', 'dead-1', 'dead-2', 'dead-3'])
  assert.deepEqual(await lookup('api.test', 'a'), ['192.0.2.1'])
})

test('so many names of one sender wait and no more', async () => {
  const system = threads()
  const lookup = createLookups(system.ask, small)
  const waits = many(52, (n) => `dead-${n}`).map((host) => lookup(host, 'a').catch((error: Error) => error))
  await assert.rejects(lookup('api.test', 'a'), refused('forward.busy', 'lookupsWaitingPerSenderMax'))
  assert.deepEqual(await lookup('api.test', 'b'), ['192.0.2.1'])
  await Promise.all(waits)
  for (const end of system.dead.values()) end()
})

test('libuv gives half of its threads to names: lookups never fill them, nor does one sender', () => {
  assert.ok(limits.lookupsMax <= limits.poolThreads / 2)
  assert.ok(limits.lookupsPerSenderMax <= limits.lookupsMax / 4)
})
