import assert from 'node:assert/strict'
import net, { type AddressInfo, type Socket } from 'node:net'
import { after, test } from 'node:test'
import { closePayload, opcodes, writeFrame } from '../http/websocket.ts'
import { limits as inForce } from '../model/limits.ts'
import type { Piece } from '../model/socket.ts'
import { FrameSide, type SideLimits } from './frame-side.ts'

const mask = Buffer.from([1, 2, 3, 4])
const open: { close(): void }[] = []
after(() => {
  for (const one of open) one.close()
})

interface Pair {
  /** The peer's own end of the connection. */
  readonly peer: Socket
  readonly side: FrameSide
  readonly pieces: Piece[]
  readonly ended: Promise<readonly [number, string, string | null]>
  readonly got: () => Buffer
  readonly drained: () => number
}

async function pair(who: 'agent' | 'host' = 'agent', change: Partial<SideLimits> = {}, rest: Buffer = Buffer.alloc(0)): Promise<Pair> {
  const server = net.createServer({ pauseOnConnect: true })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve))
  const peer = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  const socket = await accepted
  open.push(server, { close: () => peer.destroy() }, { close: () => socket.destroy() })
  let got: Buffer = Buffer.alloc(0)
  peer.on('data', (chunk: Buffer) => {
    got = Buffer.concat([got, chunk])
  })
  peer.on('error', () => {})
  const pieces: Piece[] = []
  let drained = 0
  const side = new FrameSide({ socket, rest }, who, { ...inForce, ...change })
  const ended = new Promise<readonly [number, string, string | null]>((resolve) =>
    side.start({
      piece: (piece) => void pieces.push(piece),
      drained: () => {
        drained++
      },
      ended: (code, reason, broken) => resolve([code, reason.toString(), broken]),
    }),
  )
  return { peer, side, pieces, ended, got: () => got, drained: () => drained }
}

async function until(what: () => boolean): Promise<void> {
  for (let tries = 0; tries < 200 && !what(); tries++) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.ok(what(), what.toString())
}

const hi = writeFrame(opcodes.text, true, Buffer.from('hi'), mask)

test('what came behind the head counts, a ping is answered with what it carried, and no control frame crosses', async () => {
  const { peer, pieces, got } = await pair('agent', {}, hi)
  peer.write(
    Buffer.concat([
      writeFrame(opcodes.ping, true, Buffer.from('are you?'), mask),
      writeFrame(opcodes.pong, true, Buffer.alloc(0), mask),
      hi,
    ]),
  )
  await until(() => pieces.length === 2 && got().length > 0)
  assert.deepEqual(got(), writeFrame(opcodes.pong, true, Buffer.from('are you?'), null))
})

test('towards a host every frame is masked, each with a mask of its own', async () => {
  const { side, got } = await pair('host')
  for (let times = 0; times < 2; times++) side.send({ text: true, bytes: Buffer.from('same'), first: true, last: true })
  await until(() => got().length === 20)
  const [one, other] = [got().subarray(0, 10), got().subarray(10)]
  assert.equal(one[1], 0x84)
  assert.notDeepEqual(one.subarray(2, 6), other.subarray(2, 6))
})

test('a peer that breaks the protocol is named, and told by the close frame', async () => {
  const { peer, side, ended, got } = await pair()
  peer.write(writeFrame(opcodes.text, true, Buffer.from('unmasked'), null))
  const [code, , broken] = await ended
  side.close(code, broken ?? '')
  await until(() => got().length > 2)
  assert.equal(got()[0], 0x88)
  assert.equal(got().readUInt16BE(2), 1002)
})

test('the end: a close frame with its reason, or none, or a reset', async () => {
  const one = await pair()
  one.peer.write(writeFrame(opcodes.close, true, closePayload(4000, Buffer.from('bye')), mask))
  assert.deepEqual(await one.ended, [4000, 'bye', null])
  one.side.close(4000, 'bye')
  await until(() => one.peer.readableEnded)
  const two = await pair()
  two.peer.end()
  assert.deepEqual(await two.ended, [1006, '', null])
  const three = await pair()
  three.peer.resetAndDestroy()
  assert.deepEqual(await three.ended, [1006, '', null])
})

test('after our close nothing is given out, and a peer that does not close is cut', async () => {
  const { peer, side, pieces } = await pair('agent', { socketCloseMs: 50 })
  side.close(1008, 'flow.revoked')
  side.close(1000, 'again')
  peer.write(hi)
  await until(() => peer.destroyed || peer.readableEnded)
  await until(() => peer.closed || peer.readableEnded)
  assert.deepEqual(pieces, [])
})

test('paused, nothing is given out and no more is read than fits the socket; resumed, all comes in order', async () => {
  const { peer, side, pieces } = await pair()
  side.pause()
  const big = writeFrame(opcodes.binary, true, Buffer.alloc(1024 * 1024, 7), mask)
  let sent = 0
  for (let times = 0; times < 12; times++) peer.write(big, () => sent++)
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.equal(pieces.length, 0)
  assert.ok(sent < 12, `${sent}`)
  side.resume()
  await until(() => sent === 12 && pieces.filter((piece) => piece.last).length === 12)
})

test('a peer that takes nothing is told about by send, and that it takes again by drained', async () => {
  const { peer, side, drained } = await pair()
  peer.pause()
  const piece: Piece = { text: false, bytes: Buffer.alloc(1024 * 1024), first: true, last: true }
  let more = true
  for (let times = 0; times < 32 && more; times++) more = side.send(piece)
  assert.equal(more, false)
  peer.resume()
  await until(() => drained() > 0)
})

test('an idle peer is pinged; one that never answers is gone, one that does stays', async () => {
  const fast = { socketPingMs: 20, socketSilentPingsMax: 3 }
  const silent = await pair('agent', fast)
  assert.deepEqual(await silent.ended, [1006, '', null])
  assert.ok(silent.got().includes(Buffer.from([0x89, 0])))
  const alive = await pair('agent', fast)
  alive.peer.on('data', () => alive.peer.write(writeFrame(opcodes.pong, true, Buffer.alloc(0), mask)))
  const first = await Promise.race([alive.ended, new Promise((resolve) => setTimeout(resolve, 300, 'alive'))])
  assert.equal(first, 'alive')
})
