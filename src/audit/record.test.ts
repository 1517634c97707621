import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Call, TunnelCall } from '../model/call.ts'
import { systemClock } from '../model/clock.ts'
import type { Lease } from '../model/credential.ts'
import type { Decision } from '../model/decision.ts'
import type { PeerFacts } from '../model/evidence.ts'
import type { Identity } from '../model/identity.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import { type CallRecordLine, entries, type Numbered, records, show, tail } from './read.ts'
import { createRecords } from './record.ts'
import { movableClock, openLog, tempDir, watchedDisk } from './workshop.test-kit.ts'

const peer: PeerFacts = {
  transport: 'tcp',
  address: '127.0.0.1',
  port: 5,
  loopback: true,
  secure: false,
  uid: 1000,
  why: '',
  process: {
    pid: 77,
    startTicks: '1',
    uid: 1000,
    gid: 1000,
    user: 'agent',
    executable: '/usr/bin/node',
    executableSha256: 'ab'.repeat(32),
    cgroup: '',
    systemUnit: '',
    containerId: '',
    pidNamespace: '1',
    ancestors: [],
  },
}
const canary = 'canary-secret-in-the-query'
const target = {
  scheme: 'https',
  host: 'api.openai.com',
  port: 443,
  method: 'POST',
  path: '/v1/chat/completions',
  query: `?key=${canary}`,
  service: 'openai',
  action: 'inference',
  way: 'connect',
} as const
const identity: Identity = {
  workload: 'research-agent',
  spiffeId: 'spiffe://acme.example/research-agent',
  groups: [],
  labels: {},
  proven: {},
  provider: 'process',
  run: 'run-1',
  custody: 'namespace',
  expiresAt: 9e15,
  key: 'k',
  onThisHost: true,
  address: '127.0.0.1',
}
const decision: Decision = {
  policies: ['p1'],
  facts: { hours: true },
  policyVersion: 'v1',
  credential: 'openai-research',
  model: 'gpt-4o',
  tools: [],
}
const lease = {
  id: 'lease-1',
  credentialName: 'openai-research',
  providerKind: 'static-key',
  expiresAt: 1_700_000_900_000,
  credential: { kind: 'bearer', token: new Secret(canary) },
  secrets: [new Secret(canary)],
} as unknown as Lease

function fakeCall(id: string, at = 1_700_000_000_000): Call {
  return {
    id,
    startedAt: at,
    target,
    service: { name: 'openai' },
    bytesIn: 42,
    connection: { evidence: { peer, pointer: canary, token: new Secret(canary) }, identity: null },
  } as unknown as Call
}

async function list<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const one of source) all.push(one)
  return all
}

