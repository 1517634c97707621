// Whatever we accept, real nginx, haproxy and apache accept as the same messages: requests of the same method, target, host and body,
// each beginning where the one before it ended; answers of the same status and body. `npm run fuzz -- --only parsers,parsers-answers`
// goes on with it for longer.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { methods, targetByte, tokenByte, valueBytes } from '../../src/http/bytes.ts'
import { answer, disturb, ours, request, withNoise } from '../../src/http/differential.test-kit.ts'
import { limits } from '../../src/model/limits.ts'
import {
  accepted,
  answerExceptions,
  askAlone,
  compare,
  compareAnswer,
  disagreement,
  exceptions,
  kinds,
  missing,
  type Peer,
  startPeer,
} from './parsers.test-kit.ts'

const timeMs = 1_500
const seed = 16

for (const kind of kinds)
  test(`${kind.name} reads as we do what we accept`, { skip: missing(kind) ?? false, timeout: 60_000 }, async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'ostiary-parsers-'))
    t.after(() => rmSync(dir, { recursive: true, force: true }))
    const peer = await startPeer(kind, dir)
    t.after(() => peer.stop())
    await t.test('the comparison finds what differs', () => finds(peer))
    await t.test('each message at the edge of what we accept', () => edges(peer))
    await t.test('messages made at random', () => random(peer))
    await t.test('each answer at the edge', () => answerEdges(peer))
    await t.test('answers made at random', () => randomAnswers(peer))
    for (const one of exceptions.filter(({ peer }) => peer === kind.name))
      await t.test(`only refused: ${one.why}`, async () => {
        const bytes = Buffer.from(one.sample, 'latin1')
        const mine = accepted(bytes)
        assert.deepEqual(mine.map(one.of), [true])
        assert.match(
          (await disagreement(peer, bytes, mine)) ?? 'it accepts this now: strike the exception',
          / answers 4\d\d and sees \[\],/,
        )
      })
    for (const { why, of, sample } of answerExceptions.filter((one) => one.peer === kind.name))
      await t.test(`answers: ${why}`, async () => {
        const bytes = Buffer.from(sample, 'latin1')
        const last = ours(bytes, 'answer').at(-1)
        assert.ok(of.test(sample) && last?.complete)
        assert.notEqual(await askAlone(peer, bytes, 'GET'), `${last.start} ${last.body}`, 'strike the exception')
      })
  })

async function random(peer: Peer): Promise<void> {
  let compared = 0
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), withNoise, async (requests, places) => {
      compared += await compare(peer, disturb(requests.join(''), places))
    }),
    { seed, numRuns: 100_000, interruptAfterTimeLimit: timeMs, markInterruptAsFailure: false },
  )
  assert.ok(compared > 50, `only ${compared} messages were compared: the test tests nothing`)
}

async function randomAnswers(peer: Peer): Promise<void> {
  let compared = 0
  await fc.assert(
    fc.asyncProperty(answer, withNoise, fc.constantFrom('GET', 'GET', 'HEAD'), async (text, places, method) => {
      compared += await compareAnswer(peer, disturb(text, places), method)
    }),
    { seed, numRuns: 100_000, interruptAfterTimeLimit: timeMs, markInterruptAsFailure: false },
  )
  assert.ok(compared > 50, `only ${compared} answers were compared: the test tests nothing`)
}

async function answerEdges(peer: Peer): Promise<void> {
  let compared = 0
  const all = [...answers()].map((text) => Buffer.from(text, 'latin1'))
  for (const bytes of all) {
    assert.equal(ours(bytes, 'answer').at(-1)?.complete, true, `we refuse ${JSON.stringify(bytes.toString('latin1', 0, 300))}`)
    compared += await compareAnswer(peer, bytes, 'GET')
  }
  assert.ok(compared > all.length - 10, `only ${compared} of ${all.length}`)
  // One cut short, read as whole, would be seen.
  const cut = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd')
  assert.equal(await compareAnswer(peer, cut, 'GET'), 0)
  assert.notEqual(await askAlone(peer, cut, 'GET'), '200 abcd')
}

async function edges(peer: Peer): Promise<void> {
  let compared = 0
  for (const text of corpus()) {
    const bytes = Buffer.from(text, 'latin1')
    assert.notEqual(accepted(bytes).length, 0, `we refuse ${JSON.stringify(text.slice(0, 300))}`)
    compared += await compare(peer, bytes)
  }
  assert.ok(compared > 1_000, `only ${compared}`)
}

