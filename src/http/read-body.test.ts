// Raw bytes against the scanner of bodies, whole and split at every byte: where a body ends is never a matter of opinion.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { BodyReader } from './read-body.ts'
import type { Framing } from './read-head.ts'
import { lastChunk, writePiece, writeWhole } from './write-body.ts'

type Side = 'request' | 'answer'

interface Read {
  readonly content: string
  readonly trailers: readonly (readonly [string, string])[]
  /** Bytes of this body; what follows them is not its. */
  readonly used: number
  readonly done: boolean
  readonly ends: number
  readonly code: string
}

function read(framing: Framing, side: Side, pieces: readonly Buffer[], closed = false): Read {
  let content = ''
  let trailers: readonly (readonly [string, string])[] = []
  let ends = 0
  let used = 0
  let code = ''
  const reader = new BodyReader(framing, side, {
    data(chunk) {
      assert.ok(chunk.length > 0 && ends === 0)
      content += chunk.toString('latin1')
    },
    end(read) {
      trailers = read
      ends++
    },
  })
  try {
    for (const piece of pieces) {
      const end = reader.push(piece, 0)
      used += end
      if (end < piece.length) break
    }
    if (closed) reader.close()
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error))
    code = error.code
  }
  return { content, trailers, used, done: reader.done, ends, code }
}

const chunked: Framing = { kind: 'chunked' }
const split = (bytes: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size))

/** Whole, byte by byte and cut in two at every place: one result. */
function readEveryWay(text: string, side: Side, framing = chunked): Read {
  const bytes = Buffer.from(text, 'latin1')
  const whole = read(framing, side, [bytes])
  const ways = [split(bytes, 1), split(bytes, 3)]
  for (let at = 1; at < bytes.length && at < 200; at++) ways.push([bytes.subarray(0, at), bytes.subarray(at)])
  for (const way of ways) {
    const other = read(framing, side, way)
    // What came before a mistake may have been given out or not; that it is one, and where a body ends, may not differ.
    if (whole.code === '') assert.deepEqual(other, whole)
    else assert.equal(other.code, whole.code)
  }
  return whole
}

const bothRefuse: readonly (readonly [name: string, text: string])[] = [
  ['no size', '\r\n'],
  ['a size that is no number', 'xyz\r\n'],
  ['a size with a sign', '+5\r\nhello\r\n'],
  ['a size below zero', '-5\r\nhello\r\n'],
  ['a size with 0x', '0x5\r\nhello\r\n'],
  ['a blank before the size', ' 5\r\nhello\r\n'],
  ['a blank behind the size', '5 \r\nhello\r\n'],
  ['a tab behind the size', '5\t\r\nhello\r\n'],
  ['a letter behind the size', '5g\r\nhello\r\n'],
  ['an underscore in the size', '5_0\r\n'],
  ['a size too large', `${'f'.repeat(13)}\r\n`],
  ['a size over 64 bits', '10000000000000005\r\nhello\r\n'],
  ['a line too long', `5;${'a'.repeat(limits.chunkLineBytesMax)}`],
  ['bare LF behind the size', '5\nhello\r\n0\r\n\r\n'],
  ['bare CR behind the size', '5\rhello\r\n0\r\n\r\n'],
  ['CR CR LF behind the size', '5\r\r\nhello\r\n0\r\n\r\n'],
  ['bare LF behind the content', '5\r\nhello\n0\r\n\r\n'],
  ['bare CR behind the content', '5\r\nhello\r0\r\n\r\n'],
  ['content longer than its size', '5\r\nhello!\r\n0\r\n\r\n'],
  ['content shorter than its size', '5\r\nhell\r\n0\r\n\r\n'],
  ['bare LF in an extension', '5;a=b\nhello\r\n0\r\n\r\n'],
  ['an empty extension', '5;\r\nhello\r\n0\r\n\r\n'],
  ['an empty extension of the last chunk', '0;\r\n\r\n'],
  ['an extension without a name', '5;=b\r\nhello\r\n0\r\n\r\n'],
  ['an extension without its value', '5;a=\r\nhello\r\n0\r\n\r\n'],
  ['an extension in quotes', '5;a="b"\r\nhello\r\n0\r\n\r\n'],
  ['an extension with a blank', '5; a\r\nhello\r\n0\r\n\r\n'],
  ['NUL in an extension', '5;a\0\r\nhello\r\n0\r\n\r\n'],
  ['bare LF as the end', '0\r\n\n'],
  ['bare LF behind the last size', '0\n\r\n'],
  ['bare LF behind a trailer', '0\r\nx: y\n\r\n'],
  ['bare CR in a trailer', '0\r\nx: y\rz: a\r\n\r\n'],
  ['a trailer with a control', '0\r\nx: \x0by\r\n\r\n'],
  ['a trailer without a colon', '0\r\nx\r\n\r\n'],
  ['a trailer without a name', '0\r\n: y\r\n\r\n'],
  ['a trailer with a blank before the colon', '0\r\nx : y\r\n\r\n'],
  ['a folded trailer', '0\r\nx: y\r\n z\r\n\r\n'],
  ['trailers too large', `0\r\nx: ${'y'.repeat(limits.trailerBytesMax)}\r\n\r\n`],
  ['too many trailers', `0\r\n${'x: y\r\n'.repeat(limits.trailerFieldsMax + 1)}\r\n`],
  ['a request instead of an end', '0\r\nGET / HTTP/1.1\r\n\r\n'],
]

