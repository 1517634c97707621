// The append-only journal: what an acknowledgement rests on. One synchronised write, off the event loop, for all who wait.
// It must never acknowledge before it returned, and never write again after an error: the kernel has then dropped the pages.
import { constants } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Clock } from '../model/clock.ts'
import { type Disk, journalFlags, openPatiently, syncDir } from './disk.ts'

/** length u32, CRC-32 u32, both big-endian, before each entry. */
export const frameHeadBytes = 8
const segmentBytesMax = 4 * 1024 * 1024
/** How long an entry that nobody waits for may wait for company; what kill -9 can take is no more than this. */
const companyMs = 10
/**
 * Syncs begin no closer than this while fewer than `companyMin` calls wait: a sync costs what a fifth of a call does, however few
 * share it. An idle log syncs at once, and enough company waits for nobody.
 */
const pacingMs = 4
const companyMin = 20
const batchBytes = 64 * 1024
const keptBatchBytesMax = 1024 * 1024

export type Settle = (error: Error | null) => void

/** Not durable in time, and perhaps later. */
export class LateError extends Error {}

export interface Segment {
  readonly path: string
  /** Index in the log of its first entry. */
  readonly first: number
}

export interface JournalOptions {
  readonly dir: string
  readonly disk: Disk
  readonly clock: Clock
  /** The segments that are there, the last one open for appending at byte `length`. */
  readonly segments: readonly Segment[]
  readonly size: number
  readonly length: number
  /** Synced frames; `bytes` is lent until the function returns the buffer by `done`. */
  readonly synced: (bytes: Buffer, length: number, done: () => void) => void
  /** How long the disk may take for a batch, before those who wait are told so. */
  readonly lateMs: number
  readonly failed: (error: Error) => void
}

interface Batch {
  bytes: Buffer
  used: number
  count: number
  settles: Settle[]
}

export function segmentName(first: number): string {
  return String(first).padStart(16, '0')
}

export function putFrame(line: string, bytes: Buffer, at: number): number {
  const end = at + frameHeadBytes + bytes.write(line, at + frameHeadBytes, 'latin1')
  bytes.writeUInt32BE(end - at - frameHeadBytes, at)
  bytes.writeUInt32BE(crc32(bytes.subarray(at + frameHeadBytes, end)), at + 4)
  return end
}

export async function openJournal(options: JournalOptions): Promise<Journal> {
  const handle = await open((options.segments.at(-1) as Segment).path, journalFlags)
  await reserve(handle, options.length)
  return new Journal(options, handle)
}

/**
 * Zeros to the end of the segment: a sync that changes neither length nor extents of its file costs less than half. Readers stop
 * at zeros, the close cuts them off, and a disk that is too full for them still takes entries.
 */
async function reserve(handle: FileHandle, from: number): Promise<void> {
  const zeros = Buffer.alloc(1024 * 1024)
  try {
    for (let at = from; at < segmentBytesMax; at += zeros.length)
      await handle.write(zeros, 0, Math.min(zeros.length, segmentBytesMax - at), at)
    await handle.datasync()
  } catch (error) {
    if (!/^(?:ENOSPC|EDQUOT)$/.test((error as NodeJS.ErrnoException).code ?? '')) throw error
    await handle.truncate(from)
  }
}

export class Journal {
  readonly #options: JournalOptions
  readonly #segments: Segment[]
  readonly #spare: Buffer[] = []
  #handle: FileHandle
  #position: number
  #size: number
  #error: Error | null = null
  #filling: Batch
  #underWay: Batch | null = null
  #startedAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | null = null
  #soon = false
  /** The last sync served one caller at most: there is nothing to gain by waiting. */
  #alone = true
  /** The timer is set for somebody who waits. */
  #paced = false
  #rotates = false
  /** One for all batches, started anew with each. */
  readonly #watch: NodeJS.Timeout
  /** The disk has not answered for the batch under way in time: nobody else begins to wait. */
  #stalled = false

  constructor(options: JournalOptions, handle: FileHandle) {
    this.#options = options
    this.#handle = handle
    this.#segments = [...options.segments]
    this.#position = options.length
    this.#size = options.size
    this.#filling = this.#empty()
    // A loop that was busy may find both: what the disk has answered meanwhile is heard first.
    this.#watch = setTimeout(() => setImmediate(() => this.#checkLate()), options.lateMs).unref()
  }

  /** Entries that are synced. */
  get size(): number {
    return this.#size
  }

  /** Entries that wait, those under way included. */
  get queued(): number {
    return this.#filling.count + (this.#underWay?.count ?? 0)
  }

