import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Evidence, PeerFacts } from '../model/evidence.ts'
import type { Attributes } from '../model/identity.ts'
import { limits } from '../model/limits.ts'
import { Refusal, type RefusalCode } from '../model/refusal.ts'
import type { Run } from '../model/run.ts'
import { Secret } from '../model/secret.ts'
import { agentPeer, agentProcess } from './agent.test-kit.ts'
import { createIdentify, type Provider, tokenRequired, type Workload } from './identify.ts'
import { processKind } from './process/process.ts'
import type { TrustProvider } from './trust-provider.ts'
import { trustKinds } from './trust-providers.ts'

const now = Date.UTC(2026, 10, 24)
const log = { debug() {}, info() {}, warn() {}, error() {} }
const clock = { now: () => now, monotonic: () => 0 }

const remote: PeerFacts = { ...agentPeer, address: '10.0.0.9', loopback: false, uid: null, process: null, why: 'another host' }

const run: Run = {
  id: 'run-1',
  pointer: 'run-pointer-1',
  workload: 'coder',
  startedBy: 'alice',
  startedAt: now,
  command: 'x',
  labels: {},
  parent: null,
  custody: 'namespace',
  placeholders: [],
  root: '1:1',
  pidNamespace: '',
  state: 'open',
  ended: new AbortController().signal,
}

const workload = (name: string, identify: Workload['identify'], more: Partial<Workload> = {}): Workload => ({
  name,
  path: `/${name}`,
  groups: ['g'],
  labels: { stage: 'production' },
  identify,
  run: null,
  ...more,
})
const byProcess = (rule: object) => ({ provider: 'process', kind: 'process', rule })
const byToken = (rule: object, provider = 'oidc') => ({ provider, kind: 'oidc', rule })

/** A provider that proves what the test says, or refuses by the code it says. */
function fake(name: string, says: Attributes | RefusalCode, seen: Evidence[] = [], lastsMs = 60_000): Provider {
  const provider: TrustProvider = {
    async verify(evidence) {
      seen.push(evidence)
      if (evidence.token === null) return null
      if (typeof says === 'string') throw new Refusal(says)
      return { provider: name, attributes: says, expiresAt: now + lastsMs, run: null }
    },
  }
  return { name, kind: 'oidc', provider }
}

interface World {
  readonly workloads: readonly Workload[]
  readonly tokens?: readonly Provider[]
  readonly runs?: readonly Run[]
  readonly member?: Run | null
}

function identifier({ workloads, tokens = [], runs = [], member = null }: World) {
  const host = { clock, log, limits, fetch: async () => assert.fail('no I/O'), once: () => true, audience: 'a' }
  const kernel: Provider = { name: 'process', kind: 'process', provider: processKind.start({}, host, 'process') }
  const identify = createIdentify({
    providers: [kernel, ...tokens],
    kinds: trustKinds,
    workloads,
    trustDomain: 'acme.example',
    runs: { byPointer: (pointer) => runs.find((one) => one.pointer === pointer) ?? null, member: () => member },
    clock,
    limits,
    defaultCustody: 'other-user',
    log,
  })
  return (more: Partial<Evidence> = {}) =>
    identify({ peer: agentPeer, pointer: null, token: null, unchanged: () => true, ...more }, AbortSignal.timeout(1_000))
}

const refused = (code: RefusalCode) => (error: unknown) => {
  assert.ok(error instanceof Refusal, String(error))
  assert.equal(error.code, code, error.detail)
  return true
}
const token = (): Partial<Evidence> => ({ token: new Secret('a.b.c') })
const research = workload('research', [byProcess({ user: 'agent', systemUnit: 'research.service' })])

test('a process becomes the one workload whose rule it fits', async () => {
  const identity = await identifier({ workloads: [research, workload('other', [byProcess({ user: 'bob' })])] })()
  assert.equal(identity.workload, 'research')
  assert.equal(identity.spiffeId, 'spiffe://acme.example/research')
  assert.equal(identity.custody, 'other-user')
  assert.equal(identity.provider, 'process')
  assert.equal(identity.proven.executable, '/usr/bin/node')
  assert.equal(identity.onThisHost, true)
  assert.equal(identity.expiresAt, now + limits.identityMs)
})

test('none is no_workload, several are ambiguous and named', async () => {
  await assert.rejects(identifier({ workloads: [] })(), refused('identify.no_workload'))
  await assert.rejects(identifier({ workloads: [workload('empty', [])] })(), refused('identify.no_workload'))
  const two = identifier({ workloads: [research, workload('twin', [byProcess({ user: 1_000 })])] })
  await assert.rejects(two(), (error) => refused('identify.ambiguous')(error) && (error as Refusal).detail === 'research, twin')
})

