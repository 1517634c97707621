// Raw bytes against the reader of heads: what two readers could take for two things is refused.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { findHeadEnd, type RequestMessage, type ResponseMessage, readRequestHead, readResponseHead } from './read-head.ts'

function request(text: string): RequestMessage {
  const buffer = Buffer.from(text, 'latin1')
  const end = findHeadEnd(buffer, 0)
  assert.ok(end > 0, 'a head ends')
  return readRequestHead(buffer, 0, end)
}

function answer(text: string, method = 'GET'): ResponseMessage {
  const buffer = Buffer.from(text, 'latin1')
  const end = findHeadEnd(buffer, 0)
  assert.ok(end > 0, 'a head ends')
  return readResponseHead(buffer, 0, end, method)
}

function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error))
    return error.code
  }
  return 'accepted'
}

const get = (fields: string, line = 'GET / HTTP/1.1'): string => `${line}\r\n${fields}\r\n`
const host = 'Host: a.test\r\n'
const malformed = 'http.malformed'

const refused: readonly (readonly [name: string, text: string, code?: string])[] = [
  // The request line.
  ['leading CRLF', `\r\n${get(host)}`],
  ['leading LF', `\n${get(host)}`],
  ['leading blank', ` ${get(host)}`],
  ['two spaces before the target', get(host, 'GET  / HTTP/1.1')],
  ['two spaces before the version', get(host, 'GET /  HTTP/1.1')],
  ['a space at the end of the line', get(host, 'GET / HTTP/1.1 ')],
  ['a tab between', get(host, 'GET\t/ HTTP/1.1')],
  ['a space in the target', get(host, 'GET /a b HTTP/1.1')],
  ['a fragment', get(host, 'GET /a#b HTTP/1.1')],
  ['a quote in the target', get(host, 'GET /a"b HTTP/1.1')],
  ['a backslash in the target', get(host, 'GET /a\\b HTTP/1.1')],
  ['a brace in the target', get(host, 'GET /{a} HTTP/1.1')],
  ['a pipe in the target', get(host, 'GET /a|b HTTP/1.1')],
  ['NUL in the target', get(host, 'GET /a\0b HTTP/1.1')],
  ['DEL in the target', get(host, 'GET /a\x7fb HTTP/1.1')],
  ['a control in the target', get(host, 'GET /a\x01b HTTP/1.1')],
  ['a byte over ASCII in the target', get(host, 'GET /\xe9 HTTP/1.1')],
  ['CR in the target', get(host, 'GET /a\rb HTTP/1.1')],
  ['a percent sign alone in the path', get(host, 'GET /100% HTTP/1.1')],
  ['a percent sign before what is not hex', get(host, 'GET /%2g?a HTTP/1.1')],
  ['NUL encoded in the path', get(host, 'GET /a%00b HTTP/1.1')],
  ['no target', get(host, 'GET HTTP/1.1')],
  ['no method', get(host, ' / HTTP/1.1')],
  ['a target that is no path', get(host, 'GET a HTTP/1.1')],
  ['asterisk form', get(host, 'OPTIONS * HTTP/1.1')],
  ['another scheme', get(host, 'GET ftp://a.test/ HTTP/1.1')],
  ['a scheme without slashes', get(host, 'GET http:/a.test HTTP/1.1')],
  ['a path for CONNECT', get(host, 'CONNECT /a HTTP/1.1')],
  ['userinfo in CONNECT', get(host, 'CONNECT u@a.test:443 HTTP/1.1')],
  ['a query in CONNECT', get(host, 'CONNECT a.test:443?b HTTP/1.1')],
  ['a target too long', get(host, `GET /${'a'.repeat(limits.targetBytesMax)} HTTP/1.1`), 'http.target_too_long'],
  ['HTTP/0.9', 'GET /\r\n\r\n'],
  ['HTTP/1.0', get(host, 'GET / HTTP/1.0'), 'http.version'],
  ['HTTP/1.2', get(host, 'GET / HTTP/1.2'), 'http.version'],
  ['HTTP/2.0', get(host, 'GET / HTTP/2.0'), 'http.version'],
  ['HTTP/01.1', get(host, 'GET / HTTP/01.1')],
  ['HTTP/1.1 in lower case', get(host, 'GET / http/1.1')],
  ['HTTP/1,1', get(host, 'GET / HTTP/1,1')],
  ['another protocol', get(host, 'GET / RTSP/1.0')],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\n', 'http.method_unknown'],
  ['TRACE', get(host, 'TRACE / HTTP/1.1'), 'http.method_unknown'],
  ['TRACK', get(host, 'TRACK / HTTP/1.1'), 'http.method_unknown'],
  ['a method in lower case', get(host, 'get / HTTP/1.1'), 'http.method_unknown'],
  ['an unknown method', get(host, 'FROB / HTTP/1.1'), 'http.method_unknown'],
  ['a prefix of a method', get(host, 'GE / HTTP/1.1'), 'http.method_unknown'],
  ['a method with a colon', get(host, 'GET: / HTTP/1.1')],
  ['a TLS hello', '\x16\x03\x01\x02\x00\x01\r\n\r\n'],
  // Lines.
  ['bare LF after the request line', `GET / HTTP/1.1\n${host}\r\n`],
  ['bare LF after a field', 'GET / HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n'],
  ['bare LF as the end', 'GET / HTTP/1.1\r\nHost: a.test\r\n\n'],
  ['LFs only', 'GET / HTTP/1.1\nHost: a.test\n\n'],
  ['LF CR LF as the end', 'GET / HTTP/1.1\r\nHost: a.test\n\r\n'],
  ['bare CR in a value', get(`${host}X: a\rb\r\n`)],
  ['bare CR before a smuggled field', get(`${host}X: a\rContent-Length: 5\r\n`)],
  ['CR CR LF', get(`${host}X: a\r\r\n`)],
  ['obs-fold by a space', get(`${host}X: a\r\n b\r\n`)],
  ['obs-fold by a tab', get(`${host}X: a\r\n\tb\r\n`)],
  ['obs-fold of the first line', get(` X: a\r\n${host}`)],
  ['obs-fold of Transfer-Encoding', get(`${host}Transfer-Encoding:\r\n chunked\r\n`)],
  ['a space before the colon', get(`${host}X : a\r\n`)],
  ['a tab before the colon', get(`${host}X\t: a\r\n`)],
  ['a space before the colon of Content-Length', get(`${host}Content-Length : 5\r\n`)],
  ['no name', get(`${host}: a\r\n`)],
  ['no colon', get(`${host}X\r\n`)],
  ['a name with a space', get(`${host}X Y: a\r\n`)],
  ['a name in parentheses', get(`${host}X(a): a\r\n`)],
  ['a name with NUL', get(`${host}X\0: a\r\n`)],
  ['a name over ASCII', get(`${host}X\xe9: a\r\n`)],
  ['NUL in a value', get(`${host}X: a\0b\r\n`)],
  ['a control in a value', get(`${host}X: a\x08b\r\n`)],
  ['vertical tab around a value', get(`${host}Transfer-Encoding: \x0bchunked\r\n`)],
  ['DEL in a value', get(`${host}X: \x7f\r\n`)],
  ['a byte over ASCII in a value', get(`${host}X: \xe9\r\n`)],
  ['129 fields', get(host + 'X: a\r\n'.repeat(128)), 'http.head_too_large'],
  // Host.
  ['no Host', get('X: a\r\n')],
  ['no field at all', 'GET / HTTP/1.1\r\n\r\n'],
  ['Host twice', get('Host: a.test\r\nHost: b.test\r\n')],
  ['Host twice, the same', get(host + host)],
  ['Host twice, in two cases', get('Host: a.test\r\nhOST: a.test\r\n')],
  ['Host empty', get('Host:\r\n')],
  ['Host as a list', get('Host: a.test, b.test\r\n')],
  ['userinfo in Host', get('Host: u@a.test\r\n')],
  ['a path in Host', get('Host: a.test/b\r\n')],
  ['a fragment in Host', get('Host: x/#@y\r\n')],
  ['a scheme in Host', get('Host: http://a.test\r\n')],
  ['a port that is none', get('Host: a.test:https\r\n')],
  ['an empty port', get('Host: a.test:\r\n')],
  ['two ports', get('Host: a.test:1:2\r\n')],
  ['a port too long', get('Host: a.test:123456\r\n')],
  ['a percent sign in Host', get('Host: a%2etest\r\n')],
  ['a blank in Host', get('Host: a.test b\r\n')],
  ['a tab before Host', get('Host:\ta.test\r\n')],
  ['a tab behind Host', get('Host: a.test\t\r\n')],
  ['brackets in Host that are no address', get('Host: [a.test]\r\n')],
  // Framing.
  ['CL and TE', get(`${host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n`)],
  ['TE and CL', get(`${host}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n`)],
  ['CL twice', get(`${host}Content-Length: 5\r\nContent-Length: 6\r\n`)],
  ['CL twice, the same', get(`${host}Content-Length: 5\r\nContent-Length: 5\r\n`)],
  ['CL as a list', get(`${host}Content-Length: 5, 5\r\n`)],
  ['CL with a sign', get(`${host}Content-Length: +5\r\n`)],
  ['CL below zero', get(`${host}Content-Length: -5\r\n`)],
  ['CL in hex', get(`${host}Content-Length: 0x5\r\n`)],
  ['CL with an exponent', get(`${host}Content-Length: 1e3\r\n`)],
  ['CL with a fraction', get(`${host}Content-Length: 5.0\r\n`)],
  ['CL with a blank inside', get(`${host}Content-Length: 5 0\r\n`)],
  ['CL empty', get(`${host}Content-Length:\r\n`)],
  ['CL too large', get(`${host}Content-Length: 9999999999999999\r\n`)],
  ['CL over 64 bits', get(`${host}Content-Length: 18446744073709551621\r\n`)],
  ['CL with an underscore', get(`${host}Content_Length: 5\r\n`)],
  ['CL both ways', get(`${host}Content-Length: 5\r\nContent_Length: 6\r\n`)],
  ['TE with an underscore', get(`${host}Transfer_Encoding: chunked\r\n`)],
  ['TE twice', get(`${host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n`)],
  ['TE twice, the second identity', get(`${host}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n`)],
  ['TE gzip, chunked', get(`${host}Transfer-Encoding: gzip, chunked\r\n`)],
  ['TE chunked, chunked', get(`${host}Transfer-Encoding: chunked, chunked\r\n`)],
  ['TE chunked, identity', get(`${host}Transfer-Encoding: chunked, identity\r\n`)],
  ['TE identity', get(`${host}Transfer-Encoding: identity\r\n`)],
  ['TE xchunked', get(`${host}Transfer-Encoding: xchunked\r\n`)],
  ['TE with a parameter', get(`${host}Transfer-Encoding: chunked;q=1\r\n`)],
  ['TE in quotes', get(`${host}Transfer-Encoding: "chunked"\r\n`)],
  ['TE with an empty element', get(`${host}Transfer-Encoding: ,chunked\r\n`)],
  ['TE with a tab behind it', get(`${host}Transfer-Encoding: chunked\t\r\n`)],
  ['TE with a tab before it', get(`${host}Transfer-Encoding:\tchunked\r\n`)],
  ['CL with a tab', get(`${host}Content-Length: 5\t\r\n`)],
  ['TE empty', get(`${host}Transfer-Encoding:\r\n`)],
  ['CONNECT with a length', get(`${host}Content-Length: 5\r\n`, 'CONNECT a.test:443 HTTP/1.1')],
  ['CONNECT with chunks', get(`${host}Transfer-Encoding: chunked\r\n`, 'CONNECT a.test:443 HTTP/1.1')],
  // Connection and Expect.
  ['Connection: content-length', get(`${host}Connection: content-length\r\nContent-Length: 5\r\n`)],
  ['Connection: close, Host', get(`${host}Connection: close, Host\r\n`)],
  ['Connection: authorization', get(`${host}Connection: Authorization\r\n`)],
  ['Connection: x_api_key', get(`${host}Connection: x_api_key\r\n`)],
  ['Connection: cookie', get(`${host}Connection: Cookie\r\n`)],
  ['Connection that is no list of names', get(`${host}Connection: a b\r\n`)],
  ['Connection with too many names', get(`${host}Connection: ${'a,'.repeat(40)}b\r\n`)],
  ['another expectation', get(`${host}Expect: 200-maybe\r\n`)],
  ['an expectation twice', get(`${host}Expect: 100-continue\r\nExpect: 100-continue\r\n`)],
  ['an expectation behind ours', get(`${host}Expect: 100-continue, x\r\n`)],
]

