import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as soon } from 'node:timers/promises'
import type { Lease, Need } from '../model/credential.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import type { Obtained } from './credential-provider.ts'
import { createObtain } from './obtain.ts'

const minuteMs = 60_000
const need: Need = {
  workload: 'coder',
  spiffeId: 'spiffe://acme.test/coder',
  groups: ['dev'],
  run: 'run-1',
  service: 'openai',
  host: 'api.openai.com',
  port: 443,
}

interface Asked {
  readonly need: Need
  readonly signal: AbortSignal
  answer(lifeMs?: number): Promise<void>
  fail(error: Error): Promise<void>
}

/** A world in which the test says when time passes and when the provider answers. */
function world() {
  let now = 1_000_000
  let setBackMs = 0
  const asked: Asked[] = []
  const tokens: Secret[] = []
  const warnings: string[] = []
  const log: Log = { debug() {}, info() {}, warn: (what, fields) => void warnings.push(`${what} ${JSON.stringify(fields)}`), error() {} }
  const provider = {
    obtain: (one: Need, signal: AbortSignal): Promise<Obtained> =>
      new Promise((resolve, reject) =>
        asked.push({
          need: one,
          signal,
          async answer(lifeMs = 60 * minuteMs) {
            const token = new Secret(`token-${asked.length}`)
            tokens.push(token)
            resolve({ credential: { kind: 'bearer', token }, expiresAt: now + lifeMs, secrets: [token] })
            await soon()
          },
          async fail(error) {
            reject(error)
            await soon()
          },
        }),
      ),
  }
  const clock = { now: () => now - setBackMs, monotonic: () => now }
  const obtain = createObtain(
    ['one', 'two'].map((name) => ({ name, kind: 'fake', provider, leaseMs: 15 * minuteMs })),
    clock,
    log,
  )
  const pass = (ms: number): void => {
    now += ms
  }
  const setBack = (ms: number): void => {
    setBackMs = ms
  }
  return { obtain, asked, tokens, warnings, pass, setBack, now: () => now }
}

type World = ReturnType<typeof world>

async function leased(of: World, name = 'one', one = need, lifeMs?: number): Promise<Lease> {
  const promise = of.obtain.leaseFor(one, name)
  await (of.asked.at(-1) as Asked).answer(lifeMs)
  return promise
}

const empty = (lease: Lease): boolean => lease.secrets.every((secret) => secret.size === 0)
const code = (expected: string) => (error: unknown) => error instanceof Refusal && error.code === expected

test('one flight for all who wait; then synchronous, bound, and no longer than the vendor or the configuration says', async () => {
  const of = world()
  const waiting = [1, 2, 3].map(() => of.obtain.leaseFor(need, 'one'))
  assert.equal(of.asked.length, 1)
  await of.asked[0]?.answer()
  const [lease, ...others] = await Promise.all(waiting)
  assert.ok(others.every((one) => one === lease))
  assert.equal(of.obtain.leaseFor({ ...need, run: 'run-2' }, 'one'), lease)
  assert.equal(lease?.expiresAt, of.now() + 15 * minuteMs)
  assert.deepEqual(
    [lease?.workload, lease?.service, lease?.host, lease?.port, lease?.providerKind],
    ['coder', 'openai', 'api.openai.com', 443, 'fake'],
  )
  assert.equal((await leased(of, 'two', need, minuteMs)).expiresAt, of.now() + minuteMs)
  of.obtain.close()
})

test('another workload, identity, service, host, port or credential gets a lease of its own', async () => {
  const of = world()
  const first = await leased(of)
  for (const one of [
    { ...need, workload: 'other' },
    { ...need, spiffeId: 'spiffe://acme.test/ns/a' },
    { ...need, service: 'azure' },
    { ...need, host: 'eu.api.openai.com' },
    { ...need, port: 8443 },
    // Parts may not shift into each other.
    { ...need, workload: 'coder","spiffe://acme.test/coder' },
  ])
    assert.notEqual(await leased(of, 'one', one), first)
  assert.notEqual(await leased(of, 'two'), first)
  assert.equal(of.obtain.size, 8)
  of.obtain.close()
})