test('an executable alone identifies nobody', async () => {
  await assert.rejects(
    identifier({ workloads: [workload('x', [byProcess({ executable: '/usr/bin/node' })])] })(),
    refused('identify.no_workload'),
  )
})

test('without a process only the uid counts; without a uid nothing does', async () => {
  const asked = identifier({ workloads: [research, workload('byUid', [byProcess({ user: 1_000 })])] })
  const closed = { ...agentPeer, process: null, why: 'may not be read' }
  assert.equal((await asked({ peer: closed })).workload, 'byUid')
  await assert.rejects(asked({ peer: { ...closed, uid: null } }), refused('identify.process_unknown'))
  await assert.rejects(asked({ peer: remote }), refused('identify.none'))
})

test('a pointer is worthless from outside its run', async () => {
  const coder = workload('coder', [], { run: {} })
  const outside = identifier({ workloads: [coder, research], runs: [run] })
  await assert.rejects(outside({ pointer: run.pointer }), refused('identify.not_in_run'))
  await assert.rejects(outside({ pointer: 'run-unknown' }), refused('identify.not_in_run'))
  await assert.rejects(outside({ pointer: run.pointer, peer: { ...agentPeer, process: null } }), refused('identify.not_in_run'))
  const other = { ...run, id: 'run-2', pointer: 'run-pointer-2' }
  const inAnother = identifier({ workloads: [coder], runs: [run, other], member: other })
  await assert.rejects(inAnother({ pointer: run.pointer }), refused('identify.not_in_run'))
  assert.equal((await inAnother({ pointer: other.pointer })).run, 'run-2')
})

test('a member of a run is its workload, with or without the pointer, and nothing else', async () => {
  const asked = identifier({ workloads: [workload('coder', [], { run: {} }), research], runs: [run], member: run })
  for (const pointer of [run.pointer, null]) {
    const identity = await asked({ pointer })
    assert.deepEqual([identity.workload, identity.run, identity.custody, identity.provider], ['coder', 'run-1', 'namespace', 'process'])
    assert.equal(identity.proven.user, 'agent')
  }
})

test('a run that ended or is suspended is refused, with and without the pointer', async () => {
  for (const [state, code] of [
    ['ended', 'identify.run_ended'],
    ['suspended', 'identify.suspended'],
  ] as const) {
    const closed = { ...run, state }
    const asked = identifier({ workloads: [workload('coder', [], { run: {} })], runs: [closed], member: closed })
    await assert.rejects(asked({ pointer: run.pointer }), refused(code))
    await assert.rejects(asked(), refused(code))
  }
  await assert.rejects(identifier({ workloads: [workload('coder', [])], runs: [run], member: run })(), refused('identify.no_workload'))
})

test('underRun narrows a run and fits nothing outside', async () => {
  const rule = byProcess({ underRun: true, executable: '/usr/bin/node' })
  const coder = workload('coder', [rule], { run: {} })
  assert.equal((await identifier({ workloads: [coder], runs: [run], member: run })()).workload, 'coder')
  await assert.rejects(identifier({ workloads: [coder] })(), refused('identify.no_workload'))
  const python = workload('coder', [byProcess({ underRun: true, executable: '/usr/bin/python3' })], { run: {} })
  await assert.rejects(identifier({ workloads: [python], runs: [run], member: run })(), refused('identify.no_workload'))
})

test('a token identifies where the workload asks for one; a process rule does not help it', async () => {
  const pods = workload('pods', [byToken({ issuer: 'prod', subject: { prefix: 'agents:' } })], { path: '/ns/{namespace}' })
  const tokens = [fake('prod', { sub: 'agents:a', namespace: 'n1', iss: 'x' })]
  const asked = identifier({ workloads: [pods, research], tokens })
  const identity = await asked({ ...token(), peer: remote })
  assert.deepEqual(
    [identity.workload, identity.spiffeId, identity.provider, identity.onThisHost],
    ['pods', 'spiffe://acme.example/ns/n1', 'prod', false],
  )
  assert.equal(identity.expiresAt, now + 60_000)
  assert.equal((await asked(token())).workload, 'pods')
  assert.equal((await asked()).workload, 'research')
  await assert.rejects(identifier({ workloads: [research], tokens })(token()), refused('identify.no_workload'))
})

test('a path that needs an attribute that was not proven is a no', async () => {
  const pods = workload('pods', [byToken({ subject: 'a' })], { path: '/ns/{namespace}' })
  await assert.rejects(identifier({ workloads: [pods], tokens: [fake('prod', { sub: 'a' })] })(token()), refused('identify.no_workload'))
})