test('an answered call: a durable intent with everything known, an outcome, and one record of both', async (t) => {
  const dir = join(tempDir(t), 'audit')
  const clock = movableClock()
  const audit = await openLog(dir, { clock })
  const call = createRecords({ audit, clock }).call(fakeCall('c1'))
  call.identified(identity)
  call.decided(decision)
  call.leased(lease)
  call.note('placeholder in the body')
  await call.intent()
  assert.equal(audit.status().size, 1, 'durable when intent() resolves')
  clock.wall += 250
  call.note('scrubbed')
  call.outcome(200, 1_000, 2)
  await audit.close()
  const [intent, outcome] = (await list(entries(dir))) as [Numbered, Numbered]
  assert.equal(intent.kind, 'intent')
  assert.deepEqual(intent.process, { pid: 77, uid: 1000, user: 'agent', executable: '/usr/bin/node', sha256: 'ab'.repeat(32) })
  assert.deepEqual(
    [intent.workload, intent.spiffeId, intent.provider, intent.run, intent.custody, intent.way, intent.service, intent.host, intent.port],
    ['research-agent', 'spiffe://acme.example/research-agent', 'process', 'run-1', 'namespace', 'connect', 'openai', 'api.openai.com', 443],
  )
  assert.deepEqual(
    [intent.decision, intent.policies, intent.facts, intent.policyVersion, intent.model],
    ['permit', ['p1'], { hours: true }, 'v1', 'gpt-4o'],
  )
  assert.deepEqual(
    [intent.credential, intent.credentialKind, intent.lease, intent.expires],
    ['openai-research', 'static-key', 'lease-1', 1_700_000_900_000],
  )
  assert.deepEqual(
    [outcome.status, outcome.bytesIn, outcome.bytesOut, outcome.durationMs, outcome.scrubbed, outcome.notes],
    [200, 42, 1_000, 250, 2, ['scrubbed']],
  )
  for (const name of ['host', 'method', 'path', 'service', 'workload'] as const) assert.equal(outcome[name], intent[name], name)
  const [record] = (await list(records(dir))) as [CallRecordLine]
  assert.deepEqual(
    [record.kind, record.decision, record.outcome, record.status, record.durationMs],
    ['call', 'permit', 'answered', 200, 250],
  )
  assert.deepEqual([record.time, record.expiry, record.lease], ['2023-11-14T22:13:20.000Z', '2023-11-14T22:28:20.000Z', 'lease-1'])
  assert.deepEqual(record.notes, ['placeholder in the body', 'scrubbed'])
  assert.ok(!JSON.stringify(await list(entries(dir))).includes(canary), 'no query, token or secret')
  const shown = await show(dir, 'c1')
  assert.deepEqual([shown?.entries.length, shown?.record.status], [2, 200])
  assert.equal(await show(dir, 'nobody'), null)
})

test('a refusal before the intent: one entry with what is known, equal ones counted, and it never touches the disk for the caller', async (t) => {
  const dir = join(tempDir(t), 'audit')
  const clock = movableClock()
  const audit = await openLog(dir, { clock })
  const made = createRecords({ audit, clock })
  for (let i = 0; i < 5; i += 1) {
    const call = made.call(fakeCall(`c${i}`))
    call.identified(identity)
    call.refused(new Refusal('decide.forbidden', 'policy nobody mints keys'))
  }
  made.call(fakeCall('unknown')).refused(new Refusal('identify.none'))
  await audit.close()
  const all = await list(records(dir))
  assert.deepEqual(
    all.map((one) => [one.kind, one.call, one.code, one.decision, one.outcome, one.status, one.count]),
    [
      ['call', 'c0', 'decide.forbidden', 'refuse', 'refused', 403, null],
      ['call', 'unknown', 'identify.none', 'refuse', 'refused', 403, null],
      ['call', 'c4', 'decide.forbidden', 'refuse', 'refused', 403, 4],
    ],
  )
  assert.equal(all[0]?.detail, 'policy nobody mints keys')
  assert.deepEqual([all[0]?.workload, all[0]?.host, all[1]?.workload], ['research-agent', 'api.openai.com', null])
})

test('a refusal after the intent ends its record', async (t) => {
  const dir = join(tempDir(t), 'audit')
  const clock = movableClock()
  const audit = await openLog(dir, { clock })
  const call = createRecords({ audit, clock }).call(fakeCall('c1'))
  call.identified(identity)
  call.decided(decision)
  await call.intent()
  call.refused(new Refusal('forward.connect', 'ECONNREFUSED'))
  await audit.close()
  const all = await list(records(dir))
  assert.deepEqual(
    all.map((one) => [one.kind, one.decision, one.outcome, one.code, one.detail, one.workload, one.policies.length]),
    [['call', 'refuse', 'refused', 'forward.connect', 'ECONNREFUSED', 'research-agent', 1]],
  )
})

