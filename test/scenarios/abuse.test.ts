// One agent's abuse is not another's delay: while one run holds hundreds of slow and silent connections of every kind, the calls of
// another take about as long as before, and what the first one holds ends where a limit says so.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { startWire, type Wire } from './wire.test-kit.ts'

let stage: Stage
before(async () => {
  stage = await setStage(Date.now())
})
const started: ChildProcess[] = []
after(async () => {
  for (const child of started) child.kill('SIGKILL')
  await stage?.close()
})

/** 80 of each: silent connections, heads that drip, CONNECTs without TLS, bodies that drip, tunnels that nobody permits, floods of refusals. */
const greedy = `
const net = require('node:net')
const proxy = new URL(process.env.HTTPS_PROXY), base = new URL(process.env.OSTIARY_BASE_URL)
const auth = 'Proxy-Authorization: Basic ' + Buffer.from(decodeURIComponent(proxy.username) + ':' + decodeURIComponent(proxy.password)).toString('base64')
const path = base.pathname.replace(/\\/$/, '')
const key = process.env.OPENAI_API_KEY
const open = (to, first, drip) => new Promise((resolve) => {
  const socket = net.connect(Number(to.port), to.hostname, () => { socket.write(first); resolve() })
  socket.on('error', () => {}).resume()
  if (drip) setInterval(() => socket.writable && socket.write(drip), 200)
})
const head = 'POST ' + path + '/openai/v1/responses HTTP/1.1\\r\\nHost: ' + base.host + '\\r\\nAuthorization: Bearer ' + key + '\\r\\n'
const connect = (host) => 'CONNECT ' + host + ' HTTP/1.1\\r\\nHost: ' + host + '\\r\\n' + auth + '\\r\\n\\r\\n'
;(async () => {
  for (let n = 0; n < 80; n++) await Promise.all([
    open(base, ''),
    open(proxy, 'G', 'a'),
    open(base, head.slice(0, 30), 'x'),
    open(proxy, connect('api.openai.com:443')),
    open(base, head + 'Content-Type: application/json\\r\\nContent-Length: 100000\\r\\n\\r\\n{', ' '),
    open(base, head + 'Content-Type: application/json\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n', '1\\r\\n \\r\\n'),
    open(proxy, connect('nobody-permits-this-' + n + '.example:443')),
    open(base, 'GET ' + path + '/openai/' + 'x'.repeat(n) + ' HTTP/1.1\\r\\nHost: ' + base.host + '\\r\\n' + 'X-Many: 1\\r\\n'.repeat(1000) + '\\r\\n'),
  ])
  console.log('holding')
})()
// And connections that are gone before anybody can see whose they were.
setInterval(() => { for (let n = 0; n < 5; n++) { const socket = net.connect(Number(base.port), base.hostname, () => socket.resetAndDestroy()); socket.on('error', () => {}) } }, 100)
`

function startGreedy(): ChildProcess {
  const words = stage.words(['run', '--as', 'story-agent', '--', process.execPath, '-e', greedy])
  const child = spawn(process.execPath, words, { cwd: `${stage.dir}/work`, stdio: ['pipe', 'pipe', 'ignore'] })
  started.push(child)
  return child
}

const body = '{"model":"gpt-5","input":"hi"}'

/** Milliseconds of one call after the other, a connection each, in order of their length. */
async function measure(wire: Wire, count: number): Promise<readonly number[]> {
  const raw = `POST POINTER/openai/v1/responses HTTP/1.1\r\nHost: BASEHOST\r\nAuthorization: Bearer PLACEHOLDER(OPENAI_API_KEY)\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  const took: number[] = []
  for (let n = 0; n < count; n++) {
    const began = performance.now()
    const heard = await wire.send({ via: 'base', raw, waitMs: 30_000 })
    took.push(performance.now() - began)
    assert.equal(heard.status, 200, JSON.stringify(heard))
  }
  return took.sort((a, b) => a - b)
}

test('the calls of one run take as long while another holds all it may', { timeout: 120_000 }, async () => {
  const wire = startWire(stage)
  started.push(wire.child)
  await measure(wire, 20)
  const quiet = await measure(wire, 40)
  const abuser = startGreedy()
  await once(abuser.stdout as NonNullable<ChildProcess['stdout']>, 'data')
  const loud = await measure(wire, 40)
  const status = JSON.parse((await stage.cli(['status', '--json'])).out)
  abuser.kill('SIGTERM')
  await once(abuser, 'exit')
  await wire.end()
  const at = (all: readonly number[], share: number): number => all[Math.floor(all.length * share)] as number
  const told = `quiet ${at(quiet, 0.5).toFixed(1)} / ${at(quiet, 0.9).toFixed(1)} ms, loud ${at(loud, 0.5).toFixed(1)} / ${at(loud, 0.9).toFixed(1)} ms`
  // Twice as long, and a little for a machine that has other things to do.
  assert.ok(at(loud, 0.5) <= at(quiet, 0.5) * 2 + 15, told)
  assert.ok(at(loud, 0.9) <= at(quiet, 0.9) * 2 + 50, told)
  assert.ok(JSON.stringify(status).length > 0)
  process.stdout.write(`# ${told}\n`)
})

test('a flood of refusals is few entries, and the log still verifies', async () => {
  const { out } = await stage.cli(['audit', 'tail', '--count', '5000', '--json'])
  const refused = out
    .split('\n')
    .filter((line) => line.includes('"decision":"refuse"'))
    .map((line) => JSON.parse(line))
  assert.ok(
    refused.some((one) => one.code === 'http.malformed' || one.code === 'http.head_too_large'),
    'a thousand fields are refused',
  )
  assert.ok(refused.length < 400, `${refused.length} entries`)
  assert.equal((await stage.cli(['audit', 'verify'])).code, 0)
})
