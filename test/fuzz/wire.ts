// Everything that reads bytes of a wire: HTTP/1, the heads of HTTP/2, CONNECT, the TLS hello, WebSocket frames, chunks, and the scrubber.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { connect } from 'node:tls'
import zlib from 'node:zlib'
import fc from 'fast-check'
import { canonicalHost, parseAuthority } from '../../src/accept/canonical.ts'
import { type Hello, readClientHello } from '../../src/accept/client-hello.ts'
import {
  agree,
  answer,
  closePeers,
  disturb,
  nodeAsClient,
  nodeAsServer,
  openPeers,
  ours,
  request,
  withNoise,
} from '../../src/http/differential.test-kit.ts'
import { answerFromList, requestFromList } from '../../src/http/h2-head.ts'
import { BodyReader } from '../../src/http/read-body.ts'
import { type Framing, findHeadEnd, readRequestHead, readResponseHead } from '../../src/http/read-head.ts'
import { FrameBroken, FrameReader, type Sender, writeFrame } from '../../src/http/websocket.ts'
import { Refusal } from '../../src/model/refusal.ts'
import { Secret } from '../../src/model/secret.ts'
import { codingOf, decodeWhole } from '../../src/scrub/decode.ts'
import { MaskStream, Matcher } from '../../src/scrub/matcher.ts'
import { needlesOf } from '../../src/scrub/needles.ts'
import { cuts, nearly, outcome, pieces, same, type Target, target } from './target.ts'

const httpTokens = [
  '\r\n',
  '\n',
  '\r',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '\0',
  'chunked',
  'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Host: b\r\n',
  'HTTP/1.1',
  'Connection: close\r\n',
  '%2f',
  '[::1]',
  '@',
]
const requests = [
  'GET /v1/models?x=y HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer x\r\nAccept: */*\r\n\r\n',
  'POST /v1/responses HTTP/1.1\r\nhost: a.test:443\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{ }',
  'POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n',
  'CONNECT api.openai.com:443 HTTP/1.0\r\nProxy-Authorization: Basic eDp5\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, x-a\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-A: b\r\n\r\n',
  'GET http://a.test/b HTTP/1.1\r\nHost: a.test\r\nCookie: a=b; c=d\r\nExpect: 100-continue\r\n\r\n',
]
const answers = [
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
  'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 12\r\n\r\n',
  'HTTP/1.0 200\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nConnection: keep-alive\r\n\r\nabc',
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
]

/** A head, read where it ends and read with something else behind it: it may not differ. */
function headAlone(bytes: Buffer, read: (buffer: Buffer, end: number) => unknown): void {
  const end = findHeadEnd(bytes, 0)
  if (end < 0) return
  const alone = outcome(() => read(Buffer.from(bytes.subarray(0, end)), end), Refusal)
  for (const behind of ['GET / HTTP/1.1\r\n\r\n', '\0\xff: x\r\n'])
    same(
      alone,
      outcome(() => read(Buffer.concat([bytes.subarray(0, end), Buffer.from(behind, 'latin1')]), end), Refusal),
      'what stands behind the head is not of it',
    )
}

const shown = (head: { each(visit: (name: string, value: string) => void): void; framing: Framing; keepAlive: boolean }): unknown[] => {
  const fields: string[] = []
  head.each((name, value) => fields.push(name, value))
  return [fields, head.framing, head.keepAlive]
}

const framings = fc.constantFrom<Framing>({ kind: 'chunked' }, { kind: 'length', length: 40 }, { kind: 'until-close' })
const chunkSamples = [
  '5\r\nhello\r\n0\r\n\r\n',
  'a;x=y\r\n0123456789\r\n00\r\nX-Sum: a\r\n\r\n',
  '1\r\na\r\n1\r\nb\r\n0\r\n\r\nGET / HTTP/1.1\r\n',
  '5;name="quoted"\r\nhello\r\n0\r\n\r\n',
]

