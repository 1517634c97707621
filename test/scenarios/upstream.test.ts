// A vendor that misbehaves: scripted, behind TLS, under the name of a configured service.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { findSecret } from '../../examples/story/attacks.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { standInForGemini, startWire, type Told, type Wire } from './wire.test-kit.ts'

const gemini = 'generativelanguage.googleapis.com'
const path = '/v1beta/models/gemini-2.5-flash:generateContent'
const body = '{"contents":[]}'
type Act = (socket: TLSSocket, request: Buffer) => void

let stage: Stage
let wire: Wire
let server: Server
let act: Act = () => {}
let calls = 0
/** The TCP connection under the newest call: only it can be reset. */
let under: Socket | null = null
let contexts: { good: { cert: string; key: string }; wrong: { cert: string; key: string } }

before(async () => {
  const now = Date.now()
  stage = await setStage(now)
  const root = createRootAuthority({ commonName: 'Scripted vendor', now, years: 1 })
  const make = (host: string) => {
    const leaf = issueLeaf(root, [host], now, 24 * 3_600_000)
    return { cert: leaf.certPem, key: leaf.keyPem }
  }
  contexts = { good: make(gemini), wrong: make('evil.example') }
  server = createServer(contexts.good, (socket) => {
    let request: Buffer = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      const first = !request.includes('\r\n\r\n')
      request = Buffer.concat([request, chunk])
      if (first && request.includes('\r\n\r\n')) calls++
      if (request.includes('\r\n\r\n')) act(socket, request)
    })
  })
  server.on('connection', (socket: Socket) => {
    under = socket
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  await standInForGemini(stage, server, root.certPem)
  wire = startWire(stage)
})
after(async () => {
  await wire?.end()
  await stage?.close()
  server?.close()
})

const head = (...lines: readonly string[]): string => `${lines.join('\r\n')}\r\n\r\n`
const request = (more: readonly string[] = [], sent = body): string =>
  head(
    `POST ${path} HTTP/1.1`,
    `Host: ${gemini}`,
    'X-Goog-Api-Key: PLACEHOLDER(GEMINI_API_KEY)',
    'Content-Type: application/json',
    'Connection: close',
    `Content-Length: ${sent.length}`,
    ...more,
  ) + sent
const ask = (more: Partial<Told> = {}) => wire.send({ via: 'connect', host: gemini, raw: request(), ...more })
const whole = (bytes: Buffer, sent = body): boolean => bytes.includes(`\r\n\r\n${sent}`)
/** Answers once the whole request is there. */
const answers =
  (raw: string, then: (socket: TLSSocket) => void = (socket) => socket.end()): Act =>
  (socket, bytes) => {
    if (whole(bytes)) socket.write(Buffer.from(raw, 'latin1'), () => then(socket))
  }
const keyOf = (bytes: Buffer): string => /x-goog-api-key: (.*)\r/i.exec(bytes.toString('latin1'))?.[1] ?? 'none'

/** How the log has the newest call, once it is over. */
async function lastRecord(): Promise<readonly unknown[]> {
  for (let tries = 0; ; tries++) {
    const lines = (await stage.cli(['audit', 'export', '--json'])).out.trim().split('\n')
    const { outcome, decision, status, code, bytesOut, ended } = lines
      .map((line) => JSON.parse(line))
      .findLast((one) => one.kind === 'call')
    if (outcome !== 'unknown' || tries >= 20) return [outcome, decision, status, code, bytesOut, ended]
  }
}

test('the scripted vendor is reached, with the key and without the placeholder', async () => {
  let got = ''
  act = (socket, bytes) => {
    got = bytes.toString('latin1')
    if (whole(bytes)) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')
  }
  const heard = await ask()
  assert.equal(heard.status, 200, JSON.stringify(heard))
  assert.ok(got.includes(stage.geminiKey) && !got.includes('Ost1ary'))
})

for (const [name, script, statuses] of [
  ['resets before it answers', (() => under?.resetAndDestroy()) as Act, [502]],
  ['closes before it answers', ((socket) => socket.end()) as Act, [502]],
  ['answers something that is not HTTP', answers('SSH-2.0-evil\r\n'), [502]],
  ['answers with length and chunks', answers('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'), [502]],
  ['answers with two lengths', answers('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc'), [502]],
  ['splits a head', answers('HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: x=1\r\nContent-Length: 0\r\n\r\n'), [502]],
] as const) {
  test(`a vendor that ${name}: a refusal, called once`, async () => {
    const before = calls
    act = script
    const heard = await ask()
    assert.ok((statuses as readonly number[]).includes(heard.status), JSON.stringify(heard))
    assert.match(heard.code ?? '', /^forward\./)
    assert.equal(calls, before + 1, 'the proxy repeats nothing')
  })
}