const requestRefuses: readonly (readonly [name: string, text: string])[] = [
  ['an extension', '5;a=b\r\nhello\r\n0\r\n\r\n'],
  ['an extension of the last chunk', '0;a\r\n\r\n'],
  ...['Authorization', 'Host', 'Content-Length', 'content_length', 'Transfer-Encoding', 'Cookie', 'X-Api-Key', 'x_api_key', 'Connection']
    .concat(['X-Goog-Api-Key', 'Proxy-Authorization', 'X-Auth', 'X-Amz-Security-Token', 'TE', 'Content-Encoding'])
    .map((name) => [`a trailer named ${name}`, `0\r\n${name}: a\r\n\r\n`] as const),
  ['a trailer over ASCII', '0\r\nx: \xe9\r\n\r\n'],
]

test('chunks that are refused', async (t) => {
  for (const [name, text] of bothRefuse)
    await t.test(name, () => {
      assert.equal(readEveryWay(text, 'request').code, 'http.malformed')
      assert.equal(readEveryWay(text, 'answer').code, 'forward.bad_answer')
    })
  for (const [name, text] of requestRefuses)
    await t.test(`${name}, of a request`, () => {
      assert.equal(readEveryWay(text, 'request').code, 'http.malformed')
      assert.equal(readEveryWay(text, 'answer').code, '')
    })
})

test('chunks are read, and what follows them is not theirs', () => {
  const text = '5\r\nhello\r\n00001\r\n \r\n0B\r\nwide, world\r\n0\r\n\r\n'
  for (const side of ['request', 'answer'] as const)
    assert.deepEqual(readEveryWay(`${text}GET / HTTP/1.1\r\n\r\n`, side), {
      content: 'hello wide, world',
      trailers: [],
      used: text.length,
      done: true,
      ends: 1,
      code: '',
    })
})

test('trailers: of an answer those that may pass, of a request none', () => {
  const text = '0\r\nX_Sum:  a b\t\r\nServer-Timing: \xe9\r\nx:\r\n\r\n'
  assert.deepEqual(readEveryWay(text, 'answer').trailers, [
    ['x-sum', 'a b'],
    ['server-timing', '\xe9'],
    ['x', ''],
  ])
  const clean = '0\r\nX-Sum: a\r\n\r\n'
  assert.deepEqual([readEveryWay(clean, 'request').trailers, readEveryWay(clean, 'request').ends], [[], 1])
  const framing = '0\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nConnection: x\r\nX: y\r\n\r\n'
  assert.deepEqual(readEveryWay(framing, 'answer').trailers, [['x', 'y']])
  const noBreak = '0\r\nx: \xa0y\xa0\r\n\r\n'
  assert.deepEqual(readEveryWay(noBreak, 'answer').trailers, [['x', '\xa0y\xa0']])
})

test('extensions of an answer are dropped', () => {
  assert.equal(readEveryWay('5;a=b;c;d=e\r\nhello\r\n0;last\r\n\r\n', 'answer').content, 'hello')
})

test('a body by its length', () => {
  const five = readEveryWay('helloGET /', 'request', { kind: 'length', length: 5 })
  assert.deepEqual(five, { content: 'hello', trailers: [], used: 5, done: true, ends: 1, code: '' })
  const none = read({ kind: 'length', length: 0 }, 'request', [Buffer.from('GET /')])
  assert.deepEqual(none, { content: '', trailers: [], used: 0, done: true, ends: 0, code: '' })
  assert.equal(read({ kind: 'none' }, 'answer', [Buffer.from('x')]).used, 0)
})

