import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { FlowSource, wholeFlow } from '../http/flow.ts'
import { noEdits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { type Call, caPem, type Door, dial, doorOf, read, responseHead, wholeHead } from './fake-agent.ts'

const host = 'api.openai.test'

/** CONNECT, TLS with ALPN h2, a session of Node's own client. */
async function intercepted(context: TestContext, { proxyPort }: Door, servername = host): Promise<ClientHttp2Session> {
  const raw = await dial(proxyPort)
  const head = read(raw, wholeHead)
  raw.write(`CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n\r\n`)
  await head
  const secure = tls.connect({ socket: raw, ca: caPem, servername, rejectUnauthorized: false, ALPNProtocols: ['h2', 'http/1.1'] })
  await once(secure, 'secureConnect')
  assert.equal(secure.alpnProtocol, 'h2')
  return sessionOver(context, `https://${host}`, secure)
}

function sessionOver(context: TestContext, authority: string, socket?: tls.TLSSocket): ClientHttp2Session {
  const session = http2.connect(authority, socket === undefined ? {} : { createConnection: () => socket })
  session.on('error', () => {})
  context.after(() => session.destroy())
  return session
}

interface Got {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly trailers: IncomingHttpHeaders
  readonly code: number
}

async function ask(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string): Promise<Got> {
  return got(session.request(headers, { endStream: body === undefined }), body)
}

/** Resets of nghttp2 itself, before any of our code has seen a head. */
const resetBy = 'reset'

async function got(stream: ClientHttp2Stream, body?: string): Promise<Got> {
  let answer: IncomingHttpHeaders = {}
  let trailers: IncomingHttpHeaders = {}
  let text = ''
  stream.on('error', () => {})
  stream.on('response', (fields) => {
    answer = fields
  })
  stream.on('trailers', (fields) => {
    trailers = fields
  })
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  if (body !== undefined) stream.end(body)
  await new Promise((resolve) => stream.once('close', resolve))
  return { status: Number(answer[':status'] ?? 0), headers: answer, body: text, trailers, code: stream.rstCode ?? 0 }
}

test('h2: a request inside CONNECT becomes the same call as over HTTP/1.1', async (context) => {
  const session = await intercepted(context, await doorOf(context))
  const one = await ask(session, { ':method': 'POST', ':path': '/v1/x?a=b', 'content-length': 5 }, 'hello')
  assert.equal(one.status, 200)
  const { way, method, path, query, body, scheme } = JSON.parse(one.body)
  assert.deepEqual([scheme, way, method, path, query, body], ['https', 'connect', 'POST', '/v1/x', '?a=b', 'hello'])
  assert.equal(one.headers['content-length'], String(one.body.length))
  assert.equal(one.headers['date'], undefined)
  const streamed = await ask(session, { ':method': 'POST', ':path': '/v1/x' }, 'no length')
  assert.equal(JSON.parse(streamed.body).body, 'no length')
  const head = await ask(session, { ':method': 'HEAD', ':path': '/v1/x' })
  assert.deepEqual([head.status, head.body, head.code], [200, '', 0])
})

test('h2: with prior knowledge on the base-URL listener, beside HTTP/1.1', async (context) => {
  const made = await doorOf(context)
  const session = sessionOver(context, `http://127.0.0.1:${made.basePort}`)
  const answers = await Promise.all(Array.from({ length: 20 }, (_, at) => ask(session, { ':path': `/openai/v1/${at}` })))
  assert.deepEqual(
    answers.map(({ body }) => JSON.parse(body).path),
    Array.from({ length: 20 }, (_, at) => `/v1/${at}`),
  )
  assert.equal((await ask(session, { ':path': '/openai/v1/x', ':authority': 'evil.test' })).status, 421)
  assert.equal((await ask(session, { ':path': '/openai/v1/x', origin: 'https://evil.test' })).status, 403)
})

test('h2: what names another host, hides a path or speaks of a connection is refused in its stream', async (context) => {
  const made = await doorOf(context)
  const session = await intercepted(context, made)
  const refusals: readonly [OutgoingHttpHeaders, string][] = [
    [{ ':authority': 'evil.test' }, 'accept.disagree'],
    [{ ':authority': `${host}:444` }, 'accept.disagree'],
    [{ ':authority': host, host: 'evil.test' }, 'http.malformed'],
    [{ ':scheme': 'http' }, 'http.malformed'],
    [{ ':path': '/v1/a%2fb' }, 'accept.ambiguous_path'],
    [{ ':path': '/v1/../admin' }, 'accept.ambiguous_path'],
    [{ ':path': 'https://evil.test/v1' }, resetBy],
    [{ ':path': '/v1/a b' }, resetBy],
    [{ ':path': '/v1/"' }, 'http.malformed'],
    [{ ':method': 'TRACE' }, 'http.method_unknown'],
    [{ content_length: '3' }, 'http.malformed'],
    [{ expect: 'gold' }, 'http.malformed'],
    [{ 'x-binary': 'caf\u00e9' }, 'http.malformed'],
  ]
  for (const [headers, wanted] of refusals) {
    const answer = await ask(session, { ':path': '/v1/x', ...headers })
    const code = answer.status === 0 ? resetBy : JSON.parse(answer.body).code
    if (answer.status === 0) assert.equal(answer.code, http2.constants.NGHTTP2_PROTOCOL_ERROR)
    else assert.equal(answer.headers['content-type'], 'application/problem+json')
    assert.equal(code, wanted, JSON.stringify(headers))
  }
  assert.deepEqual(
    made.refused.map(({ refusal }) => refusal.code),
    refusals.map(([, code]) => code).filter((code) => code !== resetBy),
  )
  assert.equal((await ask(session, { ':path': '/v1/x' })).status, 200, 'the connection lives on')
  const other = await intercepted(context, made, 'other.test')
  assert.equal((await ask(other, { ':path': '/v1/x' })).status, 421)
})

test('h2: cookies in crumbs are one field, and an alias is the field', async (context) => {
  const seen: (string | undefined)[] = []
  const made = await doorOf(context, {
    onCall(call) {
      seen.push(call.head.get('cookie'), call.head.get('x-api-key'))
      call.answer(responseHead(204), noEdits, wholeFlow(Buffer.alloc(0)))
    },
  })
  const session = await intercepted(context, made)
  await ask(session, { ':path': '/v1/x', cookie: ['a=1', 'b=2'], x_api_key: 'mine' })
  assert.deepEqual(seen, ['a=1; b=2', 'mine'])
})

test('h2: an answer streams with its trailers; one that breaks off is reset', async (context) => {
  const made = await doorOf(context, {
    async onCall(call) {
      const source = new FlowSource(-1, { paused() {}, resumed() {}, cancelled() {} })
      const done = call.answer(responseHead(200, { 'content-type': 'application/grpc', connection: 'close' }), noEdits, source)
      source.data(Buffer.from('one'))
      await sleep(20)
      source.data(Buffer.from('two'))
      if (call.target.path === '/v1/broken') source.fail(new Refusal('forward.reset'))
      else source.end([['grpc-status', '0']])
      await done.catch(() => {})
    },
  })
  const session = await intercepted(context, made)
  const whole = await ask(session, { ':path': '/v1/x', te: 'trailers' })
  assert.deepEqual([whole.body, whole.trailers['grpc-status'], whole.code], ['onetwo', '0', 0])
  assert.equal(whole.headers['connection'], undefined)
  const broken = await ask(session, { ':path': '/v1/broken' })
  assert.notEqual(broken.code, 0)
  assert.equal((await ask(session, { ':path': '/v1/x' })).body, 'onetwo')
})

test('h2: answers without content have none, whatever their API sent', async (context) => {
  const made = await doorOf(context, {
    async onCall(call) {
      const status = Number(call.target.path.slice(4))
      await call.answer(responseHead(status, { 'content-length': '3' }), noEdits, wholeFlow(Buffer.from('abc')))
    },
  })
  const session = await intercepted(context, made)
  for (const [status, length] of [
    [204, undefined],
    [205, '0'],
    [304, '3'],
  ] as const) {
    const answer = await ask(session, { ':path': `/v1/${status}` })
    assert.deepEqual([answer.status, answer.headers['content-length'], answer.body, answer.code], [status, length, '', 0])
  }
})

test('h2: an upload that is refused early, or waits for 100-continue', async (context) => {
  const made = await doorOf(context, {
    async onCall(call) {
      if (call.target.path === '/v1/no') return call.refuse(new Refusal('decide.denied'), call.id)
      const body = await call.readBody(1_000)
      await call.answer(responseHead(200), noEdits, wholeFlow(body))
    },
  })
  const session = await intercepted(context, made)
  const refused = session.request({ ':method': 'POST', ':path': '/v1/no' })
  const answer = got(refused)
  refused.write('a part')
  assert.deepEqual([(await answer).status, (await answer).code], [403, 0])
  const waiting = session.request({ ':method': 'POST', ':path': '/v1/x', expect: '100-continue' })
  waiting.once('continue', () => waiting.end('sent at last'))
  assert.equal((await got(waiting)).body, 'sent at last')
})

test('h2: a body that is empty and ends at once, soon or late is an empty body', async (context) => {
  let slow = (): Promise<void> => Promise.resolve()
  const made = await doorOf(context, {
    async onCall(call) {
      await slow()
      const body = await call.readBody(1_000)
      await call.answer(responseHead(200), noEdits, wholeFlow(Buffer.from(`${body.length}`)))
    },
  })
  const session = await intercepted(context, made)
  // Not on the head: an empty DATA frame ends the stream, as Node's own client does it.
  const ask = (afterMs: number): Promise<Got> => {
    const stream = session.request({ ':method': 'POST', ':path': '/v1/x' }, { endStream: false })
    const answer = got(stream)
    if (afterMs === 0) stream.end()
    else setTimeout(() => stream.end(), afterMs)
    return answer
  }
  for (const afterMs of [0, 1, 30]) assert.equal((await ask(afterMs)).body, '0', `${afterMs}`)
  slow = () => new Promise((resolve) => setTimeout(resolve, 40))
  for (const afterMs of [0, 1, 20, 60]) assert.equal((await ask(afterMs)).body, '0', `${afterMs}, and nobody looks for a while`)
})

test('h2: back-pressure reaches the source both ways', async (context) => {
  let paused = 0
  let sent = 0
  let call: Call | null = null
  const made = await doorOf(context, {
    onCall(incoming) {
      call = incoming
      if (incoming.target.method === 'POST') return Promise.resolve()
      let flowing = true
      const source: FlowSource = new FlowSource(-1, {
        paused: () => {
          paused++
          flowing = false
        },
        resumed: () => {
          flowing = true
          while (flowing && sent < 2_000_000) {
            sent += 16_384
            source.data(Buffer.alloc(16_384, 0x61))
          }
          if (sent >= 2_000_000) source.end([])
        },
        cancelled() {},
      })
      return incoming.answer(responseHead(200), noEdits, source).then(() => {})
    },
  })
  const session = await intercepted(context, made)
  const stream = session.request({ ':path': '/v1/x' })
  await once(stream, 'response')
  await sleep(100)
  assert.ok(paused > 0 && sent < 400_000, `an agent that does not read holds ${sent} bytes`)
  let size = 0
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length
  })
  await once(stream, 'end')
  assert.equal(size, sent)
  const upload = session.request({ ':path': '/v1/x', ':method': 'POST' })
  let taken = 0
  const more = (): void =>
    void upload.write(Buffer.alloc(16_384), () => {
      taken += 16_384
      if (taken < 1_000_000) more()
    })
  more()
  await sleep(150)
  assert.ok(taken <= 3 * 65_536, `a body that nobody reads holds ${taken} bytes`)
  const collected = (call as unknown as Call).readBody(2_000_000)
  const until = setInterval(() => taken >= 1_000_000 && upload.end(), 5)
  assert.ok((await collected).length >= 1_000_000)
  clearInterval(until)
  upload.destroy()
})

test('h2: a reset by the agent is a call that left, its neighbours stay', async (context) => {
  const left: string[] = []
  const made = await doorOf(context, {
    async onCall(call) {
      if (call.target.path === '/v1/quick') await call.answer(responseHead(204), noEdits, wholeFlow(Buffer.alloc(0)))
      else call.whenGone(() => left.push(call.target.path))
    },
  })
  const session = await intercepted(context, made)
  const stream = session.request({ ':path': '/v1/slow' })
  const other = session.request({ ':path': '/v1/other' })
  for (const one of [stream, other]) one.on('error', () => {})
  await sleep(50)
  assert.equal(made.accept.stats().calls, 2)
  stream.close(http2.constants.NGHTTP2_CANCEL)
  await sleep(50)
  assert.deepEqual(left, ['/v1/slow'])
  assert.equal((await ask(session, { ':path': '/v1/quick' })).status, 204)
  assert.equal(made.accept.stats().calls, 1)
  session.destroy()
  await sleep(50)
  assert.deepEqual(left, ['/v1/slow', '/v1/other'])
  assert.equal(made.accept.stats().calls, 0)
})
