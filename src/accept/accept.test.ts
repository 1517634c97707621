import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import tls from 'node:tls'
import { wholeFlow } from '../http/flow.ts'
import type { Call } from '../model/call.ts'
import { noEdits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import {
  bodyOf,
  caPem,
  type Door,
  dial,
  handshake,
  localPeer,
  openDoor,
  read,
  responseHead,
  say,
  tunnelled,
  wholeAnswer,
  wholeHead,
} from './fake-agent.ts'

const get = (path: string, host: string, fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`

async function inside(door: Door, request: string, part = {}): Promise<string> {
  const secure = await tunnelled(door.proxyPort, part)
  const answer = read(secure, wholeAnswer)
  secure.write(request)
  const got = await answer
  secure.destroy()
  return got
}

const closing = async (door: Door, run: () => Promise<void>): Promise<void> => {
  try {
    await run()
  } finally {
    await door.accept.stop()
  }
  assert.deepEqual(door.defects, [])
}

test('CONNECT, then TLS with a leaf for exactly the host, then one Target', async () => {
  const door = await openDoor()
  await closing(door, async () => {
    const secure = await tunnelled(door.proxyPort)
    assert.equal(secure.alpnProtocol, false)
    assert.equal(secure.getPeerCertificate().subjectaltname, 'DNS:api.openai.test')
    assert.equal(secure.authorized, true)
    const answer = read(secure, wholeAnswer)
    secure.write(get('/v1/models?key=1', 'api.openai.test'))
    const seen = bodyOf(await answer)
    assert.equal(seen['host'], 'api.openai.test')
    assert.equal(seen['path'], '/v1/models')
    assert.equal(seen['query'], '?key=1')
    assert.equal(seen['way'], 'connect')
    assert.equal(seen['service'], 'openai')
    secure.destroy()
  })
})

test('a CONNECT head may come split at every byte, and TLS may follow in the same packet', async () => {
  const door = await openDoor()
  await closing(door, async () => {
    const head = 'CONNECT api.openai.test:443 HTTP/1.1\r\nHost: api.openai.test:443\r\n\r\n'
    for (let at = 1; at < head.length; at++) {
      const raw = await dial(door.proxyPort)
      const answer = read(raw, wholeHead)
      raw.setNoDelay(true)
      raw.write(head.slice(0, at))
      await new Promise((resolve) => setImmediate(resolve))
      raw.write(head.slice(at))
      assert.match(await answer, /^HTTP\/1\.1 200 /, `split at ${at}`)
      raw.destroy()
    }
    // The hello comes with the head: nothing of it may be lost.
    const raw = await dial(door.proxyPort)
    const hello = await clientHello('api.openai.test')
    const first = read(raw, (text) => text.includes('\x16\x03\x03'))
    raw.write(Buffer.concat([Buffer.from(head), hello]))
    assert.match(await first, /^HTTP\/1\.1 200 Connection Established\r\n\r\n\x16\x03\x03/)
    raw.destroy()
  })
})

/** The bytes of a real hello, caught on a socket pair. */
export async function clientHello(servername: string): Promise<Buffer> {
  const { createServer } = await import('node:net')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const taken = once(server, 'connection')
  const client = tls.connect({ port: (server.address() as { port: number }).port, host: '127.0.0.1', servername, ca: caPem })
  client.on('error', () => {})
  const [socket] = await taken
  const [bytes] = await once(socket, 'data')
  client.destroy()
  socket.destroy()
  server.close()
  return bytes
}

test('SNI, Host and target must be the CONNECT authority', async () => {
  const door = await openDoor()
  await closing(door, async () => {
    assert.match(await inside(door, get('/', 'api.openai.test'), { servername: 'evil.test' }), /^HTTP\/1\.1 421 .*accept\.disagree/s)
    assert.match(await inside(door, get('/', 'api.anthropic.test')), /^HTTP\/1\.1 421 .*accept\.disagree/s)
    assert.match(await inside(door, get('/', 'api.openai.test:8443')), /^HTTP\/1\.1 421 /)
    assert.match(await inside(door, get('https://api.openai.test/', 'api.openai.test')), /^HTTP\/1\.1 421 /)
    assert.match(await inside(door, get('/', 'api.openai.test\r\nHost: api.openai.test')), /^HTTP\/1\.1 400 .*http\.malformed/s)
    assert.match(await inside(door, 'GET / HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 400 /)
    assert.match(await inside(door, get('/', 'API.OpenAI.test:443')), /^HTTP\/1\.1 200 /)
    const connectHost = 'CONNECT api.openai.test:443 HTTP/1.1\r\nHost: api.anthropic.test:443\r\n\r\n'
    assert.match(await say(door.proxyPort, connectHost), /^HTTP\/1\.1 421 Misdirected Request ostiary:accept\.disagree/)
    const codes = door.refused.map(({ refusal }) => refusal.code)
    assert.equal(codes.filter((code) => code === 'accept.disagree').length, 5)
    assert.equal(door.refused[0]?.about.host, 'api.openai.test')
  })
})

test('a name without SNI is refused, an address literal needs none; who hangs up in the handshake is recorded', async () => {
  const door = await openDoor()
  await closing(door, async () => {
    const nameless = async (authority: string): Promise<string> => {
      const raw = await dial(door.proxyPort)
      const head = read(raw, wholeHead)
      raw.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`)
      await head
      const secure = await handshake(raw, '')
      const answer = read(secure, wholeAnswer)
      secure.write(get('/', authority))
      const got = await answer
      secure.destroy()
      return got
    }
    assert.match(await nameless('api.openai.test:443'), /^HTTP\/1\.1 421 /)
    assert.match(await nameless('192.0.2.7:443'), /^HTTP\/1\.1 200 /)
    const before = door.refused.length
    const raw = await dial(door.proxyPort)
    const head = read(raw, wholeHead)
    raw.write('CONNECT api.openai.test:443 HTTP/1.1\r\nHost: api.openai.test:443\r\n\r\n')
    await head
    const strict = tls.connect({ socket: raw, ca: caPem, servername: 'evil.test' })
    await once(strict, 'error')
    raw.destroy()
    while (door.refused.length === before) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal(door.refused.at(-1)?.refusal.code, 'accept.disagree')
  })
})

