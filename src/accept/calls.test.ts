import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { FlowSource, wholeFlow } from '../http/flow.ts'
import { noEdits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import {
  type Call,
  caPem,
  type Door,
  type DoorOptions,
  dial,
  echo,
  openDoor,
  read,
  responseHead,
  tunnelled,
  wholeAnswer,
  wholeHead,
} from './fake-agent.ts'

const nothing = { paused() {}, resumed() {}, cancelled() {} }
const moment = (ms = 5): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function soon(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    assert.ok(tries < 800, 'it never came')
    await moment()
  }
}

/** A connection to the base URL of a door, and the line that every request of it begins with. */
async function opened(
  options: DoorOptions,
  run: (door: Door, socket: Socket, head: (fields?: string, method?: string) => string) => Promise<void>,
): Promise<void> {
  const door = await openDoor(options)
  const socket = await dial(door.basePort)
  try {
    await run(
      door,
      socket,
      (fields = '', method = 'POST') => `${method} /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1:${door.basePort}\r\n${fields}\r\n`,
    )
  } finally {
    socket.destroy()
    await door.accept.stop()
  }
  assert.deepEqual(door.defects, [])
}

const short = (call: Call, text: string): Promise<unknown> => call.answer(responseHead(200), noEdits, wholeFlow(Buffer.from(text)))

test('keep-alive, and pipelined requests one after the other in their order', async () => {
  let underWay = 0
  const onCall = async (call: Call): Promise<void> => {
    assert.equal(underWay++, 0)
    await moment(1)
    underWay--
    await short(call, (await call.readBody(100)).toString())
  }
  await opened({ onCall }, async (_door, socket, head) => {
    const all = read(socket, (text) => text.includes('third'))
    socket.write(
      `${head('Content-Length: 5\r\n')}first${head('Transfer-Encoding: chunked\r\n')}6\r\nsecond\r\n0\r\n\r\n${head('Content-Length: 5\r\n')}third`,
    )
    assert.deepEqual((await all).match(/first|second|third/g), ['first', 'second', 'third'])
    const again = read(socket, (text) => text.includes('again'))
    socket.write(`${head('Content-Length: 5\r\n')}again`)
    await again
  })
})

test('thousands that came at once and are answered at once make no deep stack', async () => {
  let calls = 0
  const onCall = (call: Call): void => {
    calls++
    void short(call, '')
  }
  await opened({ onCall }, async (_door, socket, head) => {
    socket.on('data', () => {})
    socket.write(head('', 'GET').repeat(4_000))
    await soon(() => calls === 4_000)
  })
})

test('a client that sends ahead without end is not taken in', async () => {
  await opened({ onCall: () => {} }, async (_door, socket, head) => {
    socket.write(head('', 'GET'))
    let taken = 0
    const chunk = Buffer.alloc(64 * 1024, 'a')
    for (let round = 0; round < 400; round++) {
      if (!socket.write(chunk)) break
      taken += chunk.length
      await moment(1)
    }
    await moment(50)
    assert.ok(socket.writableLength > 0, `${taken} bytes were taken`)
  })
})

test('100-continue is said when the body is first read, which is after the decision, and not before a refusal', async () => {
  let decided = (): void => {}
  const decision = new Promise<void>((resolve) => {
    decided = resolve
  })
  const onCall = async (call: Call): Promise<void> => {
    if (call.target.query === '?no') return call.refuse(new Refusal('decide.denied'), call.id)
    await decision
    await echo(call)
  }
  await opened({ onCall }, async (door, socket, head) => {
    let early = ''
    socket.on('data', (chunk: Buffer) => {
      early += chunk.toString()
    })
    socket.write(head('Expect: 100-continue\r\nContent-Length: 2\r\n'))
    await moment(30)
    assert.equal(early, '')
    decided()
    await soon(() => early === 'HTTP/1.1 100 Continue\r\n\r\n')
    socket.write('ok')
    await soon(() => early.includes('"body":"ok"'))
    const other = await dial(door.basePort)
    const refused = read(other)
    other.write(head('Expect: 100-continue\r\nContent-Length: 2\r\n').replace('/v1/x', '/v1/x?no'))
    const text = await refused
    assert.match(text, /^HTTP\/1\.1 403 /)
    assert.match(text, /Connection: close/)
    assert.doesNotMatch(text, /100 Continue/)
  })
})

