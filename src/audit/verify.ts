// Verifies a log offline from its files and the public key, streaming: what was done to it, by name, and what could be proven at all.
// It must never say ok where a byte below the checkpoint does not hash to the signed root, and never change a file.
import type { KeyObject } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { limits } from '../model/limits.ts'
import { compareRows, type Finding, type Named } from './compare.ts'
import { listSegments, readSegment } from './journal-read.ts'
import { type Checkpoint, openCheckpoint } from './note.ts'
import { prunedBelow } from './prune.ts'
import { readCheckpointText } from './recover.ts'
import { readTile, splitBundle, tilePath, tileWidth } from './tiles.ts'
import { createTree, leafHash } from './tree.ts'

export type { Finding } from './compare.ts'

const capturedMax = 65_536
const hashBytes = 32

export interface Verification {
  readonly ok: boolean
  /** Entries of the log, those that no checkpoint covers yet and those that were pruned included. */
  readonly entries: number
  /** Entries below this one were pruned, as the log itself says: only their hashes are left. */
  readonly pruned: number
  readonly checkpointSize: number
  /** Sentences that begin with `internal:` or `against an earlier checkpoint:`. */
  readonly proved: readonly string[]
  readonly findings: readonly Finding[]
  /** What is not wrong but should be known, e.g. entries above the checkpoint. */
  readonly notes: readonly string[]
}

export interface VerifyOptions {
  readonly dir: string
  readonly publicKey: KeyObject
  /** Text of an earlier or outside checkpoint. */
  readonly since?: string
  readonly origin?: string
}

interface Work {
  readonly dir: string
  readonly findings: Finding[]
  readonly notes: string[]
  readonly proved: string[]
}

export async function verifyLog(options: VerifyOptions): Promise<Verification> {
  const work: Work = { dir: options.dir, findings: [], notes: [], proved: [] }
  const text = await readCheckpointText(work.dir)
  const checkpoint = text === null ? await unsigned(work) : signedCheckpoint(work, text, options)
  const size = checkpoint?.size ?? 0
  const since = options.since === undefined ? null : earlier(work, options.since, options.publicKey, checkpoint)
  const tree = checkpoint === null ? null : await verifyTree(work, checkpoint, since?.size ?? -1)
  if (checkpoint !== null && work.findings.length === 0) await verifyPartials(work, size)
  const journalEnd = await verifyJournal(work, checkpoint)
  const entries = Math.max(tree?.entries ?? 0, journalEnd)
  if (since !== null && (checkpoint !== null || text === null)) against(work, size, since, tree, entries)
  const { findings } = work
  if (checkpoint !== null && findings.length === 0) {
    work.proved.unshift(`internal: all ${size} entries below the checkpoint are those that were signed, in their order`)
  }
  const pruned = tree?.pruned ?? 0
  if (pruned > 0) work.notes.push(`entries 0 to ${pruned - 1} were pruned, as the log itself says: their hashes are left, and are verified`)
  if (since === null) work.notes.push('without an earlier checkpoint (--since) a rollback, a fork or a rewritten log cannot be seen')
  if (text === null && findings.length === 0) work.notes.push(notBegun(entries))
  else if (entries > size) work.notes.push(`${entries - size} entries stand above the checkpoint: nothing is signed about them yet`)
  return { ok: findings.length === 0, entries, pruned, checkpointSize: size, proved: work.proved, findings, notes: work.notes }
}

/** The first checkpoint comes a second after the first entry, and tiles come before it. */
async function unsigned(work: Work): Promise<null> {
  const tiles = await readdir(join(work.dir, 'tile')).catch(() => [])
  if (tiles.length > 0)
    work.findings.push({
      kind: 'removal',
      at: 'checkpoint',
      says: 'tiles stand without their checkpoint: it was taken away, or the process was killed while it wrote its first',
    })
  return null
}

function notBegun(entries: number): string {
  const what = entries === 0 ? 'the log is empty' : `none of the ${entries} entries is signed yet`
  return `${what}: there has been no checkpoint, as when a process is killed before its first. Nothing is proven, and nothing is missing`
}

function signedCheckpoint(work: Work, text: string, options: VerifyOptions): Checkpoint | null {
  const opened = openCheckpoint(text, options.publicKey)
  if ('wrong' in opened) {
    work.findings.push({ kind: 'edit', at: 'checkpoint', says: `the checkpoint was changed: ${opened.wrong}` })
    return null
  }
  if (!opened.signed)
    work.findings.push({ kind: 'signature', at: 'checkpoint', says: 'the checkpoint was changed or signed by another key' })
  const { origin } = opened.checkpoint
  if (options.origin !== undefined && options.origin !== origin) {
    work.findings.push({ kind: 'signature', at: 'checkpoint', says: `the checkpoint is of another log: ${JSON.stringify(origin)}` })
  }
  return opened.checkpoint
}

