// The log's face: entries in, durable when the promise resolves; checkpoints behind. Intent before effect rests on this file.
// It must never acknowledge what is not synced, never sign a checkpoint over what is not, and never go on after an I/O error.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../model/clock.ts'
import type { Entry } from '../model/entry.ts'
import type { Log } from '../model/kind.ts'
import type { Limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { type Copies, createCopies } from './copies.ts'
import { type Disk, freeBytes, realDisk, syncDir, writeSynced } from './disk.ts'
import { encodeEntry } from './encode.ts'
import { frameHeadBytes, type Journal, LateError, openJournal, type Settle } from './journal.ts'
import { isOrigin, loadKey, signCheckpoint, verifierKey } from './note.ts'
import { createPruner } from './prune.ts'
import { type Found, readCheckpointText, recover, trustCheckpoint } from './recover.ts'
import { createRefusals } from './refusals.ts'
import type { Tiles } from './tiles.ts'
import { sha256 } from './tree.ts'

const freeCheckedMs = 1_000
/** Entries that nobody waits for may still queue when intents are refused. */
const queueReserveFactor = 2

export interface AuditOptions {
  readonly dir: string
  /** First line of each checkpoint and name of its key: `<trust domain>/<node>/<n>`. */
  readonly origin: string
  readonly clock: Clock
  readonly limits: Limits
  readonly log: Log
  /** Ed25519 private key; else it is read from `keyFile`, and made there for a log that is new. */
  readonly key?: KeyObject
  readonly keyFile?: string
  /** Where the public key is put as text, for `verify` on another machine. */
  readonly publicKeyFile?: string
  /** Whole bundles that are older go; null: all is kept. */
  readonly keepDays?: number | null
  /** Folders in which the newest checkpoint is put too. */
  readonly copies?: readonly string[]
  readonly disk?: Disk
  /** Free bytes in the file system of the log. */
  readonly diskFree?: () => Promise<number>
}

export interface AuditStatus {
  /** Durable entries. */
  readonly size: number
  readonly failed: boolean
  /** Milliseconds since the epoch; null before the first of this process. */
  readonly lastCheckpointAt: number | null
  /** Bytes of entries since the start. */
  readonly bytes: number
}

export interface Audit {
  /** C2SP verifier key: `origin+id+key`. */
  readonly publicKey: string
  /** Durable when it resolves; rejects with Refusal audit.unavailable, audit.timeout or audit.too_much. */
  append(entry: Entry): Promise<void>
  /** Joins the next sync; never throws, a failure is logged. */
  write(entry: Entry): void
  /** The first is written at once; its equals within refusalWindowMs follow as one entry with their count. */
  refusal(entry: Entry, sender: string): void
  /** Signs what is synced; resolves when the new checkpoint is durable. */
  checkpoint(): Promise<void>
  close(): Promise<void>
  status(): AuditStatus
}

export async function openAudit(options: AuditOptions): Promise<Audit> {
  const { dir, origin } = options
  if (!isOrigin(origin)) throw new Error(`${JSON.stringify(origin)} cannot name a log: no white space, no plus, ASCII only`)
  await mkdir(dir, { recursive: true, mode: 0o750 })
  const text = await readCheckpointText(dir)
  const key = options.key ?? (await loadKey(options.keyFile ?? `${dir}-key`, text === null))
  const found = await recover(dir, text === null ? null : trustCheckpoint(text, origin, createPublicKey(key)))
  const publicKey = verifierKey(origin, key)
  if (options.publicKeyFile !== undefined) await writeSynced(options.publicKeyFile, `${publicKey}\n`, 0o644)
  const free = options.diskFree ?? (() => freeBytes(dir))
  const audit = await start(options, found, { key, publicKey, free, firstFree: await free() })
  if (found.cut.length === 0 && found.unknown.length === 0) return audit
  const ids = found.unknown.slice(-options.limits.recoveredIdsMax)
  const what = [...found.cut, ...(found.unknown.length === 0 ? [] : [`${found.unknown.length} intents without an outcome`])].join('; ')
  options.log.warn('audit recovered', { what, calls: ids })
  await audit.append({ kind: 'recovered', time: options.clock.now(), what, count: found.unknown.length, notes: ids })
  return audit
}

interface Held {
  readonly key: KeyObject
  readonly publicKey: string
  readonly free: () => Promise<number>
  readonly firstFree: number
}

async function start(options: AuditOptions, found: Found, held: Held): Promise<Audit> {
  const { limits, log } = options
  const { tiles } = found
  let failure: Error | null = null
  let bytes = 0
  let closing = false

  function fail(error: Error): void {
    if (failure !== null) return
    failure = error
    log.error('audit failed: every call is refused until the restart', { error: error.message })
  }

  const { journal, keeper, copies } = await createParts(options, found, held, fail)
  const space = createSpace(held, options)
  const rates = createRates(options)

  function write(entry: Entry): void {
    if (failure !== null || closing || journal.queued >= limits.queuedEntriesMax * queueReserveFactor) {
      return log.error('audit entry lost', { kind: entry.kind, call: entry.call, why: failure?.message ?? 'the queue is full' })
    }
    const line = encodeEntry(entry)
    bytes += line.length
    if (entry.workload !== undefined) rates.spend(entry.workload, line.length, options.clock.monotonic())
    journal.add(line, null)
  }

  function append(entry: Entry): Promise<void> {
    if (failure !== null || closing) return unavailable(failure?.message ?? 'the log is closed', failure)
    if (journal.queued >= limits.queuedEntriesMax) return unavailable('the queue is full')
    if (tiles.unwritten >= limits.refusedTilesMax) return unavailable('the tree lags behind')
    const reserved = entry.kind === 'intent' || entry.kind === 'token'
    const now = options.clock.monotonic()
    if (reserved && !space.enough(now)) return unavailable('disk space is down to the reserve')
    const line = encodeEntry(entry)
    if (reserved && entry.workload !== undefined && !rates.spend(entry.workload, line.length, now)) {
      return Promise.reject(new Refusal('audit.too_much', entry.workload))
    }
    bytes += line.length
    return new Promise((resolve, reject) => {
      const code = (error: Error) => (error instanceof LateError ? 'audit.timeout' : 'audit.unavailable')
      const settle: Settle = (error) => (error === null ? resolve() : reject(new Refusal(code(error), error.message, error)))
      journal.add(line, settle)
    })
  }

  const refusals = createRefusals({
    ...{ windowMs: limits.refusalWindowMs, sendersMax: limits.refusalSendersMax, log, write },
    fits(entry, sender) {
      const now = options.clock.monotonic()
      return space.enough(now) && rates.spend(`refused ${sender}`, encodeEntry(entry).length, now)
    },
  })
  if (tiles.size > keeper.covered()) keeper.active()
  const pruner = pruning(options, journal, keeper, append)
  return {
    publicKey: held.publicKey,
    append,
    write,
    refusal: refusals.add,
    checkpoint: () => keeper.checkpoint(),
    async close() {
      if (closing) return
      refusals.close()
      closing = true
      await end(log, { pruner, keeper, journal, tiles, copies })
    },
    status: () => ({ size: journal.size, failed: failure !== null, lastCheckpointAt: keeper.at(), bytes }),
  }
}

function pruning(options: AuditOptions, journal: Journal, { covered, checkpoint }: Keeper, append: Audit['append']) {
  const { dir, clock, log, keepDays = null } = options
  return keepDays === null ? null : createPruner({ dir, keepDays, clock, log, covered, append, checkpoint, rotate: () => journal.rotate() })
}

/** What is open is closed whatever fails: the next start repairs, and says so. */
async function end(log: Log, { pruner, keeper, journal, tiles, copies }: Open): Promise<void> {
  try {
    await pruner?.stop()
    keeper.stop()
    await journal.close()
    await keeper.checkpoint()
    await copies.settled()
  } catch (error) {
    log.error('audit closed with an error', { error: error instanceof Error ? error.message : String(error) })
  } finally {
    await tiles.close()
  }
}

interface Open {
  readonly pruner: { stop(): Promise<void> } | null
  readonly keeper: Keeper
  readonly journal: Journal
  readonly tiles: Tiles
  readonly copies: Copies
}

async function createParts(options: AuditOptions, found: Found, held: Held, fail: (error: Error) => void) {
  const { tiles } = found
  const hasher = createHasher(tiles, () => keeper.active())
  const journal = await openJournal({
    dir: join(options.dir, 'journal'),
    disk: options.disk ?? realDisk,
    clock: options.clock,
    segments: found.segments,
    size: found.size,
    length: found.length,
    synced: hasher.take,
    lateMs: options.limits.journalMs,
    failed: fail,
  })
  const copies = createCopies(options.copies ?? [], options.origin, options.clock, options.log)
  const covered = found.checkpoint?.size ?? 0
  const keeper = createKeeper(options, held.key, { tiles, journal, copies, catchUp: hasher.catchUp, covered, fail })
  return { journal, keeper, copies }
}

function unavailable(why: string, cause?: unknown): Promise<never> {
  return Promise.reject(new Refusal('audit.unavailable', why, cause))
}

/** Turns synced frames into leaves, behind the acknowledgements and while the disk works on the next batch. */
function createHasher(tiles: Tiles, active: () => void) {
  const waiting: { bytes: Buffer; length: number; done: () => void }[] = []
  let scheduled = false

  function catchUp(): void {
    for (let batch = waiting.shift(); batch !== undefined; batch = waiting.shift()) {
      const { bytes } = batch
      for (let at = 0; at < batch.length; ) {
        const from = at + frameHeadBytes
        const end = from + bytes.readUInt32BE(at)
        // The last byte of the checksum has served and becomes the prefix of RFC 6962 section 2.1: no copy to hash.
        bytes[from - 1] = 0
        tiles.add(bytes.subarray(from, end), sha256(bytes.subarray(from - 1, end)))
        at = end
      }
      batch.done()
    }
  }

  return {
    catchUp,
    take(bytes: Buffer, length: number, done: () => void): void {
      waiting.push({ bytes, length, done })
      if (scheduled) return
      scheduled = true
      setImmediate(() => {
        scheduled = false
        catchUp()
        active()
      })
    },
  }
}

type Keeper = ReturnType<typeof createKeeper>

interface Kept {
  readonly tiles: Tiles
  readonly journal: Journal
  readonly copies: Copies
  readonly catchUp: () => void
  readonly covered: number
  readonly fail: (error: Error) => void
}

/** Writes tiles and checkpoints: one at a time, each second of activity, and when asked. */
function createKeeper(options: AuditOptions, key: KeyObject, kept: Kept) {
  const path = join(options.dir, 'checkpoint')
  let covered = kept.covered
  let at: number | null = null
  let underWay: Promise<void> | null = null
  let timer: NodeJS.Timeout | null = null
  let failed: Error | null = null

  async function make(): Promise<void> {
    kept.catchUp()
    if (kept.tiles.size === covered) return
    const { size, root } = await kept.tiles.write()
    const text = signCheckpoint({ origin: options.origin, size, root }, key)
    await writeSynced(`${path}.new`, text)
    await rename(`${path}.new`, path)
    await syncDir(options.dir)
    covered = size
    at = options.clock.now()
    kept.copies.put(text, size)
    await kept.tiles.removePartials()
    await kept.journal.removeBelow(size - (size % 256))
  }

  async function checkpoint(): Promise<void> {
    if (timer !== null) clearTimeout(timer)
    timer = null
    if (underWay !== null) await underWay
    if (failed !== null) throw failed
    if (underWay !== null) return underWay
    underWay = make()
    try {
      await underWay
    } catch (error) {
      failed = error instanceof Error ? error : new Error(String(error))
      kept.fail(failed)
      throw failed
    } finally {
      underWay = null
    }
  }

  function quietly(): void {
    timer = null
    // The failure is already logged, and the log refuses from here on.
    checkpoint().then(active, () => {})
  }

  function active(): void {
    if (failed !== null || underWay !== null || kept.tiles.size === covered) return
    if (kept.tiles.unwritten >= options.limits.unwrittenTilesMax) return quietly()
    timer ??= setTimeout(quietly, options.limits.checkpointMs).unref()
  }

  return {
    active,
    checkpoint,
    covered: () => covered,
    at: () => at,
    stop() {
      if (timer !== null) clearTimeout(timer)
      timer = null
    },
  }
}

/** Is there more than the reserve? Asked of the file system at most once a second, beside the calls. */
function createSpace(held: Held, options: AuditOptions) {
  let free = held.firstFree
  let checkedAt = options.clock.monotonic()
  return {
    enough(now: number): boolean {
      if (now - checkedAt >= freeCheckedMs) {
        checkedAt = now
        held.free().then(
          (bytes) => {
            free = bytes
          },
          (error: Error) => {
            free = 0
            options.log.error('audit: free disk space is unknown, intents are refused', { error: error.message })
          },
        )
      }
      return free >= options.limits.auditReserveBytes
    },
  }
}

/** Bytes a workload in the present second. Workloads are named by configuration, so the map is small. */
function createRates(options: AuditOptions) {
  const spent = new Map<string, number>()
  let second = 0
  return {
    spend(workload: string, bytes: number, now: number): boolean {
      const present = Math.floor(now / 1000)
      if (present !== second) spent.clear()
      second = present
      const sum = (spent.get(workload) ?? 0) + bytes
      if (sum > options.limits.auditBytesPerSecondPerWorkload) return false
      spent.set(workload, sum)
      return true
    },
  }
}
