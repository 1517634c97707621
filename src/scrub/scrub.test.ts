import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep, setImmediate as soon } from 'node:timers/promises'
import zlib from 'node:zlib'
import { FlowSource, wholeFlow } from '../http/flow.ts'
import { findHeadEnd, readResponseHead } from '../http/read-head.ts'
import { writeResponseHead } from '../http/write-head.ts'
import type { Call } from '../model/call.ts'
import type { Lease } from '../model/credential.ts'
import { limits } from '../model/limits.ts'
import type { Flow, ResponseHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import { createScrub, type Scrubbed } from './scrub.ts'

const key = 'sk-proj-Zx81QmWv70KpLr52NtHs64JyGe33UoFiAq29Bd'
const stars = '*'.repeat(key.length)
const shortKey = 'tiny-Zx81QmWv70'

function leaseOf(text = key, revoked = new AbortController().signal): Lease {
  const token = new Secret(text)
  return {
    id: 'lease',
    credentialName: 'openai',
    providerKind: 'static-key',
    credential: { kind: 'bearer', token },
    expiresAt: 0,
    workload: 'coder',
    service: 'openai',
    host: 'api.openai.test',
    port: 443,
    secrets: [token],
    revoked,
  }
}

function callOf(method = 'POST', cookies: readonly string[] = []): Call {
  return { target: { method }, service: { cookies } } as unknown as Call
}

function headOf(fields: readonly string[] = [], line = 'HTTP/1.1 200 OK', method = 'POST'): ResponseHead {
  const bytes = Buffer.from([line, ...fields, '', ''].join('\r\n'), 'latin1')
  return readResponseHead(bytes, 0, findHeadEnd(bytes, 0), method)
}

/** A body that comes when the test says so. */
function source(length = -1): { readonly flow: FlowSource; readonly events: string[] } {
  const events: string[] = []
  const flow = new FlowSource(length, {
    paused: () => events.push('paused'),
    resumed: () => events.push('resumed'),
    cancelled: () => events.push('cancelled'),
  })
  return { flow, events }
}

interface Taken {
  text: string
  chunks: string[]
  trailers: readonly (readonly [string, string])[] | null
  failed: Error | null
}

function take(flow: Flow): Taken {
  const taken: Taken = { text: '', chunks: [], trailers: null, failed: null }
  flow.start({
    data(chunk) {
      taken.text += chunk.toString('latin1')
      taken.chunks.push(chunk.toString('latin1'))
      return true
    },
    end: (trailers) => {
      taken.trailers = trailers
    },
    fail: (error) => {
      taken.failed = error
    },
  })
  return taken
}

async function settled(taken: Taken): Promise<Taken> {
  for (let turn = 0; turn < 5_000 && taken.trailers === null && taken.failed === null; turn++) await (turn < 50 ? soon() : sleep(1))
  assert.ok(taken.trailers !== null || taken.failed !== null, 'the body ended')
  return taken
}

const scrub = createScrub({ limits })

function written(head: ResponseHead, clean: Scrubbed): string {
  return writeResponseHead(head, clean.edits, { kind: 'length', length: clean.body.length }, true).toString('latin1')
}

test('without a lease the answer passes untouched', () => {
  const body = wholeFlow(Buffer.from(key))
  const clean = scrub({ head: headOf(['Set-Cookie: a=b']), body }, null, callOf())
  assert.equal(clean.body, body)
  assert.equal(clean.edits.remove.size, 0)
})

test('a whole body that holds nothing is the same body, one that does is masked at the same length', () => {
  const body = wholeFlow(Buffer.from('{"answer":42}'))
  assert.equal(scrub({ head: headOf(), body }, leaseOf(), callOf()).body, body)
  const clean = scrub({ head: headOf(), body: wholeFlow(Buffer.from(`{"key":"${key}"}`)) }, leaseOf(), callOf())
  assert.equal(clean.body.whole?.toString(), `{"key":"${stars}"}`)
  assert.equal(clean.found(), 1)
})

test('fields, the reason phrase and cookies give nothing back', () => {
  const basic = Buffer.from(`user:${key}`).toString('base64')
  const head = headOf(
    [
      `X-Echo: Bearer ${key}`,
      'X-Plain: yes',
      `X-Basic: ${basic}`,
      `X-${key}: 1`,
      'Set-Cookie: session=1',
      'Set-Cookie: lang=de; Path=/',
      'x-echo: second',
    ],
    `HTTP/1.1 401 bad key ${key}`,
  )
  const clean = scrub({ head, body: wholeFlow(Buffer.from('')) }, leaseOf(), callOf('POST', ['lang']))
  const text = written(head, clean)
  assert.ok(!text.includes(key) && !text.includes(basic.slice(8, 50)), text)
  assert.ok(text.startsWith(`HTTP/1.1 401 bad key ${stars}\r\n`))
  assert.match(text, /X-Plain: yes\r\n/)
  assert.ok(text.includes(`x-echo: Bearer ${stars}\r\n`) && text.includes('x-echo: second\r\n'))
  assert.ok(!text.includes('session=1') && text.includes('set-cookie: lang=de; Path=/\r\n'))
  assert.equal(clean.found(), 4)
})

test('a redirect, a challenge and every other field give nothing back, in any spelling', () => {
  const wide = Buffer.from(key, 'utf16le').toString('latin1').replaceAll('\0', '')
  assert.equal(wide, key, 'a field holds no zero, so UTF-16 needs none here')
  for (const field of [
    `Location: https://evil.test/?k=${key}`,
    `Location: https://evil.test/${[...key].map((one) => `%${one.charCodeAt(0).toString(16)}`).join('')}`,
    `WWW-Authenticate: Bearer realm="${key}"`,
    `Link: <https://x.test/${key}>; rel="next"`,
    `Refresh: 0;url=https://evil.test/${key}`,
    `X-Html: ${[...key].map((one) => `&#${one.charCodeAt(0)};`).join('')}`,
    `ETag: "${Buffer.from(key).toString('hex')}"`,
    `Set-Cookie: a=${key}; Domain=evil.test`,
    `Set-Cookie2: a=${key}`,
    `Content-Disposition: attachment; filename="${key}"`,
  ]) {
    const head = headOf([field], 'HTTP/1.1 302 Found')
    const text = written(head, scrub({ head, body: wholeFlow(Buffer.from('')) }, leaseOf(), callOf()))
    const value = field.slice(field.indexOf(': ') + 2)
    for (let at = 0; at + 60 <= value.length; at++) assert.ok(!text.includes(value.slice(at, at + 60)), `${field}: ${text}`)
    assert.ok(!text.includes(key.slice(8, 30)), text)
  }
})

test('a part of the answer (206) is searched like a whole one', () => {
  const head = headOf(['Content-Type: multipart/byteranges; boundary=x', 'Content-Length: 200'], 'HTTP/1.1 206 Partial Content')
  const body = `--x\r\nContent-Range: bytes 0-99/200\r\n\r\n"key":"${key}"\r\n--x\r\nContent-Range: bytes 100-199/200\r\n\r\n${key.slice(0, 30)}\r\n--x--`
  const clean = scrub({ head, body: wholeFlow(Buffer.from(body)) }, leaseOf(), callOf())
  const text = clean.body.whole?.toString() as string
  assert.ok(!text.includes(key.slice(0, 24)) && text.length === body.length, text)
  assert.equal(clean.found(), 2)
})

test('compressed twice over, in members, or followed by something else: nothing passes unseen', async () => {
  const answer = async (name: string, body: Buffer): Promise<Taken> => {
    const { flow } = source()
    const taken = take(scrub({ head: headOf([`Content-Encoding: ${name}`]), body: flow }, leaseOf(), callOf()).body)
    for (let at = 0; at < body.length; at += 11) flow.data(body.subarray(at, at + 11))
    flow.end([])
    return settled(taken)
  }
  const half = key.length / 2
  const members = await answer('gzip', Buffer.concat([zlib.gzipSync(key.slice(0, half)), zlib.gzipSync(key.slice(half))]))
  assert.ok(!members.text.includes(key) && members.text.includes('*'.repeat(half)), members.text)
  for (const [name, body] of [
    ['gzip', Buffer.concat([zlib.gzipSync('fine'), Buffer.from(key)])],
    ['gzip', Buffer.from(`{"key":"${key}"}`)],
    ['br', zlib.gzipSync(key)],
    ['zstd', zlib.brotliCompressSync(key)],
    ['deflate', zlib.gzipSync(key)],
  ] as const) {
    const taken = await answer(name, body)
    assert.ok(!taken.text.includes(key.slice(0, 24)), `${name}: ${taken.text}`)
  }
})

test('a short answer that was read whole and holds nothing passes as it came', () => {
  const plain = '{"text":"fine"}'
  const noted = zlib.gzipSync(plain)
  // RFC 1952 §2.3: FCOMMENT, which no decoder gives out.
  noted[3] = 16
  const comment = Buffer.concat([noted.subarray(0, 10), Buffer.from(`${key}\0`), noted.subarray(10)])
  const skipped = Buffer.concat([
    Buffer.from([0x50, 0x2a, 0x4d, 0x18, key.length, 0, 0, 0]),
    Buffer.from(key),
    zlib.zstdCompressSync(plain),
  ])
  const members = [zlib.gzipSync(plain), zlib.gzipSync(key)] as const
  const brotli = zlib.brotliCompressSync(plain)
  const half = key.length / 2
  for (const [name, body, text] of [
    ['gzip', zlib.gzipSync(plain), null],
    ['br', brotli, null],
    ['zstd', zlib.zstdCompressSync(plain), null],
    ['deflate', zlib.deflateSync(plain), plain],
    ['gzip', comment, plain],
    ['zstd', skipped, plain],
    ['gzip', Buffer.concat(members), `${plain}${stars}`],
    ['gzip', Buffer.concat([zlib.gzipSync(key.slice(0, half)), zlib.gzipSync(key.slice(half))]), stars],
    // Where our decoder stops another may go on.
    ['gzip', Buffer.concat([members[0], Buffer.alloc(3), members[1]]), plain],
    ['br', Buffer.concat([brotli, zlib.brotliCompressSync(key)]), plain],
  ] as const) {
    const clean = scrub({ head: headOf([`Content-Encoding: ${name}`]), body: wholeFlow(body) }, leaseOf(), callOf())
    const kept = !clean.edits.remove.has('content-encoding')
    assert.equal(kept, text === null, name)
    assert.deepEqual(clean.body.whole?.toString('latin1'), text ?? body.toString('latin1'), name)
  }
})

test('a cookie that may pass is masked too', () => {
  const head = headOf([`Set-Cookie: lang=${key}`, 'Set-Cookie: session=1'])
  const text = written(head, scrub({ head, body: wholeFlow(Buffer.from('')) }, leaseOf(), callOf('POST', ['lang'])))
  assert.ok(text.includes(`set-cookie: lang=${stars}`) && !text.includes(key))
  const alone = headOf([`Set-Cookie: lang=${key}`])
  const other = written(alone, scrub({ head: alone, body: wholeFlow(Buffer.from('')) }, leaseOf(), callOf('POST', ['lang'])))
  assert.ok(other.includes(`set-cookie: lang=${stars}`) && !other.includes(key))
})

test('trailers are masked, one with the secret in its name is dropped', () => {
  const { flow } = source()
  const taken = take(scrub({ head: headOf(), body: flow }, leaseOf(), callOf()).body)
  flow.end([
    ['x-sum', `=${key}=`],
    [key, 'yes'],
    ['x-fine', 'yes'],
  ])
  assert.deepEqual(taken.trailers, [
    ['x-sum', `=${stars}=`],
    ['x-fine', 'yes'],
  ])
})

test('events of a stream pass at once and byte for byte; a match across events is cut', () => {
  const { flow } = source()
  const clean = scrub({ head: headOf(), body: flow }, leaseOf(), callOf())
  assert.equal(clean.body.length, -1)
  const taken = take(clean.body)
  for (const event of ['data: {"text":"sk"}\n\n', ': ping\n\n', 'data: s', 'k-proj-Zx81', '\n\n']) {
    flow.data(Buffer.from(event))
    assert.equal(taken.chunks.at(-1), event)
  }
  flow.data(Buffer.from(`x${key.slice(0, 20)}`))
  flow.data(Buffer.from(key.slice(20, 30)))
  flow.data(Buffer.from(`${key.slice(30)}y`))
  flow.end([])
  assert.ok(taken.text.endsWith(`x${key.slice(0, 20)}${'*'.repeat(key.length - 20)}y`), taken.text)
  assert.equal(clean.found(), 1)
})

const codings: readonly (readonly [string, (plain: Buffer) => Buffer])[] = [
  ['gzip', zlib.gzipSync],
  ['x-gzip', zlib.gzipSync],
  ['br', zlib.brotliCompressSync],
  ['deflate', zlib.deflateSync],
  ['Deflate', zlib.deflateRawSync],
  ['zstd', zlib.zstdCompressSync],
]

for (const [name, encode] of codings) {
  test(`${name}: decoded, masked, split at every byte`, async () => {
    const plain = Buffer.from(`{"headers":{"authorization":"Bearer ${key}"}}`)
    const encoded = encode(plain)
    const lease = leaseOf()
    for (let at = 0; at <= encoded.length; at++) {
      const head = headOf([`Content-Encoding: ${name}`, `Content-Length: ${encoded.length}`])
      const { flow } = source(encoded.length)
      const clean = scrub({ head, body: flow }, lease, callOf())
      assert.ok(clean.edits.remove.has('content-encoding') && clean.edits.remove.has('content-length'))
      const taken = take(clean.body)
      flow.data(encoded.subarray(0, at))
      flow.data(encoded.subarray(at))
      flow.end([])
      const { text } = await settled(taken)
      assert.equal(text.length, plain.length)
      assert.ok(!text.includes(key.slice(0, 24)), text)
    }
    const whole = scrub({ head: headOf([`Content-Encoding: ${name}`]), body: wholeFlow(encoded) }, lease, callOf())
    assert.equal(whole.body.whole?.toString(), `{"headers":{"authorization":"Bearer ${stars}"}}`)
  })

  test(`${name}: cut short or broken, it fails`, async () => {
    const encoded = encode(Buffer.from(`plain text of some length, ${'abc'.repeat(50)}`))
    for (const wrong of [encoded.subarray(0, encoded.length - 3), Buffer.concat([Buffer.from([0xff, 0x99]), encoded])]) {
      const { flow } = source()
      const taken = take(scrub({ head: headOf([`Content-Encoding: ${name}`]), body: flow }, leaseOf(), callOf()).body)
      flow.data(wrong)
      flow.end([])
      const { failed } = await settled(taken)
      assert.equal((failed as Refusal).code, 'scrub.broken')
      assert.throws(
        () => scrub({ head: headOf([`Content-Encoding: ${name}`]), body: wholeFlow(wrong) }, leaseOf(), callOf()),
        (error: Refusal) => error.code === 'scrub.broken',
      )
    }
  })
}

test('compressed events pass without waiting for the next one', async () => {
  const makers = [() => zlib.createGzip(), () => zlib.createBrotliCompress(), () => zlib.createZstdCompress(), () => zlib.createDeflate()]
  for (const [index, name] of ['gzip', 'br', 'zstd', 'deflate'].entries()) {
    const encoder = (makers[index] as () => zlib.Gzip)()
    const { flow } = source()
    const taken = take(scrub({ head: headOf([`Content-Encoding: ${name}`]), body: flow }, leaseOf(), callOf()).body)
    encoder.on('data', (chunk: Buffer) => flow.data(chunk))
    for (let count = 1; count <= 3; count++) {
      encoder.write(`data: event ${count}\n\n`)
      await new Promise<void>((done) => encoder.flush(() => done()))
      for (let turn = 0; turn < 5_000 && !taken.text.includes(`event ${count}\n\n`); turn++) await sleep(1)
      assert.ok(taken.text.endsWith(`event ${count}\n\n`), `${name}: ${taken.text}`)
    }
    taken.trailers = []
  }
})

test('a bomb ends the body, in ratio and in size', async () => {
  const bomb = zlib.brotliCompressSync(Buffer.alloc(64 * 1024 * 1024), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 3 } })
  for (const [body, inflateBytesMax] of [
    [wholeFlow(bomb), limits.inflateBytesMax],
    [wholeFlow(zlib.gzipSync(Buffer.alloc(8 * 1024 * 1024))), 4 * 1024 * 1024],
  ] as const) {
    const name = inflateBytesMax === limits.inflateBytesMax ? 'br' : 'gzip'
    const strict = createScrub({ limits: { ...limits, inflateBytesMax: inflateBytesMax as typeof limits.inflateBytesMax } })
    const taken = take(strict({ head: headOf([`Content-Encoding: ${name}`]), body }, leaseOf(), callOf()).body)
    const { failed } = await settled(taken)
    assert.equal((failed as Refusal).code, 'scrub.broken')
    assert.ok(taken.text.length <= Math.max(bomb.length * 1_000, 5 * 1024 * 1024))
  }
})