function earlier(work: Work, text: string, key: KeyObject, now: Checkpoint | null): Checkpoint | null {
  const opened = openCheckpoint(text, key)
  const wrong = 'wrong' in opened ? opened.wrong : opened.signed ? '' : 'it is not signed by the key of this log'
  const other = 'wrong' in opened || now === null || opened.checkpoint.origin === now.origin ? '' : 'it is of another log'
  if (wrong === '' && other === '' && 'checkpoint' in opened) return opened.checkpoint
  work.findings.push({ kind: 'signature', at: 'earlier checkpoint', says: `the earlier checkpoint cannot be used: ${wrong || other}` })
  return null
}

interface Proven {
  readonly entries: number
  readonly pruned: number
  /** The leaf hashes hash to the signed root. */
  readonly trusted: boolean
  /** Root at the size of the earlier checkpoint; null where the log is shorter. */
  readonly rootThen: Buffer | null
}

async function verifyTree(work: Work, checkpoint: Checkpoint, thenSize: number): Promise<Proven> {
  const { size } = checkpoint
  const pruned = await prunedBelow(work.dir, size)
  const above: { level: number; hashes: Buffer[] }[] = []
  const upper = createUpper(work.dir, above)
  const edge: Buffer[] = []
  const hashes = createTree(0, edge, upper.take)
  let entriesTree: ReturnType<typeof createTree> | null = null
  let rootThen: Buffer | null = null
  let held = 0
  const rows = { is: [] as string[], should: [] as string[], base: -1 }
  const wrongTiles: Finding[] = []
  for (let bundle = 0; bundle * tileWidth < size; bundle += 1) {
    const width = Math.min(tileWidth, size - bundle * tileWidth)
    const should = await tileHashes(work.dir, bundle, width, wrongTiles)
    const found = (await bundleEntries(work.dir, bundle, width)).map(leafHash)
    const is = found.length === 0 && should !== null && (bundle + 1) * tileWidth <= pruned ? should : found
    held += is.length
    const same = should === null || (is.length === width && is.every((hash, i) => hash.equals(should[i] as Buffer)))
    if (!same && rows.base < 0) {
      rows.base = bundle * tileWidth
      entriesTree = createTree(hashes.size, [...edge])
    }
    for (const hash of is) entriesTree?.append(hash)
    if (rows.base >= 0 && rows.should.length < capturedMax) {
      rows.is.push(...is.map(asText))
      rows.should.push(...(should ?? is).map(asText))
    }
    for (const hash of should ?? is) {
      if (hashes.size === thenSize) rootThen = hashes.root()
      hashes.append(hash)
    }
    wrongTiles.push(...(await upper.compare()))
  }
  wrongTiles.push(...(await upper.compare(true)))
  if (hashes.size === thenSize) rootThen = hashes.root()
  const trusted = hashes.size === size && hashes.root().equals(checkpoint.root)
  const entriesHold = entriesTree !== null && entriesTree.size === size && entriesTree.root().equals(checkpoint.root)
  if (entriesHold) {
    work.findings.push({
      kind: 'edit',
      at: tilePath(0, Math.floor(rows.base / tileWidth), tileWidth),
      says: 'hash tiles were changed; the entries themselves are those that were signed',
    })
  } else {
    await nameRows(work, rows)
    if (!trusted && (rows.base < 0 || work.findings.length === 0)) work.findings.push(unlocated(size, wrongTiles))
    else if (!trusted)
      work.notes.push('the hash tiles do not hash to the checkpoint either: the findings compare entries with tiles that were changed too')
  }
  // Levels above a changed tile were compared with what it hashes to, and are blameless where the entries themselves hold.
  work.findings.push(...wrongTiles.filter((one) => !entriesHold || !one.at.startsWith('tile/') || one.at.startsWith('tile/0/')))
  return { entries: held, pruned, trusted: trusted || entriesHold, rootThen: entriesHold ? null : rootThen }
}

function unlocated(size: number, tiles: readonly Finding[]): Finding {
  const where = tiles[0] === undefined ? `entries 0 to ${size - 1}` : `the entries below ${tiles[0].at}`
  return {
    kind: 'edit',
    at: 'checkpoint',
    says: `${where} do not hash to the signed root: entries and hash tiles were changed together, or some are gone`,
  }
}

