// Raw bytes from inside a run: what no well-behaved client sends. Only for tests.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo, Server } from 'node:net'
import { createInterface } from 'node:readline'
import type { Stage } from '../../examples/story/stage.ts'

export interface Told {
  /** `connect`: CONNECT and TLS; `base`: the base-URL listener; `proxy`: the proxy listener, without CONNECT; `transparent`: TLS. */
  readonly via: 'connect' | 'base' | 'proxy' | 'transparent'
  readonly host?: string
  readonly sni?: string
  /** Latin-1; PLACEHOLDER(NAME) stands for the variable NAME, POINTER for the run's path on the base URL, PROXYAUTH for its header. */
  readonly raw: string
  /** The same request as a stream of HTTP/2 (ALPN inside CONNECT, prior knowledge on the base URL); the answer is told as text. */
  readonly h2?: boolean
  /** Bytes that follow once something has come back that contains `until`. */
  readonly later?: { readonly until: string; readonly raw: string }
  /** Enough has come back once this stands in it. */
  readonly until?: string
  /** The host's certificate is not of an authority that the agent trusts. */
  readonly insecure?: boolean
  readonly waitMs?: number
}

export interface Heard {
  /** Status line of the answer to CONNECT. */
  readonly connect: string
  readonly text: string
  readonly error: string
  readonly status: number
  readonly code: string | null
}

export interface Wire {
  readonly child: ChildProcess
  send(told: Told): Promise<Heard>
  /** Variables that it was started with. */
  environment(): Promise<Readonly<Record<string, string>>>
  end(): Promise<void>
}

const script = `
const net = require('node:net'), tls = require('node:tls'), readline = require('node:readline')
const proxy = new URL(process.env.HTTPS_PROXY), base = new URL(process.env.OSTIARY_BASE_URL)
const auth = 'Proxy-Authorization: Basic ' + Buffer.from(decodeURIComponent(proxy.username) + ':' + decodeURIComponent(proxy.password)).toString('base64')
const fill = (text) => text.replace(/PLACEHOLDER\\((\\w+)\\)/g, (_, name) => process.env[name] ?? '').replaceAll('POINTER', base.pathname.replace(/\\/$/, '')).replaceAll('PROXYAUTH', auth).replaceAll('BASEHOST', base.host)
const stream = (task, socket, done, heard) => {
  const [head, body] = fill(task.raw).split('\\r\\n\\r\\n')
  const [line, ...lines] = head.split('\\r\\n')
  const list = [':method', line.split(' ')[0], ':path', line.split(' ')[1], ':scheme', task.via === 'base' ? 'http' : 'https']
  for (const field of lines) {
    const [name, value] = [field.slice(0, field.indexOf(':')).toLowerCase(), field.slice(field.indexOf(':') + 2)]
    if (name === 'host') list.push(':authority', value)
    else if (name !== 'connection') list.push(name, value)
  }
  const session = require('node:http2').connect('http://' + list[list.indexOf(':authority') + 1], { createConnection: () => socket, strictSingleValueFields: false })
  session.on('error', (error) => done(error.code))
  const asked = session.request(list)
  asked.on('error', (error) => done(error.code))
  asked.on('response', (answer) => { heard.text = 'HTTP/1.1 ' + answer[':status'] + '\\r\\n' + Object.entries(answer).map(([n, v]) => n + ': ' + v + '\\r\\n').join('') + '\\r\\n' })
  asked.on('data', (chunk) => { heard.text += chunk.toString('latin1'); if (task.until && heard.text.includes(task.until)) done('') })
  asked.on('trailers', (fields) => { heard.text += Object.entries(fields).map(([n, v]) => n + ': ' + v + '\\r\\n').join('') })
  asked.on('close', () => { heard.closed = asked.rstCode; done('') })
  if (asked.writable) asked.end(body)
}
const one = (task) => new Promise((resolve) => {
  const heard = { connect: '', text: '', error: '' }
  const to = task.via === 'base' ? base : task.via === 'transparent' ? { port: 443, hostname: task.host } : proxy
  const plain = net.connect(Number(to.port), to.hostname)
  let wire = plain, timer = setTimeout(() => done('silent'), task.waitMs ?? 4000), told = false
  const done = (error) => { clearTimeout(timer); heard.error ||= error; plain.destroy(); resolve(heard) }
  const talk = (socket) => {
    wire = socket
    if (task.h2) return stream(task, socket, done, heard)
    socket.on('data', (chunk) => {
      heard.text += chunk.toString('latin1')
      if (task.until && heard.text.includes(task.until)) return done('')
      if (task.later && !told && heard.text.includes(task.later.until)) { told = true; socket.write(Buffer.from(fill(task.later.raw), 'latin1')) }
    })
    socket.on('end', () => done('')).on('close', () => done(''))
    socket.write(Buffer.from(fill(task.raw), 'latin1'))
  }
  plain.on('error', (error) => done(error.code))
  const shake = () => {
    const secure = tls.connect({ socket: plain, servername: task.sni ?? task.host, ca: require('node:fs').readFileSync(process.env.NODE_EXTRA_CA_CERTS), checkServerIdentity: () => undefined, rejectUnauthorized: !task.insecure, ...(task.h2 ? { ALPNProtocols: ['h2'] } : {}) }, () => talk(secure))
    secure.on('error', (error) => done(error.code ?? error.message))
  }
  if (task.via === 'transparent') return plain.on('connect', shake).on('close', () => done(''))
  if (task.via !== 'connect') return plain.on('connect', () => talk(plain))
  plain.on('connect', () => plain.write('CONNECT ' + task.host + ':443 HTTP/1.1\\r\\nHost: ' + task.host + ':443\\r\\n' + auth + '\\r\\n\\r\\n'))
  plain.once('data', (chunk) => {
    const text = chunk.toString('latin1')
    heard.connect = text.split('\\r\\n')[0]
    if (!/ 200 /.test(heard.connect + ' ')) { heard.text = text; plain.on('data', (more) => { heard.text += more.toString('latin1') }); return plain.on('close', () => done('')) }
    shake()
  })
  plain.on('close', () => done(''))
})
readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const task = JSON.parse(line)
  if (task.environment) return process.stdout.write(JSON.stringify({ id: task.id, text: '', environment: process.env }) + '\\n')
  process.stdout.write(JSON.stringify({ id: task.id, ...(await one(task)) }) + '\\n')
}).on('close', () => process.exit(0))
`