function body(bytes: readonly Buffer[], framing: Framing, side: 'request' | 'answer'): unknown {
  let content = ''
  let trailers: unknown = null
  const sink = {
    data: (chunk: Buffer) => {
      assert.ok(chunk.length > 0, 'a chunk is never empty')
      content += chunk.toString('latin1')
    },
    end: (all: unknown) => {
      assert.equal(trailers, null, 'it ends once')
      trailers = all
    },
  }
  let read = 0
  const wrong = outcome(() => {
    const reader = new BodyReader(framing, side, sink)
    for (const piece of bytes) {
      const used = reader.push(piece, 0)
      assert.ok(used >= 0 && used <= piece.length)
      read += used
      if (reader.done) return true
    }
    return reader.done
  }, Refusal)
  // Up to the error the same content may have been given out in pieces of another size: only a whole body is compared.
  return wrong instanceof Error ? wrong : { content, trailers, read, done: wrong }
}

const frameTokens = ['\x81', '\x01', '\x00', '\x80', '\x88\x02\x03\xe8', '\x89\x00', '\x7e', '\x7f', '\xff', '\xc3\xa9']
const mask = Buffer.from([1, 2, 3, 4])
const frameSamples = (sender: Sender): Buffer[] => {
  const frame = (opcode: number, last: boolean, text: string | Buffer): Buffer =>
    writeFrame(opcode, last, Buffer.from(text as string), sender === 'client' ? mask : null)
  return [
    frame(1, true, '{"type":"response.create"}'),
    Buffer.concat([frame(1, false, 'caf'), frame(9, true, 'ping'), frame(0, true, 'é')]),
    Buffer.concat([frame(2, true, Buffer.alloc(300, 7)), frame(8, true, Buffer.from([0x03, 0xe8, 0x6f, 0x6b]))]),
    frame(2, true, Buffer.alloc(66_000, 1)),
  ]
}

function frames(sender: Sender, bytes: readonly Buffer[]): unknown {
  const reader = new FrameReader(sender, { socketMessageBytesMax: 100_000, socketFramesMax: 20 })
  const said: string[] = []
  const wrong = outcome(() => {
    for (const piece of bytes) {
      reader.push(piece)
      for (let event = reader.next(); event !== null; event = reader.next()) {
        if (event.kind !== 'piece')
          said.push(event.kind, event.kind === 'close' ? `${event.code} ${event.reason.toString('hex')}` : event.bytes.toString('hex'))
        else said.push(`${event.first ? '<' : ''}`, event.bytes.toString('hex'), `${event.last ? `>${event.text}` : ''}`)
      }
    }
  }, FrameBroken)
  const whole = said.join('')
  return wrong instanceof Error ? wrong : whole
}

let helloBytes: Buffer | null = null
/** A hello as OpenSSL makes it. */
async function makeHello(): Promise<void> {
  const server = createServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const socket = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    servername: 'api.openai.com',
    maxVersion: 'TLSv1.2',
    ALPNProtocols: ['h2'],
  })
  socket.on('error', () => {})
  const [taken] = (await once(server, 'connection')) as [Socket]
  const [sent] = await once(taken, 'data')
  // The one part that is made by chance, so that a seed means the same cases tomorrow (RFC 5246 section 7.4.1.2).
  helloBytes = (sent as Buffer).fill(7, 11, 43)
  taken.destroy()
  socket.destroy()
  server.close()
}

/** One handshake message over two records. */
const inTwo = (hello: Buffer, at: number): Buffer => {
  const message = hello.subarray(5)
  const cut = 1 + (at % (message.length - 1))
  const record = (part: Buffer): Buffer => Buffer.concat([Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part])
  return Buffer.concat([record(message.subarray(0, cut)), record(message.subarray(cut))])
}

const secret = 'sk-proj-A/b+C=d9Zx81QmWv70KpLr52NtHs64JyGe33UoFi'
const { all, short } = needlesOf([new Secret(secret)], 16, 32)
const matcher = new Matcher(all, short)
const reflected = [
  `data: {"echo":"${secret}"}\n\n`,
  `event: x\ndata: ${encodeURIComponent(secret)}\n\ndata: [DONE]\n\n`,
  `data: ${Buffer.from(`user:${secret}`).toString('base64')}\r\n\r\n`,
  `{"hex":"${Buffer.from(secret).toString('hex')}","json":${JSON.stringify(secret).replaceAll('/', '\\/')}}`,
  'data: {"nothing":"to see, sk-proj-A/b+C"}\n\n',
]

