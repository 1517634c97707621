// Finds all spellings of all secrets at once by skipping (Wu and Manber 1994), and masks them in a stream. It never shows
// more of a secret than its public prefix and fifteen characters, and never whether a shorter guess was right.
import { Refusal } from '../model/refusal.ts'
import type { Needle } from './needles.ts'

const blockBytes = 3
const tableBits = 13
const tableMask = (1 << tableBits) - 1
const shiftMax = 255
const maskByte = 0x2a
const nothing = Buffer.alloc(0)

/** Written by Matcher.tail. */
export interface Tail {
  /** Bytes at the end that begin some needle. */
  remembered: number
  /** Of these, how many are enough of a needle to be held back. */
  held: number
}

export class Matcher {
  readonly short: boolean
  #needles: readonly Needle[]
  /** Length of the shortest needle, at most shiftMax. */
  readonly #span: number
  readonly #shift = new Uint8Array(1 << tableBits)
  readonly #byBlock = new Map<number, number[]>()
  /** Where a stream may break off: the last two bytes, and the pairs (needle, length so far) that end so. */
  readonly #byEnd = new Map<number, number[]>()
  /** 1: a needle begins with this byte; 2: and is held from there. */
  readonly #begins = new Uint8Array(256)
  #wiped = false

  constructor(needles: readonly Needle[], short: boolean) {
    this.short = short
    this.#needles = needles
    this.#span = needles.reduce((least, needle) => Math.min(least, needle.bytes.length), shiftMax)
    this.#shift.fill(Math.max(1, this.#span - blockBytes + 1))
    for (const [index, { bytes, holdFrom }] of needles.entries()) {
      const first = bytes[0] as number
      if (bytes.length > 1) this.#begins[first] = Math.max(this.#begins[first] as number, holdFrom <= 1 ? 2 : 1)
      this.#addBlocks(index, bytes)
      for (let end = 2; end < bytes.length; end++)
        push(this.#byEnd, ((bytes[end - 2] as number) << 8) | (bytes[end - 1] as number), index, end)
    }
  }

  #addBlocks(index: number, bytes: Buffer): void {
    if (this.#span < blockBytes) return
    for (let end = blockBytes; end <= this.#span; end++) {
      const block = hash(bytes, end - 1)
      this.#shift[block] = Math.min(this.#shift[block] as number, this.#span - end)
      if (end === this.#span) push(this.#byBlock, block, index)
    }
  }

  /** Starts and ends of what matches, in order and not touching each other, or null. */
  find(buffer: Buffer): readonly number[] | null {
    if (this.#wiped) throw new Refusal('obtain.revoked', 'its needles are wiped')
    if (this.#span < blockBytes) return this.#findTiny(buffer)
    const shift = this.#shift
    const { length } = buffer
    const span = this.#span
    let found: number[] | null = null
    let at = span - 1
    while (at < length) {
      const block = (((buffer[at - 2] as number) << 6) ^ ((buffer[at - 1] as number) << 3) ^ (buffer[at] as number)) & tableMask
      const skip = shift[block] as number
      if (skip > 0) {
        at += skip
        continue
      }
      for (const index of this.#byBlock.get(block) as number[]) {
        const { bytes } = this.#needles[index] as Needle
        const start = at - span + 1
        if (matches(buffer, start, bytes)) {
          found ??= []
          found.push(start, start + bytes.length)
        }
      }
      at++
    }
    return found === null ? null : merged(found)
  }

  /** A needle of one or two bytes: no block to skip by. */
  #findTiny(buffer: Buffer): readonly number[] | null {
    const found: number[] = []
    for (const { bytes } of this.#needles)
      for (let at = buffer.indexOf(bytes); at >= 0; at = buffer.indexOf(bytes, at + 1)) found.push(at, at + bytes.length)
    return found.length === 0 ? null : merged(found)
  }

  /** How much of the end of `buffer` may be the beginning of a needle. */
  tail(buffer: Buffer, into: Tail): void {
    const { length } = buffer
    const begins = length > 0 ? (this.#begins[buffer[length - 1] as number] as number) : 0
    into.remembered = begins > 0 ? 1 : 0
    into.held = begins > 1 ? 1 : 0
    if (length < 2) return
    const ends = this.#byEnd.get(((buffer[length - 2] as number) << 8) | (buffer[length - 1] as number))
    if (ends === undefined) return
    for (let pair = 0; pair < ends.length; pair += 2) {
      const { bytes, holdFrom } = this.#needles[ends[pair] as number] as Needle
      const size = ends[pair + 1] as number
      if (size > length || size <= into.held || (size < holdFrom && size <= into.remembered)) continue
      if (buffer.compare(bytes, 0, size, length - size, length) !== 0) continue
      if (size > into.remembered) into.remembered = size
      if (size >= holdFrom) into.held = size
    }
  }

  /** The bytes with every match masked: the same Buffer where there is none. */
  mask(buffer: Buffer): { readonly bytes: Buffer; readonly found: number } {
    const ranges = this.find(buffer)
    if (ranges === null) return { bytes: buffer, found: 0 }
    return { bytes: masked(Buffer.from(buffer), ranges), found: ranges.length / 2 }
  }

  /** Afterwards every search throws: what cannot be checked does not pass. */
  wipe(): void {
    this.#wiped = true
    for (const { bytes } of this.#needles) bytes.fill(0)
    this.#needles = []
    this.#byBlock.clear()
    this.#byEnd.clear()
  }
}

/** One stream of bytes, masked as it passes. */
export class MaskStream {
  readonly #matcher: Matcher
  /** The end of what came, as far as a needle may have begun there: as received, and as it leaves. */
  #received = nothing
  #leaving = nothing
  /** How much of #leaving has left. */
  #left = 0
  readonly #tail: Tail = { remembered: 0, held: 0 }
  found = 0

  constructor(matcher: Matcher) {
    this.#matcher = matcher
  }

  /** What may leave now: the chunk itself, a part of it or a copy; empty where all of it is held. */
  push(chunk: Buffer): Buffer {
    const before = this.#received.length
    const received = before === 0 ? chunk : Buffer.concat([this.#received, chunk], before + chunk.length)
    const ranges = this.#matcher.find(received)
    let leaving = received
    if (ranges !== null || this.#leaving !== this.#received) {
      leaving = Buffer.from(received)
      this.#leaving.copy(leaving)
      masked(leaving, ranges ?? [])
      for (let end = 1; ranges !== null && end < ranges.length; end += 2) if ((ranges[end] as number) > before) this.found++
    }
    this.#matcher.tail(received, this.#tail)
    const { remembered, held } = this.#tail
    const until = Math.max(this.#left, received.length - held)
    const out = leaving.subarray(this.#left, until)
    const start = received.length - remembered
    this.#received = remembered === 0 ? nothing : Buffer.from(received.subarray(start))
    this.#leaving = leaving === received ? this.#received : remembered === 0 ? nothing : Buffer.from(leaving.subarray(start))
    this.#left = until - start > 0 ? until - start : 0
    return out
  }

  /** Where nothing may be held: what was is masked, and remembered all the same, so that what goes on with it is masked too. */
  cover(): Buffer {
    const size = this.#leaving.length - this.#left
    if (size === 0) return nothing
    this.#leaving = Buffer.from(this.#leaving).fill(maskByte, this.#left)
    this.#left = this.#leaving.length
    this.found++
    return Buffer.alloc(size, maskByte)
  }

  /** What was held, now that nothing follows that could complete it. */
  end(): Buffer {
    const rest = this.#leaving.subarray(this.#left)
    this.#received = nothing
    this.#leaving = nothing
    this.#left = 0
    return rest
  }
}

function hash(bytes: Buffer, at: number): number {
  return (((bytes[at - 2] as number) << 6) ^ ((bytes[at - 1] as number) << 3) ^ (bytes[at] as number)) & tableMask
}

function push(map: Map<number, number[]>, key: number, ...values: readonly number[]): void {
  const known = map.get(key)
  if (known === undefined) map.set(key, [...values])
  else known.push(...values)
}

function matches(buffer: Buffer, start: number, needle: Buffer): boolean {
  return start + needle.length <= buffer.length && buffer.compare(needle, 0, needle.length, start, start + needle.length) === 0
}

/** Overlapping ranges become one. */
function merged(ranges: readonly number[]): readonly number[] {
  const pairs: [number, number][] = []
  for (let at = 0; at < ranges.length; at += 2) pairs.push([ranges[at] as number, ranges[at + 1] as number])
  pairs.sort((one, other) => one[0] - other[0] || one[1] - other[1])
  const out: number[] = []
  for (const [start, end] of pairs) {
    const last = out.length - 1
    if (last > 0 && start < (out[last] as number)) out[last] = Math.max(out[last] as number, end)
    else out.push(start, end)
  }
  return out
}

function masked(bytes: Buffer, ranges: readonly number[]): Buffer {
  for (let at = 0; at < ranges.length; at += 2) bytes.fill(maskByte, ranges[at], ranges[at + 1])
  return bytes
}