test('a peer that closes', () => {
  const open = read({ kind: 'until-close' }, 'answer', [Buffer.from('all of '), Buffer.from('it')])
  assert.deepEqual([open.content, open.done, open.ends], ['all of it', false, 0])
  const closed = read({ kind: 'until-close' }, 'answer', [Buffer.from('all')], true)
  assert.deepEqual([closed.content, closed.done, closed.ends], ['all', true, 1])
  assert.deepEqual(read({ kind: 'until-close' }, 'answer', [], true).ends, 1)
  const length: Framing = { kind: 'length', length: 5 }
  assert.equal(read(length, 'request', [Buffer.from('hell')], true).code, 'http.malformed')
  assert.equal(read(length, 'answer', [Buffer.from('hell')], true).code, 'forward.reset')
  assert.equal(read(length, 'answer', [Buffer.from('hello')], true).code, '')
  for (const text of ['', '5', '5\r\n', '5\r\nhello', '5\r\nhello\r\n', '0\r\n', '0\r\nx: y\r\n', '0\r\n\r'])
    assert.equal(read(chunked, 'answer', [Buffer.from(text)], true).code, 'forward.reset', JSON.stringify(text))
})

test('content is given out as views into what was pushed, and a push begins anywhere', () => {
  const bytes = Buffer.from('zz5\r\nhello\r\n0\r\n\r\n')
  const seen: Buffer[] = []
  const reader = new BodyReader(chunked, 'request', { data: (chunk) => seen.push(chunk), end() {} })
  assert.equal(reader.push(bytes, 2), bytes.length)
  assert.equal(seen.length, 1)
  bytes.write('J', 5)
  assert.equal(seen[0]?.toString(), 'Jello')
})

/** What a socket would get. */
function written(write: (to: { write(bytes: Buffer): boolean; cork(): void; uncork(): void }) => void): Buffer {
  const parts: Buffer[] = []
  write({ write: (bytes) => parts.push(Buffer.from(bytes)) > 0, cork() {}, uncork() {} })
  return Buffer.concat(parts)
}

test('what the writer of chunks writes, the reader reads; an empty chunk never ends a body', () => {
  // Some are longer than what leaves in one write.
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.nat(255).map((byte) => new Uint8Array(20_000).fill(byte)),
  )
  const contents = fc.array(content, { maxLength: 6 })
  fc.assert(
    fc.property(contents, fc.integer({ min: 1, max: 20 }), (chunks, size) => {
      const buffers = chunks.map((chunk) => Buffer.from(chunk))
      const bytes = Buffer.concat([...buffers.map((chunk) => written((to) => writePiece(to, chunk, true))), lastChunk([['x-sum', 'a']])])
      const result = read(chunked, 'answer', split(bytes, size))
      assert.equal(result.content, Buffer.concat(buffers).toString('latin1'))
      assert.deepEqual(result.trailers, [['x-sum', 'a']])
      assert.equal(result.used, bytes.length)
    }),
    { numRuns: 300 },
  )
  assert.equal(
    lastChunk([
      ['a', 'b\r\nc: d'],
      ['e f', 'g'],
      ['', 'h'],
      ['i', 'j'],
    ]).toString(),
    '0\r\ni: j\r\n\r\n',
  )
})

test('however noise is split, the result is one', () => {
  const piece = fc.constantFrom(
    '0',
    '1',
    '5',
    'a',
    '\r',
    '\n',
    '\r\n',
    ';',
    ' ',
    ':',
    'x: y\r\n',
    'hello',
    '5\r\nhello\r\n',
    '0\r\n\r\n',
    '\0',
    '\xff',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.constantFrom('request', 'answer'), (pieces, side) => {
      readEveryWay(pieces.join(''), side as Side)
    }),
    { numRuns: 500 },
  )
})

test('a piece without chunks, and head and body that are both there, are written as they are', () => {
  for (const size of [0, 1, 16_384, 16_385]) {
    const body = Buffer.alloc(size, 'x')
    assert.equal(written((to) => writePiece(to, body, false)).length, size)
    assert.equal(written((to) => writeWhole(to, Buffer.from('head'), body)).toString(), `head${body}`)
  }
})
