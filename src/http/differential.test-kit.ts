// What the differential test and the fuzzing share: messages that are nearly sound, our reading of them, and that of node:http.
// Two readers, one reading: whatever ours accepts, llhttp (through node:http, not lenient) accepts with the same method, target,
// fields, framing and body, message after message on one connection. Ours may stop earlier; it may never see it otherwise.
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import fc from 'fast-check'
import { Refusal } from '../model/refusal.ts'
import { BodyReader } from './read-body.ts'
import { type Fields, findHeadEnd, readRequestHead, readResponseHead } from './read-head.ts'

export interface Message {
  /** `GET /` or `200`. */
  readonly start: string
  /** Lines of `name: value`, names in lower case with `_` as `-`. */
  readonly fields: readonly string[]
  readonly body: string
  readonly complete: boolean
  /** Where the next one begins, which there is none of where this one ends the connection. */
  readonly end: number
  readonly last: boolean
}

const fold = (name: string): string => name.toLowerCase().replaceAll('_', '-')

function fieldsOf(head: Fields): string[] {
  const lines: string[] = []
  head.each((name, value) => lines.push(`${name}: ${value}`))
  return lines
}

function rawFields(raw: readonly string[]): string[] {
  const lines: string[] = []
  for (let at = 0; at < raw.length; at += 2) lines.push(`${fold(raw[at] as string)}: ${raw[at + 1]}`)
  return lines
}

/** The messages that our reader sees in these bytes, until it refuses, they end, or the connection is another's. */
export function ours(bytes: Buffer, side: 'request' | 'answer', method = 'GET'): Message[] {
  const seen: Message[] = []
  try {
    for (let at = 0; at < bytes.length; ) {
      const end = findHeadEnd(bytes, at)
      if (end < 0) return seen
      const head = side === 'request' ? readRequestHead(bytes, at, end) : readResponseHead(bytes, at, end, method)
      const chunks: Buffer[] = []
      const reader = new BodyReader(head.framing, side, { data: (chunk) => chunks.push(chunk), end() {} })
      const start = 'method' in head ? `${head.method} ${head.target}` : String(head.status)
      const message = { start, fields: fieldsOf(head) }
      // What follows speaks another protocol, if anything: only the head is compared.
      if ('method' in head && (head.kind === 'authority' || head.upgrade))
        return [...seen, { ...message, body: '', complete: false, end, last: true }]
      try {
        at = reader.push(bytes, end)
        if (head.framing.kind === 'until-close') reader.close()
      } catch {
        return seen
      }
      const body = Buffer.concat(chunks).toString('latin1')
      seen.push({ ...message, body, complete: reader.done, end: at, last: !head.keepAlive })
      if (!reader.done || !head.keepAlive || (side === 'answer' && !('method' in head) && head.status >= 200)) return seen
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
  }
  return seen
}

interface Open {
  readonly start: string
  readonly fields: readonly string[]
  body: string
  complete: boolean
}

/** What node:http sees as a server. One connection at a time, so one list. */
let heard: Open[] = []
const server = http.createServer({ insecureHTTPParser: false, maxHeaderSize: 80 * 1024, keepAliveTimeout: 2_000 })

function hear(request: http.IncomingMessage): Open {
  const message = { start: `${request.method} ${request.url}`, fields: rawFields(request.rawHeaders), body: '', complete: false }
  heard.push(message)
  request.setEncoding('latin1')
  request.on('data', (text) => {
    message.body += text
  })
  request.on('end', () => {
    message.complete = request.complete
  })
  request.on('error', () => {})
  return message
}

const listener = (request: http.IncomingMessage, response: http.ServerResponse): void => {
  hear(request)
  response.end()
}
server.on('request', listener)
server.on('checkContinue', listener)
server.on('checkExpectation', listener)
server.on('connect', (request, socket) => {
  hear(request).complete = true
  socket.destroy()
})
server.on('clientError', (_error, socket) => socket.destroy())

/** What node:http sees as a client: the bytes are the answer of a server that then closes. */
let answerBytes: Buffer = Buffer.alloc(0)
const scripted = net.createServer((socket) => {
  socket.on('error', () => {})
  socket.once('data', () => socket.end(answerBytes))
})

export async function openPeers(): Promise<void> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  await new Promise<void>((done) => scripted.listen(0, '127.0.0.1', done))
}

export function closePeers(): void {
  server.close()
  server.closeAllConnections()
  scripted.close()
}

