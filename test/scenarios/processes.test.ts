// Several processes on one port: whoever is revoked, suspended, reconfigured or recorded is it in each of them; one that ends or
// hangs takes nothing with it but its own calls; none outlives the broker.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { call, clearStage, pause, readyServer, sent, until } from '../faults/server.test-kit.ts'
import { startWire, type Wire } from './wire.test-kit.ts'

let stage: Stage
let wire: Wire

interface Process {
  readonly pid: number
  readonly for: 'broker' | 'proxy'
}

before(async () => {
  process.env['OSTIARY_TEST_PROCESSES'] = '2'
  stage = await setStage(Date.now())
  wire = startWire(stage)
})
after(async () => {
  await wire?.end()
  await stage?.close()
})

const processes = async (): Promise<readonly Process[]> => (await stage.admin('GET', '/status')).processes
const proxies = async (): Promise<readonly number[]> => (await processes()).filter((one) => one.for === 'proxy').map(({ pid }) => pid)
const calls = (count: number): Promise<readonly number[]> =>
  Promise.all(Array.from({ length: count }, () => call(wire))).then((all) => all.map(({ status }) => status))
const only = <Kind>(all: readonly Kind[]): readonly Kind[] => [...new Set(all)]
// biome-ignore lint/suspicious/noExplicitAny: records of the log as JSON
const exported = async (): Promise<readonly any[]> => {
  const { out } = await stage.cli(['audit', 'export'])
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}
const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return false
  } catch {
    return true
  }
}

test('connections are spread, each record is whole in one log, and all are read as one', async () => {
  assert.equal((await processes()).map((one) => one.for).join(), 'broker,proxy,proxy')
  // Each is a connection of its own.
  for (let round = 0; round < 5; round++) assert.deepEqual(only(await calls(8)), [200])
  // An outcome is written when the answer has gone.
  await until(async () => (await exported()).filter((one) => one.outcome === 'answered').length === 40, 5_000)
  const records = await exported()
  const answered = records.filter((one) => one.outcome === 'answered')
  assert.equal(answered.length, 40)
  const inLog = (n: number): number => answered.filter((one) => one.log === n).length
  assert.ok(inLog(1) > 0 && inLog(2) > 0 && inLog(0) === 0, `${inLog(1)} and ${inLog(2)} of 40`)
  assert.deepEqual(
    [...records].map(({ time }) => time).sort(),
    records.map(({ time }) => time),
  )
  const shown = JSON.parse((await stage.cli(['audit', 'show', answered[0].call, '--json'])).out)
  assert.equal(shown.record.outcome, 'answered')
  assert.equal(new Set(answered.map((one) => one.lease)).size, 1, 'one exchange for all processes, and one lease')
  const { runs } = await stage.admin('GET', '/runs')
  assert.deepEqual([runs[0].calls, runs[0].blocked], [40, 0])
})

test('every log is verified, and one that was taken away is missed', async (t) => {
  await pause(1_200) // a checkpoint comes each second
  assert.match((await stage.cli(['audit', 'verify'])).out, /log 0\n.*log 1\n.*log 2\n.*verified.*: all 3 logs/s)
  const copy = mkdtempSync(join(tmpdir(), 'ostiary-logs-'))
  t.after(() => rmSync(copy, { recursive: true }))
  for (const name of ['audit', 'audit-1', 'audit-2', 'audit.pub', 'audit-1.pub', 'audit-2.pub'])
    cpSync(join(stage.dataDir, name), join(copy, name), { recursive: true })
  const verify = (...more: readonly string[]) => stage.cli(['--data', copy, 'audit', 'verify', ...more, '--json'])
  const since = join(copy, 'audit-1', 'checkpoint')
  assert.match((await verify('--since', since)).out, /against an earlier checkpoint/)
  assert.equal((await verify()).code, 0)
  rmSync(join(copy, 'audit-2'), { recursive: true })
  const missed = await verify()
  assert.equal(missed.code, 1)
  assert.deepEqual(
    JSON.parse(missed.out).logs.map((one: { ok: boolean }) => one.ok),
    [true, true, false],
  )
})

test('nobody else can have a share of the port, not even a program of the same user', async () => {
  const { listeners } = await stage.admin('GET', '/status')
  const [host, port] = listeners[0].address.split(':')
  const thief = createServer()
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => thief.once('error', resolve))
  thief.listen({ host, port: Number(port), reusePort: true })
  assert.equal((await failed).code, 'EADDRINUSE')
})

