import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ProcessFacts } from '../model/evidence.ts'
import { limits } from '../model/limits.ts'
import type { Service } from '../model/service.ts'
import { createRuns, type RunChange, type Suspension } from './runs.ts'

const service = (name: string, keyPrefix: string): Service => ({ name, keyPrefix, credential: 'required' }) as Service

function world() {
  let now = 1_000
  const suspended: Suspension[] = []
  const runs = createRuns({
    clock: { now: () => now, monotonic: () => now },
    services: () => [service('openai', 'sk-proj-'), service('gemini', 'AIza')],
    suspension: () => ({ trips: 3, windowMs: 60_000 }),
    ownPidNamespace: '1',
    onSuspended: (one) => suspended.push(one),
  })
  const open = (root: string) => runs.open({ workload: 'coder', startedBy: 'alice', command: 'x', custody: 'namespace', root })
  return {
    runs,
    open,
    suspended,
    pass: (ms: number) => {
      now += ms
    },
  }
}

const process = (ancestors: string[], pidNamespace = '2'): ProcessFacts => ({ ancestors, pidNamespace }) as unknown as ProcessFacts

test('membership is descent from the launcher, the innermost run first', () => {
  const { runs, open } = world()
  const outer = open('10:1')
  const inner = open('20:2')
  assert.equal(runs.member(process(['30:3', '20:2', '10:1']))?.id, inner.id)
  assert.equal(runs.member(process(['30:3', '10:1']))?.id, outer.id)
  assert.equal(runs.member(process(['30:3', '10:9'])), null, 'a reused pid is another process')
})

test('custody is believed only when the kernel shows another PID namespace', () => {
  const { runs, open } = world()
  open('10:1')
  assert.equal(runs.member(process(['10:1']))?.custody, 'namespace')
  assert.equal(runs.member(process(['10:1'], '1'))?.custody, 'shared-user')
})

test('placeholders have the vendor shape, belong to one run and one service', () => {
  const { runs, open } = world()
  const one = open('10:1')
  const two = open('20:1')
  const value = runs.placeholders.of(one.id, 'openai') as string
  assert.match(value, /^sk-proj-Ost1ary[A-Za-z0-9]{33}$/)
  assert.match(runs.placeholders.of(one.id, 'gemini') as string, /^AIza[\w-]{35}$/)
  assert.deepEqual(runs.placeholders.owner(value), { run: one.id, service: 'openai' })
  assert.notEqual(value, runs.placeholders.of(two.id, 'openai'))
})

test('three trips in a minute suspend the sender, slower ones do not; resume ends it', () => {
  const { runs, open, suspended, pass } = world()
  const run = open('10:1')
  runs.trip(run.id, '')
  pass(40_000)
  runs.trip(run.id, '')
  pass(40_000)
  runs.trip(run.id, '')
  assert.equal(suspended.length, 0)
  runs.trip(run.id, '')
  assert.equal(suspended.length, 1)
  assert.equal(runs.byId(run.id)?.state, 'suspended')
  runs.resume(run.id)
  assert.equal(runs.byId(run.id)?.state, 'open')
  assert.throws(() => runs.resume('run-none'), { code: 'runs.unknown' })
})

test('the end of a run kills its pointer and fires its signal; it stays recognised', () => {
  const { runs, open } = world()
  const run = open('10:1')
  let fired = false
  run.ended.addEventListener('abort', () => {
    fired = true
  })
  assert.equal(runs.end(run.id), true)
  assert.equal(runs.end(run.id), false)
  assert.ok(fired)
  assert.equal(runs.byPointer(run.pointer)?.state, 'ended')
})

test('what is inside of a run ends, is suspended and goes on with it; its namespace is its own only if it is another', () => {
  const { runs, open, suspended } = world()
  const outer = open('10:1')
  const inside = { workload: 'narrow', startedBy: 'alice', command: 'x', custody: 'namespace', parent: outer.id, pidNamespace: '2' }
  const inner = runs.open({ ...inside, root: '20:2' })
  const innermost = runs.open({ ...inside, root: '30:3', parent: inner.id })
  assert.equal(runs.member(process(['20:2', '10:1'], '2'))?.custody, 'shared-user', 'the namespace of the outer one is not its own')
  assert.equal(runs.member(process(['20:2', '10:1'], '3'))?.custody, 'namespace')
  const states = (): readonly string[] => [outer, inner, innermost].map(({ id }) => runs.byId(id)?.state ?? '')
  for (let trips = 0; trips < 3; trips++) runs.trip(inner.id, '')
  assert.deepEqual(states(), ['open', 'suspended', 'suspended'], 'what is outside goes on')
  runs.resume(inner.id)
  assert.deepEqual(states(), ['open', 'open', 'open'])
  for (let trips = 0; trips < 3; trips++) runs.trip(outer.id, '')
  assert.deepEqual(states(), ['suspended', 'suspended', 'suspended'])
  assert.equal(suspended.length, 2)
  runs.end(outer.id)
  assert.deepEqual(states(), ['ended', 'ended', 'ended'])
  assert.ok(innermost.ended.aborted)
})