const portOf = (of: net.Server): number => (of.address() as net.AddressInfo).port

export async function nodeAsServer(bytes: Buffer): Promise<Open[]> {
  heard = []
  const socket = net.connect(portOf(server), '127.0.0.1')
  socket.on('error', () => {})
  socket.resume()
  socket.end(bytes)
  // What node:http still waits for after the end it will not get.
  const late = setTimeout(() => socket.destroy(), 3_000)
  await new Promise<void>((done) => socket.once('close', () => done()))
  clearTimeout(late)
  return heard
}

export function nodeAsClient(bytes: Buffer, method: string): Promise<Open[]> {
  answerBytes = bytes
  const seen: Open[] = []
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(late)
      resolve(seen)
    }
    const late = setTimeout(() => request.destroy(), 3_000)
    const request = http.request({
      host: '127.0.0.1',
      port: portOf(scripted),
      method,
      agent: false,
      insecureHTTPParser: false,
      maxHeaderSize: 80 * 1024,
    })
    request.on('information', (early) =>
      seen.push({ start: String(early.statusCode), fields: rawFields(early.rawHeaders), body: '', complete: true }),
    )
    request.on('upgrade', (_answer, socket) => {
      socket.destroy()
      done()
    })
    request.on('response', (answer) => {
      const message = { start: String(answer.statusCode), fields: rawFields(answer.rawHeaders), body: '', complete: false }
      seen.push(message)
      answer.setEncoding('latin1')
      answer.on('data', (text) => {
        message.body += text
      })
      answer.on('end', () => {
        message.complete = answer.complete
        done()
      })
      answer.on('error', done)
      answer.on('close', done)
    })
    request.on('error', done)
    request.end()
  })
}

/** Every message of ours is theirs, at its place; of a body that is not complete, theirs may be ahead of ours. */
export function agree(mine: readonly Message[], theirs: readonly Open[], bytes: Buffer): void {
  for (const [index, message] of mine.entries()) {
    const other = theirs[index]
    const where = `message ${index} of ${JSON.stringify(bytes.toString('latin1'))}`
    assert.ok(other !== undefined, `node refuses what we accept: ${where}`)
    assert.equal(other.start, message.start, where)
    assert.deepEqual(other.fields, message.fields, where)
    if (!message.complete) continue
    assert.equal(other.body, message.body, where)
    assert.equal(other.complete, true, where)
  }
}

const mostly = <T>(usual: readonly T[], odd: readonly T[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...usual) }, { weight: 1, arbitrary: fc.constantFrom(...odd) })

const lineEnd = mostly(['\r\n'], ['\n', '\r', '\r\r\n', '\r\n '])
const sizes = mostly(
  ['3\r\nabc\r\n', '03\r\nGET\r\n', 'A\r\n0123456789\r\n'],
  ['3;x=y\r\nabc\r\n', '3;x;y=z\r\nabc\r\n', '3;\r\nabc\r\n', '3 \r\nabc\r\n', '3\nabc\n', '4\r\nabc\r\n', '3\r\nabcd\r\n'],
)
const lastSize = mostly(
  ['0\r\n\r\n', '000\r\n\r\n', '0\r\nX-Sum: a\r\n\r\n'],
  ['0\r\n', '0\n\n', '0\r\nHost: b\r\n\r\n', '0;a\r\n\r\n', '0\r\n x: y\r\n\r\n'],
)
const chunks = fc.tuple(fc.array(sizes, { maxLength: 3 }), lastSize).map(([all, last]) => all.join('') + last)
const framed: fc.Arbitrary<readonly [fields: readonly string[], body: string]> = fc.oneof(
  fc.constant([[], ''] as const),
  mostly(['0', '3', '03'], ['4', '+3', '3, 3', '0x3', ' 3', '3 ', '']).map(
    (length) => [[`Content-Length: ${length}`], length === '0' ? '' : 'abc'] as const,
  ),
  fc
    .tuple(
      mostly(['chunked', 'Chunked', 'chunked '], ['gzip, chunked', 'chunked, chunked', 'identity', '\x0bchunked', 'chunked;a', '']),
      chunks,
    )
    .map(([coding, body]) => [[`Transfer-Encoding: ${coding}`], body] as const),
  chunks.map((body) => [['Transfer-Encoding: chunked', 'Content-Length: 3'], body] as const),
)
const field = mostly(
  [
    'Accept: */*',
    'X_Y: z',
    'x-empty:',
    'X-Tab:\ta\tb\t',
    'Connection: keep-alive',
    'Accept: again',
    'Expect: 100-continue',
    'X-Odd!#$%&: ~',
  ],
  [
    'Connection: close',
    'Connection: X-Y',
    'Connection: content-length',
    'Content_Length: 3',
    'Transfer_Encoding: chunked',
    'Content-Length: 3',
    'Content-Length : 3',
    ' folded',
    '\tfolded',
    'X : y',
    'X',
    ': y',
    'X: \0',
    'X: \x7f',
    'X: \xe9',
    'X: a\rb',
    'Upgrade: h2c',
    'Connection: upgrade',
    'Host: b.test',
    'Keep-Alive: timeout=1',
    'Proxy-Connection: close',
    'Transfer-Encoding: chunked',
    'Trailer: X-Sum',
    '\xa0X: y',
  ],
)
const requestLine = fc
  .tuple(
    mostly(
      ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'HEAD', 'PROPFIND'],
      ['TRACE', 'get', 'CONNECT', 'FROB', '', 'GET ', '\r\nGET', 'PRI', 'SEARCH', 'REPORT', 'M-SEARCH'],
    ),
    mostly(
      ['/', '/a?b=c', '/%2e%2e/x', '/a;b', 'http://a.test/x', "/!$&'()*+,=:@-._~[]"],
      ['*', '', '/a b', '/a#b', '/\xe9', 'a.test:443', '//', '/"', '/\\', 'http://u@a/', '/\0', '/?', '/a\tb'],
    ),
    mostly(['HTTP/1.1'], ['HTTP/1.0', 'HTTP/2.0', 'HTTP/1.2', 'http/1.1', 'HTTP/1.1 ', '', 'HTTP/0.9']),
  )
  .map((parts) => parts.join(' '))