function scrubbed(bytes: readonly Buffer[]): string {
  const stream = new MaskStream(matcher)
  return bytes.map((piece) => stream.push(piece).toString('latin1')).join('')
}

const packed = [
  zlib.gzipSync(reflected.join('')),
  zlib.brotliCompressSync(reflected.join('')),
  zlib.deflateSync(reflected.join('')),
  zlib.deflateRawSync('x'.repeat(5_000)),
  zlib.zstdCompressSync(reflected.join('')),
]
const pair = fc.tuple(
  fc.constantFrom(
    ':method',
    ':path',
    ':scheme',
    ':authority',
    ':status',
    ':protocol',
    'host',
    'cookie',
    'content-length',
    'te',
    'connection',
    'transfer-encoding',
    'x-a',
    'X-A',
    'x a',
    '',
    'x\0',
  ),
  fc.oneof(
    fc.constantFrom(
      'GET',
      'POST',
      'CONNECT',
      '/',
      '/a?b',
      'https',
      'api.openai.com',
      'a.test:443',
      '200',
      '304',
      '3',
      'trailers',
      'a=b',
      ' x',
      'x ',
      'a\r\nb',
      'a\0b',
      '\xe9',
    ),
    fc.string({ unit: 'binary-ascii', maxLength: 6 }),
  ),
)
const requestList = fc.tuple(
  fc.constantFrom(
    [':method', 'GET', ':path', '/', ':scheme', 'https', ':authority', 'a.test'],
    [':method', 'POST', ':scheme', 'https', ':path', '/v1'],
    [] as string[],
  ),
  fc.array(pair, { maxLength: 6 }),
)

