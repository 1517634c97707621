import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { limits } from '../model/limits.ts'
import { noEdits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { createDial, type Dial } from '../net/dial.ts'
import type { Resolve } from '../net/resolve.ts'
import { createRoute, type Via } from '../net/route.ts'
import { bearer, fakeApi, leaseNamed } from './fake-api.ts'
import { createThroughProxy } from './through-proxy.ts'

const code = (wanted: string) => (error: unknown) => error instanceof Refusal && error.code === wanted

/** A proxy of a network that answers CONNECT as the script says; what it was asked stands in `heads`. */
async function startProxy(context: TestContext, script: (socket: Socket, head: string) => void) {
  const heads: string[] = []
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    let got = ''
    const take = (chunk: Buffer): void => {
      got += chunk.toString('latin1')
      if (!got.includes('\r\n\r\n')) return
      socket.off('data', take)
      heads.push(got)
      script(socket, got)
    }
    socket.on('data', take)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  context.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port: (server.address() as { port: number }).port, heads, sockets }
}

const says = (answer: string) => (socket: Socket) => void socket.write(answer)

/** What an honest proxy does: it says yes and passes bytes to the port on loopback. */
const passes = (port: number) => (socket: Socket) => {
  const host = connect(port, '127.0.0.1', () => {
    socket.write('HTTP/1.1 200 Connection established\r\nVia: 1.1 corp\r\n\r\n')
    socket.pipe(host).pipe(socket)
  })
  host.on('error', () => socket.destroy())
  socket.on('close', () => host.destroy())
}

const unknown = async (): Promise<never> => {
  throw new Refusal('forward.resolve', 'NXDOMAIN')
}

function through(
  port: number,
  more: {
    via?: Partial<Via>
    answers?: readonly string[]
    resolve?: Resolve
    limits?: { readonly proxyConnectMs: number }
    noProxy?: readonly string[]
  } = {},
): Dial {
  const direct = createDial({ resolve: async (host) => [host], fixed: () => null, ownPorts: () => [7], ownAddresses: () => new Set() })
  const route = createRoute({
    proxy: { host: more.via?.host ?? '127.0.0.1', port },
    noProxy: more.noProxy ?? [],
    inspects: more.via?.inspects ?? false,
    dangerouslyFixedAddresses: [],
  })
  const { answers } = more
  return createThroughProxy({
    direct,
    route,
    resolve: more.resolve ?? (answers === undefined ? unknown : async () => answers),
    limits: { ...limits, ...more.limits },
  })
}

test('a host is asked for by its name, and the tunnel carries bytes both ways', async (context) => {
  const echo = createServer((socket) => socket.pipe(socket).on('error', () => {}))
  await new Promise<void>((done) => echo.listen(0, '127.0.0.1', done))
  context.after(() => echo.close())
  const proxy = await startProxy(context, passes((echo.address() as { port: number }).port))
  const { socket, address } = await through(proxy.port)('api.vendor.example', 443)
  assert.equal(address, '127.0.0.1', 'the address that was vetted is the proxy’s own')
  assert.deepEqual(proxy.heads, ['CONNECT api.vendor.example:443 HTTP/1.1\r\nHost: api.vendor.example:443\r\n\r\n'])
  const heard = new Promise<string>((done) => socket.on('data', (chunk: Buffer) => done(chunk.toString())))
  socket.write('hello')
  assert.equal(await heard, 'hello')
  socket.destroy()
})

test('nothing is asked of the proxy that would lead it somewhere inside', async (context) => {
  const proxy = await startProxy(context, says('HTTP/1.1 200 OK\r\n\r\n'))
  for (const host of [
    '8.8.8.8',
    '169.254.169.254',
    '::1',
    'localhost',
    'vault',
    'a.localhost',
    'metadata.google.internal',
    'printer.local',
  ])
    await assert.rejects(through(proxy.port)(host, 443), code('forward.address_refused'), host)
  for (const answers of [['10.0.0.1'], ['8.8.8.8', '127.0.0.1'], ['169.254.169.254'], ['::ffff:10.0.0.1'], ['64:ff9b::7f00:1']])
    await assert.rejects(
      through(proxy.port, { answers })('api.vendor.example', 443, { allowPrivate: true }),
      code('forward.address_refused'),
      answers[0],
    )
  assert.deepEqual(proxy.heads, [])
  assert.ok((await through(proxy.port, { answers: ['8.8.8.8'] })('api.vendor.example', 443)).socket.destroy())
})

test('a sender whose lookups wait for one another is not passed on unlooked at', async (context) => {
  const proxy = await startProxy(context, says('HTTP/1.1 200 OK\r\n\r\n'))
  const asked: unknown[] = []
  const busy = async (_host: string, sender?: string): Promise<never> => {
    asked.push(sender)
    throw new Refusal('forward.busy', 'lookupsPerSenderMax')
  }
  await assert.rejects(through(proxy.port, { resolve: busy })('api.vendor.example', 443, { sender: 'one' }), code('forward.busy'))
  assert.deepEqual([asked, proxy.heads], [['one'], []])
})

