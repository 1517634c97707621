// What is written: lines that pass go byte for byte, nothing that ends here goes on, nothing ends a field but its writer.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Edits, noEdits, type ResponseHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'
import {
  type Framing,
  findHeadEnd,
  noBody,
  type RequestMessage,
  type ResponseMessage,
  readRequestHead,
  readResponseHead,
} from './read-head.ts'
import { plainResponse, problemDocument, writeRequestHead, writeResponseHead } from './write-head.ts'

const target: Target = {
  scheme: 'https',
  host: 'api.test',
  port: 443,
  method: 'POST',
  path: '/v1/x',
  query: '?a=b',
  service: 'api',
  action: 'call',
  way: 'connect',
}

function request(fields: string, line = 'POST /v1/x?a=b HTTP/1.1'): RequestMessage {
  const buffer = Buffer.from(`${line}\r\n${fields}\r\n`, 'latin1')
  return readRequestHead(buffer, 0, findHeadEnd(buffer, 0))
}

function answer(fields: string, line = 'HTTP/1.1 200 OK', method = 'GET'): ResponseMessage {
  const buffer = Buffer.from(`${line}\r\n${fields}\r\n`, 'latin1')
  return readResponseHead(buffer, 0, findHeadEnd(buffer, 0), method)
}

const edits = (remove: readonly string[], set: readonly (readonly [string, string])[] = [], newTarget: string | null = null): Edits => ({
  remove: new Set(remove),
  set: set.map(([name, value]) => [name, Buffer.from(value, 'latin1')]),
  target: newTarget === null ? null : Buffer.from(newTarget, 'latin1'),
})

const length = (bytes: number): Framing => ({ kind: 'length', length: bytes })
const written = (head: RequestMessage, change: Edits, framing: Framing, to = target): string =>
  writeRequestHead(head, change, to, framing).toString('latin1')

test('a request: Host first, framing last, other lines as they came, the slot emptied and filled', () => {
  const head = request(
    'hOST: API.test\r\nX-Odd :'.replace(' :', ':') +
      '  b \r\nAuthorization: placeholder\r\nX_Api_Key: own\r\nCONTENT-LENGTH: 3\r\nAccept:*/*\r\nauthorization: again\r\n',
  )
  assert.equal(
    written(head, edits(['authorization', 'x-api-key'], [['Authorization', 'Bearer s']]), length(3)),
    'POST /v1/x?a=b HTTP/1.1\r\nHost: api.test\r\nX-Odd:  b \r\nAccept:*/*\r\nAuthorization: Bearer s\r\nContent-Length: 3\r\n\r\n',
  )
})

test('a request: Host and port come from the Target, never from the agent', () => {
  const head = request('Host: evil.test:1\r\n')
  const hostOf = (change: Partial<Target>): string | undefined =>
    /^Host: (.*)\r$/m.exec(written(head, noEdits, noBody, { ...target, ...change }))?.[1]
  assert.equal(hostOf({}), 'api.test')
  assert.equal(hostOf({ port: 8443 }), 'api.test:8443')
  assert.equal(hostOf({ scheme: 'http', port: 80 }), 'api.test')
  assert.equal(hostOf({ scheme: 'http', port: 443 }), 'api.test:443')
  assert.equal(hostOf({ host: '::1', port: 8443 }), '[::1]:8443')
})

test('a request: what ends with its connection does not go on', () => {
  const head = request(
    'Host: a\r\nConnection: keep-alive, X-Mine, x_other\r\nX_Mine: 1\r\nX-Other: 2\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic a\r\n' +
      'Proxy_Authorization: Basic b\r\nProxy-Connection: keep-alive\r\nProxy-Anything: c\r\nTE: trailers\r\nTrailer: x\r\nTransfer-Encoding: chunked\r\n' +
      'Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nExpect: 100-continue\r\nX-Stays: 3\r\n',
  )
  assert.equal(
    written(head, noEdits, { kind: 'chunked' }),
    'POST /v1/x?a=b HTTP/1.1\r\nHost: api.test\r\nX-Stays: 3\r\nTransfer-Encoding: chunked\r\n\r\n',
  )
})

