import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Receiver } from 'ws'
import { closePayload, FrameBroken, FrameReader, mayBeSent, opcodes, type Sender, writeFrame } from './websocket.ts'

const limits = { socketMessageBytesMax: 200_000, socketFramesMax: 50 }
const mask = Buffer.from([0x12, 0x34, 0xab, 0xcd])

interface Read {
  /** Messages and control frames in order, `text:`, `binary:`, `ping:`, `pong:`, `close:` and hex. */
  readonly said: readonly string[]
  /** Code that the reader would close with. */
  readonly broken: number | null
}

function read(sender: Sender, chunks: readonly Buffer[]): Read {
  const reader = new FrameReader(sender, limits)
  const said: string[] = []
  let pieces: Buffer[] = []
  try {
    for (const chunk of chunks) {
      reader.push(chunk)
      for (let event = reader.next(); event !== null; event = reader.next()) {
        if (event.kind === 'close') said.push(`close:${event.code}:${event.reason.toString('hex')}`)
        else if (event.kind !== 'piece') said.push(`${event.kind}:${event.bytes.toString('hex')}`)
        else {
          assert.equal(event.first, pieces.length === 0)
          pieces.push(Buffer.from(event.bytes))
          if (!event.last) continue
          said.push(`${event.text ? 'text' : 'binary'}:${Buffer.concat(pieces).toString('hex')}`)
          pieces = []
        }
      }
    }
    return { said, broken: null }
  } catch (error) {
    assert.ok(error instanceof FrameBroken, String(error))
    return { said, broken: error.code }
  }
}

/** What the `ws` package makes of the same bytes. */
async function readByWs(sender: Sender, bytes: Buffer): Promise<Read> {
  const said: string[] = []
  const receiver = new Receiver({
    isServer: sender === 'client',
    maxPayload: limits.socketMessageBytesMax,
    allowSynchronousEvents: true,
    skipUTF8Validation: false,
    extensions: {},
    maxFragments: 0,
    maxBufferedChunks: 0,
  })
  let broken: number | null = null
  receiver.on('message', (message: Buffer, binary: boolean) => said.push(`${binary ? 'binary' : 'text'}:${message.toString('hex')}`))
  receiver.on('ping', (payload: Buffer) => said.push(`ping:${payload.toString('hex')}`))
  receiver.on('pong', (payload: Buffer) => said.push(`pong:${payload.toString('hex')}`))
  receiver.on('conclude', (code: number, reason: Buffer) => said.push(`close:${code}:${reason.toString('hex')}`))
  receiver.on('error', (error: Error & Record<symbol, number>) => {
    const symbol = Object.getOwnPropertySymbols(error)[0]
    broken = symbol === undefined ? 0 : (error[symbol] ?? 0)
  })
  await new Promise<void>((resolve) => {
    receiver.on('close', () => resolve())
    receiver.write(bytes, () => resolve())
  })
  return { said, broken }
}

const text = (value: string, last = true): Buffer => writeFrame(opcodes.text, last, Buffer.from(value), null)
const raw = (...bytes: readonly number[]): Buffer => Buffer.from(bytes)
const bytewise = (bytes: Buffer): Buffer[] => [...bytes].map((_, at) => bytes.subarray(at, at + 1))

test('a message, whole, in fragments with a ping between, and at every length that has a form of its own', () => {
  assert.deepEqual(read('server', [text('hi')]), { said: ['text:6869'], broken: null })
  const parts = Buffer.concat([
    text('héll', false),
    writeFrame(opcodes.ping, true, Buffer.from('?'), null),
    writeFrame(opcodes.continuation, false, Buffer.alloc(0), null),
    writeFrame(opcodes.continuation, true, Buffer.from('ö'), null),
  ])
  const expected = { said: ['ping:3f', `text:${Buffer.from('héllö').toString('hex')}`], broken: null }
  assert.deepEqual(read('server', [parts]), expected)
  assert.deepEqual(read('server', bytewise(parts)), expected)
  for (const size of [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]) {
    const payload = Buffer.alloc(size, 'x')
    for (const [sender, key] of [
      ['server', null],
      ['client', mask],
    ] as const) {
      const bytes = writeFrame(opcodes.binary, true, payload, key)
      assert.deepEqual(read(sender, [bytes]), { said: [`binary:${payload.toString('hex')}`], broken: null }, String(size))
      for (const cut of [1, 2, 3, 9, 10, 13]) assert.equal(read(sender, [bytes.subarray(0, cut), bytes.subarray(cut)]).said.length, 1)
    }
  }
})

test('a character may be cut anywhere, and must be complete in the end', () => {
  const bytes = Buffer.from('a€😀z')
  for (let cut = 0; cut <= bytes.length; cut++) {
    const frames = [
      writeFrame(opcodes.text, false, bytes.subarray(0, cut), null),
      writeFrame(opcodes.continuation, true, bytes.subarray(cut), null),
    ]
    assert.deepEqual(read('server', frames), { said: [`text:${bytes.toString('hex')}`], broken: null }, String(cut))
  }
  for (const bad of ['c0af', 'eda080', 'f8888080', 'e282', '80', 'f4908080', 'ff'])
    for (const chunks of [[Buffer.from(bad, 'hex')], bytewise(Buffer.from(bad, 'hex'))]) {
      const frames = chunks.map((chunk, at) =>
        writeFrame(at === 0 ? opcodes.text : opcodes.continuation, at === chunks.length - 1, chunk, null),
      )
      assert.equal(read('server', frames).broken, 1007, bad)
    }
})

