import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import fc from 'fast-check'
import { createRootAuthority, issueLeaf } from '../crypto/x509.ts'
import { Refusal } from '../model/refusal.ts'
import { ambiguousPath, canonicalHost, parseAuthority } from './canonical.ts'
import { readClientHello } from './client-hello.ts'
import { bodyOf, clientHello, dial, openDoor, portOf, read, say, type TunnelCall, wholeHead, withExtension } from './fake-agent.ts'

const connectTo = (authority: string): string => `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`

test('a refused tunnel says its code in the reason phrase, a document, and closes', async () => {
  const door = await openDoor({ onTunnel: (call) => call.refuse(new Refusal('accept.host_unmanaged', call.target.host), call.id) })
  const answer = await say(door.proxyPort, connectTo('evil.test:443'))
  assert.match(answer, /^HTTP\/1\.1 403 Forbidden ostiary:accept\.host_unmanaged\r\n/)
  assert.match(answer, /\r\nConnection: close\r\n/)
  assert.match(answer, /application\/problem\+json/)
  assert.equal(bodyOf(answer)['code'], 'accept.host_unmanaged')
  assert.doesNotMatch(answer, /evil\.test/)
  // A managed host is never tunnelled, at whatever port.
  const other = await say(door.proxyPort, connectTo('api.openai.test:8443'))
  assert.match(other, /^HTTP\/1\.1 403 Forbidden ostiary:accept\.host_unmanaged/)
  assert.equal(door.refused.at(-1)?.refusal.detail, 'a managed host at another port or scheme')
  await door.accept.stop()
})

