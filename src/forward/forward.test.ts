import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { createRootAuthority, issueLeaf } from '../crypto/x509.ts'
import { FlowSource, wholeFlow } from '../http/flow.ts'
import { limits } from '../model/limits.ts'
import { noEdits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { bearer, ended, type FakeApiOptions, fakeApi, leaseNamed, type Script, take, until } from './fake-api.ts'

const code = (wanted: string) => (error: unknown) => {
  assert.ok(error instanceof Refusal, String(error))
  assert.equal(error.code, wanted, error.message)
  return true
}

const requests = (got: string): number => got.split('\r\n\r\n').length - 1

/** Answers each complete head with the same bytes. */
const always =
  (answer: string): Script =>
  (socket, got) => {
    if (got.endsWith('\r\n\r\n')) socket.write(answer)
  }

/** Answers whatever comes. */
const says =
  (answer: string): Script =>
  (socket) =>
    socket.write(answer)

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

test('head and small body leave in one piece, with the credential and the target', async (context) => {
  const api = await fakeApi(context, (socket, got) => got.endsWith('{"a":1}') && socket.write(ok))
  const body = wholeFlow(Buffer.from('{"a":1}'))
  const call = api.call({ method: 'POST', path: '/v1/chat', fields: ['Content-Length: 7', 'X-A: b', 'Connection: keep-alive'], body })
  const answer = await api.forward.forward(call, bearer('Bearer secret'), leaseNamed('one'))
  assert.equal(answer.head.status, 200)
  assert.equal(answer.body.whole?.toString(), 'ok')
  assert.equal(api.pieces.length, 1)
  assert.equal(
    api.got[0],
    `POST /v1/chat HTTP/1.1\r\nHost: api.test:${api.port}\r\nX-A: b\r\nAuthorization: Bearer secret\r\nContent-Length: 7\r\n\r\n{"a":1}`,
  )
})

test('a connection is kept for the next call of the same credential, and for no other', async (context) => {
  const api = await fakeApi(context, always(ok))
  for (const name of ['one', 'one', 'two', 'one', 'two']) await api.forward.forward(api.call(), noEdits, leaseNamed(name))
  assert.deepEqual(api.got.map(requests), [3, 2])
  await api.forward.forward(api.call(), noEdits, null)
  assert.equal(api.sockets.length, 3)
})

test('calls at the same time have a connection each; the one used last is taken first; idle ones are closed', async (context) => {
  const api = await fakeApi(context, always(ok), { limits: { poolIdleMs: 150 } })
  await Promise.all([1, 2, 3].map(() => api.forward.forward(api.call(), noEdits, null)))
  assert.equal(api.sockets.length, 3)
  for (let turn = 0; turn < 4; turn++) await api.forward.forward(api.call(), noEdits, null)
  assert.deepEqual(api.got.map(requests).sort(), [1, 1, 5])
  await until(() => api.forward.open === 0, 'idle connections are closed')
})

test('chunks that came with the head are whole; those that come later pass one by one, without delay', async (context) => {
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
  const api = await fakeApi(context, (socket, got) => {
    if (got.includes('/whole')) socket.write(`${head}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n`)
    else socket.write(`${head}5\r\nfirst\r\n`)
  })
  const whole = await api.forward.forward(api.call({ path: '/whole' }), noEdits, null)
  assert.equal(whole.body.whole?.toString(), 'hello world')
  const answer = await api.forward.forward(api.call({ path: '/events' }), noEdits, leaseNamed('other'))
  assert.equal(answer.body.length, -1)
  const taken = take(answer.body)
  assert.deepEqual(taken.chunks, ['first'])
  const socket = api.sockets[1]
  socket?.write('6\r\nsecond\r\n')
  await until(() => taken.chunks.length === 2)
  socket?.write('5\r\nthird\r\n0\r\nx-sum: 1\r\n\r\n')
  await ended(taken)
  assert.deepEqual(taken.chunks, ['first', 'second', 'third'])
  assert.deepEqual(taken.trailers, [['x-sum', '1']])
  await api.forward.forward(api.call({ path: '/whole' }), noEdits, leaseNamed('other'))
  assert.equal(api.sockets.length, 2)
})

test('a short compressed answer is awaited whole, a longer or plain one passes as it comes', async (context) => {
  const head = (length: number, coded = true): string =>
    `HTTP/1.1 200 OK\r\n${coded ? 'Content-Encoding: gzip\r\n' : ''}Content-Length: ${length}\r\n\r\n`
  const api = await fakeApi(context, async (socket, got) => {
    if (got.includes('/plain')) return void socket.write(`${head(10, false)}first`)
    if (got.includes('/long')) return void socket.write(`${head(limits.gatheredAnswerBytesMax + 1)}first`)
    socket.write(`${head(10)}first`)
    await sleep(20)
    if (got.includes('/cut')) return void socket.destroy()
    socket.write(got.includes('/more') ? 'other and more' : 'other')
  })
  const ask = (path: string) => api.forward.forward(api.call({ path }), noEdits, null)
  for (const path of ['/short', '/short', '/more', '/short']) assert.equal((await ask(path)).body.whole?.toString(), 'firstother')
  assert.equal(api.sockets.length, 2, 'kept, but for the one that said more')
  // Nothing has gone to the agent yet, so that it hears what happened.
  await assert.rejects(ask('/cut'), code('forward.reset'))
  const leaving = api.call({ path: '/short' })
  const left = assert.rejects(api.forward.forward(leaving, noEdits, null), code('forward.reset'))
  await sleep(5)
  leaving.leave()
  await left
  for (const path of ['/plain', '/long']) {
    const { body } = await ask(path)
    assert.deepEqual([body.whole, take(body).chunks], [null, ['first']])
  }
})

test('an answer may come byte by byte', async (context) => {
  const bytes =
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'
  const api = await fakeApi(
    context,
    async (socket) => {
      for (const byte of bytes) {
        socket.write(byte)
        await sleep(0)
      }
    },
    { plain: true },
  )
  const answer = await api.forward.forward(api.call(), noEdits, null)
  assert.equal(answer.head.get('x-a'), 'b')
  assert.equal((await ended(take(answer.body))).text, 'abcde')
})

test('early answers are skipped, but not for ever, and nobody is switched to another protocol', async (context) => {
  const early = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'
  const api = await fakeApi(context, (socket, got) => {
    if (got.includes('/few')) socket.write(`HTTP/1.1 100 Continue\r\n\r\n${early}${ok}`)
    else if (got.includes('/switch')) socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n')
    else {
      const drip = setInterval(() => socket.write(early), 2)
      socket.once('close', () => clearInterval(drip))
    }
  })
  assert.equal((await api.forward.forward(api.call({ path: '/few' }), noEdits, leaseNamed('a'))).body.whole?.toString(), 'ok')
  await assert.rejects(api.forward.forward(api.call({ path: '/switch' }), noEdits, leaseNamed('b')), code('forward.bad_answer'))
  await assert.rejects(api.forward.forward(api.call({ path: '/many' }), noEdits, leaseNamed('c')), code('forward.bad_answer'))
})

test('a body that ends with the connection', async (context) => {
  const api = await fakeApi(context, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\nsome')
    setTimeout(() => socket.end(' more'), 10)
  })
  const answer = await api.forward.forward(api.call(), noEdits, null)
  assert.equal((await ended(take(answer.body))).text, 'some more')
  assert.equal(api.forward.open, 0)
})

