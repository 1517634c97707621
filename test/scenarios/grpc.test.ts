// gRPC in all its shapes through accept and forward as they are: unary, both sides streaming at once, trailers, deadlines.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2, { type ClientHttp2Session, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { type TestContext, test } from 'node:test'
import tls from 'node:tls'
import { type Call, caPem, dial, openDoor, read, service, wholeHead } from '../../src/accept/fake-agent.ts'
import { type FakeApi, fakeApi, until } from '../../src/forward/fake-api.ts'
import { noEdits } from '../../src/model/message.ts'

interface Between {
  readonly session: ClientHttp2Session
  readonly proxyPort: number
  /** Streams of the API that have closed. */
  readonly closed: number[]
}

/** The agent's session inside CONNECT, and behind it an API that echoes each message as it comes. */
async function between(context: TestContext): Promise<Between> {
  const closed: number[] = []
  const api: FakeApi = await fakeApi(context, () => {}, {
    h2(server) {
      server.on('stream', (any, headers) => {
        const stream = any as ServerHttp2Stream
        stream.on('error', () => {})
        stream.once('close', () => closed.push(stream.rstCode ?? 0))
        if (headers[':path'] === '/s/Fails')
          return stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5' }, { endStream: true })
        stream.respond({ ':status': 200, 'content-type': 'application/grpc', te: String(headers.te) }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': 'done' }))
        stream.on('data', (chunk) => stream.write(chunk))
        return void stream.on('end', () => stream.end())
      })
    },
  })
  const grpc = service({ name: 'grpc', hosts: ['api.test'], port: api.port, allowPrivateAddresses: true })
  const door = await openDoor({
    lookup: {
      find: (_scheme, host, port) => (host === 'api.test' && port === api.port ? grpc : null),
      byName: () => null,
      action: () => 'call',
    },
    async onCall(call: Call) {
      try {
        const answer = await api.forward.forward(call, noEdits, null)
        await call.answer(answer.head, noEdits, answer.body)
      } catch {
        call.cut()
      }
    },
  })
  context.after(() => door.accept.stop())
  const raw = await dial(door.proxyPort)
  const head = read(raw, wholeHead)
  raw.write(`CONNECT api.test:${api.port} HTTP/1.1\r\nHost: api.test:${api.port}\r\n\r\n`)
  await head
  const socket = tls.connect({ socket: raw, ca: caPem, servername: 'api.test', ALPNProtocols: ['h2'] })
  await once(socket, 'secureConnect')
  const session = http2.connect(`https://api.test:${api.port}`, { createConnection: () => socket })
  session.on('error', () => {})
  context.after(() => session.destroy())
  return { session, closed, proxyPort: door.proxyPort }
}

const message = (text: string): Buffer => Buffer.concat([Buffer.from([0, 0, 0, 0, text.length]), Buffer.from(text)])
const grpcHeaders = (path: string) => ({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' })

test('gRPC: both sides stream at once, then trailers', async (context) => {
  const { session } = await between(context)
  const stream = session.request(grpcHeaders('/s/Chat'))
  let trailers: IncomingHttpHeaders = {}
  let heard = ''
  stream.on('trailers', (fields) => {
    trailers = fields
  })
  stream.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1')
  })
  for (const text of ['one', 'two', 'three']) {
    stream.write(message(text))
    // Each is answered before the next is sent: nothing on the way waits for more.
    await until(() => heard.endsWith(text), text)
  }
  stream.end()
  await once(stream, 'close')
  assert.deepEqual([trailers['grpc-status'], trailers['grpc-message'], stream.rstCode], ['0', 'done', 0])
})

test('gRPC: an error without a body, and a call that its client gives up', async (context) => {
  const { session, closed } = await between(context)
  const failed = session.request(grpcHeaders('/s/Fails'))
  const [headers] = await once(failed, 'response')
  assert.equal(headers['grpc-status'], '5')
  failed.end()
  const given = session.request(grpcHeaders('/s/Chat'))
  given.on('error', () => {})
  given.write(message('x'))
  await once(given, 'data')
  const before = closed.length
  given.close(http2.constants.NGHTTP2_CANCEL)
  await until(() => closed.length > before, 'the API is told')
  assert.equal(closed.at(-1), http2.constants.NGHTTP2_CANCEL)
})