const hostLine = mostly(['Host: a.test', 'host:a.test:80', 'HOST: [::1]:80'], ['X: no', 'Host: a b', 'Host:', 'Host: a@b', 'Host: a, b'])

export const request = fc
  .tuple(requestLine, hostLine, fc.array(field, { maxLength: 3 }), framed, fc.array(lineEnd, { minLength: 7, maxLength: 7 }), fc.boolean())
  .map(([line, host, fields, [framing, body], ends, first]) => {
    const all = first ? [line, host, ...fields, ...framing, ''] : [line, ...framing, ...fields, host, '']
    return all.map((text, index) => text + (ends[index] ?? '\r\n')).join('') + body
  })

const statusLine = mostly(
  [
    'HTTP/1.1 200 OK',
    'HTTP/1.1 404 Not Found',
    'HTTP/1.1 204 No Content',
    'HTTP/1.1 304 ',
    'HTTP/1.1 500',
    'HTTP/1.0 200 OK',
    'HTTP/1.1 200 \xfc',
  ],
  [
    'HTTP/1.1 600 X',
    'HTTP/1.1 99 X',
    'HTTP/2 200',
    'HTTP/1.1  200 OK',
    'HTTP/1.1 2000',
    'HTTP/1.1 200 O\rK',
    'HTTP/1.1 200\tOK',
    '\r\nHTTP/1.1 200 OK',
  ],
)
const early = mostly(
  [''],
  ['HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n', 'HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\n'],
)
export const answer = fc
  .tuple(early, statusLine, fc.array(field, { maxLength: 3 }), framed, fc.array(lineEnd, { minLength: 7, maxLength: 7 }))
  .map(([before, line, fields, [framing, body], ends]) => {
    const head = [line, ...fields, ...framing, ''].map((text, index) => text + (ends[index] ?? '\r\n')).join('')
    return before + head + body
  })

/** A byte taken out, put in or changed, at a few places. */
const noise = fc.array(fc.tuple(fc.nat(), fc.constantFrom(...'\r\n\t :;,/0aA_\0\x7f\xff'), fc.constantFrom('put', 'take', 'change')), {
  maxLength: 2,
})

export function disturb(text: string, places: readonly (readonly [number, string, string])[]): Buffer {
  let out = text
  for (const [place, byte, how] of places) {
    const at = place % (out.length + 1)
    out = out.slice(0, at) + (how === 'take' ? '' : byte) + out.slice(how === 'put' ? at : at + 1)
  }
  return Buffer.from(out, 'latin1')
}

export const withNoise = fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 2, arbitrary: noise })
