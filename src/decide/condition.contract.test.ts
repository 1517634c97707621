import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Asked, FactValue } from '../model/facts.ts'
import type { ConditionHost } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { FactShape } from './condition.ts'
import { conditionKinds } from './conditions.ts'
import { silent } from './fakes.test.ts'

const now = Date.UTC(2026, 10, 24, 12)
const postureDocument = JSON.stringify({
  at: new Date(now).toISOString(),
  patchAgeDays: 2,
  pendingSecurityUpdates: 0,
  rebootNeeded: false,
  kernel: '6.1',
})

/** Configurations of each kind; a kind without one here fails the test. */
const examples: Readonly<Record<string, readonly Record<string, unknown>[]>> = {
  'time-window': [
    { zone: 'Europe/Berlin', days: 'mon-fri', from: '08:00', to: '18:00' },
    { zone: 'UTC', holidays: { file: 'holidays.txt' } },
  ],
  stage: [{}, { production: { label: { tier: 'gold' }, proven: { namespace: 'prod' } } }],
  posture: [{ file: 'posture.json' }, { url: 'https://cmdb.acme.example/posture', maxAgeMinutes: 5 }],
  location: [{}, { region: { proven: 'zone' } }],
}

const asked: Asked = {
  workload: 'agent',
  labels: { stage: 'production', region: 'eu-central' },
  proven: {},
  provider: 'process',
  onThisHost: true,
  address: '8.8.8.8',
  service: 'openai',
}

interface Counted {
  readonly host: ConditionHost
  readonly count: () => number
}

function countingHost(fails = false): Counted {
  let count = 0
  const did = <Value>(value: Value): Promise<Value> => {
    count++
    return fails ? Promise.reject(new Error('disk on fire')) : Promise.resolve(value)
  }
  const host: ConditionHost = {
    clock: { now: () => now, monotonic: () => now },
    log: silent,
    limits,
    fetch: () => did({ status: 200, headers: {}, body: Buffer.from(postureDocument) }),
    readFile: async (path) =>
      path.endsWith('.mmdb') ? readFile(path) : did(Buffer.from(path.endsWith('.json') ? postureDocument : '2026-12-25\n')),
  }
  return { host, count: () => count }
}

function fits(shape: FactShape, stated: FactValue | Readonly<Record<string, FactValue>>): boolean {
  const one = (type: string, value: unknown): boolean =>
    type === 'Bool'
      ? typeof value === 'boolean'
      : type === 'Long'
        ? Number.isSafeInteger(value)
        : type === 'String'
          ? typeof value === 'string'
          : Array.isArray(value)
  if (typeof shape === 'string') return one(shape, stated)
  const record = stated as Readonly<Record<string, FactValue>>
  const known = Object.keys(shape).map((name) => name.replace(/\?$/, ''))
  return (
    Object.keys(record).every((name) => known.includes(name)) &&
    Object.entries(shape).every(
      ([name, type]) => (name.endsWith('?') && record[name.slice(0, -1)] === undefined) || one(type, record[name.replace(/\?$/, '')]),
    )
  )
}

for (const kind of conditionKinds) {
  test(`${kind.name}: its folder has its name, and there is an example here`, () => {
    assert.ok(existsSync(fileURLToPath(new URL(`./${kind.name}/${kind.name}.ts`, import.meta.url))))
    assert.ok((examples[kind.name]?.length ?? 0) > 0)
    assert.notEqual(kind.summary, '')
  })
  for (const example of examples[kind.name] ?? []) {
    const title = `${kind.name} ${JSON.stringify(example)}`
    test(`${title}: unknown keys are refused, at the top and below`, () => {
      assert.equal(kind.schema.safeParse(example).success, true)
      assert.equal(kind.schema.safeParse({ ...example, nope: 1 }).success, false)
      for (const [key, value] of Object.entries(example)) {
        if (typeof value === 'object') assert.equal(kind.schema.safeParse({ ...example, [key]: { ...value, nope: 1 } }).success, false)
      }
      assert.deepEqual(kind.check?.(kind.schema.parse(example)) ?? [], [])
    })
    test(`${title}: starts without I/O, states facts of its shape`, async () => {
      const { host, count } = countingHost()
      const config = kind.schema.parse(example)
      const started = kind.start(config, host, 'it')
      assert.equal(count(), 0)
      assert.ok(fits(kind.shape(config), await started.facts(asked, AbortSignal.timeout(5_000))))
      // Once known, it need not be waited for.
      const { factsNow } = started as unknown as { factsNow(asked: Asked): FactValue }
      assert.ok(fits(kind.shape(config), factsNow(asked)))
    })
    test(`${title}: honours the signal`, async () => {
      const started = kind.start(kind.schema.parse(example), countingHost().host, 'it')
      await assert.rejects(started.facts(asked, AbortSignal.abort()))
    })
    test(`${title}: a source that fails is a missing fact`, async () => {
      const { host, count } = countingHost(true)
      const started = kind.start(kind.schema.parse(example), host, 'it')
      const stated = started.facts(asked, AbortSignal.timeout(5_000))
      await stated.then(
        () => assert.equal(count(), 0),
        (error: unknown) =>
          assert.ok(
            error instanceof Refusal && error.code === 'decide.fact_missing' && error.detail.includes('disk on fire'),
            String(error),
          ),
      )
    })
  }
}