  /** `line` is ASCII. With `settle` somebody waits, else the entry joins the next sync. Never throws; settles with the error once failed. */
  add(line: string, settle: Settle | null): void {
    if (this.#error !== null) return settle?.(this.#error)
    if (this.#stalled && settle !== null) return settle(new Error('the disk does not answer'))
    const batch = this.#filling
    const end = batch.used + frameHeadBytes + line.length
    if (end > batch.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(batch.bytes.length * 2, end))
      batch.bytes.copy(larger, 0, 0, batch.used)
      batch.bytes = larger
    }
    batch.used = putFrame(line, batch.bytes, batch.used)
    batch.count += 1
    if (settle !== null) batch.settles.push(settle)
    if (this.#underWay === null) this.#schedule()
  }

  /** With the next sync a new segment begins. */
  rotate(): void {
    this.#rotates = true
  }

  /** Removes closed segments whose every entry is below `index`. */
  async removeBelow(index: number): Promise<void> {
    const segments = this.#segments
    while (segments.length > 1 && (segments[1] as Segment).first <= index) await rm((segments.shift() as Segment).path, { force: true })
  }

  /** Everything added so far is synced, or rejects. */
  async flush(): Promise<void> {
    while (this.#error === null && this.queued > 0) {
      await new Promise<void>((resolve) => {
        const batch = this.#filling.count === 0 && this.#underWay !== null ? this.#underWay : this.#filling
        batch.settles.push(() => resolve())
        if (this.#underWay === null) this.#schedule()
      })
    }
    if (this.#error !== null) throw this.#error
  }

  async close(): Promise<void> {
    try {
      await this.flush()
    } finally {
      this.#clearTimer()
      clearTimeout(this.#watch)
      if (this.#error === null) await this.#handle.truncate(this.#position).catch(() => {})
      await this.#handle.close()
    }
  }

  #empty(): Batch {
    return { bytes: this.#spare.pop() ?? Buffer.allocUnsafeSlow(batchBytes), used: 0, count: 0, settles: [] }
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #schedule(): void {
    const waiting = this.#filling.settles.length
    if (this.#soon) return
    if (waiting === 0) {
      this.#timer ??= setTimeout(() => this.#start(), companyMs)
      return
    }
    const restMs = this.#alone ? 0 : pacingMs - (this.#options.clock.monotonic() - this.#startedAt)
    if (restMs <= 0 || waiting >= companyMin) {
      // After this turn of the event loop, so that every call that it wakes shares the sync.
      this.#clearTimer()
      this.#soon = true
      setImmediate(() => this.#start())
    } else if (!this.#paced) {
      this.#clearTimer()
      this.#paced = true
      this.#timer = setTimeout(() => this.#start(), restMs)
    }
  }

  #start(): void {
    this.#soon = false
    this.#paced = false
    this.#clearTimer()
    const batch = this.#filling
    if (this.#underWay !== null || batch.count === 0 || this.#error !== null) return
    this.#underWay = batch
    this.#filling = this.#empty()
    this.#startedAt = this.#options.clock.monotonic()
    this.#alone = batch.settles.length < 2
    this.#watch.refresh()
    this.#write(batch, 0)
  }

  /** Silence would be no answer for who waits: they are refused, and when the disk is back so is the log. */
  #checkLate(): void {
    const { clock, lateMs } = this.#options
    const batch = this.#underWay
    if (batch === null) return
    if (clock.monotonic() - this.#startedAt < lateMs) return void this.#watch.refresh()
    this.#stalled = true
    const error = new LateError(`the disk has not answered for ${lateMs} ms`)
    for (const { settles } of [batch, this.#filling]) for (const settle of settles.splice(0)) settle(error)
  }

  #write(batch: Batch, from: number): void {
    const { disk } = this.#options
    disk.write(this.#handle.fd, batch.bytes, from, batch.used - from, this.#position + from, (error, written) => {
      if (error !== null) return this.#fail(error)
      if (written === 0) return this.#fail(new Error('the journal could not be written: no byte was taken'))
      if (from + written < batch.used) return this.#write(batch, from + written)
      this.#synced(batch)
    })
  }

  #synced(batch: Batch): void {
    this.#position += batch.used
    this.#size += batch.count
    if (this.#position < segmentBytesMax && !this.#rotates) return this.#next(batch)
    this.#rotates = false
    this.#rotate().then(
      () => this.#next(batch),
      (error: Error) => this.#fail(error),
    )
  }

  #next(batch: Batch): void {
    this.#underWay = null
    this.#stalled = false
    // The disk works on the next batch while this one is acknowledged and hashed.
    if (this.#filling.count > 0) this.#schedule()
    for (const settle of batch.settles) settle(null)
    this.#options.synced(batch.bytes, batch.used, () => {
      if (batch.bytes.length <= keptBatchBytesMax && this.#spare.length < 4) this.#spare.push(batch.bytes)
    })
  }

  async #rotate(): Promise<void> {
    const first = this.#size
    // One that is left before it is full ends where its entries do, before there is another: zeros in between are damage.
    if (this.#position < segmentBytesMax) {
      await this.#handle.truncate(this.#position)
      await this.#handle.sync()
    }
    const path = join(this.#options.dir, segmentName(first))
    const opened = await openPatiently(path, journalFlags | constants.O_CREAT | constants.O_EXCL, 0o640)
    await reserve(opened, 0)
    await syncDir(this.#options.dir)
    await this.#handle.close()
    this.#handle = opened
    this.#position = 0
    this.#segments.push({ path, first })
  }

  #fail(error: Error): void {
    if (this.#error !== null) return
    this.#error = error
    this.#clearTimer()
    const waiting = [...(this.#underWay?.settles ?? []), ...this.#filling.settles]
    this.#underWay = null
    this.#filling = this.#empty()
    for (const settle of waiting) settle(error)
    this.#options.failed(error)
  }
}
