// Finds all spellings of all secrets at once by skipping (Wu and Manber 1994), and masks them in a stream. Nothing waits for what
// follows, and nothing tells more of a secret than its public prefix and sixteen characters: from there on what a secret would
// cover is masked, whatever it is. So neither a mask nor a delay says whether a longer guess was right (decision record 9).
import { Refusal } from '../model/refusal.ts'
import type { Needle } from './needles.ts'

const blockBytes = 3
const tableBits = 13
const tableMask = (1 << tableBits) - 1
const shiftMax = 255
const maskByte = 0x2a
const nothing = Buffer.alloc(0)

/** Needles that begin with the same bytes: where these stand, one of them is taken to stand. */
interface Group {
  readonly head: Buffer
  /** The shortest first. */
  readonly needles: Buffer[]
}

export class Matcher {
  readonly short: boolean
  #groups: readonly Group[]
  /** Length of the shortest head, at most shiftMax. */
  readonly #span: number
  readonly #shift = new Uint8Array(1 << tableBits)
  readonly #byBlock = new Map<number, number[]>()
  /** Where a stream may break off: the last two bytes, and the pairs (group, length so far) that end so. */
  readonly #byEnd = new Map<number, number[]>()
  /** 1: a head begins with this byte and goes on. */
  readonly #begins = new Uint8Array(256)
  #open = -1
  #wiped = false

  constructor(needles: readonly Needle[], short: boolean) {
    this.short = short
    this.#groups = grouped(needles)
    this.#span = this.#groups.reduce((least, { head }) => Math.min(least, head.length), shiftMax)
    this.#shift.fill(Math.max(1, this.#span - blockBytes + 1))
    for (const [index, { head }] of this.#groups.entries()) {
      if (head.length > 1) this.#begins[head[0] as number] = 1
      this.#addBlocks(index, head)
      for (let end = 2; end < head.length; end++)
        push(this.#byEnd, ((head[end - 2] as number) << 8) | (head[end - 1] as number), index, end)
    }
  }

  #addBlocks(index: number, head: Buffer): void {
    if (this.#span < blockBytes) return
    for (let end = blockBytes; end <= this.#span; end++) {
      const block = hash(head, end - 1)
      this.#shift[block] = Math.min(this.#shift[block] as number, this.#span - end)
      if (end === this.#span) push(this.#byBlock, block, index)
    }
  }

  /** Nothing is found in fewer bytes. */
  get bytesMin(): number {
    return this.#span
  }

  /** After find: where the first match begins that what follows may belong to, or -1. */
  get open(): number {
    return this.#open
  }

  /** Starts and ends of what is masked, in order and not touching each other, or null. */
  find(buffer: Buffer): readonly number[] | null {
    if (this.#wiped) throw new Refusal('obtain.revoked', 'its needles are wiped')
    this.#open = -1
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
        const start = at - span + 1
        const end = this.#endOf(buffer, start, this.#groups[index] as Group)
        if (end === 0) continue
        found ??= []
        found.push(start, end)
      }
      at++
    }
    return found === null ? null : merged(found)
  }

  /** A head of one or two bytes: no block to skip by. */
  #findTiny(buffer: Buffer): readonly number[] | null {
    const found: number[] = []
    for (const group of this.#groups)
      for (let at = buffer.indexOf(group.head); at >= 0; at = buffer.indexOf(group.head, at + 1))
        found.push(at, this.#endOf(buffer, at, group))
    return found.length === 0 ? null : merged(found)
  }

  /** 0: it does not begin here. Where none of them is there in full, the longest is covered: a shorter mask would tell how far it was right. */
  #endOf(buffer: Buffer, start: number, { head, needles }: Group): number {
    if (!matches(buffer, start, head)) return 0
    let end = 0
    for (const needle of needles) {
      end = start + needle.length
      if (end > buffer.length) {
        if (this.#open < 0 || start < this.#open) this.#open = start
        return buffer.length
      }
      if (matches(buffer, start, needle)) return end
    }
    return end
  }

  /** How much of the end of `buffer` may be the beginning of a head. */
  tail(buffer: Buffer): number {
    const { length } = buffer
    if (length === 0) return 0
    let most = this.#begins[buffer[length - 1] as number] as number
    if (length < 2) return most
    const ends = this.#byEnd.get(((buffer[length - 2] as number) << 8) | (buffer[length - 1] as number))
    if (ends === undefined) return most
    for (let pair = 0; pair < ends.length; pair += 2) {
      const size = ends[pair + 1] as number
      if (size <= most || size > length) continue
      const { head } = this.#groups[ends[pair] as number] as Group
      if (buffer.compare(head, 0, size, length - size, length) === 0) most = size
    }
    return most
  }

  /** The bytes with every match masked: the same Buffer where there is none. */
  mask(buffer: Buffer): { readonly bytes: Buffer; readonly found: number } {
    const ranges = this.find(buffer)
    if (ranges === null) return { bytes: buffer, found: 0 }
    return { bytes: masked(buffer, ranges, 0), found: ranges.length / 2 }
  }

  /** Afterwards every search throws: what cannot be checked does not pass. */
  wipe(): void {
    this.#wiped = true
    for (const { needles } of this.#groups) for (const needle of needles) needle.fill(0)
    this.#groups = []
    this.#byBlock.clear()
    this.#byEnd.clear()
  }
}

function grouped(needles: readonly Needle[]): readonly Group[] {
  const groups = new Map<string, Group>()
  for (const { bytes, certainFrom } of needles) {
    const head = bytes.subarray(0, certainFrom)
    const key = head.toString('latin1')
    const known = groups.get(key)
    if (known === undefined) groups.set(key, { head, needles: [bytes] })
    else known.needles.push(bytes)
  }
  for (const group of groups.values()) group.needles.sort((one, other) => one.length - other.length)
  return [...groups.values()]
}

/** One stream of bytes, masked as it passes: as much leaves as came, at once. */
export class MaskStream {
  readonly #matcher: Matcher
  /** The end of what came, as far as a match may have begun there. */
  #before = nothing
  /** It lies in a match, which is counted already. */
  #inMatch = false
  found = 0

  constructor(matcher: Matcher) {
    this.#matcher = matcher
  }

  /** The chunk itself, or a copy where something of it is masked. */
  push(chunk: Buffer): Buffer {
    if (chunk.length === 0) return chunk
    const before = this.#before.length
    const received = before === 0 ? chunk : Buffer.concat([this.#before, chunk], before + chunk.length)
    const ranges = this.#matcher.find(received)
    let out = chunk
    if (ranges !== null) {
      out = masked(chunk, ranges, before)
      for (let at = 0; at < ranges.length; at += 2)
        if ((ranges[at + 1] as number) > before && !(this.#inMatch && ranges[at] === 0)) this.found++
    }
    const { open } = this.#matcher
    const keep = Math.max(open < 0 ? 0 : received.length - open, this.#matcher.tail(received))
    this.#inMatch = open >= 0 && keep === received.length - open
    this.#before = keep === 0 ? nothing : Buffer.from(received.subarray(received.length - keep))
    return out
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

/** A copy; the ranges count from `before` bytes ahead of it. */
function masked(bytes: Buffer, ranges: readonly number[], before: number): Buffer {
  const copy = Buffer.from(bytes)
  for (let at = 0; at < ranges.length; at += 2) {
    const end = (ranges[at + 1] as number) - before
    if (end > 0) copy.fill(maskByte, Math.max(0, (ranges[at] as number) - before), end)
  }
  return copy
}