test('an ambiguous path is refused on a service with actions, passed byte for byte elsewhere', async () => {
  const door = await openDoor()
  await closing(door, async () => {
    for (const path of ['/v1/%2e%2e/x', '/v1/../x', '/v1//x', '/v1/a;b', '/v1/a%2Fb', '/v1/%5cx', '/v1/%252e', '/v1/.'])
      assert.match(await inside(door, get(path, 'api.openai.test')), /^HTTP\/1\.1 400 .*accept\.ambiguous_path/s, path)
    for (const path of ['/v1/%00', '/v1/%zz'])
      assert.match(await inside(door, get(path, 'docs.test'), { authority: 'docs.test:443' }), /^HTTP\/1\.1 400 .*http\.malformed/s, path)
    assert.equal(bodyOf(await inside(door, get('/v1/a%20b?x=../%2f', 'api.openai.test')))['path'], '/v1/a%20b')
    const docs = await inside(door, get('/a;b/%2f', 'docs.test'), { authority: 'docs.test:443' })
    assert.equal(bodyOf(docs)['path'], '/a;b/%2f')
    const post = await inside(door, 'POST / HTTP/1.1\r\nHost: docs.test\r\n\r\n', { authority: 'docs.test:443' })
    assert.match(post, /^HTTP\/1\.1 403 .*decide\.method/s)
    const upgrade = get('/', 'api.openai.test', 'Connection: upgrade\r\nUpgrade: websocket\r\n')
    assert.match(await inside(door, upgrade), /^HTTP\/1\.1 501 .*accept\.upgrade/s)
  })
})

test('absolute form: the same flow for plain http, one host only', async () => {
  const door = await openDoor()
  await closing(door, async () => {
    const seen = bodyOf(await say(door.proxyPort, get('http://plain.test/a?b', 'plain.test')))
    assert.deepEqual([seen['way'], seen['scheme'], seen['path'], seen['query'], seen['port']], ['absolute', 'http', '/a', '?b', 80])
    assert.equal(bodyOf(await say(door.proxyPort, get('http://plain.test?b', 'plain.test')))['path'], '/')
    assert.match(await say(door.proxyPort, get('http://plain.test/', 'other.test')), /^HTTP\/1\.1 421 /)
    assert.match(await say(door.proxyPort, get('http://unknown.test/', 'unknown.test')), /^HTTP\/1\.1 403 .*accept\.host_unmanaged/s)
    assert.match(await say(door.proxyPort, get('https://plain.test/', 'plain.test')), /^HTTP\/1\.1 400 /)
    assert.match(await say(door.proxyPort, get('http://a@plain.test/', 'plain.test')), /^HTTP\/1\.1 400 /)
    assert.match(await say(door.proxyPort, get('/v1', '127.0.0.1')), /^HTTP\/1\.1 404 /)
    assert.match(await say(door.proxyPort, get('http://docs.test/', 'docs.test')), /^HTTP\/1\.1 403 .*host_unmanaged/s)
  })
})

