import assert from 'node:assert/strict'
import { once } from 'node:events'
import { constants, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { FlowSource, wholeFlow } from '../http/flow.ts'
import type { Call } from '../model/call.ts'
import { systemClock } from '../model/clock.ts'
import { noEdits } from '../model/message.ts'
import { bearer, ended, type FakeApi, type FakeApiOptions, fakeApi, leaseNamed, take, until } from './fake-api.ts'
import { createForward } from './forward.ts'

type Answering = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, body: string) => void

interface H2Api extends FakeApi {
  readonly asked: { readonly headers: IncomingHttpHeaders; readonly raw: readonly string[] }[]
  readonly sessions: ServerHttp2Session[]
}

/** `answering` is called when the request is complete. */
async function h2Api(context: TestContext, answering: Answering, limits: FakeApiOptions['limits'] = {}): Promise<H2Api> {
  const asked: H2Api['asked'] = []
  const sessions: ServerHttp2Session[] = []
  const api = await fakeApi(context, () => {}, {
    limits,
    h2(server) {
      server.on('session', (session) => {
        sessions.push(session)
        session.on('error', () => {})
      })
      server.on('stream', (stream, headers, _flags, raw) => {
        asked.push({ headers, raw: raw as unknown as string[] })
        stream.on('error', () => {})
        const of = stream as ServerHttp2Stream
        if (headers[':method'] === 'HEAD' || headers[':path'] === '/early') return answering(of, headers, '')
        let body = ''
        stream.on('data', (chunk: Buffer) => {
          body += chunk.toString()
        })
        stream.on('end', () => answering(of, headers, body))
      })
    },
  })
  return Object.assign(Object.create(api), { asked, sessions, forward: api.forward, call: api.call, rootPem: api.rootPem })
}

const echo: Answering = (stream, headers, body) => {
  stream.respond({ ':status': 200, 'content-type': 'text/plain' })
  stream.end(`${headers[':method']} ${headers[':path']} ${body}`)
}

test('h2 upstream: one connection carries many calls, with what was injected and without what ends here', async (context) => {
  const api = await h2Api(context, echo)
  const fields = ['Authorization: Bearer mine', 'TE: trailers', 'Connection: x-hop', 'X-Hop: 1', 'X_Api_Key: mine', 'Accept: text/plain']
  const edits = { ...bearer('Bearer real'), remove: new Set(['authorization', 'x-api-key']) }
  const texts = await Promise.all(
    Array.from({ length: 30 }, async (_, at) => {
      const call = api.call({
        method: 'POST',
        path: `/${at}`,
        fields: [...fields, 'Content-Length: 2'],
        body: wholeFlow(Buffer.from('hi')),
      })
      const answer = await api.forward.forward(call, edits, leaseNamed('one'))
      return (await ended(take(answer.body))).text
    }),
  )
  assert.deepEqual(
    texts,
    Array.from({ length: 30 }, (_, at) => `POST /${at} hi`),
  )
  assert.equal(api.sessions.length, 1)
  const { headers, raw } = api.asked[0] as H2Api['asked'][number]
  assert.equal(headers['authorization'], 'Bearer real')
  assert.equal(headers['te'], 'trailers')
  assert.equal(headers['content-length'], '2')
  assert.match(headers[':authority'] ?? '', /^api\.test:\d+$/)
  const names = raw.filter((_, at) => at % 2 === 0)
  assert.deepEqual(
    names.filter((name) => /^(host|connection|x-hop|x_api_key|transfer-encoding)$/.test(name)),
    [],
  )
  // Another credential never meets the connection of the first.
  const other = await api.forward.forward(api.call(), noEdits, leaseNamed('two'))
  await ended(take(other.body))
  assert.equal(api.sessions.length, 2)
})

test('h2 upstream: streams with trailers, HEAD, 204, and early hints', async (context) => {
  const api = await h2Api(context, (stream, headers) => {
    if (headers[':path'] === '/grpc') {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', authorization: 'no' }))
      stream.end('frames')
    } else if (headers[':path'] === '/204') {
      stream.additionalHeaders({ ':status': 103, link: '</x>' })
      stream.respond({ ':status': 204 }, { endStream: true })
    } else {
      stream.respond({ ':status': 200, 'content-length': 7 })
    }
  })
  const grpc = take((await api.forward.forward(api.call({ path: '/grpc' }), noEdits, null)).body)
  await ended(grpc)
  assert.deepEqual([grpc.text, grpc.trailers], ['frames', [['grpc-status', '0']]])
  const none = await api.forward.forward(api.call({ path: '/204' }), noEdits, null)
  assert.deepEqual([none.head.status, none.body.whole?.length], [204, 0])
  const head = await api.forward.forward(api.call({ method: 'HEAD', path: '/' }), noEdits, null)
  assert.deepEqual([head.head.get('content-length'), head.body.length], ['7', 0])
})