test('a body that comes after its head reaches whoever held it before, whole or in pieces', async () => {
  const onCall = async (call: Call): Promise<void> => {
    const { body } = call
    await moment(20)
    let text = ''
    await new Promise<void>((resolve, reject) =>
      body.start({
        data: (chunk) => {
          text += chunk.toString()
          return true
        },
        end: () => resolve(),
        fail: reject,
      }),
    )
    await short(call, `${text}.`)
  }
  await opened({ onCall }, async (_door, socket, head) => {
    for (const pieces of [['hello'], ['hel', 'lo'], ['h', 'e', 'l', 'l', 'o']]) {
      const answer = read(socket, (text) => text.includes('hello.'))
      socket.write(head('Content-Length: 5\r\n'))
      for (const piece of pieces) {
        await moment(2)
        socket.write(piece)
      }
      await answer
    }
  })
})

test('a big upload waits for a slow reader', async () => {
  const size = 24 * 1024 * 1024
  let seen = 0
  let go = (): void => {}
  let received = (): number => 0
  const onCall = async (call: Call): Promise<void> => {
    received = () => call.bytesIn
    await new Promise<void>((resolve, reject) => {
      call.body.start({
        data: (chunk) => {
          seen += chunk.length
          return seen > 1024 * 1024
        },
        end: () => resolve(),
        fail: reject,
      })
      go = () => call.body.resume()
    })
    await short(call, `${seen}`)
  }
  await opened({ onCall }, async (_door, socket, head) => {
    const answer = read(socket, (text) => text.endsWith(`${size}`))
    socket.write(head(`Content-Length: ${size}\r\n`))
    socket.write(Buffer.alloc(size))
    await soon(() => seen > 0)
    // Once more: the first wait is that of a body which nobody had begun to read.
    go()
    await moment(100)
    const held = seen
    assert.ok(held < 1024 * 1024)
    // What nobody reads stays with the client, not in our memory.
    assert.ok(received() < 1024 * 1024, `${received()} bytes were taken in`)
    for (let round = 0; seen < size && round < 4_000; round++) {
      go()
      await moment(1)
    }
    await answer
  })
})

test('an early refusal arrives although the client is still sending', async () => {
  const onCall = (call: Call): void => call.refuse(new Refusal('decide.denied'), call.id)
  await opened({ onCall }, async (_door, socket, head) => {
    const answer = read(socket)
    socket.write(head('Content-Length: 8000000\r\n'))
    socket.write(Buffer.alloc(4_000_000))
    assert.match(await answer, /^HTTP\/1\.1 403 .*decide\.denied/s)
  })
})

test('a client that leaves is noticed: before its answer, in the middle of it, and while its body is sent', async () => {
  let gone = 0
  let cancelled = 0
  let failed = ''
  let begun: Call | null = null
  const onCall = async (call: Call): Promise<void> => {
    begun = call
    call.whenGone(() => gone++)
    if (call.target.query === '?stream') {
      const source = new FlowSource(-1, { ...nothing, cancelled: () => cancelled++ })
      source.data(Buffer.from('first'))
      await call.answer(responseHead(200), noEdits, source).catch((error) => {
        failed = (error as Refusal).code
      })
      call.refuse(new Refusal('forward.reset'), call.id)
    }
    if (call.target.query === '?read')
      await call.readBody(100).catch((error) => {
        failed = (error as Refusal).code
      })
  }
  const door = await openDoor({ onCall })
  const leave = async (query: string, fields: string, wait: (socket: Socket) => Promise<unknown>): Promise<void> => {
    const before = gone
    const socket = await dial(door.basePort)
    begun = null
    failed = ''
    const waited = wait(socket)
    socket.write(`POST /openai/v1/x${query} HTTP/1.1\r\nHost: 127.0.0.1:${door.basePort}\r\n${fields}\r\n`)
    await waited
    socket.destroy()
    await soon(() => gone === before + 1)
    assert.equal((begun as Call | null)?.gone, true)
  }
  const arrived = (): Promise<void> => soon(() => begun !== null)
  await leave('', '', arrived)
  await leave('', 'Content-Length: 0\r\n', arrived)
  await leave('?stream', '', (socket) => read(socket, (text) => text.includes('first')))
  assert.deepEqual([failed, cancelled], ['forward.reset', 1])
  await leave('?read', 'Content-Length: 10\r\n', arrived)
  assert.equal(failed, 'forward.reset')
  await door.accept.stop()
  assert.deepEqual(door.defects, [])
})

test('a client that leaves after its chunked body came whole is noticed too', async () => {
  let gone = false
  const onCall = (call: Call): void => void call.whenGone(() => (gone = true))
  await opened({ onCall }, async (_door, socket, head) => {
    socket.write(`${head('Transfer-Encoding: chunked\r\n')}2\r\nok\r\n0\r\n\r\n`)
    await moment(20)
    socket.end()
    await soon(() => gone)
  })
})