test('renewed after two thirds of its life, in the background, by one; the old one serves until then and is wiped later', async () => {
  const of = world()
  const old = await leased(of)
  of.pass(10 * minuteMs - 1)
  assert.equal(of.obtain.leaseFor(need, 'one'), old)
  assert.equal(of.asked.length, 1)
  of.pass(1)
  for (let times = 0; times < 5; times++) assert.equal(of.obtain.leaseFor(need, 'one'), old)
  assert.equal(of.asked.length, 2)
  await of.asked[1]?.answer()
  const next = of.obtain.leaseFor(need, 'one') as Lease
  assert.notEqual(next, old)
  assert.ok(!empty(old) && !old.revoked.aborted)
  of.obtain.sweep()
  assert.ok(!empty(old))
  of.pass(5_000)
  of.obtain.sweep()
  assert.ok(empty(old) && !empty(next) && !old.revoked.aborted)
  of.obtain.close()
})

test('a renewal that fails leaves the old one, is not tried with each call, and what has expired is never used', async () => {
  const of = world()
  const old = await leased(of)
  of.pass(10 * minuteMs)
  assert.equal(of.obtain.leaseFor(need, 'one'), old)
  await of.asked[1]?.fail(new Refusal('obtain.exchange_failed'))
  assert.equal(of.warnings.length, 1)
  for (let times = 0; times < 5; times++) assert.equal(of.obtain.leaseFor(need, 'one'), old)
  assert.equal(of.asked.length, 2)
  of.pass(10_000)
  assert.equal(of.obtain.leaseFor(need, 'one'), old)
  assert.equal(of.asked.length, 3)
  await of.asked[2]?.fail(new Error('a defect'))
  of.pass(5 * minuteMs)
  const waiting = of.obtain.leaseFor(need, 'one')
  assert.ok(waiting instanceof Promise)
  await of.asked[3]?.answer()
  assert.notEqual(await waiting, old)
  of.obtain.close()
})

test('expiry wipes, but not under the hands of a call that was just given the lease', async () => {
  const of = world()
  const lease = await leased(of)
  of.pass(15 * minuteMs - 1)
  assert.equal(of.obtain.leaseFor(need, 'one'), lease)
  of.pass(1)
  of.obtain.sweep()
  assert.equal(of.obtain.size, 0)
  of.pass(4_999)
  of.obtain.sweep()
  assert.ok(!empty(lease))
  of.pass(1)
  of.obtain.sweep()
  assert.ok(empty(lease))
  of.obtain.close()
})

test('revocation aborts and wipes at once: those in use, those in the air, those renewed already', async () => {
  const of = world()
  const renewed = await leased(of)
  of.pass(10 * minuteMs)
  of.obtain.leaseFor(need, 'one')
  await of.asked[1]?.answer()
  const kept = of.obtain.leaseFor(need, 'one') as Lease
  const untouched = await leased(of, 'two')
  const inTheAir = of.obtain.leaseFor({ ...need, host: 'eu.api.openai.com' }, 'one')
  const flight = of.asked.at(-1) as Asked
  assert.equal(of.obtain.revoke({ credential: 'one' }), 1)
  assert.ok(flight.signal.aborted)
  await assert.rejects(async () => inTheAir, code('obtain.revoked'))
  // What the provider brings all the same is overwritten.
  await flight.answer()
  assert.equal(of.tokens.at(-1)?.size, 0)
  assert.ok([kept, renewed].every((lease) => lease.revoked.aborted && empty(lease)))
  assert.ok(!untouched.revoked.aborted && !empty(untouched))
  assert.equal(of.obtain.size, 1)
  assert.equal(of.obtain.revoke({ workload: 'nobody' }), 0)
  assert.equal(of.obtain.revoke({}), 0)
  assert.equal(of.obtain.revoke({ workload: 'coder' }), 1)
  assert.ok(untouched.revoked.aborted)
  // A new one is obtained anew, and the flight that was cut does not stand in its way.
  assert.notEqual(await leased(of), kept)
  of.obtain.close()
})