test('h2 upstream: back-pressure both ways', async (context) => {
  let served: ServerHttp2Stream | null = null
  const api = await h2Api(context, (stream) => {
    served = stream
    stream.respond({ ':status': 200 })
    const more = (): void => {
      for (let left = 4_000_000 - sent; left > 0; left -= 16_384) {
        sent += 16_384
        if (!stream.write(Buffer.alloc(16_384))) return void stream.once('drain', more)
      }
      stream.end()
    }
    let sent = 0
    more()
  })
  const answer = await api.forward.forward(api.call(), noEdits, null)
  const taken = take(answer.body, () => false, false)
  await sleep(100)
  assert.ok(taken.bytes < 100_000)
  assert.ok((served as unknown as ServerHttp2Stream).writableNeedDrain, 'the API waits')
  const pump = setInterval(() => answer.body.resume(), 1)
  await until(() => taken.bytes > 1_000_000, 'more comes')
  clearInterval(pump)
  answer.cut()
  await until(() => (served as unknown as ServerHttp2Stream).closed, 'the API is told')
  assert.match(String(taken.failed), /flow\.revoked/)
})

test('h2 upstream: a cut and a leaving agent end their stream, not their neighbours', async (context) => {
  const streams: ServerHttp2Stream[] = []
  const api = await h2Api(context, (stream, headers) => {
    streams[Number(headers[':path']?.slice(1))] = stream
    stream.respond({ ':status': 200 })
    stream.write('begun')
  })
  const [one, two] = [api.call({ path: '/0' }), api.call({ path: '/1' })]
  const answers = await Promise.all([one, two].map((call) => api.forward.forward(call, noEdits, null)))
  const [first, second] = answers.map(({ body }) => take(body))
  one.leave()
  await until(() => streams[0]?.closed === true, 'the first is reset')
  assert.equal(streams[0]?.rstCode, constants.NGHTTP2_CANCEL)
  assert.match(String(first?.failed), /forward\.reset/)
  streams[1]?.end(' ended')
  await ended(second as NonNullable<typeof second>)
  assert.equal(second?.text, 'begun ended')
  assert.equal(api.sessions.length, 1)
})

test('h2 upstream: what was provably not looked at is sent once more, all else never', async (context) => {
  let refused = 0
  const api = await h2Api(context, (stream, headers, body) => {
    if (headers[':path'] === '/refused' && refused++ === 0) return stream.close(constants.NGHTTP2_REFUSED_STREAM)
    if (headers[':path'] === '/always') return stream.close(constants.NGHTTP2_REFUSED_STREAM)
    if (headers[':path'] === '/reset') return stream.close(constants.NGHTTP2_INTERNAL_ERROR)
    if (headers[':path'] === '/gone') return void stream.session?.socket.destroy()
    return echo(stream, headers, body)
  })
  const forward = async (path: string, part = {}): Promise<string> => {
    const answer = await api.forward.forward(api.call({ path, ...part }), noEdits, null)
    return (await ended(take(answer.body))).text
  }
  const count = (path: string): number => api.asked.filter(({ headers }) => headers[':path'] === path).length
  assert.equal(await forward('/refused'), 'GET /refused ')
  await assert.rejects(forward('/always'), /forward\.reset/)
  await assert.rejects(forward('/reset'), /forward\.reset/)
  const source = new FlowSource(-1, { paused() {}, resumed() {}, cancelled() {} })
  refused = 0
  const streaming = forward('/refused', { method: 'POST', fields: ['Transfer-Encoding: chunked'], body: source })
  source.data(Buffer.from('x'))
  source.end([])
  await assert.rejects(streaming, /forward\.reset/)
  await assert.rejects(forward('/gone'), /forward\.reset/)
  assert.deepEqual(['/refused', '/always', '/reset', '/gone'].map(count), [3, 2, 1, 1])
  assert.equal(await forward('/after'), 'GET /after ', 'a new connection serves')
})

test('h2 upstream: GOAWAY ends a connection after its calls; what follows goes over another', async (context) => {
  const streams: ServerHttp2Stream[] = []
  const api = await h2Api(context, (stream) => {
    streams.push(stream)
    stream.respond({ ':status': 200 })
    stream.write('begun')
  })
  const one = take((await api.forward.forward(api.call(), noEdits, null)).body)
  api.sessions[0]?.close()
  await sleep(50)
  const two = take((await api.forward.forward(api.call(), noEdits, null)).body)
  for (const stream of streams) stream.end(' ended')
  await Promise.all([ended(one), ended(two)])
  assert.deepEqual([one.text, two.text, api.sessions.length], ['begun ended', 'begun ended', 2])
})