test('an encoding that cannot be undone is refused; where there is no body it does not matter', () => {
  for (const value of ['compress', 'gzip, gzip', 'br, gzip', 'aws-chunked'])
    assert.throws(
      () => scrub({ head: headOf([`Content-Encoding: ${value}`]), body: wholeFlow(Buffer.from('x')) }, leaseOf(), callOf()),
      (error: Refusal) => error.code === 'scrub.encoding',
    )
  assert.throws(
    () =>
      scrub({ head: headOf(['Content-Encoding: gzip', 'Content_Encoding: br']), body: wholeFlow(Buffer.from('x')) }, leaseOf(), callOf()),
    (error: Refusal) => error.code === 'scrub.encoding',
  )
  for (const [line, method] of [
    ['HTTP/1.1 200 OK', 'HEAD'],
    ['HTTP/1.1 304 Not Modified', 'GET'],
    ['HTTP/1.1 204 No Content', 'GET'],
  ] as const) {
    const clean = scrub(
      { head: headOf(['Content-Encoding: compress'], line, method), body: wholeFlow(Buffer.alloc(0)) },
      leaseOf(),
      callOf(method),
    )
    assert.equal(clean.edits.remove.has('content-encoding'), false)
  }
})

test('a short secret: the answer leaves when it is complete, and not at all when it is too large', async () => {
  const { flow } = source()
  const clean = scrub({ head: headOf(), body: flow }, leaseOf(shortKey), callOf())
  const taken = take(clean.body)
  for (const one of `data: ${shortKey}\n\n`) flow.data(Buffer.from(one))
  assert.equal(taken.text, '')
  flow.end([])
  assert.equal(taken.text, `data: ${'*'.repeat(shortKey.length)}\n\n`)
  assert.equal(clean.found(), 1)

  const large = source()
  const over = take(scrub({ head: headOf(), body: large.flow }, leaseOf(shortKey), callOf()).body)
  for (let mebibyte = 0; mebibyte < 9; mebibyte++) large.flow.data(Buffer.alloc(1024 * 1024))
  assert.equal((over.failed as Refusal).code, 'scrub.short_secret')
  assert.ok(large.events.includes('cancelled'))
  const said = source(limits.bufferedAnswerBytesMax + 1).flow
  assert.throws(
    () => scrub({ head: headOf(), body: said }, leaseOf(shortKey), callOf()),
    (error: Refusal) => error.code === 'scrub.short_secret',
  )
})