test('requests that are refused', async (t) => {
  for (const [name, text, code] of refused)
    await t.test(name, () =>
      assert.equal(
        codeOf(() => request(text)),
        code ?? malformed,
      ),
    )
})

test('a request is read', () => {
  const head = request(
    'POST /v1/x?y=%20z HTTP/1.1\r\nhost:  a.test:8443 \r\nX_Api_Key:\tk\t\r\nX-Empty:\r\nAccept: a\r\naccept: b\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n\r\nGET / smuggled',
  )
  assert.equal(head.method, 'POST')
  assert.equal(head.target, '/v1/x?y=%20z')
  assert.equal(head.kind, 'origin')
  assert.equal(head.host, 'a.test:8443')
  assert.deepEqual(head.framing, { kind: 'length', length: 12 })
  assert.equal(head.keepAlive, true)
  assert.equal(head.expectContinue, true)
  assert.equal(head.upgrade, false)
  assert.equal(head.get('x-api-key'), 'k')
  assert.equal(head.get('x_api_key'), undefined)
  assert.equal(head.get('x-empty'), '')
  assert.equal(head.get('accept'), 'a, b')
  assert.equal(head.get('nothing'), undefined)
  const seen: string[] = []
  head.each((name, value) => seen.push(`${name}=${value}`))
  assert.deepEqual(seen.slice(0, 4), ['host=a.test:8443', 'x-api-key=k', 'x-empty=', 'accept=a'])
})