export const wireTargets: readonly Target[] = [
  target('request-head', nearly(requests, httpTokens), (bytes) =>
    headAlone(bytes, (buffer, end) => {
      const head = readRequestHead(buffer, 0, end)
      return [head.method, head.target, head.kind, head.host, ...shown(head)]
    }),
  ),
  target('answer-head', fc.tuple(nearly(answers, httpTokens), fc.constantFrom('GET', 'HEAD', 'CONNECT')), ([bytes, method]) =>
    headAlone(bytes, (buffer, end) => {
      const head = readResponseHead(buffer, 0, end, method)
      return [head.status, head.reason, ...shown(head)]
    }),
  ),
  target(
    'http-request',
    fc.oneof(
      nearly(requests, httpTokens),
      fc.tuple(fc.array(request, { minLength: 1, maxLength: 3 }), withNoise).map(([some, places]) => disturb(some.join(''), places)),
    ),
    async (bytes) => {
      const mine = ours(bytes, 'request')
      if (mine.length > 0) agree(mine, await nodeAsServer(bytes), bytes)
    },
    { open: openPeers, close: async () => closePeers() },
  ),
  target(
    'http-answer',
    fc.tuple(
      fc.oneof(
        nearly(answers.slice(0, 3), httpTokens),
        fc.tuple(answer, withNoise).map(([text, places]) => disturb(text, places)),
      ),
      fc.constantFrom('GET', 'HEAD'),
    ),
    async ([bytes, method]) => {
      const mine = ours(bytes, 'answer', method)
      if (mine.length > 0) agree(mine, await nodeAsClient(bytes, method), bytes)
    },
    { open: openPeers, close: async () => closePeers() },
  ),
  target('h2-head', requestList, ([sound, more]) => {
    const list = [...sound, ...more.flat()]
    for (const ended of [true, false]) {
      outcome(() => requestFromList(list, 'https', ended), Refusal)
      outcome(() => answerFromList(list, 'GET', ended), Refusal)
    }
  }),
  target(
    'connect',
    nearly(
      [
        'api.openai.com:443',
        'API.OpenAI.com.:443',
        '[2001:db8::1]:8443',
        '127.0.0.1:80',
        'b\xfccher.example:443',
        'xn--bcher-kva.example:443',
      ],
      ['.', ':', '[', ']', '-', '%', '@', '0x7f.1', '0177.0.0.1', '\xad', '\u200b', '//', '#', '?'],
    ),
    (bytes) => {
      const text = bytes.toString('utf8')
      const found = outcome(() => parseAuthority(text, 443), Refusal)
      if (found instanceof Error) return
      assert.equal(canonicalHost(found.host.includes(':') ? `[${found.host}]` : found.host), found.host, 'canonical is canonical')
      // Whoever dials takes the URL's word for a name: both must mean one host.
      const url = new URL(`https://${found.host.includes(':') ? `[${found.host}]` : found.host}:${found.port}/`)
      assert.equal(url.hostname.replace(/^\[|\]$/g, ''), found.host)
    },
  ),
  target(
    'tls-hello',
    fc.tuple(
      fc.nat(1_000_000),
      fc
        .constant(0)
        .chain(() =>
          nearly(
            [helloBytes as Buffer, inTwo(helloBytes as Buffer, 77)],
            ['\x16\x03\x01', '\0\0', '\xfe\x0d', '\xff\xce', 'a.test', '\0\x10'],
          ),
        ),
      cuts,
    ),
    ([split, bytes, at]) => {
      assert.deepEqual(readClientHello(inTwo(helloBytes as Buffer, split)), { serverName: 'api.openai.com', encrypted: false })
      const whole = outcome(() => readClientHello(bytes), Refusal)
      let first: Hello | Error | null = null
      let so: Buffer = Buffer.alloc(0)
      for (const piece of pieces(bytes, at)) {
        so = Buffer.concat([so, piece])
        first ??= outcome(() => readClientHello(so), Refusal)
      }
      // Read as it comes, a hello is the one that it is as a whole; what follows it is not its own.
      if (first !== null && !(first instanceof Error) && !(whole instanceof Error)) assert.deepEqual(first, whole)
      if (first === null) assert.ok(whole === null || whole instanceof Error || bytes.length === 0)
    },
    { open: makeHello },
  ),
  ...(['client', 'server'] as const).map((sender) =>
    target(`websocket-${sender}`, fc.tuple(nearly(frameSamples(sender), frameTokens), cuts), ([bytes, at]) =>
      same(frames(sender, [bytes]), frames(sender, pieces(bytes, at)), 'however it is cut'),
    ),
  ),
  target(
    'chunks',
    fc.tuple(
      nearly(chunkSamples, ['\r\n', '\n', ';', '0', 'ffffffffffff', 'g', '"', 'Host: a\r\n']),
      framings,
      fc.constantFrom('request' as const, 'answer' as const),
      cuts,
    ),
    ([bytes, framing, side, at]) => same(body([bytes], framing, side), body(pieces(bytes, at), framing, side), 'however it is cut'),
  ),
  target('scrub', fc.tuple(nearly(reflected, [secret, secret.slice(0, 20), '\n\n', 'data: ', '%', '\\u']), cuts), ([bytes, at]) => {
    const whole = scrubbed([bytes])
    assert.equal(whole.length, bytes.length, 'the length stays')
    assert.ok(!whole.includes(secret))
    const cut = scrubbed(pieces(bytes, at))
    assert.equal(cut.length, bytes.length)
    // Cut, the beginning of a secret may have left, but never enough to be one: no more than what is certain of it.
    assert.ok(!cut.includes(secret))
    if (bytes.includes(secret)) assert.ok(!cut.includes(secret.slice(0, 36)), cut)
  }),
  target(
    'decode',
    fc.tuple(
      nearly(packed, ['\x1f\x8b', '\0\0\xff\xff', '\x28\xb5\x2f\xfd']),
      fc.constantFrom('gzip', 'br', 'deflate', 'zstd', 'x', 'gzip, br'),
    ),
    ([bytes, name]) => {
      const coding = outcome(() => codingOf(name), Refusal)
      if (coding === null || coding instanceof Error || bytes.length === 0) return
      const opened = outcome(() => decodeWhole(coding, bytes), Refusal)
      if (opened === null || opened instanceof Error) return
      assert.ok(opened.plain.length <= 1024 * 1024 && opened.bytesRead <= bytes.length)
    },
  ),
]