test('a 401 makes the lease worthless once; a second one at once is not a reason to ask the vendor for each call', async () => {
  const of = world()
  const first = await leased(of)
  of.obtain.distrust(first)
  assert.ok(!empty(first) && !first.revoked.aborted)
  const second = await leased(of)
  assert.notEqual(second, first)
  of.obtain.distrust(first)
  assert.equal(of.obtain.leaseFor(need, 'one'), second)
  of.obtain.distrust(second)
  assert.equal(of.obtain.leaseFor(need, 'one'), second)
  of.pass(30_000)
  of.obtain.distrust(second)
  assert.notEqual(await leased(of), second)
  of.obtain.close()
})

test('an endpoint that failed is not asked again within a second; a missing secret is looked for each time', async () => {
  const of = world()
  for (const [refused, again] of [
    ['obtain.exchange_refused', 0],
    ['obtain.exchange_failed', 0],
    ['obtain.secret_missing', 1],
  ] as const) {
    const one = { ...need, host: `${refused}.test` }
    const waiting = of.obtain.leaseFor(one, 'one')
    const before = of.asked.length
    await Promise.all([assert.rejects(async () => waiting, code(refused)), of.asked.at(-1)?.fail(new Refusal(refused))])
    if (again === 0) assert.throws(() => of.obtain.leaseFor(one, 'one'), code(refused))
    else void Promise.resolve(of.obtain.leaseFor(one, 'one')).catch(() => {})
    assert.equal(of.asked.length, before + again)
    of.pass(1_000)
    void Promise.resolve(of.obtain.leaseFor(one, 'one')).catch(() => {})
    assert.equal(of.asked.length, before + 1)
  }
  of.obtain.close()
})

test('an unknown credential, and a token that is over when it comes, are refused', async () => {
  const of = world()
  await assert.rejects(async () => of.obtain.leaseFor(need, 'three'), code('obtain.no_credential'))
  for (const lifeMs of [0, -1, Number.NaN]) {
    of.pass(2_000)
    await assert.rejects(leased(of, 'one', need, lifeMs), code('obtain.exchange_failed'))
  }
  assert.equal(of.obtain.size, 0)
  of.obtain.close()
})

test('the cache is bounded; the oldest goes', async () => {
  const secret = new Secret('one for all')
  const provider = {
    obtain: async (): Promise<Obtained> => ({ credential: { kind: 'bearer', token: secret }, expiresAt: 2, secrets: [secret] }),
  }
  const log: Log = { debug() {}, info() {}, warn() {}, error() {} }
  const obtain = createObtain([{ name: 'one', kind: 'fake', provider, leaseMs: 2 }], { now: () => 1, monotonic: () => 1 }, log)
  for (let port = 0; port <= limits.leasesMax; port++) await obtain.leaseFor({ ...need, port }, 'one')
  assert.equal(obtain.size, limits.leasesMax)
  assert.ok(obtain.leaseFor({ ...need, port: 0 }, 'one') instanceof Promise)
  obtain.close()
})

test('retire lets calls under way end, wipes afterwards and keeps nothing new; close ends all at once', async () => {
  const of = world()
  const lease = await leased(of)
  const inTheAir = of.obtain.leaseFor(need, 'two')
  of.obtain.retire()
  await of.asked[1]?.answer()
  const late = await inTheAir
  assert.ok([lease, late].every((one) => !one.revoked.aborted && !empty(one)))
  assert.equal(of.obtain.size, 0)
  of.pass(5_000)
  of.obtain.sweep()
  assert.ok(empty(lease) && empty(late))

  const other = world()
  const kept = await leased(other)
  const waiting = other.obtain.leaseFor(need, 'two')
  other.obtain.close()
  assert.ok(kept.revoked.aborted && empty(kept))
  await assert.rejects(async () => waiting, code('obtain.revoked'))
  await assert.rejects(async () => other.obtain.leaseFor(need, 'one'), code('obtain.revoked'))
})

test('a wall clock that is set back lengthens no lease', async () => {
  const of = world()
  const lease = await leased(of)
  of.setBack(2 * 24 * 60 * minuteMs)
  assert.equal(of.obtain.leaseFor(need, 'one'), lease)
  of.pass(15 * minuteMs + 1)
  const next = await leased(of)
  assert.notEqual(next, lease)
  of.pass(15 * minuteMs + 1)
  of.obtain.sweep()
  assert.equal(of.obtain.size, 0)
})
