// The load of the bench, told as JSON in argv (load.ts). Prints one JSON line when the measured time begins and one when it
// ends. It must never be the thing that is measured: judge a peer by its CPU, for the client has the other core.
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'
import { connect, type Socket } from 'node:net'
import tls from 'node:tls'
import { chat, type Load } from './load.ts'

const load = JSON.parse(process.argv[2] ?? '{}') as Load
const ca = load.way === 'plain' ? '' : readFileSync(load.ca)
// Inside of a run the launcher's variables say who we are.
const proxy = process.env['HTTPS_PROXY'] === undefined ? null : new URL(process.env['HTTPS_PROXY'])
const proven =
  proxy === null || proxy.username === ''
    ? ''
    : `Proxy-Authorization: Basic ${Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString('base64')}\r\n`
const fields = load.fields.map((line) => line.replace('Bearer placeholder', `Bearer ${process.env['OPENAI_API_KEY'] ?? 'placeholder'}`))
const bodyBytes = load.method === 'GET' ? 0 : (load.bodyBytes ?? 300)
const body = load.kind === 'big' ? '' : chat.replace('""', `"${'x'.repeat(Math.max(0, bodyBytes - chat.length))}"`)

function requestTo(host: string): Buffer {
  const length = load.method === 'GET' ? [] : [`Content-Length: ${load.kind === 'big' ? bodyBytes : body.length}`]
  const head = [`${load.method} ${load.path} HTTP/1.1`, `Host: ${load.hostField ?? host}`, ...fields, ...length].join('\r\n')
  return Buffer.from(`${head}\r\n\r\n${load.method === 'GET' ? '' : body}`)
}

let done = 0
let refused = 0
let times: number[] = []

let opened = 0
function open(host: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const secure = (socket: Socket): void => {
      const ALPNProtocols = load.h2Streams === undefined ? ['http/1.1'] : ['h2']
      const over = tls.connect({ socket, servername: host, ca, ALPNProtocols }, () => {
        opened++
        resolve(over)
      })
      over.once('error', reject)
    }
    const socket = connect(load.port, load.address ?? '127.0.0.1', () => {
      if (load.way === 'plain') return resolve(socket)
      if (load.way === 'tls') return secure(socket)
      socket.write(`CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n${proven}\r\n`)
      socket.once('data', (line: Buffer) => {
        if (/^HTTP\/1\.[01] 200/.test(line.toString())) return secure(socket)
        reject(new Error(line.toString().slice(0, 400)))
      })
    })
    socket.setNoDelay(true)
    socket.once('error', reject)
  })
}

/** Calls `answered` for each whole answer with whether it was a 200. Bytes of a body are counted, never kept. */
function answersOf(socket: Socket, answered: (ok: boolean) => void): void {
  let head = ''
  let left = -1 // -1: within the head; -2: chunks, until the last
  let ok = false
  let tail = ''
  socket.on('data', (chunk: Buffer) => {
    let from = 0
    if (left === -1) {
      const before = head.length
      head += chunk.toString('latin1', 0, 16_384)
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      from = end + 4 - before
      ok = head.startsWith('HTTP/1.1 200')
      if (!ok && refused === 0) process.stderr.write(`${head.slice(0, 600)}\n`)
      const length = /^content-length: *(\d+)/im.exec(head)
      left = length === null ? -2 : Number(length[1])
      head = ''
      tail = ''
    }
    if (left === -2) tail = (tail + chunk.toString('latin1', Math.max(from, chunk.length - 7))).slice(-7)
    else left -= chunk.length - from
    if (left !== 0 && !(left === -2 && tail.endsWith('0\r\n\r\n'))) return
    left = -1
    answered(ok)
  })
}

function took(since: number, ok: boolean): void {
  done++
  if (!ok) refused++
  times.push(performance.now() - since)
}

function drive(socket: Socket, request: Buffer): void {
  let sentAt = performance.now()
  answersOf(socket, (ok) => {
    took(sentAt, ok)
    sentAt = performance.now()
    socket.write(request)
  })
  socket.write(request)
}

function driveH2(socket: Socket, host: string): void {
  const session = http2.connect(`https://${host}`, { createConnection: () => socket })
  const given = Object.fromEntries(
    fields.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  )
  const next = (): void => {
    const sentAt = performance.now()
    const asked = session.request({ ':method': load.method, ':path': load.path, ...given, 'content-length': body.length })
    let ok = false
    asked.on('response', (answer) => {
      ok = answer[':status'] === 200
    })
    asked.on('error', () => {})
    asked.on('close', () => {
      took(sentAt, ok)
      next()
    })
    asked.resume()
    asked.end(body)
  }
  for (let at = 0; at < (load.h2Streams ?? 1); at++) next()
}