test('a request: a new target is an origin form or a refusal', () => {
  const head = request('Host: a\r\n')
  assert.match(written(head, edits([], [], '/v1/x?key=abc'), noBody), /^POST \/v1\/x\?key=abc HTTP\/1\.1\r\n/)
  for (const wrong of ['', 'v1', '/a b', '/a\r\nX: y', '/a\0', '/a#b', '/\xe9', 'http://evil.test/'])
    assert.throws(() => written(head, edits([], [], wrong), noBody), { code: 'inject.bad_value' }, JSON.stringify(wrong))
})

test('a value or name that would end its field is refused, and so is a field that is ours', () => {
  const head = request('Host: a\r\n')
  for (const value of ['a\r\nX: y', 'a\nb', 'a\rb', 'a\0b', 'a\x01', 'a\x7f', '\r\n\r\nGET /'])
    assert.throws(() => written(head, edits([], [['X-Key', value]]), noBody), { code: 'inject.bad_value' }, JSON.stringify(value))
  for (const name of [
    '',
    'X Y',
    'X:',
    'X\r\nY',
    'X\xe9',
    'Host',
    'content-length',
    'Content_Length',
    'Transfer-Encoding',
    'Connection',
    'Proxy-X',
  ])
    assert.throws(() => written(head, edits([], [[name, 'a']]), noBody), { code: 'inject.bad_value' }, JSON.stringify(name))
  assert.match(written(head, edits([], [['X-Key', 'a\tb\xe9 ']]), noBody), /\r\nX-Key: a\tb\xe9 \r\n/)
  try {
    written(head, edits([], [['X-Key', 'secret\n']]), noBody)
  } catch (error) {
    assert.ok(!(error as Error).message.includes('secret') && !(error as Refusal).detail.includes('secret'))
  }
})

test('an answer: framing is ours, and so is the connection', () => {
  const head = answer('Content-Length: 5\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nX: y\r\nProxy-Authenticate: Basic\r\nTrailer: z\r\n')
  const out = (framing: Framing, keepAlive: boolean): string => writeResponseHead(head, noEdits, framing, keepAlive).toString('latin1')
  assert.equal(out(length(7), true), 'HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 7\r\n\r\n')
  assert.equal(out({ kind: 'chunked' }, true), 'HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n')
  assert.equal(out({ kind: 'until-close' }, false), 'HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\n')
})

test('an answer without a body keeps the length of what it stands for, where one may stand (RFC 9110 §8.6)', () => {
  const out = (head: ResponseMessage): string => writeResponseHead(head, noEdits, noBody, true).toString('latin1')
  assert.match(out(answer('Content-Length: 5\r\n', 'HTTP/1.1 200 OK', 'HEAD')), /Content-Length: 5\r\n/)
  assert.match(out(answer('Content-Length: 5\r\n', 'HTTP/1.1 304 Not Modified')), /Content-Length: 5\r\n/)
  assert.equal(out(answer('Content-Length: 0\r\n', 'HTTP/1.1 204 No Content')), 'HTTP/1.1 204 No Content\r\n\r\n')
  assert.equal(out(answer('Transfer-Encoding: chunked\r\n', 'HTTP/1.1 200 OK', 'HEAD')), 'HTTP/1.1 200 OK\r\n\r\n')
  assert.equal(out(answer('X: y\r\n', 'HTTP/1.1 103 Early Hints')), 'HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n')
})

test('an answer: what was masked is set anew, but never a field of the connection', () => {
  const head = answer('Set-Cookie: a\r\nConnection: sk-secret\r\nX: sk-secret\r\nx: two\r\n')
  const out = writeResponseHead(
    head,
    edits(
      ['x', 'set-cookie'],
      [
        ['x', '***'],
        ['connection', '***'],
        ['content-length', '9'],
      ],
    ),
    length(0),
    true,
  )
  assert.equal(out.toString('latin1'), 'HTTP/1.1 200 OK\r\nx: ***\r\nContent-Length: 0\r\n\r\n')
})