test('forms of a target, and what the connection says', () => {
  assert.equal(request(get(host, 'GET http://a.test/x HTTP/1.1')).kind, 'absolute')
  assert.equal(request(get(host, 'GET /%7e?q=100% HTTP/1.1')).target, '/%7e?q=100%')
  assert.equal(request(get('Host: a.test:443\r\n', 'CONNECT a.test:443 HTTP/1.1')).kind, 'authority')
  assert.equal(request(get('Host: [::1]:443\r\n', 'CONNECT [::1]:443 HTTP/1.1')).host, '[::1]:443')
  assert.equal(request(get(`${host}Connection: Close\r\n`)).keepAlive, false)
  assert.equal(request(get(`${host}Proxy-Connection: close\r\nConnection: keep-alive\r\n`)).keepAlive, false)
  const named = request(get(`${host}Connection: keep-alive, X_One\r\nConnection: x-two,\r\n`))
  assert.equal(named.keepAlive, true)
  assert.deepEqual(named.connectionNames, ['x-one', 'x-two'])
  assert.equal(request(get(`${host}Connection: Upgrade\r\nUpgrade: websocket\r\n`)).upgrade, true)
  assert.deepEqual(request(get(`${host}Transfer-Encoding: Chunked\r\n`)).framing, { kind: 'chunked' })
  assert.deepEqual(request(get(host)).framing, { kind: 'none' })
  assert.equal(request(get(host + 'X: a\r\n'.repeat(127))).names.length, 128)
})