test('runs inside of one run are bounded at any depth', () => {
  const { runs, open } = world()
  let parent = open('1:1').id
  const inside = { workload: 'narrow', startedBy: 'alice', command: 'x', custody: 'shared-user' }
  for (let at = 0; at < limits.innerRunsMax; at++) parent = runs.open({ ...inside, root: `${at}:2`, parent }).id
  assert.throws(() => runs.open({ ...inside, root: '9:9', parent }), /innerRunsMax/)
  open('2:2')
})

test('calls are counted for their run, and equal refusals once with their number, within a limit', () => {
  const { runs, open } = world()
  const { id } = open('10:1')
  runs.count(id, { host: 'a.example', action: 'call', code: null })
  for (let times = 0; times < 2; times++) runs.count(id, { host: 'b.example', action: 'call', code: 'decide.denied' })
  for (let at = 0; at < 100; at++) runs.count(id, { host: `${at}.example`, action: 'call', code: 'decide.denied' })
  assert.deepEqual(runs.counts(id), { calls: 103, blocked: 102 })
  assert.deepEqual(runs.blocked(id)[0], { host: 'b.example', action: 'call', code: 'decide.denied', count: 2 })
  assert.equal(runs.blocked(id).length, limits.blockedKindsPerRunMax)
  runs.count('run-unknown', { host: 'a.example', action: 'call', code: null })
})

test('a likeness follows each change, and one that begins later knows all that is', () => {
  const changes: RunChange[] = []
  const options = {
    clock: { now: () => 1_000, monotonic: () => 1_000 },
    services: () => [service('openai', 'sk-proj-')],
    suspension: () => ({ trips: 2, windowMs: 60_000 }),
    ownPidNamespace: '1',
    onSuspended: () => {},
  }
  const broker = createRuns({ ...options, changed: (change) => changes.push(structuredClone(change)) })
  const likeness = createRuns(options)
  let followed = 0
  const follow = (): void => {
    for (const change of changes.slice(followed)) likeness.follow(change)
    followed = changes.length
  }
  const same = (): void => {
    follow()
    const late = createRuns(options)
    for (const change of structuredClone(broker.all())) late.follow(change)
    for (const one of [likeness, late]) {
      assert.deepEqual(
        one.list().map(({ ended: _, ...run }) => run),
        broker.list().map(({ ended: _, ...run }) => run),
      )
      assert.equal(one.suspended('coder@10.0.0.1'), broker.suspended('coder@10.0.0.1'))
      assert.deepEqual(one.rootPids(), broker.rootPids())
    }
  }
  const opening = { workload: 'coder', startedBy: 'alice', command: 'x', custody: 'namespace' }
  const outer = broker.open({ ...opening, root: '10:1' })
  const inner = broker.open({ ...opening, root: '20:2', parent: outer.id })
  same()
  assert.equal(likeness.placeholders.of(inner.id, 'openai'), broker.placeholders.of(inner.id, 'openai'))
  assert.equal(likeness.byPointer(inner.pointer)?.id, inner.id)
  assert.equal(likeness.member(process(['30:3', '20:2', '10:1']))?.id, inner.id)
  for (let n = 0; n < 2; n++) broker.trip(outer.id, '')
  for (let n = 0; n < 2; n++) broker.trip(null, 'coder@10.0.0.1')
  same()
  assert.equal(likeness.byId(inner.id)?.state, 'suspended', 'what is inside of it as well')
  broker.resume(outer.id)
  broker.resume('coder@10.0.0.1')
  same()
  assert.equal(likeness.byId(inner.id)?.state, 'open')
  assert.throws(() => broker.resume('coder@10.0.0.1'), { code: 'runs.unknown' })
  likeness.follow({ kind: 'resumed', id: 'run-of-another-time' })
  broker.end(outer.id)
  same()
  assert.equal(likeness.byId(inner.id)?.ended.aborted, true)
})