test('a proxy is never metadata, and never a listener of ours', async () => {
  for (const host of ['169.254.169.254', '0.0.0.0', 'fd00:ec2::254'])
    await assert.rejects(through(80, { via: { host } })('api.vendor.example', 443), code('forward.address_refused'), host)
  await assert.rejects(through(7)('api.vendor.example', 443), code('forward.address_refused'))
})

test('exceptions go directly, each name with all below it and with nothing that only ends like it', async (context) => {
  const proxy = await startProxy(context, says('HTTP/1.1 200 OK\r\n\r\n'))
  const dial = through(proxy.port, { noProxy: ['corp.example', '127.0.0.1'] })
  // Directly, the name itself would be dialled here, which no address is.
  for (const host of ['corp.example', 'git.corp.example', '127.0.0.1'])
    await assert.rejects(dial(host, 9), (error: Refusal) => !error.message.includes('egress.proxy') && proxy.heads.length === 0, host)
  ;(await dial('notcorp.example', 443)).socket.destroy()
  assert.equal(proxy.heads.length, 1)
})

const hostile: readonly (readonly [string, string, string])[] = [
  ['a no', 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n', 'forward.proxy'],
  ['a gateway that failed', 'HTTP/1.1 502 Bad Gateway\r\n\r\n<html>', 'forward.proxy'],
  ['a redirect', 'HTTP/1.1 302 Found\r\nLocation: https://login.corp.example/\r\n\r\n', 'forward.proxy'],
  [
    'a login page',
    'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n',
    'forward.proxy_authentication',
  ],
  ['bytes behind the yes', 'HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}', 'forward.proxy'],
  ['another protocol', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n', 'forward.proxy'],
  ['1xx without end', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(200), 'forward.proxy'],
  ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', 'forward.proxy'],
  ['a bare LF', 'HTTP/1.1 200 OK\nVia: x\r\n\r\n', 'forward.proxy'],
  ['a folded line', 'HTTP/1.1 200 OK\r\nVia: x\r\n y\r\n\r\n', 'forward.proxy'],
  ['HTTP/2', 'HTTP/2 200\r\n\r\n', 'forward.proxy'],
  ['a head without end', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(limits.headBytesMax)}`, 'forward.proxy'],
]
for (const [name, answer, wanted] of hostile)
  test(`a proxy answers with ${name}: refused, and the connection is closed`, async (context) => {
    const proxy = await startProxy(context, says(answer))
    await assert.rejects(through(proxy.port)('api.vendor.example', 443), code(wanted))
    while (proxy.sockets[0]?.readyState !== 'closed') await sleep(5)
  })

test('silence, a close, a drip and a port where nobody is: each refused in time', async (context) => {
  const silent = await startProxy(context, () => {})
  await assert.rejects(through(silent.port, { limits: { proxyConnectMs: 50 } })('api.vendor.example', 443), /no answer in time/)
  const closes = await startProxy(context, (socket) => socket.end('HTTP/1.1 200 OK\r\n'))
  await assert.rejects(through(closes.port)('api.vendor.example', 443), /closed before it answered/)
  const drips = await startProxy(context, (socket) => {
    const timer = setInterval(() => socket.write('H'), 5)
    socket.on('close', () => clearInterval(timer))
  })
  await assert.rejects(through(drips.port, { limits: { proxyConnectMs: 100 } })('api.vendor.example', 443), code('forward.proxy'))
  await assert.rejects(through(1)('api.vendor.example', 443), code('forward.proxy'))
  const gone = new AbortController()
  const given = through(silent.port)('api.vendor.example', 443, { signal: gone.signal })
  setTimeout(() => gone.abort(), 20)
  await assert.rejects(given, /given up/)
})

const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

for (const [name, inspects, known, wanted] of [
  ['an added CA, through a proxy that may not read', false, false, 'forward.inspected'],
  ['an added CA, through a proxy that may read', true, false, null],
  ['a CA that everybody knows, through a proxy that may not read', false, true, null],
] as const)
  test(`the certificate is of ${name}`, async (context) => {
    const api = await fakeApi(context, (socket, got) => void (got.endsWith('\r\n\r\n') && socket.write(answer)), {
      route: () => ({ host: 'corp.example', port: 3128, inspects }),
      known,
    })
    // Without a credential nobody reads anything of ours.
    assert.equal((await api.forward.forward(api.call(), noEdits, null)).head.status, 200)
    const asked = api.forward.forward(api.call(), bearer('sk-canary'), leaseNamed('key'))
    if (wanted === null) assert.equal((await asked).head.status, 200)
    else {
      await assert.rejects(asked, code(wanted))
      assert.ok(!api.got.join('').includes('sk-canary'), 'the credential was not sent')
    }
  })

test('no credential goes in clear through a proxy', async (context) => {
  const api = await fakeApi(context, (socket) => void socket.write(answer), {
    plain: true,
    route: () => ({ host: 'corp.example', port: 3128, inspects: false }),
  })
  await assert.rejects(api.forward.forward(api.call(), bearer('sk-canary'), leaseNamed('key')), code('forward.inspected'))
  assert.equal((await api.forward.forward(api.call(), noEdits, null)).head.status, 200)
})
