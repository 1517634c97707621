// WebSocket frames as bytes (RFC 6455): a strict reader that gives out messages in pieces as they come, and a writer. It knows no
// socket and no policy, holds no more than one control frame, and never takes what a lenient peer might read in another way.
import { isUtf8 } from 'node:buffer'

/** Who sent the frames that are read. */
export type Sender = 'client' | 'server'

export type FrameEvent =
  | { readonly kind: 'piece'; readonly text: boolean; readonly bytes: Buffer; readonly first: boolean; readonly last: boolean }
  | { readonly kind: 'ping' | 'pong'; readonly bytes: Buffer }
  /** Code 1005: the frame had none. */
  | { readonly kind: 'close'; readonly code: number; readonly reason: Buffer }

export interface FrameLimits {
  readonly socketMessageBytesMax: number
  readonly socketFramesMax: number
}

/** What ends the connection, with the code of its close frame (RFC 6455 §7.4.1). */
export class FrameBroken extends Error {
  readonly code: number

  constructor(code: number, detail: string) {
    super(detail)
    this.name = 'FrameBroken'
    this.code = code
  }
}

const nothing = Buffer.alloc(0)
export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const
const controlBytesMax = 125

interface Frame {
  readonly opcode: number
  readonly last: boolean
  readonly mask: number
  readonly length: number
}

interface Message {
  readonly text: boolean
  bytes: number
  frames: number
  /** Nothing of it was given out yet. */
  first: boolean
}

export class FrameReader {
  readonly #sender: Sender
  readonly #limits: FrameLimits
  #buffer: Buffer = nothing
  /** The frame whose payload is being read, how much of it was, and whether something of it was given out. */
  #frame: Frame | null = null
  #read = 0
  /** The message under way. */
  #message: Message | null = null
  readonly #utf8 = new Utf8()
  #closed = false

  constructor(sender: Sender, limits: FrameLimits) {
    this.#sender = sender
    this.#limits = limits
  }

