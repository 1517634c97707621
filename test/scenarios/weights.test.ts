// Large and many: bodies far larger than memory should be, both ways, and connections that are kept and do nothing. What is measured
// is the resident memory of the server alone. PAYLOAD_MB=1024 and IDLE_CONNECTIONS=10000 make it the real thing.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'

const megabytes = Number(process.env['PAYLOAD_MB'] ?? 64)
const idle = Number(process.env['IDLE_CONNECTIONS'] ?? 600)
const host = 'files.example'
const key = 'files-Zx81QmWv70KpLr52NtHs64JyGe33UoFiAq29BdTc85VwXn47RuEy16Pz'
const memory = (pid: number, what: 'VmRSS' | 'VmHWM'): number =>
  Number(new RegExp(`${what}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
const measurable = process.platform === 'linux'
const skip = measurable ? false : 'resident memory is read from /proc'

let stage: Stage
let server: ReturnType<typeof createServer>
let pid = 0

/** 64 KiB that do not repeat within, so that nothing compresses or dedupes them. */
const piece = Buffer.alloc(64 * 1024)
for (let at = 0; at < piece.length; at++) piece[at] = (at * 2_654_435_761) >>> 24

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.headers['x-api-key'] !== key) return void response.writeHead(401).end()
  const [, way, size] = (request.url ?? '').split('/')
  if (way === 'up') {
    const sum = createHash('sha256')
    let bytes = 0
    for await (const chunk of request) {
      sum.update(chunk)
      bytes += chunk.length
    }
    return void response.end(JSON.stringify({ bytes, sum: sum.digest('hex') }))
  }
  if (way !== 'down') return void response.end('{}')
  if (request.method === 'GET') response.setHeader('content-type', 'application/octet-stream')
  for (let left = Number(size) * 16; left > 0; left--) if (!response.write(piece)) await once(response, 'drain')
  response.end()
}

let rootPem = ''

before(async () => {
  if (!measurable) return
  const now = Date.now()
  const root = createRootAuthority({ commonName: 'Files', now, years: 1 })
  const leaf = issueLeaf(root, [host], now, 24 * 3_600_000)
  rootPem = root.certPem
  server = createServer({ cert: leaf.certPem, key: leaf.keyPem }, (request, response) => void answer(request, response).catch(() => {}))
  // One that hangs up after five seconds would race with the next request.
  server.keepAliveTimeout = 600_000
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  await prepare()
})

async function prepare(program?: readonly string[]): Promise<void> {
  stage = await setStage(Date.now(), program)
  appendFileSync(`${stage.dir}/config/vendors-ca.pem`, `\n${rootPem}`)
  const { port } = server.address() as AddressInfo
  const until = new Date(Date.now() + 30 * 86_400_000).toISOString().slice(0, 10)
  const config = readFileSync(stage.configFile, 'utf8')
    .replace(
      '  dangerouslyFixedAddresses:\n',
      `  dangerouslyFixedAddresses:\n    - { host: ${host}, address: "127.0.0.1:${port}", reason: a test, until: ${until} }\n`,
    )
    .replace('  gemini: {}\n', `  gemini: {}\n  files: { hosts: [${host}], slot: { header: X-Api-Key } }\n`)
    .replace('credentials:\n', 'credentials:\n  files: { service: files, for: [story], static-key: { secret: files } }\n')
    .replace(
      'policies:\n',
      'policies:\n  - cedar: permit (principal in Group::"story", action == Action::"call", resource == Service::"files");\n',
    )
  writeFileSync(stage.configFile, config)
  const reload = await stage.cli(['reload'])
  assert.equal(reload.code, 0, reload.err)
  const stored = await stage.cli(['secret', 'set', 'files', '--for', 'files', '--stdin'], key)
  assert.equal(stored.code, 0, stored.err)
  pid = (await stage.admin('GET', '/status')).pid
}
after(async () => {
  await stage?.close()
  server?.closeAllConnections()
  server?.close()
})

const prelude = `
const http = require('node:http'), net = require('node:net'), tls = require('node:tls'), { createHash } = require('node:crypto'), { once } = require('node:events')
const base = new URL(process.env.OSTIARY_BASE_URL), proxy = new URL(process.env.HTTPS_PROXY), key = process.env.FILES_API_KEY
const auth = 'Basic ' + Buffer.from(decodeURIComponent(proxy.username) + ':' + decodeURIComponent(proxy.password)).toString('base64')
const ca = require('node:fs').readFileSync(process.env.NODE_EXTRA_CA_CERTS)
const tunnel = () => new Promise((resolve, reject) => {
  const asked = http.request({ host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: '${host}:443', headers: { host: '${host}:443', 'proxy-authorization': auth }, agent: false })
  asked.on('connect', (answer, socket) => { const secure = tls.connect({ socket, servername: '${host}', ca }, () => resolve(secure)); secure.on('error', reject) }).on('error', reject).end()
})
const ask = async (way, method, path) => {
  const wire = way === 'connect' ? { createConnection: (() => { const socket = tunnelled; return () => socket })() } : { host: base.hostname, port: base.port }
  const at = way === 'connect' ? { path, headers: { host: '${host}', 'x-api-key': key } } : { path: base.pathname + '/files' + path, headers: { 'x-api-key': key } }
  return http.request({ method, ...wire, ...at, ...(way === 'connect' ? {} : { agent: false }) })
}
let tunnelled
const piece = Buffer.alloc(65536)
for (let at = 0; at < piece.length; at++) piece[at] = (at * 2654435761) >>> 24
const run = async ({ way, direction, megabytes, length }) => {
  if (way === 'connect') tunnelled = await tunnel()
  const asked = await ask(way, direction === 'up' ? 'POST' : 'GET', '/' + direction + '/' + megabytes)
  const answered = once(asked, 'response')
  const sum = createHash('sha256')
  if (direction === 'up') {
    if (length) asked.setHeader('content-length', megabytes * 1048576)
    for (let left = megabytes * 16; left > 0; left--) { sum.update(piece); if (!asked.write(piece)) await once(asked, 'drain') }
  }
  asked.end()
  const [answer] = await answered
  let text = '', bytes = 0
  for await (const chunk of answer) { bytes += chunk.length; if (direction === 'up') text += chunk; else sum.update(chunk) }
  return { status: answer.statusCode, bytes, sum: sum.digest('hex'), said: direction === 'up' ? JSON.parse(text) : null }
}
const held = []
const hold = async ({ way, count }) => {
  for (let done = 0; done < count; done += 50) await Promise.all(Array.from({ length: Math.min(50, count - done) }, async () => {
    const socket = way === 'connect' ? await tunnel() : net.connect(base.port, base.hostname)
    const [path, to] = way === 'connect' ? ['/ok', '${host}'] : [base.pathname + '/files/ok', base.host]
    socket.write('GET ' + path + ' HTTP/1.1\\r\\nHost: ' + to + '\\r\\nX-Api-Key: ' + key + '\\r\\n\\r\\n')
    const [head] = await once(socket, 'data')
    if (!String(head).startsWith('HTTP/1.1 200')) throw new Error(String(head))
    socket.on('close', () => { held.closed = (held.closed ?? 0) + 1 }).on('error', () => {})
    held.push(socket)
  }))
  return { held: held.length - (held.closed ?? 0) }
}
const free = () => { for (const socket of held.splice(0)) socket.destroy(); return {} }
require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const task = JSON.parse(line)
  const done = await ({ run, hold, free })[task.do](task).catch((error) => ({ error: error.stack }))
  process.stdout.write(JSON.stringify(done) + '\\n')
}).on('close', () => process.exit(0))
`

function startAgent() {
  const words = stage.words(['run', '--as', 'story-agent', '--', process.execPath, '-e', prelude])
  const child = spawn(process.execPath, words, { cwd: `${stage.dir}/work`, stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })
  return {
    // biome-ignore lint/suspicious/noExplicitAny: what the script answers
    async ask(task: object): Promise<any> {
      const line = once(lines, 'line')
      child.stdin.write(`${JSON.stringify(task)}\n`)
      return JSON.parse((await line)[0])
    },
    async end() {
      const gone = once(child, 'exit')
      child.stdin.end()
      await gone
    },
  }
}

/** The highest that it reached since the last call. */
function peak(): number {
  const high = memory(pid, 'VmHWM')
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
  return high
}

test(`${megabytes} MB up and down, on two ways in: byte for byte, and memory stays flat`, { skip }, async (t) => {
  const sum = createHash('sha256')
  for (let left = megabytes * 16; left > 0; left--) sum.update(piece)
  const wanted = sum.digest('hex')
  const agent = startAgent()
  try {
    for (const [way, direction, length] of [
      ['base', 'up', false],
      ['connect', 'up', true],
      ['connect', 'down', false],
    ] as const) {
      // Warm: code, pools and the garbage collector's own room.
      const warm = await agent.ask({ do: 'run', way, direction, megabytes: 32, length })
      assert.equal(warm.status, 200, warm.error)
      peak()
      const before = memory(pid, 'VmRSS')
      const began = performance.now()
      const { status, bytes, sum: got, said, error } = await agent.ask({ do: 'run', way, direction, megabytes, length })
      const seconds = (performance.now() - began) / 1000
      const grown = peak() - before
      assert.equal(status, 200, error)
      assert.equal(direction === 'up' ? said.sum : got, wanted)
      assert.equal(direction === 'up' ? said.bytes : bytes, megabytes * 1024 * 1024)
      const name = `${way} ${direction}${direction === 'up' ? (length ? ' by length' : ' in chunks') : ''}`
      t.diagnostic(`${name}: RSS ${before.toFixed(0)} MB, + ${grown.toFixed(1)} MB, ${(megabytes / seconds).toFixed(0)} MB/s`)
      // A body that were held would be all of it. What is under way, and the young generation of up to 32 MB, stay below.
      assert.ok(grown < 56, `${name}: + ${grown.toFixed(1)} MB`)
    }
  } finally {
    await agent.end()
  }
})

describe('idle connections', { skip }, () => {
  // The young generation comes and goes by tens of megabytes, more than all of them weigh: here it is small.
  before(async () => {
    await stage.close()
    await prepare(['--disable-warning=ExperimentalWarning', '--max-semi-space-size=1', main])
  })

  for (const way of ['base', 'connect'])
    test(`${idle} kept connections that do nothing (${way}): each costs little, and none is closed`, async (t) => {
      // One run holds no more than connectionsPerSenderMax, which is less where there are few file descriptors: several do.
      const agents = Array.from({ length: Math.ceil(idle / 3_200) }, startAgent)
      const share = Math.ceil(idle / agents.length)
      try {
        for (const agent of agents) await agent.ask({ do: 'hold', way, count: Math.min(share, 20) })
        const warm = (await Promise.all(agents.map((agent) => agent.ask({ do: 'hold', way, count: 0 })))).reduce(
          (all, one) => all + one.held,
          0,
        )
        const before = memory(pid, 'VmRSS')
        let held = 0
        for (const agent of agents) {
          const done = await agent.ask({ do: 'hold', way, count: share - Math.min(share, 20) })
          assert.equal(done.error, undefined)
          held += done.held
        }
        assert.ok(held >= idle, `${held}`)
        const each = ((memory(pid, 'VmRSS') - before) * 1024) / (held - warm)
        t.diagnostic(`${way}: ${held} connections, ${each.toFixed(1)} KB each`)
        assert.ok(each < (way === 'base' ? 60 : 200), `${each.toFixed(1)} KB each`)
        await new Promise((resolve) => setTimeout(resolve, 1_500))
        const { connections } = await stage.admin('GET', '/status')
        assert.ok(connections === undefined || connections >= held, `${connections}`)
        for (const agent of agents) assert.ok((await agent.ask({ do: 'hold', way, count: 0 })).held >= share)
      } finally {
        for (const agent of agents) await agent.end()
      }
    })
})