test('a lease that was revoked or wiped before its answer came lets nothing pass', () => {
  const ended = new AbortController()
  const lease = leaseOf(key, ended.signal)
  scrub.prepare(lease)
  const { flow, events } = source()
  const taken = take(scrub({ head: headOf(), body: flow }, lease, callOf()).body)
  ended.abort()
  flow.data(Buffer.from(key))
  assert.equal((taken.failed as Refusal).code, 'obtain.revoked')
  assert.ok(events.includes('cancelled'))

  const wiped = leaseOf()
  for (const secret of wiped.secrets) secret.wipe()
  assert.throws(() => scrub({ head: headOf(), body: wholeFlow(Buffer.from(key)) }, wiped, callOf()), Refusal)
  const unnamed = { ...leaseOf(), secrets: [] }
  assert.throws(() => scrub({ head: headOf(), body: wholeFlow(Buffer.from(key)) }, unnamed, callOf()), Refusal)
  const prepared = leaseOf()
  scrub.prepare(prepared)
  for (const secret of prepared.secrets) secret.wipe()
  assert.equal(scrub({ head: headOf(), body: wholeFlow(Buffer.from(key)) }, prepared, callOf()).body.whole?.toString(), stars)
})

test('back-pressure and cancelling reach the source, through the decoder too', async () => {
  for (const coding of ['', 'gzip']) {
    const { flow, events } = source()
    const clean = scrub({ head: headOf(coding === '' ? [] : [`Content-Encoding: ${coding}`]), body: flow }, leaseOf(), callOf())
    let bytes = 0
    clean.body.start({
      data(chunk) {
        bytes += chunk.length
        return false
      },
      end() {},
      fail() {},
    })
    const plain = Buffer.alloc(4 * 1024 * 1024, 'abcdefghij')
    const wire = coding === '' ? plain : zlib.gzipSync(plain, { level: 0 })
    for (let at = 0; at < wire.length && !events.includes('paused'); at += 65_536) {
      flow.data(wire.subarray(at, at + 65_536))
      await soon()
    }
    assert.ok(events.includes('paused'))
    assert.ok(bytes <= 256 * 1024, `${bytes}`)
    clean.body.cancel()
    assert.ok(events.includes('cancelled'))
  }
})