async function nameRows(work: Work, rows: { is: string[]; should: string[]; base: number }): Promise<void> {
  if (rows.base < 0) return
  const named = compareRows(rows.is, rows.should, rows.base)
  const wanted = new Map(named.flatMap((one): [string, number][] => (one.copyOf === undefined ? [] : [[one.copyOf, -1]])))
  for (let bundle = 0; wanted.size > 0 && bundle * tileWidth < rows.base; bundle += 1) {
    const hashes = (await tileHashes(work.dir, bundle, tileWidth, [])) ?? []
    for (const [i, hash] of hashes.entries()) if (wanted.has(asText(hash))) wanted.set(asText(hash), bundle * tileWidth + i)
  }
  work.findings.push(...named.map((one) => plain(one, wanted)))
}

function plain(one: Named, copies: ReadonlyMap<string, number>): Finding {
  const place = one.copyOf === undefined ? -1 : (copies.get(one.copyOf) ?? -1)
  if (place < 0) return { kind: one.kind, at: one.at, says: one.says }
  return { kind: 'duplicate', at: one.at, says: `a copy of entry ${place} stands at ${one.at}` }
}

function asText(hash: Buffer): string {
  return hash.toString('latin1')
}

/** One more than a bundle can hold is asked for, so that what was put in is seen. */
async function bundleEntries(dir: string, index: number, width: number): Promise<Buffer[]> {
  const exact = await readFile(join(dir, tilePath('entries', index, width))).catch(() => null)
  if (exact !== null) {
    const { entries, torn, rest } = splitBundle(exact, 2 * tileWidth)
    return torn ? [...entries, exact.subarray(exact.length - rest)] : entries
  }
  const full = width === tileWidth ? null : await readTile(dir, 'entries', index, tileWidth)
  return full === null ? [] : splitBundle(full, width).entries
}

/** null where the tile is not there or is too short: then the entries speak for themselves, up to the signed root. */
async function tileHashes(dir: string, index: number, width: number, wrong: Finding[]): Promise<Buffer[] | null> {
  const bytes = await readTile(dir, 0, index, width)
  const path = tilePath(0, index, width)
  if (bytes === null) wrong.push({ kind: 'removal', at: path, says: 'the hash tile is gone' })
  else if (bytes.length < width * hashBytes) wrong.push({ kind: 'edit', at: path, says: 'the hash tile is too short' })
  if (bytes === null || bytes.length < width * hashBytes) return null
  return Array.from({ length: width }, (_, i) => bytes.subarray(i * hashBytes, (i + 1) * hashBytes))
}

/** Compares the tiles above level 0 with what the level below hashes to. */
function createUpper(dir: string, done: { level: number; hashes: Buffer[] }[]) {
  const levels: Buffer[][] = []
  const counts: number[] = []

  async function one(level: number, index: number, hashes: readonly Buffer[]): Promise<Finding[]> {
    const path = tilePath(level, index, hashes.length)
    const bytes = await readTile(dir, level, index, hashes.length)
    if (bytes === null) return [{ kind: 'removal', at: path, says: 'the hash tile is gone' }]
    const whole = Buffer.concat(hashes)
    return bytes.subarray(0, whole.length).equals(whole)
      ? []
      : [{ kind: 'edit', at: path, says: 'the hash tile does not fit the level below it' }]
  }

  return {
    take(level: number, hash: Buffer): void {
      if (level === 0) return
      levels[level] ??= []
      const hashes = levels[level] as Buffer[]
      hashes.push(hash)
      if (hashes.length < tileWidth) return
      done.push({ level, hashes })
      levels[level] = []
    },
    async compare(last = false): Promise<Finding[]> {
      const findings: Finding[] = []
      for (let full = done.shift(); full !== undefined; full = done.shift()) {
        const index = counts[full.level] ?? 0
        counts[full.level] = index + 1
        findings.push(...(await one(full.level, index, full.hashes)))
      }
      for (const [level, hashes] of levels.entries()) {
        if (last && hashes !== undefined && hashes.length > 0) findings.push(...(await one(level, counts[level] ?? 0, hashes)))
      }
      return findings
    },
  }
}