test('a permitted tunnel relays both ways, ends included, and counts', async () => {
  const ca = createRootAuthority({ commonName: 'origin', now: Date.now(), years: 1 })
  const { certPem, keyPem } = issueLeaf(ca, ['origin.test'], Date.now(), 3_600_000)
  const size = 3_000_000
  const server = tls.createServer({ cert: certPem, key: keyPem }, (socket) => {
    socket.once('data', () => socket.end(Buffer.alloc(size, 'z')))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  let counted: { bytesIn: number; bytesOut: number } | null = null
  let gone = false
  const onTunnel = async (call: TunnelCall): Promise<void> => {
    assert.deepEqual([call.target.action, call.target.host, call.target.service], ['tunnel', 'origin.test', null])
    call.whenGone(() => {
      gone = true
    })
    counted = await call.relay(async () => connect(portOf(server), '127.0.0.1'))
  }
  const door = await openDoor({ onTunnel })
  const raw = await dial(door.proxyPort)
  const head = read(raw, wholeHead)
  raw.write(connectTo('origin.test:443'))
  await head
  const secure = tls.connect({ socket: raw, servername: 'origin.test', ca: ca.certPem })
  await once(secure, 'secureConnect')
  assert.equal(secure.authorized, true)
  const all = read(secure)
  secure.write('go')
  await new Promise((resolve) => setTimeout(resolve, 20))
  secure.pause()
  await new Promise((resolve) => setTimeout(resolve, 20))
  secure.resume()
  assert.equal((await all).length, size)
  for (let tries = 0; counted === null && tries < 400; tries++) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.ok(((counted as { bytesOut: number } | null)?.bytesOut ?? 0) >= size)
  assert.equal(gone, true)
  await door.accept.stop()
  server.close()
})

test('a hello for another host, with ECH, without SNI, that is none, too large or too late is not relayed', async () => {
  let dialled = 0
  let ended = Promise.resolve('')
  const onTunnel = (call: TunnelCall): void => {
    ended = call
      .relay(async () => {
        dialled++
        throw new Error('must not be dialled')
      })
      .then(
        () => 'relayed',
        (error) => {
          call.refuse(error, call.id)
          return `${(error as Refusal).code}: ${(error as Refusal).detail}`
        },
      )
  }
  const door = await openDoor({ onTunnel, shorter: { handshakeMs: 150 } })
  const tried = async (bytes: Buffer | string): Promise<string> => {
    const raw = await dial(door.proxyPort)
    const closed = read(raw)
    raw.write(connectTo('origin.test:443'))
    await new Promise((resolve) => setTimeout(resolve, 10))
    raw.write(bytes)
    assert.equal(await closed, 'HTTP/1.1 200 Connection Established\r\n\r\n')
    return ended
  }
  const hello = await clientHello('origin.test')
  assert.equal(await tried(await clientHello('evil.test')), 'accept.not_tls: SNI is not the CONNECT host')
  assert.equal(await tried(await clientHello('')), 'accept.not_tls: SNI is not the CONNECT host')
  assert.equal(await tried(withExtension(hello, 0xfe0d)), 'accept.not_tls: ECH')
  assert.equal(await tried('GET / HTTP/1.1\r\n\r\n'), 'accept.not_tls: not a handshake record')
  assert.equal(await tried('SSH-2.0-x\r\n'), 'accept.not_tls: not a handshake record')
  const large = Buffer.alloc(20_000)
  large.set([22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff])
  large.set([22, 3, 1, 0x40, 0], 5 + 0x4000)
  assert.equal(await tried(large), 'accept.not_tls: helloBytesMax')
  assert.equal(await tried(hello.subarray(0, 40)), 'accept.not_tls: no hello in time')
  assert.equal(dialled, 0)
  await door.accept.stop()
})

test('a tunnel is cut on demand, and when its agent leaves the upstream goes too', async () => {
  const server = createServer((socket) => socket.on('error', () => {}))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const calls: TunnelCall[] = []
  const ends: Promise<unknown>[] = []
  const door = await openDoor({
    onTunnel(call) {
      calls.push(call)
      ends.push(call.relay(async () => connect(portOf(server), '127.0.0.1')))
    },
  })
  for (const how of ['cut', 'leave'] as const) {
    const taken = once(server, 'connection')
    const raw = await dial(door.proxyPort)
    const closed = read(raw)
    raw.write(Buffer.concat([Buffer.from(connectTo('origin.test:443')), await clientHello('origin.test')]))
    const [upstream] = (await taken) as [Socket]
    upstream.resume()
    if (how === 'cut') calls.at(-1)?.cut()
    else raw.destroy()
    await closed
    if (!upstream.closed) await once(upstream, 'close')
    await ends.at(-1)
  }
  await door.accept.stop()
  server.close()
})

test('the hello reader: real hellos at every length, split records, and nothing but Refusals on any bytes', async () => {
  const hello = await clientHello('origin.test')
  assert.deepEqual(readClientHello(hello), { serverName: 'origin.test', encrypted: false })
  assert.deepEqual(readClientHello(withExtension(hello, 0xfe0d)), { serverName: 'origin.test', encrypted: true })
  for (let length = 0; length < hello.length; length++) assert.equal(readClientHello(hello.subarray(0, length)), null)
  const body = hello.subarray(5)
  const split = Buffer.concat(
    [body.subarray(0, 3), body.subarray(3, 100), body.subarray(100)].map((part) => {
      const record = Buffer.concat([Buffer.from([22, 3, 1, 0, 0]), part])
      record.writeUInt16BE(part.length, 3)
      return record
    }),
  )
  assert.equal(readClientHello(split)?.serverName, 'origin.test')
  const only = (bytes: Buffer): void => {
    try {
      readClientHello(bytes)
    } catch (error) {
      assert.ok(error instanceof Refusal && error.code === 'accept.not_tls', String(error))
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => only(Buffer.from(bytes))),
    { numRuns: 300 },
  )
  const changes = fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(changes, fc.nat(hello.length), (edits, cut) => {
      const bytes = Buffer.from(hello)
      for (const [at, value] of edits) bytes[at] = value
      only(bytes)
      only(bytes.subarray(0, cut))
    }),
    { numRuns: 3_000 },
  )
})

test('hosts have one spelling; what could be read in two ways is refused', () => {
  assert.equal(canonicalHost('API.OpenAI.com'), 'api.openai.com')
  assert.equal(canonicalHost('api.openai.com.'), 'api.openai.com')
  assert.equal(canonicalHost('bücher.example'), 'xn--bcher-kva.example')
  assert.equal(canonicalHost('192.0.2.7'), '192.0.2.7')
  assert.equal(canonicalHost('[2001:DB8:0::1]'), '2001:db8::1')
  assert.deepEqual(parseAuthority('a.test:8443', null), { host: 'a.test', port: 8443 })
  assert.deepEqual(parseAuthority('[::1]:8443', null), { host: '::1', port: 8443 })
  assert.deepEqual(parseAuthority('a.test', 443), { host: 'a.test', port: 443 })
  const long = `${'a'.repeat(64)}.test`
  for (const odd of [
    '',
    '.',
    'a..test',
    '.a.test',
    'a.test..',
    'a b',
    'a\0.test',
    'a@b',
    'a%2e',
    '[a.test]',
    '[::1',
    '::1',
    '2130706433',
    '0x7f.1',
    '127.1',
    '0177.0.0.1',
    '1.2.3.4.',
    '1.2.3.08',
    '-a.test',
    'a-.test',
    long,
    `${'a.'.repeat(130)}test`,
    'a/b',
    'a\\b',
    'a#b',
    '[::1%lo]',
    'a.1',
    '１２７.0.0.1',
    'a\u00ad\u200b',
  ])
    if (odd === 'a\u00ad\u200b') assert.ok(['a', null].includes(tryHost(odd)))
    else assert.equal(tryHost(odd), null, JSON.stringify(odd))
  for (const odd of [
    'a.test',
    'a.test:',
    'a.test:0',
    'a.test:65536',
    'a.test:123456',
    'a.test:-1',
    'a.test:+1',
    'a:b:1',
    ':443',
    'a.test:443 ',
    '[::1]',
    'http://a.test:1',
  ])
    assert.throws(() => parseAuthority(odd, null), Refusal, odd)
})

function tryHost(text: string): string | null {
  try {
    return canonicalHost(text)
  } catch (error) {
    assert.ok(error instanceof Refusal)
    return null
  }
}

test('canonical is a fixed point, and no path with a second reading is called plain', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 40, unit: fc.constantFrom(...'aA0.-_xX1:[]@% é') }), (text) => {
      const once = tryHost(text)
      if (once !== null && !once.includes(':')) assert.equal(canonicalHost(once), once)
    }),
    { numRuns: 2_000 },
  )
  const segment = fc.constantFrom('a', '.', '..', '%2e', '%2E%2e', '%2f', '%5C', '%25', '%00', ';', '\\', '', 'b.c', '..a', 'a..', '%20')
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 6 }), (parts) => {
      const path = `/${parts.join('/')}`
      if (ambiguousPath(path)) return
      // Whoever decodes, folds or normalises it, finds the same segments.
      assert.equal(new URL(`http://a${path}`).pathname, path)
      assert.equal(decodeURIComponent(path).split('/').length, path.split('/').length)
      assert.ok(!decodeURIComponent(path).includes('//') && !path.includes(';'))
    }),
    { numRuns: 2_000 },
  )
})