test('a call that is refused because the disk was late has one record: its intent was written after all', async (t) => {
  const dir = join(tempDir(t), 'audit')
  const disk = watchedDisk()
  const audit = await openLog(dir, { disk, clock: systemClock }, { journalMs: 50 })
  disk.held = []
  const call = createRecords({ audit, clock: systemClock }).call(fakeCall('c1'))
  call.identified(identity)
  await assert.rejects(call.intent(), (error) => {
    call.refused(error as Refusal)
    return true
  })
  for (const go of disk.held.splice(0)) go()
  disk.held = null
  await audit.close()
  const [record, ...more] = (await list(records(dir))) as CallRecordLine[]
  assert.deepEqual([record?.call, record?.outcome, record?.code, more.length], ['c1', 'refused', 'audit.timeout', 0])
})

test('a placeholder in the wrong place alerts, and names the sender', async (t) => {
  const dir = join(tempDir(t), 'audit')
  const clock = movableClock()
  const audit = await openLog(dir, { clock })
  const made = createRecords({ audit, clock })
  for (const code of ['inject.foreign_placeholder', 'inject.foreign_credential', 'identify.token_replayed', 'decide.denied'] as const) {
    const call = made.call(fakeCall(code))
    call.identified(identity)
    call.refused(new Refusal(code, 'x-api-key'))
  }
  await audit.close()
  const alerts = (await list(entries(dir))).filter((one) => one.kind === 'alert')
  assert.deepEqual(
    alerts.map((one) => [one.alert, one.workload, one.run, one.status]),
    ['inject.foreign_placeholder', 'inject.foreign_credential', 'identify.token_replayed'].map((code) => [
      code,
      'research-agent',
      'run-1',
      undefined,
    ]),
  )
})

test('tunnels, administration, tokens, alerts; tail follows', async (t) => {
  const dir = join(tempDir(t), 'audit')
  const clock = movableClock()
  const audit = await openLog(dir, { clock })
  const made = createRecords({ audit, clock })
  const tunnel = made.tunnel({
    ...fakeCall('t1'),
    target: { ...target, service: null, action: 'tunnel', way: 'tunnel' },
  } as unknown as TunnelCall)
  tunnel.identified(identity)
  tunnel.decided({ ...decision, credential: null, model: null })
  await tunnel.intent()
  tunnel.ended(10, 20)
  await made.administration('uid 1000', 'reloaded', { notes: ['policy v2'] })
  await made.token({ call: 'tok1', workload: 'w', decision: 'permit' })
  made.alert({ alert: 'suspended', run: 'run-1' }, 'run-1')
  const stop = new AbortController()
  const seen: string[] = []
  const following = (async () => {
    for await (const one of tail(dir, 2, stop.signal)) {
      seen.push(one.kind)
      if (one.kind === 'recovered') stop.abort()
    }
  })()
  await new Promise((resolve) => setTimeout(resolve, 50))
  await audit.append({ kind: 'recovered', time: clock.now(), what: 'test' })
  await following
  await audit.close()
  assert.equal(seen.at(-1), 'recovered')
  const kinds = (await list(records(dir))).map((one) => [one.kind, one.way, one.bytesOut])
  assert.deepEqual(kinds, [
    ['call', 'tunnel', 20],
    ['administration', null, null],
    ['token', null, null],
    ['alert', null, null],
    ['recovered', null, null],
  ])
})

test('an intent without an outcome is a record whose outcome is unknown', async (t) => {
  const dir = join(tempDir(t), 'audit')
  const clock = movableClock()
  const audit = await openLog(dir, { clock })
  const call = createRecords({ audit, clock }).call(fakeCall('c1'))
  await call.intent()
  await audit.close()
  assert.deepEqual(
    (await list(records(dir))).map((one) => [one.call, one.outcome]),
    [['c1', 'unknown']],
  )
})

test('a log that refuses refuses the intent', async (t) => {
  const clock = movableClock()
  const audit = await openLog(join(tempDir(t), 'audit'), { clock, diskFree: async () => 0 })
  const call = createRecords({ audit, clock }).call(fakeCall('c1'))
  await assert.rejects(call.intent(), (error: Refusal) => error.code === 'audit.unavailable')
  await audit.close()
})