test('a vendor that lies about its length never looks complete, and more than the length is not passed', async () => {
  act = answers('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort')
  const short = await ask()
  assert.ok(short.status === 502 || !/\r\n\r\n[\s\S]{100}/.test(short.text), JSON.stringify(short))
  assert.ok(!short.text.endsWith('0\r\n\r\n'), 'a broken body must not end as a whole one')
  assert.deepEqual(await lastRecord(), ['answered', 'permit', 200, null, 5, 'the host broke off: the body is cut short'])
  act = answers('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nX-Evil: 1\r\n\r\n')
  const long = await ask()
  assert.ok(!long.text.includes('X-Evil'), long.text)
})

test('a wrong certificate: refused, and the vendor gets no byte', async () => {
  const before = calls
  server.setSecureContext(contexts.wrong)
  const other = await (async () => {
    // A pooled connection would still be the right one; each scripted answer above closed its own.
    act = answers('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    return ask()
  })()
  server.setSecureContext(contexts.good)
  assert.equal(other.code, 'forward.certificate', JSON.stringify(other))
  assert.equal(calls, before)
})

test('a vendor that switches to what was not asked for: refused, and what it says behind it goes nowhere', async () => {
  const live = '/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent'
  const lines = [`GET ${live} HTTP/1.1`, `Host: ${gemini}`, 'X-Goog-Api-Key: PLACEHOLDER(GEMINI_API_KEY)', 'Sec-WebSocket-Version: 13']
  const upgrade = head(...lines, 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==')
  const switches = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n'
  const right = 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n'
  for (const [answer, raw] of [
    [`${switches}Upgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n`, upgrade],
    [`${switches}Upgrade: h2c\r\n${right}`, upgrade],
    [`${switches}Upgrade: websocket\r\n${right}Sec-WebSocket-Extensions: permessage-deflate\r\n`, upgrade],
    [`${switches}Upgrade: websocket\r\n${right}`, request()],
  ] as const) {
    act = (socket, bytes) => {
      if (bytes.includes('\r\n\r\n')) socket.write(`${answer}\r\n\x81\x04evil`)
    }
    const heard = await ask({ raw })
    assert.deepEqual([heard.status, heard.code], [502, 'forward.bad_answer'], JSON.stringify(heard))
    assert.ok(!heard.text.includes('evil'))
  }
  act = (socket, bytes) => {
    if (bytes.includes('\r\n\r\n')) socket.write(Buffer.from(`${switches}Upgrade: websocket\r\n${right}\r\n\x81\x04good`, 'latin1'))
  }
  // A frame that is not masked: the agent is told so and let go.
  const heard = await ask({ raw: upgrade, later: { until: 'good', raw: '\x81\x02hi' }, waitMs: 3_000 })
  assert.match(heard.text, /^HTTP\/1\.1 101 [\s\S]*good[\s\S]*\x88.\x03\xea/)
})

test('a redirect is passed and not followed', async () => {
  const before = calls
  act = answers('HTTP/1.1 307 Temporary Redirect\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n')
  const heard = await ask()
  assert.equal(heard.status, 307)
  assert.match(heard.text, /location: https:\/\/evil\.example/i)
  assert.equal(calls, before + 1)
})

test('a 401 is passed, the call not repeated; the next one works', async () => {
  const before = calls
  act = answers('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n')
  assert.equal((await ask()).status, 401)
  assert.equal(calls, before + 1)
  act = answers('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  assert.equal((await ask()).status, 200)
  assert.equal(calls, before + 2)
})

for (const [name, script] of [
  ['a header', (key: string) => [`HTTP/1.1 200 OK\r\nX-Debug: ${key}\r\nContent-Length: 2\r\n\r\nhi`]],
  ['the reason phrase', (key: string) => [`HTTP/1.1 200 ${key}\r\nContent-Length: 2\r\n\r\nhi`]],
  ['the name of a header', (key: string) => [`HTTP/1.1 200 OK\r\n${key}: 1\r\nContent-Length: 2\r\n\r\nhi`]],
  ['a trailer', (key: string) => [`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Debug: ${key}\r\n\r\n`]],
  ['a chunk extension', (key: string) => [`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=${key}\r\nhi\r\n0\r\n\r\n`]],
  [
    'an interim answer',
    (key: string) => [`HTTP/1.1 103 Early Hints\r\nLink: ${key}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi`],
  ],
  ['a body, byte by byte', (key: string) => [`HTTP/1.1 200 OK\r\nContent-Length: ${key.length + 4}\r\n\r\n`, ...`a ${key} z`.split('')]],
  [
    'a body in base64',
    (key: string) => {
      const text = Buffer.from(`x-goog-api-key: ${key}`).toString('base64')
      return [`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`]
    },
  ],
] as const) {
  test(`the key, echoed in ${name}, does not reach the agent`, async () => {
    let sent = false
    act = (socket, bytes) => {
      if (!whole(bytes) || sent) return
      sent = true
      socket.setNoDelay(true)
      const parts = script(keyOf(bytes))
      const next = (at: number): void => {
        if (at === parts.length) return void socket.end()
        socket.write(parts[at] as string, 'latin1', () => setImmediate(next, at + 1))
      }
      next(0)
    }
    const heard = await ask()
    assert.ok(heard.status === 200 || heard.status === 502, JSON.stringify(heard))
    assert.equal(findSecret(heard.text.toString(), [stage.geminiKey]), null)
    assert.ok(sent)
  })
}

test('10 MB each way, byte for byte', async () => {
  const up = randomBytes(5_000_000).toString('hex')
  const down = randomBytes(10_000_000)
  let got = ''
  act = (socket, bytes) => {
    const start = bytes.indexOf('\r\n\r\n') + 4
    if (bytes.length - start < up.length + 8) return
    got = createHash('sha256').update(bytes.subarray(start)).digest('hex')
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${down.length}\r\n\r\n`)
    socket.end(down)
  }
  const sent = `{"a":"${up}"}`
  const heard = await ask({ raw: request([], sent), waitMs: 20_000 })
  assert.equal(heard.status, 200, JSON.stringify(heard).slice(0, 500))
  const came = Buffer.from(heard.text.slice(heard.text.indexOf('\r\n\r\n') + 4), 'latin1')
  const hash = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
  assert.equal(got, hash(sent))
  assert.equal(hash(came), hash(down))
})

for (const h2 of [false, true])
  test(`an agent that leaves ends the call to the vendor; it was answered, as far as it went${h2 ? ', over HTTP/2' : ''}`, async () => {
    let closed: (value: unknown) => void = () => {}
    const ended = new Promise((resolve) => {
      closed = resolve
    })
    act = (socket, bytes) => {
      if (!whole(bytes)) return
      socket.on('close', closed)
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst')
    }
    const heard = await ask({ h2, until: 'first', waitMs: 3_000 })
    assert.equal(heard.status, 200, JSON.stringify(heard))
    const inTime = await Promise.race([ended.then(() => true), new Promise((resolve) => setTimeout(resolve, 3_000, false).unref())])
    assert.equal(inTime, true)
    assert.deepEqual(await lastRecord(), ['answered', 'permit', 200, null, 5, 'the agent left'])
    assert.match(
      (await stage.cli(['audit', 'tail', '--count', '1'])).out,
      / POST generativelanguage\.googleapis\.com\/v1beta\/models\/\S+ 200, the agent left$/m,
    )
    const metrics = await stage.admin('GET', '/metrics')
    assert.ok(!metrics.includes('agent left') && metrics.includes('ostiary_calls_total{service="gemini",status="2xx"}'), metrics)
  })

test('an event of a stream arrives before the next one is sent', async () => {
  act = (socket, bytes) => {
    if (!whole(bytes)) return
    const event = 'data: {"n":1}\n\n'
    socket.write(
      `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n${event.length.toString(16)}\r\n${event}\r\n`,
    )
  }
  const heard = await ask({ waitMs: 1_500 })
  assert.equal(heard.status, 200, JSON.stringify(heard))
  assert.ok(heard.text.includes('data: {"n":1}\n\n'), `the vendor sent one event and waits: ${heard.text}`)
})

test('Expect: 100-continue: a refusal costs no upload and no call; a permitted call is invited', async () => {
  const before = calls
  const bare = (placeholder: string): string =>
    head(
      `POST ${path} HTTP/1.1`,
      `Host: ${gemini}`,
      `X-Goog-Api-Key: ${placeholder}`,
      'Content-Type: application/json',
      'Connection: close',
      'Expect: 100-continue',
      `Content-Length: ${body.length}`,
    )
  const refused = await ask({ raw: bare(`AIzaSy${'x'.repeat(33)}`), waitMs: 3_000 })
  assert.equal(refused.status, 403, JSON.stringify(refused))
  assert.ok(!refused.text.includes('100 Continue'))
  assert.equal(calls, before)
  act = answers('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')
  const invited = await ask({ raw: bare('PLACEHOLDER(GEMINI_API_KEY)'), later: { until: '100 Continue', raw: body }, waitMs: 3_000 })
  assert.match(invited.text, /^HTTP\/1\.1 100 [\s\S]*HTTP\/1\.1 200 /)
})

test('a token that the vendor no longer takes: that call is 401, and the next one has a new token', async () => {
  const openai = 'api.openai.com'
  const sent = '{"model":"gpt-5","input":"hi"}'
  const raw =
    head(
      'POST /v1/responses HTTP/1.1',
      `Host: ${openai}`,
      'Authorization: Bearer PLACEHOLDER(OPENAI_API_KEY)',
      'Content-Type: application/json',
      'Connection: close',
      `Content-Length: ${sent.length}`,
    ) + sent
  const tokens = () => stage.vendors.seen.filter((one) => one.path === '/v1/responses').map((one) => one.headers['authorization'])
  const call = () => wire.send({ via: 'connect', host: openai, raw })
  assert.equal((await call()).status, 200)
  assert.equal((await call()).status, 200)
  assert.equal(tokens()[0], tokens()[1], 'a lease is used again')
  stage.vendors.forget()
  assert.equal((await call()).status, 401)
  assert.equal(tokens().length, 3, 'not repeated')
  assert.equal((await call()).status, 200)
  assert.notEqual(tokens()[3], tokens()[2])
})