/** The classical cases: sections of RFC 6455, what is sent, and the code of the close. */
const bad: readonly (readonly [string, Sender, Buffer, number])[] = [
  ['5.2 RSV1', 'server', raw(0xc1, 1, 0x61), 1002],
  ['5.2 RSV2', 'server', raw(0xa1, 1, 0x61), 1002],
  ['5.2 RSV3 of a control frame', 'server', raw(0x99, 0), 1002],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`5.2 opcode ${opcode}`, 'server', raw(0x80 | opcode, 0), 1002] as const),
  ['5.1 a client that does not mask', 'client', text('hi'), 1002],
  ['5.1 a server that masks', 'server', writeFrame(opcodes.text, true, Buffer.from('hi'), mask), 1002],
  ['5.5 a ping in fragments', 'server', raw(0x09, 0), 1002],
  ['5.5 a close in fragments', 'server', raw(0x08, 0), 1002],
  ['5.5 a ping of 126 bytes', 'server', Buffer.concat([raw(0x89, 126, 0, 126), Buffer.alloc(126)]), 1002],
  ['5.2 16 bits for 125', 'server', Buffer.concat([raw(0x82, 126, 0, 125), Buffer.alloc(125)]), 1002],
  ['5.2 64 bits for 65535', 'server', Buffer.concat([raw(0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff), Buffer.alloc(65_535)]), 1002],
  ['5.2 the top bit of 64', 'server', raw(0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0), 1009],
  ['more than is ever held', 'server', raw(0x82, 127, 0, 0, 0, 0, 0, 3, 0x0d, 0x41), 1009],
  ['5.4 a continuation of nothing', 'server', raw(0x80, 0), 1002],
  ['5.4 a message in another', 'server', Buffer.concat([text('a', false), text('b')]), 1002],
  ['5.4 too many fragments', 'server', Buffer.concat([text('', false), ...Array<Buffer>(60).fill(raw(0, 0))]), 1009],
  ['5.5.1 a close with half a code', 'server', raw(0x88, 1, 3), 1002],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map(
    (code) => [`7.4 close code ${code}`, 'server', writeFrame(opcodes.close, true, closePayload2(code), null), 1002] as const,
  ),
  ['8.1 a reason that is no UTF-8', 'server', writeFrame(opcodes.close, true, raw(3, 0xe8, 0xff), null), 1007],
]

function closePayload2(code: number): Buffer {
  return raw(code >> 8, code & 0xff)
}

for (const [name, sender, bytes, code] of bad)
  test(`refused: ${name}`, () => {
    assert.equal(read(sender, [bytes]).broken, code)
    assert.equal(read(sender, bytewise(bytes)).broken, code)
  })

test('a close frame ends everything: what follows is not read', () => {
  const close = writeFrame(opcodes.close, true, closePayload(1001, Buffer.from('bye')), null)
  assert.deepEqual(read('server', [Buffer.concat([close, raw(0xff, 0xff)]), text('more')]), { said: ['close:1001:627965'], broken: null })
  assert.deepEqual(read('server', [raw(0x88, 0)]).said, ['close:1005:'])
  for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]) assert.ok(mayBeSent(code))
  assert.equal(closePayload(1000, Buffer.alloc(300)).length, 125)
})

const frame = fc.record({
  opcode: fc.constantFrom(0, 0, 1, 1, 2, 8, 9, 10, 3),
  last: fc.boolean(),
  payload: fc.oneof(
    fc.uint8Array({ maxLength: 140 }),
    fc.string({ unit: 'grapheme', maxLength: 60 }).map((one) => Buffer.from(one)),
  ),
  masked: fc.boolean(),
})

type Frame = typeof frame extends fc.Arbitrary<infer One> ? One : never

/** The same frames, made to follow each other as RFC 6455 wants; some text is still no UTF-8. */
function inOrder(frames: readonly Frame[]): readonly Frame[] {
  let open = false
  return frames.map((one) => {
    if (one.opcode > 2) return { ...one, opcode: one.opcode === 10 ? 10 : 9, last: true, payload: one.payload.subarray(0, 125) }
    const opcode = open ? 0 : one.opcode === 0 ? 2 : one.opcode
    open = !one.last
    return { ...one, opcode }
  })
}

test('against ws: whatever is accepted, it accepts, and reads the same', async () => {
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<Sender>('client', 'server'),
      fc.array(frame, { maxLength: 6 }),
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 2 }),
      fc.nat(50),
      fc.boolean(),
      async (sender, frames, noise, cut, sound) => {
        const bytes = Buffer.concat(
          (sound ? inOrder(frames) : frames).map(({ opcode, last, payload, masked }) =>
            writeFrame(opcode, last, Buffer.from(payload), (sound ? sender === 'client' : masked) ? mask : null),
          ),
        )
        if (!sound) for (const [at, value] of noise) if (at < bytes.length) bytes[at] = value
        const ours = read(sender, [bytes.subarray(0, cut), bytes.subarray(cut)])
        assert.deepEqual(read(sender, bytewise(bytes)), ours)
        const theirs = await readByWs(sender, bytes)
        if (ours.broken === null) assert.deepEqual(theirs, ours)
        else assert.deepEqual(ours.said, theirs.said.slice(0, ours.said.length))
        if (ours.broken === null && ours.said.length > 0) accepted++
      },
    ),
    { numRuns: 1_500 },
  )
  assert.ok(accepted > 100, String(accepted))
})

test('what is written, ws reads', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 70_000, size: 'max' }), fc.boolean(), async (payload, client) => {
      const bytes = writeFrame(opcodes.binary, true, Buffer.from(payload), client ? mask : null)
      assert.deepEqual((await readByWs(client ? 'client' : 'server', bytes)).said, [`binary:${Buffer.from(payload).toString('hex')}`])
    }),
    { numRuns: 40 },
  )
})