test('a head may lie anywhere in its buffer, and what follows is not looked at', () => {
  const before = 'garbage\r\n\r\n'
  const text = get(`${host}X: y\r\n`)
  const buffer = Buffer.from(`${before}${text}\nX_: \0`, 'latin1')
  const end = findHeadEnd(buffer, before.length)
  assert.equal(end, before.length + text.length)
  assert.equal(readRequestHead(buffer, before.length, end).get('x'), 'y')
})

test('the end of a head: CRLFCRLF, or the first LF that no reader may take for a line', () => {
  assert.equal(findHeadEnd(Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r'), 0), -1)
  assert.equal(findHeadEnd(Buffer.from('GET / HTTP/1.1\nHo'), 0), 15)
  assert.equal(findHeadEnd(Buffer.from('\n'), 0), 1)
  assert.equal(findHeadEnd(Buffer.from(''), 0), -1)
})

test('no prefix of a head, ended early, passes', () => {
  const text = get(`${host}X: y\r\nContent-Length: 15\r\n`)
  for (let end = 0; end < text.length; end++) assert.throws(() => readRequestHead(Buffer.from(text), 0, end), Refusal, `ended at ${end}`)
})

test('names of strangers do not make one name another', () => {
  for (let round = 0; round < 3_000; round++) {
    const name = `x-${(round * 7919).toString(36)}`
    assert.equal(request(get(`${host}${name}: ${round}\r\n`)).get(name), String(round))
  }
  // The same hash, by design.
  assert.equal(request(get(`${host}x-ar+-key: a\r\n`)).get('x-api-key'), undefined)
  assert.equal(request(get(`${host}x-ar+-key: a\r\n`)).get('x-ar+-key'), 'a')
  assert.equal(request(get(`${host}${'N'.repeat(200)}: a\r\n`)).get('n'.repeat(200)), 'a')
})

const bad = 'forward.bad_answer'
const ok = (fields: string, line = 'HTTP/1.1 200 OK'): string => `${line}\r\n${fields}\r\n`

const badAnswers: readonly (readonly [name: string, text: string, method?: string])[] = [
  ['status 600', ok('', 'HTTP/1.1 600 X')],
  ['status 099', ok('', 'HTTP/1.1 099 X')],
  ['status of two digits', ok('', 'HTTP/1.1 20 X')],
  ['status of four digits', ok('', 'HTTP/1.1 2000 X')],
  ['no status', ok('', 'HTTP/1.1 OK')],
  ['two spaces', ok('', 'HTTP/1.1  200 OK')],
  ['HTTP/2', ok('', 'HTTP/2 200 OK')],
  ['HTTP/0.9', '<html>\r\n\r\n'],
  ['ICY', ok('', 'ICY 200 OK')],
  ['a leading CRLF', `\r\n${ok('')}`],
  ['bare CR in the reason', ok('', 'HTTP/1.1 200 O\rK')],
  ['NUL in the reason', ok('', 'HTTP/1.1 200 O\0K')],
  ['bare LF', 'HTTP/1.1 200 OK\nX: a\r\n\r\n'],
  ['LFs only', 'HTTP/1.1 200 OK\nX: a\n\n'],
  ['obs-fold', ok('X: a\r\n b\r\n')],
  ['a space before the colon', ok('X : a\r\n')],
  ['NUL in a value', ok('X: a\0\r\n')],
  ['bare CR in a value', ok('X: a\rSet-Cookie: b\r\n')],
  ['no name', ok(': a\r\n')],
  ['129 fields', ok('X: a\r\n'.repeat(129))],
  ['CL and TE', ok('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n')],
  ['CL twice', ok('Content-Length: 5\r\nContent-Length: 5\r\n')],
  ['CL as a list', ok('Content-Length: 5, 5\r\n')],
  ['CL that is no number', ok('Content-Length: five\r\n')],
  ['CL with an underscore', ok('Content_Length: 5\r\n')],
  ['TE twice', ok('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n')],
  ['TE gzip, chunked', ok('Transfer-Encoding: gzip, chunked\r\n')],
  ['TE with a tab', ok('Transfer-Encoding: chunked\t\r\n')],
  ['TE identity', ok('Transfer-Encoding: identity\r\n')],
  ['TE in HTTP/1.0', ok('Transfer-Encoding: chunked\r\n', 'HTTP/1.0 200 OK')],
  ['204 with a length', ok('Content-Length: 5\r\n', 'HTTP/1.1 204 No Content')],
  ['204 with chunks', ok('Transfer-Encoding: chunked\r\n', 'HTTP/1.1 204 No Content')],
  ['100 with a length', ok('Content-Length: 5\r\n', 'HTTP/1.1 100 Continue')],
  ['HEAD with CL twice', ok('Content-Length: 5\r\nContent-Length: 6\r\n'), 'HEAD'],
  ['Connection: content-length', ok('Connection: content-length\r\nContent-Length: 5\r\n')],
  ['Connection: set-cookie', ok('Connection: Set-Cookie\r\n')],
]

test('answers that are refused', async (t) => {
  for (const [name, text, method] of badAnswers)
    await t.test(name, () =>
      assert.equal(
        codeOf(() => answer(text, method)),
        bad,
      ),
    )
})

test('how an answer is framed (RFC 9112 §6.3)', () => {
  const framing = (text: string, method?: string): string => {
    const { framing, keepAlive } = answer(text, method)
    return `${framing.kind}${framing.kind === 'length' ? ` ${framing.length}` : ''}${keepAlive ? '' : ', close'}`
  }
  assert.equal(framing(ok('Content-Length: 5\r\n')), 'length 5')
  assert.equal(framing(ok('Transfer-Encoding: chunked\r\n')), 'chunked')
  assert.equal(framing(ok('')), 'until-close, close')
  assert.equal(framing(ok('Content-Length: 5\r\nConnection: close\r\n')), 'length 5, close')
  assert.equal(framing(ok('Content-Length: 5\r\n'), 'HEAD'), 'none')
  assert.equal(framing(ok('Transfer-Encoding: chunked\r\n'), 'HEAD'), 'none')
  assert.equal(framing(ok('')), 'until-close, close')
  assert.equal(framing(ok(''), 'HEAD'), 'none')
  assert.equal(framing(ok('Content-Length: 5\r\n', 'HTTP/1.1 304 Not Modified')), 'none')
  assert.equal(framing(ok('', 'HTTP/1.1 204 No Content')), 'none')
  assert.equal(framing(ok('Content-Length: 0\r\n', 'HTTP/1.1 204 No Content')), 'none')
  assert.equal(framing(ok('', 'HTTP/1.1 103 Early Hints')), 'none')
  assert.equal(framing(ok('Content-Length: 5\r\n', 'HTTP/1.0 200 OK')), 'length 5, close')
  assert.equal(framing(ok('', 'HTTP/1.0 200 OK')), 'until-close, close')
})

test('an answer is read as the real world sends it', () => {
  const head = answer(
    ok('Server: caf\xe9\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: keep-alive, Transfer-Encoding\r\n', 'HTTP/1.1 429 '),
  )
  assert.equal(head.status, 429)
  assert.equal(head.reason, '')
  assert.equal(head.get('server'), 'caf\xe9')
  const cookies: string[] = []
  head.each((name, value) => name === 'set-cookie' && cookies.push(value))
  assert.deepEqual(cookies, ['a=1', 'b=2'])
  assert.equal(answer(ok('', 'HTTP/1.1 200')).reason, '')
  assert.equal(answer(ok('', 'HTTP/1.1 200 Sehr gut\xfc')).reason, 'Sehr gut\xfc')
})