/** A wrong reading of ours would be seen: of a body's length, of a request behind it, of a line that is refused. */
async function finds(peer: Peer): Promise<void> {
  const hidden = get()
  const bytes = Buffer.from(post(`Content-Length: ${hidden.length}\r\n`, hidden))
  const mine = accepted(bytes)
  assert.equal(await disagreement(peer, bytes, mine), null)
  const [whole] = mine
  assert.ok(whole !== undefined && mine.length === 1)
  const headEnd = whole.end - hidden.length
  const split = [{ ...whole, body: '', end: headEnd }, { ...accepted(Buffer.from(hidden))[0], end: whole.end } as typeof whole]
  assert.match((await disagreement(peer, bytes, split)) ?? '', /sees/)
  assert.match((await disagreement(peer, bytes, [{ ...whole, end: whole.end - 1 }])) ?? '', /sees/)
  assert.match((await disagreement(peer, Buffer.concat([bytes, Buffer.from(get())]), [{ ...whole, end: whole.end + 9 }])) ?? '', /sees/)
  const spaced = Buffer.from(get('X : a\r\n'))
  assert.match(
    (await disagreement(peer, spaced, [{ ...whole, start: 'GET /x', body: '', end: spaced.length }])) ?? '',
    / 400 and sees \[\]/,
  )
}

const get = (fields = '', target = '/x', host = 'a.test', method = 'GET'): string =>
  `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`
const post = (fields: string, body: string): string => get(fields, '/x', 'a.test', 'POST') + body
const chunked = (body: string, fields = ''): string => post(`${fields}Transfer-Encoding: chunked\r\n`, body)
const three = ['Content-Length: 3\r\n', 'abc'] as const
const bodies: readonly (readonly [fields: string, body: string])[] = [
  ['', ''],
  three,
  ['Content-Length: 0\r\n', ''],
  ['Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n0\r\n\r\n'],
  ['transfer-encoding:CHUNKED\r\n', '0\r\nX: y\r\n\r\n'],
]
const held = (table: Uint8Array): string[] => [...table.keys()].filter((byte) => table[byte] === 1).map((byte) => String.fromCharCode(byte))

function* corpus(): Generator<string> {
  for (const method of methods)
    if (method !== 'CONNECT') for (const [fields, body] of bodies) yield get(fields, '/x', 'a.test', method) + body
  yield* targets()
  const hosts = ['a.test.', 'A.TEST', '1.2.3.4', '[::ffff:1.2.3.4]:9999', '[fe80::1]', 'a.test:65535', 'a.'.repeat(120)]
  for (const host of hosts) yield get('', '/x', host)
  yield* fields()
  yield* framings()
  for (const count of [50, 100, limits.headFieldsMax - 1]) yield get('X: y\r\n'.repeat(count))
  yield get(Array.from({ length: 100 }, (_, index) => `X-${index}: ${'y'.repeat(600)}\r\n`).join(''))
  yield get().repeat(50)
  yield post(...three).repeat(20)
  yield chunked('3\r\nabc\r\n0\r\n\r\n').repeat(20) + get('Connection: close\r\n')
}

function* targets(): Generator<string> {
  for (const byte of held(targetByte))
    for (const target of byte === '%' ? ['/?%'] : [`/a${byte}b`, `/${byte}`, `/?${byte}`]) yield get('', target)
  const plain = [
    '//',
    '///a',
    '/./',
    '/a/../b',
    '/a/..',
    '/...',
    '/a//..',
    '/a%2fb',
    '/%5c..',
    '/a;/../b',
    '/%0d%0aX:%20y',
    '/%ff',
    '/%c0%ae',
  ]
  const asked = ['/?a=%00', '/?%0a', '/a?b?c', '/?/../..', `/${'a'.repeat(16_000)}`, `/?${'a'.repeat(16_000)}`]
  const urls = ['http://a.test', 'http://a.test/', 'http://a.test:80/x?y', 'http://A.TEST/x', 'http://a.test//x', '/http://b.test/']
  for (const target of [...plain, ...asked, ...urls]) yield get('', target)
}

/** Fields that some reader takes for more than a field, on each kind of body. */
function* fields(): Generator<string> {
  const connection = [
    'close, X-Y',
    ',',
    '',
    'keep-alive, close',
    'te',
    'transfer-encoding',
    'TE, Keep-Alive',
    'x_y',
    'upgrade',
    'close,close',
  ]
    .concat(['KEEP-ALIVE', 'close\r\nConnection: keep-alive', 'keep-alive\r\nConnection: close', 'expect', 'trailer', 'range', 'via'])
    .flatMap((value) => [`Connection: ${value}`, `Proxy-Connection: ${value}`])
  const known = `Keep-Alive: junk|TE: trailers|TE: gzip;q=1|Trailer: X-Sum|Trailer: Content-Length|Range: junk|Range: bytes=0-0
    |If-Modified-Since: junk|If-None-Match: "|If-Match: *|Date: junk|Content-Type:|Content-Encoding: gzip|Content-Encoding: chunked
    |Authorization: Basic !|Proxy-Authorization: Basic eA==|X-Forwarded-Host: b|Forwarded: x|Via: 1.1 me|HTTP2-Settings: AAAA|Max-Forwards: 9
    |Cookie: a\r\nCookie: b|Expect: 100-CONTINUE|Sec-WebSocket-Key: x|X-HTTP-Method-Override: TRACE|Content-Range: bytes x|Early-Data: 1
    |X-Sendfile: /etc/passwd|X-Accel-Redirect: /x|Transfer-Encoding-X: chunked|Content-Length-X: 5|Destination: http://b.test/|Status: 500`
  for (const field of [...connection, ...known.split(/\s*\|/), `X: ${'v'.repeat(60_000)}`, `${'N'.repeat(255)}: a`, 'X: \t \t'])
    for (const [framing, body] of bodies) yield post(`${field}\r\n${framing}`, body)
  for (const byte of held(tokenByte)) yield get(`X${byte}Y: a\r\n${byte}: a\r\n`)
  for (const byte of held(valueBytes.request)) yield get(`X: ${byte}a\r\nX: a${byte}b\r\n`)
}