  push(chunk: Buffer): void {
    // RFC 6455 §5.5.1: behind a close frame nothing means anything.
    if (this.#closed) return
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk])
  }

  /** What comes next, or null where bytes are missing. Throws FrameBroken; afterwards nothing may be read. */
  next(): FrameEvent | null {
    for (;;) {
      if (this.#closed) return null
      this.#frame ??= this.#head()
      if (this.#frame === null) return null
      const event = this.#frame.opcode >= 8 ? this.#control(this.#frame) : this.#content(this.#frame)
      if (event !== 'more') return event
    }
  }

  /** RFC 6455 §5.2. */
  #head(): Frame | null {
    const buffer = this.#buffer
    if (buffer.length < 2) return null
    const [one, two] = [buffer[0] as number, buffer[1] as number]
    // No extension was agreed on, so none of the reserved bits has a meaning.
    if ((one & 0x70) !== 0) throw new FrameBroken(1002, 'a reserved bit is set')
    const opcode = one & 0x0f
    if (opcode > 10 || (opcode > 2 && opcode < 8)) throw new FrameBroken(1002, 'an unknown opcode')
    const last = (one & 0x80) !== 0
    // RFC 6455 §5.1: a client masks, a server does not.
    if (((two & 0x80) !== 0) !== (this.#sender === 'client')) throw new FrameBroken(1002, 'masked as the other side would')
    const short = two & 0x7f
    // RFC 6455 §5.5.
    if (opcode >= 8 && (!last || short > controlBytesMax)) throw new FrameBroken(1002, 'a control frame that is long or in fragments')
    const lengthEnd = 2 + (short === 127 ? 8 : short === 126 ? 2 : 0)
    const headEnd = lengthEnd + (this.#sender === 'client' ? 4 : 0)
    if (buffer.length < headEnd) return null
    const length = lengthOf(buffer, short)
    const mask = this.#sender === 'client' ? buffer.readUInt32BE(lengthEnd) : 0
    this.#buffer = buffer.subarray(headEnd)
    this.#read = 0
    if (opcode < 8) this.#begin(opcode, length)
    return { opcode, last, mask, length }
  }

  /** RFC 6455 §5.4: fragments of one message follow each other; nothing but control frames comes between. */
  #begin(opcode: number, length: number): void {
    if (opcode === opcodes.continuation) {
      if (this.#message === null) throw new FrameBroken(1002, 'a continuation of nothing')
    } else {
      if (this.#message !== null) throw new FrameBroken(1002, 'a message inside another')
      this.#message = { text: opcode === opcodes.text, bytes: 0, frames: 0, first: true }
    }
    this.#message.bytes += length
    this.#message.frames++
    if (this.#message.bytes > this.#limits.socketMessageBytesMax) throw new FrameBroken(1009, 'socketMessageBytesMax')
    if (this.#message.frames > this.#limits.socketFramesMax) throw new FrameBroken(1009, 'socketFramesMax')
  }

  #take(frame: Frame, size: number): Buffer {
    const bytes = this.#buffer.subarray(0, size)
    this.#buffer = size === this.#buffer.length ? nothing : this.#buffer.subarray(size)
    if (this.#sender === 'server' || size === 0) return bytes
    return masked(bytes, frame.mask, this.#read)
  }

  #content(frame: Frame): FrameEvent | 'more' | null {
    const message = this.#message as Message
    const size = Math.min(this.#buffer.length, frame.length - this.#read)
    if (size === 0 && this.#read < frame.length) return null
    const bytes = this.#take(frame, size)
    this.#read += size
    const frameDone = this.#read === frame.length
    const last = frameDone && frame.last
    // RFC 6455 §8.1.
    if (message.text && !this.#utf8.push(bytes, last)) throw new FrameBroken(1007, 'text that is not UTF-8')
    const { first, text } = message
    if (frameDone) this.#frame = null
    if (last) this.#message = null
    // An empty fragment says nothing.
    if (size === 0 && !last) return 'more'
    message.first = false
    return { kind: 'piece', text, bytes, first, last }
  }

  #control(frame: Frame): FrameEvent | null {
    if (this.#buffer.length < frame.length) return null
    const bytes = this.#take(frame, frame.length)
    this.#frame = null
    if (frame.opcode !== opcodes.close) return { kind: frame.opcode === opcodes.ping ? 'ping' : 'pong', bytes }
    this.#closed = true
    this.#buffer = nothing
    if (bytes.length === 0) return { kind: 'close', code: 1005, reason: nothing }
    const code = bytes.length === 1 ? 0 : bytes.readUInt16BE(0)
    const reason = bytes.subarray(2)
    if (!mayBeSent(code)) throw new FrameBroken(1002, 'a close code that may not be sent')
    if (!isUtf8(reason)) throw new FrameBroken(1007, 'a close reason that is not UTF-8')
    return { kind: 'close', code, reason }
  }
}

/** RFC 6455 §5.2: in as few bytes as it can be. */
function lengthOf(buffer: Buffer, short: number): number {
  if (short < 126) return short
  const length = short === 126 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2))
  if (length < (short === 126 ? 126 : 65_536)) throw new FrameBroken(1002, 'a length in more bytes than it needs')
  // Above this a number is no longer exact; the limit of a message is far below.
  if (length > Number.MAX_SAFE_INTEGER) throw new FrameBroken(1009, 'a length that nobody can hold')
  return length
}

/** RFC 6455 §7.4 and the register of IANA: 1004 to 1006 and 1015 only ever stand in programs. */
export function mayBeSent(code: number): boolean {
  return (code >= 1000 && code <= 1014 && !(code >= 1004 && code <= 1006)) || (code >= 3000 && code <= 4999)
}

/** A copy, XOR the mask, as if `offset` bytes stood before it (RFC 6455 §5.3). */
function masked(bytes: Buffer, mask: number, offset: number): Buffer {
  const out = Buffer.allocUnsafe(bytes.length)
  const keys = [mask >>> 24, (mask >>> 16) & 0xff, (mask >>> 8) & 0xff, mask & 0xff] as const
  for (let at = 0; at < bytes.length; at++) out[at] = (bytes[at] as number) ^ (keys[(at + offset) & 3] as number)
  return out
}

/** Text that comes in pieces: a character may be cut anywhere. */
class Utf8 {
  #carry: Buffer = nothing

  /** False where what came so far can never become UTF-8. */
  push(chunk: Buffer, last: boolean): boolean {
    const bytes = this.#carry.length === 0 ? chunk : Buffer.concat([this.#carry, chunk])
    const whole = last ? bytes.length : bytes.length - openTail(bytes)
    this.#carry = whole === bytes.length ? nothing : Buffer.from(bytes.subarray(whole))
    return isUtf8(bytes.subarray(0, whole))
  }
}

/** Bytes at the end that begin a character and do not complete it; at most three. */
function openTail(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back] as number
    if (byte < 0x80) return 0
    if (byte >= 0xc0) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0
  }
  return 0
}

/** One frame; `mask` are four fresh random bytes where a client sends it, null where a server does. */
export function writeFrame(opcode: number, last: boolean, payload: Buffer, mask: Buffer | null): Buffer {
  const { length } = payload
  const lengthBytes = length > 65_535 ? 8 : length > 125 ? 2 : 0
  const headEnd = 2 + lengthBytes + (mask === null ? 0 : 4)
  const out = Buffer.allocUnsafe(headEnd + length)
  out[0] = (last ? 0x80 : 0) | opcode
  out[1] = (mask === null ? 0 : 0x80) | (lengthBytes === 8 ? 127 : lengthBytes === 2 ? 126 : length)
  if (lengthBytes === 2) out.writeUInt16BE(length, 2)
  else if (lengthBytes === 8) out.writeBigUInt64BE(BigInt(length), 2)
  if (mask === null) payload.copy(out, headEnd)
  else {
    mask.copy(out, headEnd - 4)
    masked(payload, mask.readUInt32BE(0), 0).copy(out, headEnd)
  }
  return out
}

/** Code 1005 makes an empty frame. */
export function closePayload(code: number, reason: Buffer): Buffer {
  if (code === 1005) return nothing
  const out = Buffer.allocUnsafe(2 + Math.min(reason.length, controlBytesMax - 2))
  out.writeUInt16BE(code, 0)
  reason.copy(out, 2)
  return out
}