test('an answer streams with its length, or chunked, with trailers, under back-pressure', async () => {
  const onCall = async (call: Call): Promise<void> => {
    const lengthy = call.target.query === '?length'
    let paused = 0
    const source = new FlowSource(lengthy ? 11 : -1, { ...nothing, paused: () => paused++ })
    const answer = call.answer(responseHead(200, { 'content-length': '3', 'x-kept': '1' }), noEdits, source)
    source.data(Buffer.from('hello '))
    await moment()
    source.data(Buffer.from('world'))
    if (!lengthy) for (let round = 0; round < 200; round++) source.data(Buffer.alloc(40 * 1024, 'x'))
    source.end(lengthy ? [] : [['x-sum', `${paused > 0}`]])
    await answer
  }
  await opened({ onCall }, async (_door, socket, head) => {
    const first = read(socket, (text) => text.includes('world'))
    socket.write(head().replace('/v1/x', '/v1/x?length'))
    assert.equal(await first, 'HTTP/1.1 200 OK\r\nx-kept: 1\r\nContent-Length: 11\r\n\r\nhello world')
    const second = read(socket, (text) => text.endsWith('\r\n\r\n') && text.includes('0\r\nx-sum'))
    socket.write(head())
    const text = await second
    assert.match(text, /Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\na000\r\nx/)
    assert.match(text, /\r\n0\r\nx-sum: true\r\n\r\n$/)
  })
})

test('a body that fails, lies about its length or is cut leaves a truncated answer, never a complete one', async () => {
  const onCall = async (call: Call): Promise<void> => {
    const { query } = call.target
    const source = new FlowSource(query === '?chunked' || query === '?cut' ? -1 : 10, nothing)
    const answer = call.answer(responseHead(200), noEdits, source)
    source.data(Buffer.from('begun'))
    await moment()
    if (query === '?short') source.end([])
    else if (query === '?long') source.data(Buffer.from('more than ten'))
    else if (query === '?cut') call.cut()
    else source.fail(new Refusal('forward.reset'))
    await assert.rejects(answer)
    // The cut is the call's own, not only that of a flow which refuses afterwards.
    if (query === '?chunked') call.refuse(new Refusal('forward.reset'), call.id)
  }
  const door = await openDoor({ onCall })
  for (const query of ['?chunked', '?length', '?short', '?long', '?cut']) {
    const secure = await tunnelled(door.proxyPort)
    const all = read(secure)
    secure.write(`GET /v1/x${query} HTTP/1.1\r\nHost: api.openai.test\r\n\r\n`)
    const text = await all
    assert.match(text, /begun/, query)
    assert.doesNotMatch(text, /0\r\n\r\n$|problem|more than/, query)
  }
  await door.accept.stop()
  assert.deepEqual(door.defects, [])
})