export interface WireForm {
  /** By `ostiary run --isolate`. */
  readonly isolate?: boolean
  /** In no run, with the variables of another. */
  readonly outside?: Readonly<Record<string, string>>
}

/** Another takes Gemini's place: trusted, dialled instead, and the key is sealed for it. `more` changes the configuration besides. */
export async function standInForGemini(
  stage: Stage,
  server: Server,
  rootPem: string,
  more = (text: string): string => text,
): Promise<void> {
  appendFileSync(`${stage.dir}/config/vendors-ca.pem`, `\n${rootPem}`)
  const there = `"127.0.0.1:${(server.address() as AddressInfo).port}"`
  const config = readFileSync(stage.configFile, 'utf8').replace(`"127.0.0.1:${stage.vendors.ports.gemini}"`, there)
  writeFileSync(stage.configFile, more(config))
  const reload = await stage.cli(['reload'])
  assert.equal(reload.code, 0, reload.err)
  const stored = await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)
  assert.equal(stored.code, 0, stored.err)
}

export function startWire(stage: Pick<Stage, 'words' | 'dir'>, { isolate, outside }: WireForm = {}): Wire {
  const inRun = stage.words(['run', '--as', 'story-agent', ...(isolate === true ? ['--isolate'] : []), '--', process.execPath])
  const child = spawn(process.execPath, [...(outside === undefined ? inRun : []), '-e', script], {
    cwd: `${stage.dir}/work`,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: outside ?? process.env,
  })
  // biome-ignore lint/suspicious/noExplicitAny: what the script answers
  const waiting = new Map<number, (heard: any) => void>()
  let said = ''
  let next = 1
  child.stderr.on('data', (text: Buffer) => {
    said += text
  })
  createInterface({ input: child.stdout }).on('line', (line) => {
    const heard = JSON.parse(line)
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(heard.text)?.[1] ?? 0)
    waiting.get(heard.id)?.({ ...heard, status, code: /"code":"([a-z_.]+)"/.exec(heard.text)?.[1] ?? null })
    waiting.delete(heard.id)
  })
  const ended = () => ({ connect: '', text: '', error: `ended with ${child.exitCode}: ${said}`, status: 0, code: null })
  child.on('exit', () => {
    for (const answer of waiting.values()) answer(ended())
  })
  // biome-ignore lint/suspicious/noExplicitAny: what the script answers
  const ask = (what: object): Promise<any> =>
    new Promise((resolve) => {
      if (child.exitCode !== null) return resolve(ended())
      const id = next++
      waiting.set(id, resolve)
      child.stdin.write(`${JSON.stringify({ id, ...what })}\n`)
    })
  return {
    child,
    send: ask,
    environment: async () => (await ask({ environment: true })).environment,
    end: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null) return resolve()
        child.once('exit', () => resolve())
        child.stdin.end()
        setTimeout(() => child.kill('SIGKILL'), 3_000).unref()
      }),
  }
}