test('base URL: service, prefix and pointer are mapped before the Target is made', async () => {
  const door = await openDoor()
  await closing(door, async () => {
    const host = `127.0.0.1:${door.basePort}`
    const seen = async (path: string): Promise<Record<string, unknown>> => bodyOf(await say(door.basePort, get(path, host)))
    assert.equal((await seen('/anthropic/messages?x=1'))['path'], '/v1/messages')
    assert.equal((await seen('/anthropic/v1/messages'))['path'], '/v1/messages')
    assert.equal((await seen('/anthropic/v1x'))['path'], '/v1/v1x')
    const mapped = await seen('/r/run-0a1b2c/openai/v1/models')
    assert.deepEqual(
      [mapped['pointer'], mapped['path'], mapped['host'], mapped['way']],
      ['run-0a1b2c', '/v1/models', 'api.openai.test', 'base-url'],
    )
    assert.equal((await seen('/openai'))['path'], '/')
    for (const path of ['/', '/unknown/v1', '/r/x/openai', '//openai', '/%6fpenai'])
      assert.match(await say(door.basePort, get(path, host)), /^HTTP\/1\.1 404 .*accept\.not_here/s, path)
    assert.match(await say(door.basePort, get('/openai/v1/../x', host)), /^HTTP\/1\.1 400 .*ambiguous/s)
    assert.match(await say(door.basePort, 'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n'), /^HTTP\/1\.1 501 /)
    assert.match(await say(door.basePort, get('http://api.openai.test/', 'api.openai.test')), /^HTTP\/1\.1 421 /)
  })
})

test('base URL: only its own name, no web page, never a CORS header', async () => {
  const door = await openDoor()
  await closing(door, async () => {
    const port = door.basePort
    for (const host of [`localhost:${port}`, `LOCALHOST:${port}`, `[::1]:${port}`])
      assert.match(await say(port, get('/openai/v1', host)), /^HTTP\/1\.1 200 /, host)
    for (const host of [`evil.test:${port}`, '127.0.0.1', `127.0.0.1:${port + 1}`, 'api.openai.test'])
      assert.match(await say(port, get('/openai/v1', host)), /^HTTP\/1\.1 421 .*accept\.host_wrong/s, host)
    const host = `127.0.0.1:${port}`
    const page = await say(port, get('/openai/v1', host, 'Origin: https://evil.test\r\n'))
    assert.match(page, /^HTTP\/1\.1 403 .*accept\.browser/s)
    assert.doesNotMatch(page, /access-control/i)
    assert.match(await say(port, get('/openai/v1', host, 'Sec-Fetch-Site: cross-site\r\n')), /^HTTP\/1\.1 403 .*accept\.browser/s)
    const listed = 'Origin: https://app.test\r\nSec-Fetch-Site: cross-site\r\n'
    assert.match(await say(port, get('/anthropic/messages', host, listed)), /^HTTP\/1\.1 200 /)
    const preflight = `OPTIONS /openai/v1 HTTP/1.1\r\nHost: ${host}\r\nOrigin: https://evil.test\r\nAccess-Control-Request-Method: POST\r\n\r\n`
    const refused = await say(port, preflight)
    assert.match(refused, /^HTTP\/1\.1 403 .*accept\.browser/s)
    assert.doesNotMatch(refused, /access-control/i)
  })
})

test('base URL: an address in the answer at which the agent goes on leads back through it, and no other', async () => {
  let url = ''
  const onCall = async (call: Call): Promise<void> => {
    await call.answer(responseHead(200, { 'x-upload-url': url, 'x-other': url }), noEdits, wholeFlow(Buffer.from('ok')))
  }
  const door = await openDoor({ onCall })
  await closing(door, async () => {
    const host = `localhost:${door.basePort}`
    const led = async (path: string): Promise<string | undefined> =>
      /x-upload-url: (.*)\r/.exec(await say(door.basePort, get(path, host)))?.[1]
    for (const there of ['https://files.test', 'https://files.test:443']) {
      url = `${there}/upload/v1/files?id=1&x=https://files.test/`
      assert.equal(await led('/r/run-0a1b2c/files/upload'), `http://${host}/r/run-0a1b2c/files/upload/v1/files?id=1&x=https://files.test/`)
      assert.equal(await led('/files/upload'), `http://${host}/files/upload/v1/files?id=1&x=https://files.test/`)
      assert.equal(await led('/openai/v1/files'), url, 'a service that names no such field')
    }
    for (url of ['https://files.test.evil/u', 'http://files.test/u', 'https://files.test:8443/u', 'https://x@files.test/u', '/u'])
      assert.equal(await led('/files/upload'), url)
    url = 'https://files.test/u'
    const through = await inside(door, get('/u', 'files.test'), { authority: 'files.test:443' })
    assert.match(through, /x-upload-url: https:\/\/files\.test\/u\r/, 'who came by CONNECT goes on by CONNECT')
    assert.match(await say(door.basePort, get('/files/u', host)), /x-other: https:\/\/files\.test\/u\r/)
  })
})