test('HEAD, 204 and 304 have no body; Connection: close closes', async () => {
  const onCall = async (call: Call): Promise<void> => {
    if (call.target.query === '?refuse') return call.refuse(new Refusal('decide.denied'), call.id)
    const status = call.head.method === 'HEAD' ? 200 : 204
    await call.answer(responseHead(status, { 'content-length': '5' }), noEdits, new FlowSource(5, nothing))
  }
  await opened({ onCall }, async (_door, socket, head) => {
    const first = read(socket, wholeHead)
    socket.write(head('', 'HEAD'))
    assert.equal(await first, 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n')
    const second = read(socket, wholeHead)
    socket.write(head())
    assert.equal(await second, 'HTTP/1.1 204 OK\r\n\r\n')
    const third = read(socket)
    socket.write(head('Connection: close\r\n', 'HEAD').replace('/v1/x', '/v1/x?refuse'))
    assert.match(await third, /^HTTP\/1\.1 403 .*Content-Length: 0\r\nConnection: close\r\n\r\n$/s)
  })
})

test('after a broken chunk nothing on the connection is read as a request', async () => {
  let calls = 0
  const onCall = async (call: Call): Promise<void> => {
    calls++
    await call.readBody(100).then(
      () => short(call, ''),
      (error) => call.refuse(error as Refusal, call.id),
    )
  }
  await opened({ onCall }, async (_door, socket, head) => {
    const all = read(socket)
    socket.write(`${head('Transfer-Encoding: chunked\r\n')}zz\r\n${head()}`)
    socket.write(head())
    assert.match(await all, /^HTTP\/1\.1 400 .*Connection: close/s)
    assert.equal(calls, 1)
  })
})

test('a slow head, a slow body, an idle connection and a slow handshake each end in time', async () => {
  const shorter = { headMs: 60, idleMs: 60, bodyStallMs: 60, handshakeMs: 60 }
  const door = await openDoor({ shorter })
  const head = `POST /openai/v1/x HTTP/1.1\r\nHost: 127.0.0.1:${door.basePort}\r\n`
  const slow = await dial(door.basePort)
  const said = read(slow)
  for (const byte of head.slice(0, 20)) {
    slow.write(byte)
    await moment(8)
  }
  assert.match(await said, /^HTTP\/1\.1 408 .*http\.timeout/s)
  assert.equal(door.refused.at(-1)?.refusal.code, 'http.timeout')
  const silent = await dial(door.basePort)
  assert.equal(await read(silent), '')
  const body = await dial(door.basePort)
  body.write(`${head}Content-Length: 10\r\n\r\n123`)
  assert.equal(await read(body), '')
  const idle = await dial(door.basePort)
  const answered = read(idle, wholeAnswer)
  idle.write(`${head}\r\n`)
  await answered
  assert.equal(await read(idle), '')
  const shake = await dial(door.proxyPort)
  const all = read(shake)
  shake.write('CONNECT api.openai.test:443 HTTP/1.1\r\nHost: api.openai.test:443\r\n\r\n')
  assert.match(await all, /^HTTP\/1\.1 200 Connection Established\r\n\r\n$/)
  const { refusal, about } = door.refused.at(-1) as (typeof door.refused)[number]
  assert.deepEqual([refusal.code, refusal.detail, about.host], ['accept.not_tls', 'no end of the handshake in time', 'api.openai.test'])
  await door.accept.stop()
})

test('a handshake that came while the loop was busy is ended, however late', async () => {
  const door = await openDoor({ shorter: { handshakeMs: 100 } })
  const socket = await dial(door.proxyPort)
  const line = read(socket, (text) => text.endsWith('\r\n\r\n'))
  socket.write('CONNECT api.openai.test:443 HTTP/1.1\r\nHost: api.openai.test:443\r\n\r\n')
  await line
  const secure = tls.connect({ socket, servername: 'api.openai.test', ca: caPem })
  // With the last flight of the agent on its way, everything stands still for longer than a handshake may take.
  secure.once('secureConnect', () => {
    for (const until = performance.now() + 200; performance.now() < until; );
  })
  const answer = read(secure, wholeAnswer)
  secure.write('GET /v1/x HTTP/1.1\r\nHost: api.openai.test\r\n\r\n')
  assert.match(await answer, /^HTTP\/1\.1 200 /)
  await door.accept.stop()
})

test('heads over the limit, bytes that are no request, and a hello at the wrong door are refused', async () => {
  const door = await openDoor()
  const said = async (text: string): Promise<string> => {
    const socket = await dial(door.proxyPort)
    const all = read(socket)
    socket.write(text, 'latin1')
    return all
  }
  assert.match(await said(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(70_000)}`), /^HTTP\/1\.1 431 /)
  assert.match(await said('\x16\x03\x01\x02\x00'), /^HTTP\/1\.1 400 /)
  assert.match(await said('\r\nGET / HTTP/1.1\r\n'), /^HTTP\/1\.1 400 /)
  assert.match(await said('CONNECT api.openai.test HTTP/1.1\r\nHost: api.openai.test\r\n\r\n'), /^HTTP\/1\.1 400 .*bad_authority/s)
  await door.accept.stop()
})

test('a flow that throws is answered with an id and recorded as a defect', async () => {
  const door = await openDoor({
    onCall: () => Promise.reject(new Error('a bug')),
  })
  const socket = await dial(door.basePort)
  const answer = read(socket)
  socket.write(`GET /openai/v1 HTTP/1.1\r\nHost: 127.0.0.1:${door.basePort}\r\n\r\n`)
  assert.match(await answer, /^HTTP\/1\.1 500 .*flow\.defect/s)
  assert.equal(door.defects.length, 1)
  await door.accept.stop()
})

test('a stop lets the call under way end, closes idle connections, and cuts what lasts too long', async () => {
  let answerNow = (): void => {}
  const onCall = async (call: Call): Promise<void> => {
    if (call.target.query === '?never') return
    await new Promise<void>((resolve) => {
      answerNow = resolve
    })
    await short(call, 'done')
  }
  const door = await openDoor({ onCall })
  const request = (query: string): string => `GET /openai/v1${query} HTTP/1.1\r\nHost: 127.0.0.1:${door.basePort}\r\n\r\n`
  const idle = await dial(door.basePort)
  const busy = await dial(door.basePort)
  const stuck = await dial(door.basePort)
  const texts = [read(idle), read(busy), read(stuck)]
  busy.write(request(''))
  stuck.write(request('?never'))
  await soon(() => door.accept.stats().calls === 2)
  const began = performance.now()
  const stopped = door.accept.stop()
  await assert.rejects(dial(door.basePort))
  await moment(20)
  answerNow()
  const [first, second, third] = await Promise.all(texts)
  assert.equal(first, '')
  assert.match(second as string, /Connection: close\r\n\r\ndone$/)
  assert.equal(third, '')
  await stopped
  assert.ok(performance.now() - began >= 290)
  assert.equal(door.accept.stats().connections, 0)
})
