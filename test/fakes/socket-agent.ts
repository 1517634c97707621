// An agent that opens WebSockets through the run's proxy by `ws`: reads what to do as lines of JSON, says what came as lines of JSON.
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { createInterface } from 'node:readline'
import tls from 'node:tls'
import { WebSocket } from 'ws'

interface Task {
  readonly id: number
  readonly url: string
  readonly protocols?: readonly string[]
  readonly headers?: Readonly<Record<string, string>>
  /** Sent one after the other once the socket is open. */
  readonly send?: readonly string[]
  /** Closes when so many messages came; at the vendor's `done` always. */
  readonly until?: number
  readonly base?: boolean
}

const say = (message: unknown): void => void process.stdout.write(`${JSON.stringify(message)}\n`)
const fill = (text: string): string => text.replace(/PLACEHOLDER\((\w+)\)/g, (_, name) => process.env[name] ?? '')

function tunnel(host: string): Promise<tls.TLSSocket> {
  const proxy = new URL(process.env['HTTPS_PROXY'] as string)
  const auth = Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString('base64')
  return new Promise((resolve, reject) => {
    const plain = net.connect(Number(proxy.port), proxy.hostname, () => {
      plain.write(`CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\nProxy-Authorization: Basic ${auth}\r\n\r\n`)
      plain.once('data', () => {
        const secure = tls.connect(
          { socket: plain, servername: host, ca: readFileSync(process.env['NODE_EXTRA_CA_CERTS'] as string), ALPNProtocols: ['http/1.1'] },
          () => resolve(secure),
        )
        secure.on('error', reject)
      })
    })
    plain.on('error', reject)
  })
}

async function talk(task: Task): Promise<void> {
  const url = new URL(fill(task.url))
  const options: Record<string, unknown> = {
    headers: Object.fromEntries(Object.entries(task.headers ?? {}).map(([name, value]) => [name, fill(value)])),
  }
  if (task.base === true) {
    const base = new URL(process.env['OSTIARY_BASE_URL'] as string)
    url.protocol = 'ws:'
    url.host = base.host
    url.pathname = `${base.pathname.replace(/\/$/, '')}${url.pathname}`
  } else {
    const socket = await tunnel(url.hostname)
    options['createConnection'] = () => socket
  }
  const messages: string[] = []
  const ws = new WebSocket(url.href, (task.protocols ?? []).map(fill), options)
  const over = (more: Readonly<Record<string, unknown>>): void =>
    say({ id: task.id, protocol: ws.protocol, extensions: ws.extensions, messages, ...more })
  ws.on('open', () => {
    for (const message of task.send ?? []) ws.send(fill(message))
    if (task.until === 0) ws.close(1000, 'enough')
    say({ id: task.id, open: true })
  })
  ws.on('message', (bytes: Buffer) => {
    messages.push(bytes.toString())
    if (messages.length === task.until || messages.at(-1) === '{"type":"done"}') ws.close(1000, 'enough')
  })
  ws.on('unexpected-response', (_: unknown, answer: NodeJS.ReadableStream & { statusCode: number }) => {
    let body = ''
    answer.on('data', (chunk: Buffer) => {
      body += chunk
    })
    answer.on('end', () => over({ status: answer.statusCode, body }))
  })
  ws.on('close', (code: number, reason: Buffer) => over({ code, reason: reason.toString() }))
  ws.on('error', (error: Error) => say({ id: task.id, error: error.message }))
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const task = JSON.parse(line) as Task
    talk(task).catch((error: Error) => say({ id: task.id, messages: [], status: 0, body: error.message }))
  })
  .on('close', () => process.exit(0))
