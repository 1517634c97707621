// The forms that requests and answers really have, from end to end, over HTTP/1.1 and HTTP/2: no content, early hints, trailers,
// parts, uploads of several parts, and an upload that goes on at an address of the answer.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { type Heard, standInForGemini, startWire, type Told, type Wire } from './wire.test-kit.ts'

const host = 'generativelanguage.googleapis.com'
const path = '/v1beta/models/gemini-2.5-flash:generateContent'
const own = 'X-Goog-Api-Key: PLACEHOLDER(GEMINI_API_KEY)'

let stage: Stage
let wire: Wire
let server: Server
let answers = ''
/** What the vendor got last, whole. */
let got = ''

before(async () => {
  const now = Date.now()
  stage = await setStage(now)
  const root = createRootAuthority({ commonName: 'Forms', now, years: 1 })
  const leaf = issueLeaf(root, [host], now, 24 * 3_600_000)
  server = createServer({ cert: leaf.certPem, key: leaf.keyPem }, (socket: TLSSocket) => {
    let text = ''
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\r\n\r\n') + 4
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0)
      const chunked = /transfer-encoding: chunked/i.test(text)
      if (end < 4 || (chunked ? !text.endsWith('0\r\n\r\n') : text.length < end + length)) return
      got = text
      text = ''
      socket.write(Buffer.from(answers.replaceAll('KEY', stage.geminiKey), 'latin1'))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  await standInForGemini(stage, server, root.certPem, (text) =>
    text.replace('policies:\n', 'policies:\n  - cedar: permit (principal in Group::"story", action == Action::"state", resource);\n'),
  )
  wire = startWire(stage)
})
after(async () => {
  await wire?.end()
  await stage?.close()
  server?.close()
})

const ways = ['connect', 'connect h2', 'base', 'base h2'] as const
type Way = (typeof ways)[number]

interface Asked {
  readonly method?: string
  readonly path?: string
  readonly fields?: readonly string[]
  readonly body?: string
}

function send(way: Way, { method = 'POST', path: at = path, fields = [], body = '' }: Asked = {}): Promise<Heard> {
  const [via, over] = way.split(' ') as ['connect' | 'base', string | undefined]
  const lines = [
    `${method} ${via === 'base' ? `POINTER/gemini${at}` : at} HTTP/1.1`,
    `Host: ${via === 'base' ? 'BASEHOST' : host}`,
    own,
    ...fields,
    ...(body === '' ? [] : [`Content-Length: ${body.length}`]),
    'Connection: close',
  ]
  const told: Told = { via, host, h2: over === 'h2', raw: `${lines.join('\r\n')}\r\n\r\n${body}` }
  return wire.send(told)
}

const bodyOf = (heard: Heard): string => heard.text.slice(heard.text.indexOf('\r\n\r\n') + 4)

for (const way of ways) {
  test(`${way}: HEAD, 204 and 304 have no content, whatever their fields say`, async () => {
    answers = 'HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX-Echo: KEY\r\n\r\n'
    const heard = await send(way, { method: 'HEAD', path: '/v1beta/models' })
    assert.deepEqual([heard.status, bodyOf(heard), heard.error], [200, '', ''], JSON.stringify(heard))
    assert.match(heard.text, /content-length: 1234/i)
    assert.ok(!heard.text.includes(stage.geminiKey))
    for (const [status, reason] of [
      [204, 'No Content'],
      [304, 'Not Modified'],
    ] as const) {
      answers = `HTTP/1.1 ${status} ${reason}\r\nETag: "a"\r\n\r\n`
      const none = await send(way, { method: 'GET', path: '/v1beta/models' })
      assert.deepEqual([none.status, bodyOf(none), none.error], [status, '', ''], JSON.stringify(none))
      assert.match(none.text, /etag: "a"/i)
    }
  })

  test(`${way}: early hints end here, and what they echo with them`, async () => {
    answers = 'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nX-Echo: KEY\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'
    const heard = await send(way)
    assert.deepEqual([heard.status, bodyOf(heard)], [200, 'hi'], JSON.stringify(heard))
    assert.doesNotMatch(heard.text, /103|preload|x-echo/i)
  })

  test(`${way}: trailers of an answer arrive, searched like all else`, async () => {
    answers = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\nx-echo: KEY\r\n\r\n'
    const heard = await send(way, { fields: ['TE: trailers'] })
    assert.equal(heard.status, 200, JSON.stringify(heard))
    assert.match(heard.text, /x-sum: 7/i)
    assert.match(heard.text, /x-echo: .*\*{8}/i)
    assert.ok(!heard.text.includes(stage.geminiKey))
  })

  test(`${way}: no part of an answer is asked for, so none can hide half a key`, async () => {
    answers = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhave'
    const heard = await send(way, { fields: ['Range: bytes=0-1', 'If-Range: "a"'] })
    assert.deepEqual([heard.status, bodyOf(heard)], [200, 'have'])
    assert.doesNotMatch(got, /range/i)
  })

  test(`${way}: an upload of several parts goes on byte for byte`, async () => {
    answers = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
    const bytes = String.fromCharCode(...Array.from({ length: 256 }, (_, at) => at))
    const body = `--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n${way.endsWith('h2') ? 'text' : bytes.repeat(200)}\r\n--b--\r\n`
    const sent = way.endsWith('h2') ? body.replaceAll('\r\n\r\n', '\r\n') : body
    const heard = await send(way, { path: '/upload/v1beta/files', fields: ['Content-Type: multipart/form-data; boundary=b'], body: sent })
    assert.equal(heard.status, 200, JSON.stringify(heard))
    assert.equal(got.slice(got.indexOf('\r\n\r\n') + 4), sent)
    assert.match(got, /content-type: multipart\/form-data; boundary=b\r\n/i)
  })

  test(`${way}: an upload goes on where the answer says, through Ostiary`, async () => {
    const there = `https://${host}/upload/v1beta/files?upload_id=abc&upload_protocol=resumable`
    answers = `HTTP/1.1 200 OK\r\nX-Goog-Upload-URL: ${there}\r\nContent-Length: 0\r\n\r\n`
    const begun = await send(way, { path: '/upload/v1beta/files', fields: ['X-Goog-Upload-Command: start'] })
    const url = new URL(/x-goog-upload-url: (\S+)/i.exec(begun.text)?.[1] ?? '')
    if (!way.startsWith('base')) return void assert.equal(url.href, there)
    assert.equal(url.protocol, 'http:')
    const environment = await wire.environment()
    const base = environment['OSTIARY_BASE_URL'] as string
    assert.ok(url.href.startsWith(`${base.replace(/\/$/, '')}/gemini/upload/`), `${url} ${base}`)
    answers = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone'
    const rest = `${url.pathname}${url.search}`.slice(new URL(base).pathname.replace(/\/$/, '').length + '/gemini'.length)
    const done = await send(way, { path: rest, fields: ['X-Goog-Upload-Command: upload, finalize'], body: 'bytes' })
    assert.equal(bodyOf(done), 'done', JSON.stringify(done))
    assert.match(got, /^POST \/upload\/v1beta\/files\?upload_id=abc&upload_protocol=resumable HTTP\/1\.1\r\n/)
    assert.ok(got.includes(stage.geminiKey) && got.endsWith('bytes'))
  })
}