/** Open loop: what finds every connection busy waits, and its wait counts. */
function driveAtRate(sockets: readonly Socket[], request: Buffer): void {
  const free: { readonly send: (at: number) => void }[] = []
  const waiting: number[] = []
  for (const socket of sockets) {
    let sentAt = 0
    const one = {
      send: (at: number) => {
        sentAt = at
        socket.write(request)
      },
    }
    free.push(one)
    answersOf(socket, (ok) => {
      took(sentAt, ok)
      const next = waiting.shift()
      if (next === undefined) free.push(one)
      else one.send(next)
    })
  }
  const began = performance.now()
  let sent = 0
  setInterval(() => {
    for (; sent < ((performance.now() - began) * (load.rate ?? 1)) / 1000; sent++) {
      const one = free.pop()
      if (one === undefined) waiting.push(performance.now())
      else one.send(performance.now())
    }
  }, 1)
}

const firsts: number[] = []
/** Counts events of answers without end. */
function driveStream(socket: Socket, request: Buffer): void {
  const sentAt = performance.now()
  let seen = false
  socket.on('data', (chunk: Buffer) => {
    for (let at = chunk.indexOf('data: '); at >= 0; at = chunk.indexOf('data: ', at + 6)) done++
    if (seen || !chunk.includes('data: ')) return
    seen = true
    firsts.push(performance.now() - sentAt)
  })
  socket.write(request)
}

async function fresh(host: string): Promise<void> {
  const since = performance.now()
  const socket = await open(host)
  const ok = await new Promise<boolean>((resolve) => {
    answersOf(socket, resolve)
    socket.write(requestTo(host))
  })
  socket.destroy()
  took(since, ok)
}

function big(socket: Socket): Promise<void> {
  const piece = Buffer.alloc(64 * 1024, 'x')
  let left = load.method === 'POST' ? bodyBytes : 0
  return new Promise((resolve) => {
    const since = performance.now()
    answersOf(socket, (ok) => resolve(took(since, ok)))
    const push = (): void => {
      while (left > 0) {
        const part = left >= piece.length ? piece : piece.subarray(0, left)
        left -= part.length
        if (!socket.write(part)) return void socket.once('drain', push)
      }
    }
    socket.write(requestTo(load.hosts[0] as string))
    push()
  })
}

const begin = (): number => {
  done = 0
  refused = 0
  times = []
  process.stdout.write(`${JSON.stringify({ began: true })}\n`)
  return performance.now()
}
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const host = load.hosts[0] as string
let began: number
if (load.kind === 'fresh') {
  began = begin()
  for (const one of load.hosts) await fresh(one)
} else {
  const sockets: Socket[] = []
  const opening = setTimeout(
    () => {
      process.stderr.write(`only ${opened} of ${load.connections} connections opened within the time\n`)
      process.exit(1)
    },
    10_000 + load.connections * 20,
  )
  // A few at a time: a hundred handshakes at once are another measure.
  while (sockets.length < load.connections)
    sockets.push(...(await Promise.all(Array.from({ length: Math.min(32, load.connections - sockets.length) }, () => open(host)))))
  clearTimeout(opening)
  for (const socket of sockets) socket.on('error', (error) => process.stderr.write(`${error.message}\n`))
  if (load.kind === 'big') {
    began = begin()
    for (const socket of sockets) await big(socket)
  } else {
    // One after the other: a thousand first events at once are another measure.
    if (load.kind === 'streams')
      for (const socket of sockets) {
        driveStream(socket, requestTo(host))
        await pause(sockets.length > 100 ? 1 : 15)
      }
    else if (load.rate !== undefined) driveAtRate(sockets, requestTo(host))
    else for (const socket of sockets) load.h2Streams === undefined ? drive(socket, requestTo(host)) : driveH2(socket, host)
    await pause(load.warmMs)
    began = begin()
    await pause(load.runMs)
  }
}
const at = (values: readonly number[], share: number): number => Math.round((values[Math.floor(values.length * share)] ?? 0) * 100) / 100
for (const list of [times, firsts]) list.sort((a, b) => a - b)
const seconds = (performance.now() - began) / 1000
const told = { done, refused, seconds, p50: at(times, 0.5), p99: at(times, 0.99), first: at(firsts, 0.5) }
process.stdout.write(`${JSON.stringify(told)}\n`)
process.exit(0)