test('issuers are not mixed up: with two of them a rule must name one', async () => {
  const tokens = [fake('prod', { sub: 'a' }), fake('test', 'identify.token_issuer')]
  const ask = (entry: Workload['identify'][number]) => identifier({ workloads: [workload('w', [entry])], tokens })(token())
  assert.equal((await ask(byToken({ issuer: 'prod', subject: 'a' }))).workload, 'w')
  assert.equal((await ask(byToken({ subject: 'a' }, 'prod'))).workload, 'w')
  await assert.rejects(ask(byToken({ subject: 'a' })), refused('identify.no_workload'))
  await assert.rejects(ask(byToken({ issuer: 'test', subject: 'a' })), refused('identify.no_workload'))
  await assert.rejects(ask(byToken({ issuer: 'prod', subject: 'a' }, 'test')), refused('identify.no_workload'))
})

test('a broken token is refused, not passed over for the process; the telling refusal wins', async () => {
  const tokens = [fake('one', 'identify.token_issuer'), fake('two', 'identify.token_expired'), fake('three', 'identify.token_issuer')]
  await assert.rejects(identifier({ workloads: [research], tokens })(token()), refused('identify.token_expired'))
  await assert.rejects(identifier({ workloads: [research] })(token()), refused('identify.token_issuer'))
})

test('a claim never stands in the place of a kernel fact', async () => {
  const both = workload('both', [byToken({ subject: 'a' }), byProcess({ user: 'agent' })])
  const identity = await identifier({ workloads: [both], tokens: [fake('prod', { sub: 'a', uid: '0', user: 'root' })] })(token())
  assert.deepEqual([identity.proven.uid, identity.proven.user, identity.proven.sub], ['1000', 'agent', 'a'])
})

test('within a run a token is verified, must fit where the workload asks, and is bound to the run', async () => {
  const seen: Evidence[] = []
  const asking = workload('coder', [byToken({ subject: 'a' })], { run: {} })
  const world = { workloads: [asking], runs: [run], member: run }
  const identity = await identifier({ ...world, tokens: [fake('prod', { sub: 'a' }, seen)] })(token())
  assert.deepEqual([identity.workload, identity.provider, identity.run, identity.expiresAt], ['coder', 'process', 'run-1', now + 60_000])
  assert.equal(seen[0]?.pointer, run.pointer)
  await assert.rejects(identifier({ ...world, tokens: [fake('prod', { sub: 'b' })] })(token()), refused('identify.no_workload'))
  await assert.rejects(identifier({ ...world, tokens: [fake('prod', { sub: 'a' })] })(), refused('identify.no_workload'))
  await assert.rejects(
    identifier({ ...world, tokens: [fake('prod', 'identify.token_replayed')] })(token()),
    refused('identify.token_replayed'),
  )
})

test('a peer that changed meanwhile, and a run that ended meanwhile, are refused', async () => {
  await assert.rejects(identifier({ workloads: [research] })({ unchanged: () => false }), refused('identify.changed'))
  const runs = [run]
  const ending: Provider = { ...fake('prod', { sub: 'a' }) }
  const provider: TrustProvider = {
    verify(evidence, signal) {
      runs[0] = { ...run, state: 'ended' }
      return ending.provider.verify(evidence, signal)
    },
  }
  const world = { workloads: [workload('coder', [], { run: {} })], runs, member: run, tokens: [{ ...ending, provider }] }
  await assert.rejects(identifier(world)(token()), refused('identify.run_ended'))
})

test('the key is of the whole identity, and shows no token', async () => {
  const asked = identifier({ workloads: [research] })
  const [one, again, other] = [await asked(), await asked(), await asked({ peer: { ...agentPeer, process: { ...agentProcess, gid: 5 } } })]
  assert.equal(one.key, again.key)
  assert.notEqual(one.key, other.key)
})

test('a token is required only where nothing else could identify', () => {
  assert.equal(tokenRequired(remote, ['process', 'oidc']), true)
  assert.equal(tokenRequired(remote, ['process']), false)
  assert.equal(tokenRequired(agentPeer, ['process', 'oidc']), false)
  assert.equal(tokenRequired({ ...agentPeer, process: null }, ['process', 'oidc']), false)
})

test("a custody that the workload demands is the kernel's to say, not the launcher's", async () => {
  const strict = { workloads: [workload('coder', [], { run: { custody: 'namespace' } })], runs: [run] }
  const pointer = run.pointer
  assert.equal((await identifier({ ...strict, member: run })({ pointer })).custody, 'namespace')
  const shared = { ...run, custody: 'shared-user' }
  await assert.rejects(identifier({ ...strict, member: shared })({ pointer }), { code: 'runs.custody' })
})