test('407 where only a token could identify, with a challenge and once; never at the base URL', async () => {
  const door = await openDoor({ tokenRequired: () => true })
  await closing(door, async () => {
    const connect = (fields: string): string => `CONNECT api.openai.test:443 HTTP/1.1\r\nHost: api.openai.test:443\r\n${fields}\r\n`
    const asked = await say(door.proxyPort, connect(''))
    assert.match(asked, /^HTTP\/1\.1 407 Proxy Authentication Required ostiary:identify\.credentials_required\r\n/)
    assert.match(asked, /\r\nProxy-Authenticate: Basic realm="ostiary"\r\n/)
    assert.match(await say(door.proxyPort, get('http://plain.test/', 'plain.test')), /^HTTP\/1\.1 407 .*\r\nProxy-Authenticate: Basic/s)
    const basic = Buffer.from('run-0a:a.b.c').toString('base64')
    for (const value of [`Basic ${basic}`, 'Bearer a.b.c']) {
      const seen = bodyOf(await inside(door, get('/', 'api.openai.test'), { fields: `Proxy-Authorization: ${value}\r\n` }))
      assert.equal(seen['token'], true)
      assert.equal(seen['pointer'], value.startsWith('Basic') ? 'run-0a' : null)
    }
    assert.match(await say(door.basePort, get('/openai/v1', `127.0.0.1:${door.basePort}`)), /^HTTP\/1\.1 200 /)
  })
})

test('a token in the clear from another host, and one that cannot be read, are refused inside TLS', async () => {
  const far = { ...localPeer, loopback: false, address: '192.0.2.1' }
  const door = await openDoor({ gather: async () => ({ peer: far, unchanged: () => true }) })
  await closing(door, async () => {
    const fields = 'Proxy-Authorization: Bearer a.b.c\r\n'
    assert.match(await inside(door, get('/', 'api.openai.test'), { fields }), /^HTTP\/1\.1 403 .*identify\.transport/s)
    assert.match(await say(door.proxyPort, get('http://plain.test/', 'plain.test', fields)), /^HTTP\/1\.1 403 .*identify\.transport/s)
    for (const odd of ['Negotiate abc', 'Basic a,b', 'Bearer a\r\nProxy-Authorization: Bearer b'])
      assert.match(
        await inside(door, get('/', 'api.openai.test'), { fields: `Proxy-Authorization: ${odd}\r\n` }),
        /identify\.token_malformed/,
      )
    assert.equal(door.refused.at(-1)?.about.peer.address, '192.0.2.1')
  })
})

test('who presents something else on the same connection is somebody else', async () => {
  let gathered = 0
  const memories = new Set<unknown>()
  const { echo } = await import('./fake-agent.ts')
  const door = await openDoor({
    gather: async () => {
      gathered++
      return { peer: localPeer, unchanged: () => true }
    },
    onCall: (call) => {
      memories.add(call.connection)
      return echo(call)
    },
  })
  await closing(door, async () => {
    const socket = await dial(door.proxyPort)
    for (const token of ['a.a.a', 'a.a.a', 'b.b.b']) {
      const answer = read(socket, wholeAnswer)
      socket.write(get('http://plain.test/', 'plain.test', `Proxy-Authorization: Bearer ${token}\r\n`))
      await answer
    }
    assert.equal(gathered, 1)
    assert.equal(memories.size, 2)
    socket.destroy()
  })
})