test('an answer whose head another reader made is held to the same', () => {
  const fields: readonly (readonly [string, string])[] = [
    ['x', 'y'],
    ['content-length', '5'],
    ['connection', 'x'],
    ['set-cookie', 'a'],
  ]
  const head = (reason: string, extra: readonly (readonly [string, string])[] = []): ResponseHead => ({
    status: 200,
    reason,
    get: () => undefined,
    each: (visit) => {
      for (const [name, value] of [...fields, ...extra]) visit(name, value)
    },
  })
  const out = (of: ResponseHead, framing: Framing): string => writeResponseHead(of, edits(['set-cookie']), framing, true).toString('latin1')
  assert.equal(out(head('OK'), length(7)), 'HTTP/1.1 200 OK\r\nx: y\r\nContent-Length: 7\r\n\r\n')
  assert.equal(out(head('OK'), noBody), 'HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 5\r\n\r\n')
  assert.match(out(head('OK\r\nEvil: 1'), length(7)), /^HTTP\/1\.1 200 \r\nx: y\r\n/)
  assert.throws(() => out(head('OK', [['evil', 'a\r\nb: c']]), length(7)), Refusal)
  assert.throws(() => out(head('OK', [['evil: a\r\nb', 'c']]), length(7)), Refusal)
})

test('what is written is read again as the same', () => {
  const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_-]{0,12}$/)
  const value = fc.stringMatching(/^(?:[!-~](?:[ -~]{0,20}[!-~])?)?$/)
  const fields = fc.array(fc.tuple(name, value), { maxLength: 12 })
  const taken = new Set(['host', 'content-length', 'transfer-encoding', 'connection', 'expect'])
  fc.assert(
    fc.property(fields, fields, fc.integer({ min: 0, max: 9 }), (all, set, gap) => {
      const fold = (text: string): string => text.toLowerCase().replaceAll('_', '-')
      const own = all.filter(([key]) => !taken.has(fold(key)))
      const added = set.filter(([key]) => !taken.has(fold(key)) && !isConnections(fold(key)))
      const removed = new Set(added.map(([key]) => fold(key)))
      const head = request(`${own.map(([key, text]) => `${key}:${' '.repeat(gap % 3)}${text}\r\n`).join('')}Host: a\r\n`)
      const bytes = writeRequestHead(
        head,
        { remove: removed, set: added.map(([key, text]) => [key, Buffer.from(text)]), target: null },
        target,
        length(gap),
      )
      assert.equal(findHeadEnd(bytes, 0), bytes.length)
      const again = readRequestHead(bytes, 0, bytes.length)
      const expected = own.map(([key, text]) => [fold(key), text] as const).filter(([key]) => !removed.has(key) && !isConnections(key))
      const seen: (readonly [string, string])[] = []
      again.each((key, text) => seen.push([key, text]))
      assert.deepEqual(seen, [
        ['host', 'api.test'],
        ...expected,
        ...added.map(([key, text]) => [fold(key), text] as const),
        ['content-length', String(gap)],
      ])
      assert.deepEqual([again.method, again.target, again.framing], ['POST', '/v1/x?a=b', length(gap)])
    }),
    { numRuns: 300 },
  )
})

const isConnections = (name: string): boolean => /^(te|trailer|upgrade|keep-alive|http2-settings|proxy-.*)$/.test(name)

test('an answer of our own, and the document of a refusal', () => {
  const body = problemDocument(new Refusal('decide.denied', 'detail for the audit', new Error('cause')), 'id-1')
  const bytes = plainResponse(403, '', [['Content-Type', 'application/problem+json']], body, false)
  const end = findHeadEnd(bytes, 0)
  const head = readResponseHead(bytes, 0, end, 'GET')
  assert.deepEqual([head.status, head.reason, head.keepAlive, head.framing], [403, 'Forbidden', false, length(body.length)])
  assert.deepEqual(JSON.parse(bytes.toString('utf8', end)), {
    type: 'urn:ostiary:refusal:decide.denied',
    title: 'No policy permits this request.',
    status: 403,
    code: 'decide.denied',
    id: 'id-1',
    help: 'ostiary explain decide.denied',
  })
  assert.equal(plainResponse(200, 'Fine', [], Buffer.from('x'), true).toString(), 'HTTP/1.1 200 Fine\r\nContent-Length: 1\r\n\r\nx')
})
