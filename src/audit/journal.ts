// The append-only journal: what an acknowledgement rests on. One write and one fdatasync, off the event loop, for all who wait.
// It must never acknowledge before the sync returned, and never sync again after an error: the kernel has then dropped the pages.
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Disk, syncDir } from './disk.ts'

/** length u32, CRC-32 u32, both big-endian, before each entry. */
export const frameHeadBytes = 8
const segmentBytesMax = 4 * 1024 * 1024
/** How long an entry that nobody waits for may wait for company; what kill -9 can take is no more than this. */
const companyMs = 10
const batchBytes = 64 * 1024
const keptBatchBytesMax = 1024 * 1024

export type Settle = (error: Error | null) => void

export interface Segment {
  readonly path: string
  /** Index in the log of its first entry. */
  readonly first: number
}

export interface JournalOptions {
  readonly dir: string
  readonly disk: Disk
  /** The segments that are there, the last one open for appending at byte `length`. */
  readonly segments: readonly Segment[]
  readonly size: number
  readonly length: number
  /** Synced frames; `bytes` is lent until the function returns the buffer by `done`. */
  readonly synced: (bytes: Buffer, length: number, done: () => void) => void
  readonly failed: (error: Error) => void
}

export interface Journal {
  /** Entries that are synced. */
  readonly size: number
  /** Entries that wait, those under way included. */
  readonly queued: number
  readonly error: Error | null
  /** `line` is ASCII. With `settle` somebody waits: the next sync begins at once. Never throws; settles with the error once failed. */
  add(line: string, settle: Settle | null): void
  /** Removes closed segments whose every entry is below `index`. */
  removeBelow(index: number): Promise<void>
  /** Everything added so far is synced, or rejects. */
  flush(): Promise<void>
  close(): Promise<void>
}

interface Batch {
  bytes: Buffer
  used: number
  count: number
  settles: Settle[]
  wanted: boolean
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
  const { disk } = options
  const segments = [...options.segments]
  let handle = await open((segments.at(-1) as Segment).path, 'r+')
  let position = options.length
  let size = options.size
  let error: Error | null = null
  let underWay: Batch | null = null
  let scheduled = false
  let timer: NodeJS.Timeout | null = null
  const spare: Buffer[] = []
  let filling = emptyBatch()

  function emptyBatch(): Batch {
    return { bytes: spare.pop() ?? Buffer.allocUnsafeSlow(batchBytes), used: 0, count: 0, settles: [], wanted: false }
  }

  function add(line: string, settle: Settle | null): void {
    if (error !== null) return settle?.(error)
    const end = filling.used + frameHeadBytes + line.length
    if (end > filling.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(filling.bytes.length * 2, end))
      filling.bytes.copy(larger, 0, 0, filling.used)
      filling.bytes = larger
    }
    filling.used = putFrame(line, filling.bytes, filling.used)
    filling.count += 1
    if (settle !== null) {
      filling.settles.push(settle)
      filling.wanted = true
    }
    if (underWay !== null || scheduled) return
    if (filling.wanted) soon()
    else timer ??= setTimeout(soon, companyMs)
  }

  /** After this turn of the event loop, so that every call that it wakes shares the sync. */
  function soon(): void {
    if (timer !== null) clearTimeout(timer)
    timer = null
    if (scheduled) return
    scheduled = true
    setImmediate(start)
  }

  function start(): void {
    scheduled = false
    if (underWay !== null || filling.count === 0 || error !== null) return
    underWay = filling
    filling = emptyBatch()
    write(underWay, 0)
  }

  function write(batch: Batch, from: number): void {
    disk.write(handle.fd, batch.bytes, from, batch.used - from, position + from, (failure, written) => {
      if (failure !== null) return fail(failure)
      if (written === 0) return fail(new Error('the journal could not be written: no byte was taken'))
      if (from + written < batch.used) return write(batch, from + written)
      disk.sync(handle.fd, (unsynced) => (unsynced === null ? settled(batch) : fail(unsynced)))
    })
  }

  function settled(batch: Batch): void {
    position += batch.used
    size += batch.count
    if (position >= segmentBytesMax) {
      rotate().then(() => next(batch), fail)
    } else {
      next(batch)
    }
  }

  function next(batch: Batch): void {
    underWay = null
    // The disk works on the next batch while this one is acknowledged and hashed.
    if (filling.wanted) start()
    else if (filling.count > 0) timer ??= setTimeout(soon, companyMs)
    for (const settle of batch.settles) settle(null)
    options.synced(batch.bytes, batch.used, () => {
      if (batch.bytes.length <= keptBatchBytesMax && spare.length < 4) spare.push(batch.bytes)
    })
  }

  async function rotate(): Promise<void> {
    const path = join(options.dir, segmentName(size))
    const opened = await open(path, 'wx', 0o640)
    await syncDir(options.dir)
    await handle.close()
    handle = opened
    position = 0
    segments.push({ path, first: size })
  }

  function fail(failure: Error): void {
    if (error !== null) return
    error = failure
    const waiting = [...(underWay?.settles ?? []), ...filling.settles]
    underWay = null
    filling = emptyBatch()
    for (const settle of waiting) settle(failure)
    options.failed(failure)
  }

  async function flush(): Promise<void> {
    while (error === null && (underWay !== null || filling.count > 0)) {
      await new Promise<void>((resolve) => {
        const batch = filling.count === 0 && underWay !== null ? underWay : filling
        batch.wanted = true
        batch.settles.push(() => resolve())
        if (underWay === null) soon()
      })
    }
    if (error !== null) throw error
  }

  return {
    get size() {
      return size
    },
    get queued() {
      return filling.count + (underWay?.count ?? 0)
    },
    get error() {
      return error
    },
    add,
    flush,
    async removeBelow(index) {
      while (segments.length > 1 && (segments[1] as Segment).first <= index) await rm((segments.shift() as Segment).path, { force: true })
    },
    async close() {
      try {
        await flush()
      } finally {
        if (timer !== null) clearTimeout(timer)
        await handle.close()
      }
    },
  }
}