test('evidence that cannot be gathered is a no with an id, and the process lives', async () => {
  const door = await openDoor({ gather: () => Promise.reject(new Error('the kernel said no')) })
  await closing(door, async () => {
    const answer = await inside(door, get('/', 'api.openai.test'))
    assert.match(answer, /^HTTP\/1\.1 500 .*flow\.defect/s)
    assert.doesNotMatch(answer, /kernel/)
    assert.equal(bodyOf(answer)['id'], door.refused[0]?.about.id)
    const process = await openDoor({ gather: () => Promise.reject(new Refusal('identify.process_unknown')) })
    assert.match(await say(process.basePort, get('/openai/v1', `127.0.0.1:${process.basePort}`)), /identify\.process_unknown/)
    await process.accept.stop()
  })
})

test('no more connections than the limit, and each that closes makes room', async () => {
  const door = await openDoor({ shorter: { connectionsMax: 2 } })
  await closing(door, async () => {
    for (let round = 0; round < 3; round++) {
      const one = await tunnelled(door.proxyPort)
      const other = await tunnelled(door.proxyPort)
      assert.match(await say(door.proxyPort, ''), /^HTTP\/1\.1 503 .*accept\.too_many/s)
      one.destroy()
      other.destroy()
      while (door.accept.stats().connections > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })
})

test('a sender that has its share of connections is refused more, even where it only holds them; others get in', async () => {
  let uid = 1
  const door = await openDoor({
    shorter: { connectionsPerSenderMax: 3 },
    gather: async () => ({ peer: { ...localPeer, uid }, unchanged: () => true }),
  })
  await closing(door, async () => {
    const idle = await Promise.all([1, 2, 3].map(() => dial(door.proxyPort)))
    while (door.accept.connections < 3) await new Promise((resolve) => setTimeout(resolve, 5))
    // It need not even speak to be told.
    assert.match(await say(door.proxyPort, ''), /^HTTP\/1\.1 503 .*accept\.too_many/s)
    assert.equal(door.refused.at(-1)?.refusal.detail, 'connectionsPerSenderMax')
    uid = 2
    assert.match(await inside(door, get('/v1/x', 'api.openai.test')), /^HTTP\/1\.1 200/)
    uid = 1
    idle[0]?.destroy()
    while (door.accept.connections > 2) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.match(await inside(door, get('/v1/x', 'api.openai.test')), /^HTTP\/1\.1 200/)
    for (const socket of idle) socket.destroy()
  })
})

test('a proxy door on a Unix socket', async () => {
  const door = await openDoor({ gather: async () => ({ peer: { ...localPeer, transport: 'unix' }, unchanged: () => true }) })
  await closing(door, async () => {
    const { mkdtempSync, rmSync } = await import('node:fs')
    const { tmpdir } = await import('node:os')
    const { connect } = await import('node:net')
    const dir = mkdtempSync(`${tmpdir()}/ostiary-accept-`)
    const close = await door.accept.listenInside(`${dir}/s`)
    const socket = connect(`${dir}/s`)
    const answer = read(socket, wholeAnswer)
    socket.write(`proxy\n${get('http://plain.test/', 'plain.test')}`)
    assert.match(await answer, /^HTTP\/1\.1 200 /)
    socket.destroy()
    close()
    rmSync(dir, { recursive: true })
  })
})

test('a CONNECT of HTTP/1.0 without Host, as older Pythons send it, meets the same rules', async () => {
  const door = await openDoor()
  await closing(door, async () => {
    const first = async (head: string): Promise<string> => (await say(door.proxyPort, head, wholeHead)).split('\r\n', 1)[0] as string
    assert.match(await first('CONNECT api.openai.test:443 HTTP/1.0\r\n\r\n'), / 200 /)
    assert.match(await first('CONNECT api.openai.test:443 HTTP/1.0\r\nHost: api.openai.test:443\r\n\r\n'), / 200 /)
    assert.match(await first('CONNECT api.openai.test:443 HTTP/1.0\r\nhOST: docs.test:443\r\n\r\n'), / 421 /)
    assert.match(await first('CONNECT api.openai.test:443 HTTP/1.0\r\nX: a\nHost: docs.test\r\n\r\n'), / 400 /)
    assert.match(await first('CONNECT api.openai.test:443 HTTP/1.0\r\nContent-Length: 5\r\n\r\n'), / 400 /)
    assert.match(await first('CONNECT api.openai.test HTTP/1.0\r\n\r\n'), / 400 /)
    assert.match(await first('CONNECT a@api.openai.test:443 HTTP/1.0\r\n\r\n'), / 400 /)
    assert.match(await first('GET http://plain.test/ HTTP/1.0\r\nHost: plain.test\r\n\r\n'), / 505 /)
    assert.match(await first('CONNECT api.openai.test:443 HTTP/0.9\r\n\r\n'), / 505 /)
  })
})
