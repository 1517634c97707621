// What the start finds in the files of a log, and the one repair it may make: to cut a torn tail above the last checkpoint.
// It must never cut below a checkpoint, and never go on with a tree that is not the one the checkpoint signed.
import type { KeyObject } from 'node:crypto'
import { hash } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { limits } from '../model/limits.ts'
import { syncDir } from './disk.ts'
import type { Segment } from './journal.ts'
import { segmentName } from './journal.ts'
import { listSegments, type ReadSegment, readSegment } from './journal-read.ts'
import { type Checkpoint, openCheckpoint } from './note.ts'
import { createTiles, loadTiles, readTile, splitBundle, type Tiles, tileWidth } from './tiles.ts'
import { leafHash } from './tree.ts'

const openIntentsScannedMax = 65_536

export interface Found {
  readonly checkpoint: Checkpoint | null
  readonly tiles: Tiles
  readonly segments: readonly Segment[]
  readonly size: number
  /** Where the next frame goes in the last segment. */
  readonly length: number
  /** Sentences on what was cut; empty where nothing was. */
  readonly cut: readonly string[]
  /** Ids of calls with an intent and no outcome, oldest first. */
  readonly unknown: readonly string[]
}

export async function readCheckpointText(dir: string): Promise<string | null> {
  return readFile(join(dir, 'checkpoint'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
}

export function trustCheckpoint(text: string, origin: string, key: KeyObject): Checkpoint {
  const opened = openCheckpoint(text, key)
  if ('wrong' in opened) throw new Error(`the checkpoint of the audit log cannot be read: ${opened.wrong}`)
  if (opened.checkpoint.origin !== origin) throw new Error(`the audit log belongs to ${opened.checkpoint.origin}, not to ${origin}`)
  if (!opened.signed) throw new Error('the checkpoint of the audit log is not signed by its key')
  return opened.checkpoint
}

export async function recover(dir: string, checkpoint: Checkpoint | null): Promise<Found> {
  const journalDir = join(dir, 'journal')
  await mkdir(journalDir, { recursive: true, mode: 0o750 })
  await syncDir(dir)
  const tiles = await treeAt(dir, checkpoint)
  const covered = tiles.size
  const read = await readSegments(journalDir, covered)
  const last = read.at(-1)
  if (last === undefined) return { checkpoint, tiles, segments: [await firstSegment(journalDir)], size: 0, length: 0, cut: [], unknown: [] }
  const size = last.first + last.entries.length
  if (size < covered) {
    throw new Error(
      `the journal of the audit log ends at entry ${size}, below its checkpoint of ${covered}; restore the files, nothing was changed`,
    )
  }
  const cut: string[] = []
  if (last.good < last.length) {
    cut.push(...(await cutTail(last)))
  }
  for (const segment of read) {
    for (const [i, entry] of segment.entries.entries()) {
      if (segment.first + i === tiles.size) tiles.add(entry, leafHash(entry))
    }
  }
  return { checkpoint, tiles, segments: read, size, length: last.good, cut, unknown: await openIntents(dir, read) }
}

async function treeAt(dir: string, checkpoint: Checkpoint | null): Promise<Tiles> {
  if (checkpoint === null || checkpoint.size === 0) return createTiles(dir, { size: 0, levels: [], entries: [] })
  const state = await loadTiles(dir, checkpoint.size).catch((error: Error) => {
    throw new Error(`the tree of the audit log cannot be read: ${error.message}; restore the files, nothing was changed`)
  })
  if (!state.root.equals(checkpoint.root))
    throw new Error('the tiles of the audit log do not hash to its checkpoint; `ostiary audit verify` says where')
  return createTiles(dir, state)
}

async function readSegments(dir: string, covered: number): Promise<ReadSegment[]> {
  const segments: ReadSegment[] = []
  for (const segment of await listSegments(dir)) {
    const read = await readSegment(segment, limits.entryBytesMax)
    if (read === null) throw new Error(`${segment.path} has gone`)
    const before = segments.at(-1)
    if (before !== undefined && (before.good < before.length || before.first + before.entries.length !== read.first)) {
      throw new Error(`the journal of the audit log is broken before entry ${read.first}; restore the files, nothing was changed`)
    }
    segments.push(read)
  }
  const first = segments[0]
  if (first === undefined && covered > 0)
    throw new Error(`the journal of the audit log is gone, its checkpoint covers ${covered} entries; restore the files`)
  if (first !== undefined && first.first > covered) {
    throw new Error(`the journal of the audit log begins at entry ${first.first}, above its checkpoint of ${covered}; restore the files`)
  }
  return segments
}

async function firstSegment(dir: string): Promise<Segment> {
  const path = join(dir, segmentName(0))
  await (await open(path, 'wx', 0o640)).close()
  await syncDir(dir)
  return { path, first: 0 }
}

async function cutTail(last: ReadSegment): Promise<string[]> {
  const handle = await open(last.path, 'r+')
  try {
    const { buffer: tail } = await handle.read({ buffer: Buffer.alloc(last.length - last.good), position: last.good })
    const buffer = tail.subarray(0, tail.findLastIndex((byte) => byte !== 0) + 1)
    await handle.truncate(last.good)
    await handle.sync()
    if (last.wrong === '') return []
    const whole = last.goodBehind ? ', whole frames stood behind it' : ''
    return [
      `${buffer.length} bytes cut after entry ${last.first + last.entries.length - 1}: ${last.wrong}${whole}, sha256:${hash('sha256', buffer)}`,
    ]
  } finally {
    await handle.close()
  }
}

/** Looks at the last entries only: an older intent was listed by an earlier start. */
async function openIntents(dir: string, segments: readonly ReadSegment[]): Promise<string[]> {
  const open = new Set<string>()
  const end = (segments.at(-1) as ReadSegment).first + (segments.at(-1) as ReadSegment).entries.length
  const begin = (segments[0] as ReadSegment).first
  for (let bundle = Math.max(0, Math.floor((end - openIntentsScannedMax) / tileWidth)); bundle * tileWidth < begin; bundle += 1) {
    const width = Math.min(tileWidth, begin - bundle * tileWidth)
    const bytes = await readTile(dir, 'entries', bundle, width)
    if (bytes !== null) for (const entry of splitBundle(bytes, width).entries) follow(entry, open)
  }
  for (const segment of segments) for (const entry of segment.entries) follow(entry, open)
  return [...open]
}

const beginnings = { intent: '{"kind":"intent"', outcome: '{"kind":"outcome"', recovered: '{"kind":"recovered"' }

function follow(entry: Buffer, open: Set<string>): void {
  const line = entry.toString('latin1', 0, 200)
  if (line.startsWith(beginnings.recovered)) return open.clear()
  const isIntent = line.startsWith(beginnings.intent)
  if (!isIntent && !line.startsWith(beginnings.outcome)) return
  const call = /"call":"([^"\\]*)"/.exec(line)?.[1]
  if (call === undefined) return
  if (!isIntent) open.delete(call)
  else if (open.size < limits.openIntentsMax) open.add(call)
}