/** Partial tiles of earlier checkpoints stay until the full one is there: each must be the beginning of what stands there now. */
async function verifyPartials(work: Work, size: number): Promise<void> {
  for (let span = tileWidth, level = 0; span / tileWidth <= size; span *= tileWidth, level += 1) {
    for (const kind of level === 0 ? (['entries', 0] as const) : [level]) {
      for (let index = 0; index * span < size; index += 1) {
        const full = tilePath(kind, index, tileWidth)
        const width = Math.min(tileWidth, Math.floor((size * tileWidth) / span) - index * tileWidth)
        const names = await readdir(join(work.dir, `${full}.p`)).catch(() => [])
        const now = names.length === 0 || width === 0 ? null : await readTile(work.dir, kind, index, width)
        for (const name of now === null ? [] : names) {
          const bytes = await readFile(join(work.dir, `${full}.p`, name)).catch(() => null)
          if (bytes === null || now === null) continue
          const length = Math.min(bytes.length, now.length)
          const whole = Number(name) <= width ? bytes.length === length : true
          if (whole && bytes.subarray(0, length).equals(now.subarray(0, length))) continue
          work.findings.push({
            kind: 'edit',
            at: `${full}.p/${name}`,
            says: 'what an earlier checkpoint covered is not what stands there now',
          })
        }
      }
    }
  }
}

/** Returns the index behind the last readable entry. */
async function verifyJournal(work: Work, checkpoint: Checkpoint | null): Promise<number> {
  const size = checkpoint?.size ?? 0
  const segments = await listSegments(join(work.dir, 'journal'))
  let next = segments[0]?.first ?? 0
  if (segments.length === 0)
    work.findings.push({ kind: 'removal', at: 'journal', says: 'the journal is gone, and with it what no checkpoint covers yet' })
  if (next > size)
    work.findings.push({ kind: 'removal', at: `journal entry ${size}`, says: `the journal lacks entries ${size} to ${next - 1}` })
  for (const [i, segment] of segments.entries()) {
    const read = await readSegment(segment, limits.entryBytesMax)
    if (read === null) continue
    if (segment.first > next)
      work.findings.push({
        kind: 'removal',
        at: `journal entry ${next}`,
        says: `the journal lacks entries ${next} to ${segment.first - 1}`,
      })
    if (segment.first < next)
      work.findings.push({ kind: 'duplicate', at: `journal entry ${segment.first}`, says: 'the journal has entries twice' })
    await compareJournal(work, segment.first, read.entries, size)
    next = segment.first + read.entries.length
    if (read.wrong === '') continue
    const changed = i < segments.length - 1 || read.goodBehind
    if (changed) work.findings.push({ kind: 'edit', at: `journal entry ${next}`, says: `the journal was changed: ${read.wrong}` })
    else work.notes.push(`the journal ends in a torn entry (${read.wrong}): the next start cuts it and says so`)
  }
  if (segments.length > 0 && next < size) {
    work.findings.push({
      kind: 'truncation',
      at: `journal entry ${next}`,
      says: `the journal ends at ${next}, below the checkpoint of ${size}`,
    })
  }
  return next
}

async function compareJournal(work: Work, first: number, entries: readonly Buffer[], size: number): Promise<void> {
  let bundle = -1
  let hashes: Buffer[] | null = null
  let stored: Buffer[] = []
  for (const [i, entry] of entries.entries()) {
    const index = first + i
    if (index >= size) return
    if (Math.floor(index / tileWidth) !== bundle) {
      bundle = Math.floor(index / tileWidth)
      const width = Math.min(tileWidth, size - bundle * tileWidth)
      hashes = await tileHashes(work.dir, bundle, width, [])
      stored = await bundleEntries(work.dir, bundle, width)
    }
    const due = hashes?.[index % tileWidth]
    const fits = stored[index % tileWidth]?.equals(entry) === true || (due !== undefined && leafHash(entry).equals(due))
    if (!fits && (due !== undefined || stored.length > 0)) {
      work.findings.push({ kind: 'edit', at: `journal entry ${index}`, says: `entry ${index} of the journal is not the one in the tree` })
      return
    }
  }
}

function against(work: Work, size: number, then: Checkpoint, tree: Proven | null, entries: number): void {
  const head = 'against an earlier checkpoint:'
  if (size < then.size) {
    work.findings.push({
      kind: 'rollback',
      at: 'checkpoint',
      says: `the checkpoint covers ${size} entries, an earlier one covered ${then.size}`,
    })
    if (entries < then.size) {
      work.findings.push({
        kind: 'truncation',
        at: `entry ${entries}`,
        says: `entries ${entries} to ${then.size - 1}, which an earlier checkpoint covers, are gone`,
      })
    }
    return
  }
  const rootThen = tree?.rootThen ?? null
  if (tree === null || !tree.trusted || rootThen === null) {
    work.notes.push(`${head} could not be compared, since the tree itself does not hold`)
  } else if (!rootThen.equals(then.root)) {
    work.findings.push({
      kind: 'fork',
      at: `entry ${then.size - 1}`,
      says: `this log has another history: its first ${then.size} entries are not those of the earlier checkpoint`,
    })
  } else {
    work.proved.push(`${head} its ${then.size} entries are the first of these ${size}: no rollback, truncation or fork`)
  }
}