test('HEAD, 204 and 304 have no body and keep the connection; a redirect is an answer', async (context) => {
  const heads = [
    '200 OK\r\nContent-Length: 99',
    '204 No Content',
    '304 Not Modified\r\nContent-Length: 5',
    '302 Found\r\nLocation: https://evil.test/\r\nContent-Length: 0',
  ]
  let index = 0
  const api = await fakeApi(context, (socket) => socket.write(`HTTP/1.1 ${heads[index++]}\r\n\r\n`))
  for (const [at, status] of [200, 204, 304, 302].entries()) {
    const answer = await api.forward.forward(api.call({ method: at === 0 ? 'HEAD' : 'GET' }), noEdits, null)
    assert.equal(answer.head.status, status)
    assert.equal(answer.body.whole?.length, 0)
  }
  assert.equal(api.sockets.length, 1)
})

const broken: readonly (readonly [string, string, Script, FakeApiOptions?])[] = [
  ['a reset before the answer', 'forward.reset', (socket) => socket.destroy()],
  ['an end before the answer', 'forward.reset', (socket) => socket.end()],
  ['a reset in mid-head', 'forward.reset', (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-')],
  ['silence', 'forward.timeout', () => {}, { limits: { answerHeadMs: 60 } }],
  ['half a head and silence', 'forward.timeout', (socket) => socket.write('HTTP/1.1 200'), { limits: { answerHeadMs: 60 } }],
  ['something else than HTTP', 'forward.bad_answer', (socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n\r\n')],
  ['two lengths', 'forward.bad_answer', says('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx')],
  [
    'a length beside chunks',
    'forward.bad_answer',
    says('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
  ],
  ['a folded field', 'forward.bad_answer', says('HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n')],
  ['a head without end', 'forward.bad_answer', (socket) => socket.write(`HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(20_000)}`)],
  ['a bad chunk with the head', 'forward.bad_answer', says('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n0\r\n\r\n')],
]

for (const [name, wanted, script, options] of broken)
  test(`${name}: ${wanted}, asked once, and the connection is gone`, async (context) => {
    const api = await fakeApi(context, script, options)
    const body = wholeFlow(Buffer.from('abc'))
    await assert.rejects(
      api.forward.forward(api.call({ method: 'POST', fields: ['Content-Length: 3'], body }), noEdits, null),
      code(wanted),
    )
    assert.equal(api.forward.open, 0)
    await sleep(20)
    assert.equal(api.sockets.length, 1)
    assert.equal(requests(api.got[0] as string), 1)
  })

const cut: readonly (readonly [string, string, string, boolean, FakeApiOptions?])[] = [
  ['shorter than it said', 'forward.reset', 'Content-Length: 10\r\n\r\nabc', true],
  ['chunks without an end', 'forward.reset', 'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n', true],
  ['chunks that turn to nonsense', 'forward.bad_answer', 'Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX', false],
  ['standing still', 'forward.timeout', 'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n', false, { limits: { answerStallMs: 60 } }],
]

for (const [name, wanted, rest, end, options] of cut)
  test(`a body ${name}: it fails with ${wanted}`, async (context) => {
    const api = await fakeApi(
      context,
      (socket) => {
        socket.write(`HTTP/1.1 200 OK\r\n${rest}`)
        if (end) setTimeout(() => socket.end(), 20)
      },
      options,
    )
    const answer = await api.forward.forward(api.call(), noEdits, null).catch((error: Error) => error)
    if (answer instanceof Error) return void code(wanted)(answer)
    const taken = await ended(take(answer.body))
    code(wanted)(taken.failed)
    assert.equal(api.forward.open, 0)
  })

test('more than it said: the answer is what was said, and the connection is never used again', async (context) => {
  const api = await fakeApi(context, always(`${ok}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged`))
  for (let turn = 1; turn <= 2; turn++) {
    const answer = await api.forward.forward(api.call(), noEdits, null)
    assert.equal(answer.body.whole?.toString(), 'ok')
    assert.equal(api.sockets.length, turn)
  }
})

test('bytes that nobody asked for close a kept connection', async (context) => {
  const api = await fakeApi(context, always(ok))
  await api.forward.forward(api.call(), noEdits, null)
  assert.equal(api.forward.open, 1)
  api.sockets[0]?.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged')
  await until(() => api.forward.open === 0)
  assert.equal((await api.forward.forward(api.call(), noEdits, null)).body.whole?.toString(), 'ok')
})

test('a kept connection that closed meanwhile is passed over; one that closes on the request is not asked again', async (context) => {
  const api = await fakeApi(context, (socket, got, connection) => {
    if (connection === 1 && requests(got) === 2) socket.destroy()
    else socket.write(ok)
  })
  await api.forward.forward(api.call(), noEdits, null)
  api.sockets[0]?.end()
  await until(() => api.forward.open === 0)
  await api.forward.forward(api.call(), noEdits, null)
  assert.equal(api.sockets.length, 2)
  await assert.rejects(api.forward.forward(api.call({ method: 'POST' }), noEdits, null), code('forward.reset'))
  await sleep(20)
  assert.equal(api.sockets.length, 2, 'nobody knows whether it was acted on')
})

test('a wrong certificate: another name, another authority, too old', async (context) => {
  const now = Date.now()
  const authority = createRootAuthority({ commonName: 'elsewhere', now, years: 1 })
  const good = issueLeaf(authority, ['api.test'], now, 3_600_000)
  const old = issueLeaf(authority, ['api.test'], now - 10 * 86_400_000, 3_600_000)
  const named = issueLeaf(authority, ['other.test'], now, 3_600_000)
  for (const [leaf, roots] of [
    [good, undefined],
    [old, [authority.certPem]],
    [named, [authority.certPem]],
  ] as const) {
    const api = await fakeApi(context, always(ok), {
      tls: { cert: leaf.certPem, key: leaf.keyPem },
      ...(roots === undefined ? {} : { roots }),
    })
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
    await assert.rejects(api.forward.forward(api.call(), bearer('Bearer secret'), null), code('forward.certificate'))
    delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    assert.deepEqual(api.pieces, [])
    assert.equal(api.forward.open, 0)
  }
  const api = await fakeApi(context, always(ok), { tls: { cert: good.certPem, key: good.keyPem }, roots: [authority.certPem] })
  assert.equal((await api.forward.forward(api.call(), noEdits, null)).head.status, 200)
})

test('an agent that leaves ends the call at the API at once: before the head, and in the body', async (context) => {
  const api = await fakeApi(
    context,
    (socket, got) => got.includes('/begun') && socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'),
  )
  const silent = api.call({ path: '/silent' })
  const waits = api.forward.forward(silent, noEdits, null)
  await until(() => api.pieces.length === 1)
  silent.leave()
  await assert.rejects(waits, code('forward.reset'))
  await until(() => api.sockets[0]?.destroyed === true)

  const begun = api.call({ path: '/begun' })
  const answer = await api.forward.forward(begun, noEdits, null)
  const taken = take(answer.body)
  begun.leave()
  assert.equal(taken.text, 'abc')
  code('forward.reset')(taken.failed)
  await until(() => api.sockets[1]?.destroyed === true)

  const cutShort = await api.forward.forward(api.call({ path: '/begun' }), noEdits, null)
  const revoked = take(cutShort.body)
  cutShort.cut()
  code('flow.revoked')(revoked.failed)
  await until(() => api.sockets[2]?.destroyed === true)
  assert.equal(api.forward.open, 0)
})

test('an agent that left before its turn sends nothing, and the connection stays good', async (context) => {
  const api = await fakeApi(context, always(ok))
  const gone = api.call()
  gone.leave()
  await assert.rejects(api.forward.forward(gone, noEdits, null), code('forward.reset'))
  const ending = new AbortController()
  ending.abort()
  await assert.rejects(api.forward.forward(api.call(), noEdits, { ...leaseNamed(''), revoked: ending.signal }), code('obtain.revoked'))
  await api.forward.forward(api.call(), noEdits, null)
  assert.deepEqual([api.sockets.length, api.pieces.length], [1, 1])
})

test('an answer that comes before the request has ended is the answer; the connection is not used again', async (context) => {
  const api = await fakeApi(context, (socket) => socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno'))
  const events: string[] = []
  const body = new FlowSource(-1, { paused() {}, resumed() {}, cancelled: () => events.push('cancelled') })
  const pending = api.forward.forward(api.call({ method: 'POST', fields: ['Transfer-Encoding: chunked'], body }), noEdits, null)
  body.data(Buffer.from('part'))
  const answer = await pending
  assert.equal(answer.head.status, 413)
  assert.equal(answer.body.whole?.toString(), 'no')
  assert.deepEqual(events, ['cancelled'])
  assert.equal(api.forward.open, 0)
})

test('a request body streams: by length as it is, else in chunks with its trailers; one that breaks ends the call', async (context) => {
  const api = await fakeApi(context, (socket, got) => (got.endsWith('0\r\nx-a: b\r\n\r\n') || got.endsWith('12345')) && socket.write(ok))
  const source = (length: number) => new FlowSource(length, { paused() {}, resumed() {}, cancelled() {} })
  const chunked = source(-1)
  const one = api.forward.forward(api.call({ method: 'POST', fields: ['Transfer-Encoding: chunked'], body: chunked }), noEdits, null)
  chunked.data(Buffer.from('abc'))
  await until(() => (api.got[0] ?? '').endsWith('3\r\nabc\r\n'), 'the chunk went at once')
  chunked.data(Buffer.alloc(0))
  chunked.end([['x-a', 'b']])
  assert.equal((await one).head.status, 200)
  const sized = source(5)
  const two = api.forward.forward(api.call({ method: 'POST', fields: ['Content-Length: 5'], body: sized }), noEdits, null)
  sized.data(Buffer.from('123'))
  sized.data(Buffer.from('45'))
  sized.end([])
  assert.equal((await two).head.status, 200)
  assert.equal(api.sockets.length, 1)
  assert.match(api.got[0] as string, /Content-Length: 5\r\n\r\n12345$/)
  const breaks = source(5)
  const three = api.forward.forward(api.call({ method: 'POST', fields: ['Content-Length: 5'], body: breaks }), noEdits, null)
  await until(() => (api.got[0] as string).split('POST').length === 4)
  breaks.fail(new Refusal('http.malformed', 'broken'))
  await assert.rejects(three, code('http.malformed'))
  assert.equal(api.forward.open, 0)
})

test('what waits in a finished answer does not touch the call that comes after it', async (context) => {
  const big = 'x'.repeat(3_000)
  const api = await fakeApi(context, (socket, got) => {
    if (requests(got) > 1) return void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsec')
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n')
    setTimeout(() => socket.write(`bb8\r\n${big}\r\nbb8\r\n${big}\r\n0\r\nx-t: 1\r\n\r\n`), 10)
  })
  const first = await api.forward.forward(api.call(), noEdits, null)
  const slow = take(first.body, () => false)
  await until(() => slow.chunks.length === 1)
  const second = await api.forward.forward(api.call(), noEdits, null)
  assert.equal(api.sockets.length, 1)
  const taken = take(second.body)
  first.body.resume()
  first.body.cancel()
  first.cut()
  api.sockets[0]?.write('ond')
  assert.equal((await ended(taken)).text, 'second')
  assert.equal(taken.failed, null)
})

test('the queue is bounded in length and in time', async (context) => {
  const api = await fakeApi(context, (socket, got) => got.includes('/fast') && socket.write(ok), {
    limits: { poolPerHostMax: 1, poolWaitMax: 1, poolWaitMs: 60 },
  })
  const holds = api.call({ path: '/silent' })
  const held = api.forward.forward(holds, noEdits, null)
  await until(() => api.pieces.length === 1)
  const waits = api.forward.forward(api.call({ path: '/fast' }), noEdits, null)
  await assert.rejects(api.forward.forward(api.call({ path: '/fast' }), noEdits, null), code('forward.busy'))
  await assert.rejects(waits, code('forward.busy'))
  const served = api.forward.forward(api.call({ path: '/fast' }), noEdits, null)
  holds.leave()
  await assert.rejects(held, code('forward.reset'))
  assert.equal((await served).body.whole?.toString(), 'ok')
})

test('an answer of 96 MB waits while the agent does: what is under way stays bounded however slowly it is taken', async (context) => {
  const piece = Buffer.alloc(64 * 1024, 'x')
  const total = 96 * 1024 * 1024
  let sent = 0
  const api = await fakeApi(context, (socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`)
    const write = (): void => {
      while (sent < total) {
        sent += piece.length
        if (!socket.write(piece)) return
      }
    }
    socket.on('drain', write)
    write()
  })
  const answer = await api.forward.forward(api.call(), noEdits, null)
  // Bytes that left the API and that the agent has not: they lie in the kernel, in TLS or here. (Not resident memory: when
  // that shrinks is the collector's affair.)
  let most = 0
  let held = true
  const taken = take(
    answer.body,
    ({ bytes }) => {
      most = Math.max(most, sent - bytes)
      if (!held) setImmediate(() => answer.body.resume())
      return false
    },
    false,
  )
  await sleep(150)
  assert.ok(taken.bytes <= 64 * 1024)
  assert.ok(sent < total / 3, `${sent} bytes left the API while nobody took them`)
  held = false
  answer.body.resume()
  for (let turn = 0; turn < 10_000 && taken.trailers === null && taken.failed === null; turn++) await sleep(2)
  assert.equal(taken.failed, null)
  assert.equal(taken.bytes, total)
  assert.ok(most < total / 3, `${most} bytes were under way at once`)
})

test('a request body of 16 MB waits while the API does', async (context) => {
  const piece = Buffer.alloc(64 * 1024, 'y')
  const pieces = 256
  const api = await fakeApi(context, () => {}, { plain: true })
  let paused = 0
  let sent = 0
  const body = new FlowSource(piece.length * pieces, { paused: () => paused++, resumed: () => pump(), cancelled() {} })
  let running = false
  function pump(): void {
    if (running) return
    running = true
    const seen = paused
    while (sent < pieces && paused === seen) {
      sent++
      body.data(piece)
    }
    running = false
    if (sent === pieces) body.end([])
  }
  const pending = api.forward.forward(
    api.call({ method: 'PUT', fields: [`Content-Length: ${piece.length * pieces}`], body }),
    noEdits,
    null,
  )
  await until(() => api.sockets.length === 1 && sent > 0)
  api.sockets[0]?.pause()
  await sleep(50)
  assert.ok(paused > 0 && sent < pieces, `${sent}`)
  api.sockets[0]?.resume()
  await until(() => (api.got[0] as string).length > piece.length * pieces, 'all of it came')
  api.sockets[0]?.write(ok)
  assert.equal((await pending).head.status, 200)
})

test('closed: kept connections end, a call under way ends by itself', async (context) => {
  const api = await fakeApi(context, (socket, got) => got.includes('/fast') && socket.write(ok))
  await api.forward.forward(api.call({ path: '/fast' }), noEdits, leaseNamed('kept'))
  const pending = api.forward.forward(api.call(), noEdits, null)
  await until(() => api.sockets.length === 2 && (api.got[1] ?? '') !== '')
  api.forward.close()
  assert.equal(api.forward.open, 1)
  api.sockets[1]?.write(ok)
  assert.equal((await pending).body.whole?.toString(), 'ok')
  assert.equal(api.forward.open, 0)
})

test('a TLS session is taken up again by the same credential only, and verified as before', async (context) => {
  const reused: boolean[] = []
  const api = await fakeApi(context, (socket) => {
    reused.push((socket as TLSSocket).isSessionReused())
    socket.write(ok)
  })
  const once = async (name: string): Promise<void> => {
    await api.forward.forward(api.call(), noEdits, leaseNamed(name))
    api.sockets.at(-1)?.end()
    await until(() => api.forward.open === 0)
  }
  await once('one')
  assert.deepEqual(reused, [false])
  await once('one')
  await once('two')
  assert.deepEqual(reused, [false, true, false])
})

test('thousands of calls leave nothing behind', async (context) => {
  const api = await fakeApi(context, (socket, got, connection) => {
    socket.write(ok)
    if (requests(got) % 50 === 0 && connection % 2 === 0) socket.end()
  })
  let answered = 0
  const agent = async (name: string): Promise<void> => {
    for (let turn = 0; turn < 200; turn++) {
      const call = api.call()
      if (turn % 9 === 0) setImmediate(() => call.leave())
      await api.forward.forward(call, noEdits, leaseNamed(name)).then(
        () => answered++,
        (error: Refusal) => assert.equal(error.code, 'forward.reset'),
      )
    }
  }
  await Promise.all(['a', 'b', 'a', 'b', 'c', 'c', 'c', 'a'].map(agent))
  assert.ok(answered > 1_000, `${answered}`)
  api.forward.close()
  await until(() => api.forward.open === 0)
})