function* framings(): Generator<string> {
  for (const length of ['000000000000003', '3 ', '   3', '03']) yield post(`Content-Length:${length}\r\n`, 'abc')
  yield post('Content-Length: 300000\r\n', 'z'.repeat(300_000))
  const sizes = ['000000000003\r\nabc\r\n', 'a\r\n0123456789\r\n', '1\r\n\r\r\n1\r\n\n\r\n', '3\r\n0\r\n\r\n', '5\r\n0\r\n\r\n\r\n']
    .concat([`FFF\r\n${'z'.repeat(4_095)}\r\n`, `10000\r\n${'z'.repeat(65_536)}\r\n`, '1\r\na\r\n'.repeat(500)])
    .map((text) => `${text}0\r\n\r\n`)
  const trailers = [
    `X: ${'y'.repeat(8_000)}\r\n`,
    'X: y\r\n'.repeat(limits.trailerFieldsMax),
    'X:\r\n',
    'X:y\t\r\n',
    'X_Y: y\r\n',
    '!: y\r\n',
  ]
    .concat(['X: GET / HTTP/1.1\r\n'])
    .map((text) => `0\r\n${text}\r\n`)
  for (const body of [...sizes, ...trailers, '000000000000\r\n\r\n'])
    for (const fields of ['', 'Expect: 100-continue\r\n', 'Trailer: X\r\n']) yield chunked(body, fields)
  yield post('Transfer-Encoding:   Chunked   \r\n', '0\r\n\r\n')
}

function* answers(): Generator<string> {
  const ok = (fields: string, body = '', line = 'HTTP/1.1 200 OK'): string => `${line}\r\n${fields}\r\n${body}`
  for (let status = 200; status < 600; status++) yield ok('Content-Length: 0\r\n', '', `HTTP/1.1 ${status} X`)
  for (const line of ['HTTP/1.1 429 ', 'HTTP/1.1 200', 'HTTP/1.1 200 Sehr gut\xfc', 'HTTP/1.0 200 OK'])
    for (const fields of ['Content-Length: 3\r\n', '', 'Connection: close\r\n', 'Connection: keep-alive\r\n']) yield ok(fields, 'abc', line)
  const sizes = [
    '3;a=b;c\r\nabc\r\n0;last\r\n\r\n',
    '000000000003\r\nabc\r\n000\r\n\r\n',
    '3\r\n0\r\n\r\n0\r\n\r\n',
    '0\r\nX: y\r\nX_Y:\t\xe9\r\n\r\n',
  ]
    .concat(['0\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n', `${'1\r\na\r\n'.repeat(500)}0\r\n\r\n`])
    .concat([`10000\r\n${'z'.repeat(65_536)}\r\n0\r\n\r\n`])
  for (const body of sizes)
    for (const fields of ['', 'Connection: Transfer-Encoding\r\n', 'Trailer: X\r\n', 'Content-Encoding: chunked\r\n'])
      yield ok(`${fields}Transfer-Encoding: Chunked \r\n`, body)
  for (const length of ['03', '000000000000003', ' 3 ']) yield ok(`Content-Length:${length}\r\n`, 'abc')
  for (const field of [
    'Server: caf\xe9',
    'Set-Cookie: a\r\nset-cookie: b',
    'Date: junk',
    'Location: \\',
    'Upgrade: h2c',
    'X:',
    `X: ${'v'.repeat(60_000)}`,
  ])
    yield ok(`${field}\r\nContent-Length: 3\r\n`, 'abc')
  for (const byte of held(valueBytes.answer)) yield ok(`X: ${byte}a\r\nX: a${byte}b\r\nContent-Length: 3\r\n`, 'abc')
  yield ok('Content-Length: 300000\r\n', 'z'.repeat(300_000))
  yield ok('', 'z'.repeat(300_000))
}
