// Killed under load, five times: whatever reached a vendor is on record, and the log can be verified.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findSecret } from '../../examples/story/attacks.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { startWire } from './wire.test-kit.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const host = 'api.openai.com'
let stage: Stage
let server: ChildProcess | null = null
let log = ''

before(async () => {
  stage = await setStage(Date.now())
  // The server of the stage ends in order; those that are killed are started here.
  assert.equal((await stage.cli(['stop'])).code, 0)
  for (let tries = 0; tries < 100 && (await stage.admin('GET', '/status').catch(() => null)) !== null; tries++) await pause(50)
})
after(async () => {
  server?.kill('SIGKILL')
  await stage?.close()
})

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function start(): Promise<void> {
  const child = spawn(process.execPath, [bin, '--config', stage.configFile, '--data', stage.dataDir, 'start'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  server = child
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => {
      log += text
    })
  for (let tries = 0; tries < 200; tries++) {
    assert.equal(child.exitCode, null, log)
    const status = await stage.admin('GET', '/status').catch(() => null)
    if (status?.ready === true) return void (await stage.admin('POST', '/log-level', { level: 'debug' }))
    await pause(50)
  }
  assert.fail(`not ready: ${log}`)
}

async function kill(): Promise<void> {
  const child = server as ChildProcess
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
}

test('kill -9 under load, five rounds: every request that went out has its record, and the log verifies', async () => {
  let recovered = 0
  let records: { kind: string; outcome: string | null }[] = []
  for (let round = 0; round < 5; round++) {
    await start()
    const wire = startWire(stage)
    const body = '{"model":"slow","input":"hi","stream":true}'
    const raw = `POST /v1/responses HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer PLACEHOLDER(OPENAI_API_KEY)\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    const before = sent()
    const all = Array.from({ length: 24 }, () => wire.send({ via: 'connect', host, raw, waitMs: 5_000 }))
    for (let tries = 0; tries < 300 && sent() < before + 1 + round * 4; tries++) await pause(10)
    assert.ok(sent() > before, 'there was load')
    await kill()
    await Promise.all(all)
    await wire.end()
    await pause(50)
    const exported = await stage.cli(['audit', 'export', '--json'])
    assert.equal(exported.code, 0, exported.err)
    records = exported.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    const calls = records.filter((record) => record.kind === 'call' && record.outcome !== 'refused').length
    const refused = records.filter((record) => record.kind === 'call' && record.outcome === 'refused').length
    assert.ok(calls >= sent(), `round ${round}: ${sent()} went out, ${calls} are on record, ${refused} of them more as refused`)
    recovered = round
  }
  assert.equal(recovered, 4)
  await start()
  const exported = (await stage.cli(['audit', 'export', '--json'])).out
  assert.match(exported, /"kind":"recovered"/, 'the start says what it found')
  const verified = await stage.cli(['audit', 'verify'])
  assert.equal(verified.code, 0, verified.out + verified.err)
  assert.equal(findSecret(log, stage.vendors.secrets), null, 'nor does the log at debug level say a secret')
  assert.ok(log.length > 100)
})

function sent(): number {
  return stage.vendors.seen.filter((one) => one.path === '/v1/responses').length
}