test('h2 upstream: an answer that is no answer, or too late, or cut short', async (context) => {
  const api = await h2Api(
    context,
    (stream, headers) => {
      switch (headers[':path']) {
        case '/slow':
          return
        case '/short':
          stream.respond({ ':status': 200, 'content-length': 10 })
          stream.write('five5')
          return void setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), 20)
        case '/hints':
          for (let at = 0; at < 20; at++) stream.additionalHeaders({ ':status': 103, link: '</x>' })
          return
        default:
          stream.respond({ ':status': 205, 'x-many': Array.from({ length: 200 }, () => 'a') }, { endStream: true })
      }
    },
    { answerHeadMs: 100 },
  )
  const forward = (path: string) => api.forward.forward(api.call({ path }), noEdits, null)
  await assert.rejects(forward('/slow'), /forward\.timeout/)
  const short = take((await forward('/short')).body)
  await ended(short)
  assert.match(String(short.failed), /forward\.reset/)
  await assert.rejects(forward('/hints'), /forward\.bad_answer/)
  await assert.rejects(forward('/many'), /forward\.(bad_answer|reset)/)
})

test('h2 upstream: a line that has gone dead is found out and given up; one that answers PING is not', async (context) => {
  const quiet = await h2Api(context, () => {}, { h2SilenceMs: 40 })
  const waiting = quiet.forward.forward(quiet.call(), noEdits, null)
  let gaveUp = false
  waiting.catch(() => {
    gaveUp = true
  })
  await sleep(250)
  assert.equal(gaveUp, false)
  // SETTINGS and its ACK, and then never a byte more.
  const settled = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0])
  const dead = await fakeApi(context, (socket, got) => void (got.length < 200 && socket.write(settled)), {
    protocols: ['h2'],
    limits: { h2SilenceMs: 40 },
  })
  await assert.rejects(dead.forward.forward(dead.call(), noEdits, null), /forward\.reset/)
})

test('h2 upstream: an API that hangs up, or speaks something else, behind the handshake', async (context) => {
  const hangsUp = await fakeApi(context, (socket) => socket.destroy(), { protocols: ['h2'] })
  await assert.rejects(hangsUp.forward.forward(hangsUp.call(), noEdits, null), /forward\.(reset|connect)/)
  const babbles = await fakeApi(context, (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'), { protocols: ['h2'] })
  await assert.rejects(babbles.forward.forward(babbles.call(), noEdits, null), /forward\.reset/)
  await until(() => hangsUp.forward.open + babbles.forward.open === 0, 'nothing is kept')
})

test('h2 upstream: more calls than streams wait for another connection, and idle ones close', async (context) => {
  const streams: ServerHttp2Stream[] = []
  const api = await h2Api(context, (stream) => streams.push(stream), { h2StreamsMax: 2, h2ConnectionsPerHostMax: 2, poolIdleMs: 80 })
  const calls = Array.from({ length: 5 }, () => api.forward.forward(api.call(), noEdits, null))
  await until(() => streams.length === 4, 'four are under way')
  await sleep(30)
  assert.deepEqual([streams.length, api.sessions.length], [4, 2])
  streams[0]?.respond({ ':status': 200 }, { endStream: true })
  await until(() => streams.length === 5, 'the fifth has its turn')
  for (const stream of streams.slice(1)) stream.respond({ ':status': 200 }, { endStream: true })
  await Promise.all(calls)
  await until(() => api.forward.open === 0, 'both are closed')
})

test('h2 upstream: whose connection does not come holds up no other workload', async (context) => {
  const api = await h2Api(context, echo)
  const pending: (() => void)[] = []
  const forward = createForward({
    dial: async (_host, port, asked) => {
      if (asked?.sender === 'bad') await new Promise<void>((go) => pending.push(go))
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      return { socket, address: '127.0.0.1', fixed: false }
    },
    roots: () => [api.rootPem],
    clock: systemClock,
  })
  context.after(() => forward.close())
  const asks = (workload: string) =>
    forward.forward({ ...api.call(), connection: { identity: { workload } } } as unknown as Call, noEdits, null)
  const bad = [asks('bad'), asks('bad')]
  assert.equal((await asks('good')).head.status, 200)
  assert.equal(pending.length, 1, 'a workload dials once for all of its calls')
  pending[0]?.()
  assert.deepEqual(
    (await Promise.all(bad)).map(({ head }) => head.status),
    [200, 200],
  )
})