test('a revocation cuts open streams in each process within a second, and holds in each until it is taken back', async () => {
  const before = sent(stage)
  const open = Array.from({ length: 8 }, () => call(wire, true, 20_000))
  assert.ok(await until(() => sent(stage) >= before + 8, 5_000))
  const began = performance.now()
  const revoked = await stage.admin('POST', '/revoke', { workload: 'story-agent' })
  assert.equal(revoked.calls, 8)
  await Promise.all(open)
  assert.ok(performance.now() - began < 1_000)
  await wire.end()
  // Revoking a workload ends its runs: another is refused for the workload itself.
  wire = startWire(stage)
  assert.deepEqual(only((await Promise.all(Array.from({ length: 12 }, () => call(wire)))).map(({ code }) => code)), ['flow.revoked'])
  await stage.admin('POST', '/revoke', { workload: 'story-agent', undo: true })
  assert.deepEqual(only(await calls(12)), [200])
})

test('tripwires are counted in one place: three touched anywhere suspend the run everywhere, and it is resumed everywhere', async () => {
  const host = 'api.anthropic.com'
  const foreign = `POST /v1/messages HTTP/1.1\r\nHost: ${host}\r\nx-api-key: PLACEHOLDER(OPENAI_API_KEY)\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`
  for (let n = 0; n < 3; n++) assert.equal((await wire.send({ via: 'connect', host, raw: foreign })).code, 'inject.foreign_placeholder')
  const [run] = (await stage.admin('GET', '/status')).runs
  assert.equal(run.state, 'suspended')
  assert.deepEqual(only((await Promise.all(Array.from({ length: 12 }, () => call(wire)))).map(({ code }) => code)), ['identify.suspended'])
  assert.equal((await stage.cli(['resume', run.id])).code, 0)
  assert.deepEqual(only(await calls(12)), [200])
})

test('another policy is in force in each process when the command says so', async () => {
  await stage.setFacts({ hours: 'out' })
  await stage.admin('POST', '/reload', {})
  assert.deepEqual(only((await Promise.all(Array.from({ length: 12 }, () => call(wire)))).map(({ code }) => code)), ['decide.forbidden'])
  await stage.setFacts({ hours: 'in' })
  await stage.admin('POST', '/reload', {})
  assert.deepEqual(only(await calls(12)), [200])
})

test('a process that is killed takes its own calls with it: the other serves on, and another takes its place', async () => {
  const [first] = await proxies()
  process.kill(first as number, 'SIGKILL')
  for (let round = 0; round < 3; round++) assert.deepEqual(only(await calls(8)), [200])
  assert.ok(await until(async () => (await proxies()).length === 2, 10_000), 'another came')
  assert.deepEqual(only(await calls(24)), [200])
  await pause(1_200)
  const verified = await stage.cli(['audit', 'verify'])
  assert.equal(verified.code, 0, verified.out)
  assert.match((await stage.cli(['audit', 'tail', '--count', '400', '--json'])).out, /process 1 of the data plane ended \(SIGKILL\)/)
})

test('a process that hangs holds no revocation up: it is ended', async () => {
  const [first] = await proxies()
  process.kill(first as number, 'SIGSTOP')
  const began = performance.now()
  await stage.admin('POST', '/revoke', { credential: 'openai-story' })
  assert.ok(performance.now() - began < 2_500)
  assert.ok(await until(() => isGone(first as number), 1_000))
  assert.deepEqual(only((await Promise.all(Array.from({ length: 6 }, () => call(wire)))).map(({ code }) => code)), ['obtain.revoked'])
  assert.ok(await until(async () => (await proxies()).length === 2, 10_000))
  // It began after the revocation, and knows of it.
  assert.deepEqual(only((await Promise.all(Array.from({ length: 12 }, () => call(wire)))).map(({ code }) => code)), ['obtain.revoked'])
  await stage.admin('POST', '/revoke', { credential: 'openai-story', undo: true })
  assert.deepEqual(only(await calls(12)), [200])
})

test('a stop lets what is under way end in each process; a killed broker leaves no process behind', async () => {
  const before = sent(stage)
  const open = Array.from({ length: 6 }, () => call(wire))
  assert.ok(await until(() => sent(stage) > before, 5_000))
  const ended = await proxies()
  await clearStage(stage)
  assert.deepEqual(only((await Promise.all(open)).map(({ status }) => status)), [200])
  assert.ok(await until(() => ended.every(isGone), 2_000))
  const killed = await readyServer(stage)
  assert.doesNotMatch(killed.said(), /"level":"error"/)
  const pids = await proxies()
  assert.equal(pids.length, 2)
  await killed.kill()
  assert.ok(await until(() => pids.every(isGone), 2_000), 'they end with the broker')
  assert.equal((await stage.cli(['audit', 'verify'])).code, 0)
})

test('its program is no command', () => {
  const entry = fileURLToPath(new URL('../../src/plane.ts', import.meta.url))
  const { status, stderr } = spawnSync(process.execPath, [entry], { encoding: 'utf8' })
  assert.equal(status, 2)
  assert.match(stderr, /started by `ostiary start`/)
})
