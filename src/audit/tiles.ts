// The tree on disk in the C2SP tlog-tiles layout: hash tiles, entry bundles, and the files of one checkpoint.
// It must never be given an entry that is not yet synced in the journal, and never removes a partial before its full tile is durable.
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { emitted } from '../model/emitted.ts'
import type { TileFile } from './tile-worker.ts'
import { createTree, nodeHash, type Tree } from './tree.ts'

export const tileWidth = 256
const hashBytes = 32

/** C2SP tlog-tiles: groups of three digits, all but the last begin with x: 1234067 is `x001/x234/067`. */
export function indexPath(index: number): string {
  const groups = [String(index % 1000).padStart(3, '0')]
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000))
    groups.unshift(`x${String(rest % 1000).padStart(3, '0')}`)
  return groups.join('/')
}

/** `width` 256 is the full tile. */
export function tilePath(level: number | 'entries', index: number, width: number): string {
  return `tile/${level}/${indexPath(index)}${width === tileWidth ? '' : `.p/${width}`}`
}

/** The tile itself, or the full one where the partial has gone; null where neither is there. */
export async function readTile(dir: string, level: number | 'entries', index: number, width: number): Promise<Buffer | null> {
  for (const one of width === tileWidth ? [tileWidth] : [width, tileWidth]) {
    const bytes = await readFile(join(dir, tilePath(level, index, one))).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null
      throw error
    })
    if (bytes !== null) return bytes
  }
  return null
}

/** Entries of a bundle (big-endian u16 length before each); `torn` where the bytes end inside one. */
export function splitBundle(bytes: Buffer, max = tileWidth): { readonly entries: Buffer[]; readonly torn: boolean; readonly rest: number } {
  const entries: Buffer[] = []
  let at = 0
  while (at < bytes.length && entries.length < max) {
    if (at + 2 > bytes.length) return { entries, torn: true, rest: bytes.length - at }
    const next = at + 2 + bytes.readUInt16BE(at)
    if (next > bytes.length) return { entries, torn: true, rest: bytes.length - at }
    entries.push(bytes.subarray(at + 2, next))
    at = next
  }
  return { entries, torn: false, rest: bytes.length - at }
}

export interface Tiles {
  readonly size: number
  /** Full bundles and tiles that no checkpoint has written yet. */
  readonly unwritten: number
  add(entry: Buffer, leaf: Buffer): void
  /** Writes and syncs everything that a checkpoint of the present size needs. Entries added meanwhile wait for the next. */
  write(): Promise<{ readonly size: number; readonly root: Buffer }>
  /** Removes the partials of full tiles that the last write() made; call it when the checkpoint is in place. */
  removePartials(): Promise<void>
  close(): Promise<void>
}

interface Start {
  readonly size: number
  readonly levels: Buffer[][]
  readonly entries: readonly Buffer[]
}

export function createTiles(dir: string, start: Start): Tiles {
  const levels = start.levels
  const writer = createWriter(dir)
  let full: TileFile[] = []
  const replaced: string[] = []
  /** Directories of partials that are there: of this process, and those that the start found. */
  const partialDirs = new Set(partials(start.size, levels, Buffer.concat(start.entries)).map(({ path }) => dirname(path)))
  let bundle = Buffer.allocUnsafe(64 * 1024)
  let used = 0
  const tree: Tree = createTree(start.size, edgeOf(levels), completed)

  function completed(level: number, hash: Buffer): void {
    levels[level] ??= []
    const hashes = levels[level] as Buffer[]
    hashes.push(hash)
    if (hashes.length < tileWidth) return
    // The tree tells of this hash before it counts the leaf: size + 1 leaves are complete here.
    const index = (tree.size + 1) / tileWidth ** (level + 1) - 1
    full.push({ path: tilePath(level, index, tileWidth), bytes: owned(hashes) })
    levels[level] = []
  }

  function keep(entry: Buffer): void {
    if (bundle.length - used < entry.length + 2) {
      const larger = Buffer.allocUnsafe(bundle.length * 2)
      bundle.copy(larger, 0, 0, used)
      bundle = larger
    }
    bundle.writeUInt16BE(entry.length, used)
    bundle.set(entry, used + 2)
    used += entry.length + 2
  }

  for (const entry of start.entries) keep(entry)
  return {
    get size() {
      return tree.size
    },
    get unwritten() {
      return full.length
    },
    add(entry, leaf) {
      keep(entry)
      tree.append(leaf)
      if (tree.size % tileWidth !== 0) return
      full.push({ path: tilePath('entries', tree.size / tileWidth - 1, tileWidth), bytes: owned([bundle.subarray(0, used)]) })
      used = 0
    },
    async write() {
      const { size } = tree
      const root = tree.root()
      const files = full
      full = []
      replaced.push(...files.map((file) => `${file.path}.p`).filter((path) => partialDirs.delete(path)))
      const edge = partials(size, levels, bundle.subarray(0, used))
      for (const { path } of edge) partialDirs.add(dirname(path))
      await writer.write([...files, ...edge])
      return { size, root }
    },
    async removePartials() {
      for (const path of replaced.splice(0)) await rm(join(dir, path), { recursive: true, force: true })
    },
    close: writer.close,
  }
}

function partials(size: number, levels: readonly (readonly Buffer[])[], bundle: Buffer): TileFile[] {
  const files: TileFile[] = []
  levels.forEach((hashes, level) => {
    if (hashes.length === 0) return
    const index = Math.floor(size / tileWidth ** (level + 1))
    files.push({ path: tilePath(level, index, hashes.length), bytes: owned(hashes) })
  })
  if (bundle.length > 0) files.push({ path: tilePath('entries', Math.floor(size / tileWidth), size % tileWidth), bytes: owned([bundle]) })
  return files
}

/** In a memory of its own, which the writer is given without a copy. */
function owned(parts: readonly Buffer[]): Buffer {
  const bytes = Buffer.allocUnsafeSlow(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) at += part.copy(bytes, at)
  return bytes
}

/** One write at a time; the thread starts with the first. */
function createWriter(dir: string): { write(files: readonly TileFile[]): Promise<void>; close(): Promise<void> } {
  let worker: Worker | null = null
  const start = (): Worker => {
    const started = new Worker(emitted('./tile-worker.ts', import.meta.url), { stdin: false, env: {} })
    started.unref()
    return started
  }
  return {
    async write(files) {
      worker ??= start()
      const ends = new AbortController()
      const answered = once(worker, 'message', ends)
      const ended = once(worker, 'exit', ends).then(() => ['the thread that writes tiles ended'])
      worker.postMessage(
        { dir, files },
        files.map(({ bytes }) => bytes.buffer as ArrayBuffer),
      )
      const [problem] = (await Promise.race([answered, ended])) as [string | null]
      ended.catch(() => {})
      answered.catch(() => {})
      ends.abort()
      if (problem !== null) throw new Error(problem)
    },
    async close() {
      await worker?.terminate()
      worker = null
    },
  }
}

/** Widths of the partial tiles of a tree of this size, by level (C2SP tlog-tiles: floor(s / 256^l) mod 256). */
export function partialWidths(size: number): number[] {
  const widths: number[] = []
  for (let rest = size; rest > 0; rest = Math.floor(rest / tileWidth)) widths.push(rest % tileWidth)
  return widths
}

/** The right edge of the tree from the partial tiles: bit b of a level's width is a complete subtree of 2^(8 level + b) leaves. */
function edgeOf(levels: readonly (readonly Buffer[])[]): Buffer[] {
  const edge: Buffer[] = []
  levels.forEach((hashes, level) => {
    let at = 0
    for (let bit = 7; bit >= 0; bit -= 1) {
      const width = 2 ** bit
      if (Math.floor(hashes.length / width) % 2 === 0) continue
      edge[level * 8 + bit] = complete(hashes.slice(at, at + width))
      at += width
    }
  })
  return edge
}

function complete(hashes: readonly Buffer[]): Buffer {
  let row = hashes
  while (row.length > 1) {
    const above: Buffer[] = []
    for (let i = 0; i < row.length; i += 2) above.push(nodeHash(row[i] as Buffer, row[i + 1] as Buffer))
    row = above
  }
  return row[0] as Buffer
}

/** The state of a tree of `size` entries from its files; throws an Error that names the file where one is missing or short. */
export async function loadTiles(dir: string, size: number): Promise<Start & { readonly root: Buffer }> {
  const levels: Buffer[][] = []
  const widths = partialWidths(size)
  for (const [level, width] of widths.entries()) {
    const index = Math.floor(size / tileWidth ** (level + 1))
    const bytes = width === 0 ? Buffer.alloc(0) : await readTile(dir, level, index, width)
    if (bytes === null || bytes.length < width * hashBytes) throw new Error(`${tilePath(level, index, width)} is missing or too short`)
    levels.push(Array.from({ length: width }, (_, i) => bytes.subarray(i * hashBytes, (i + 1) * hashBytes)))
  }
  const width = size % tileWidth
  const bundle = width === 0 ? Buffer.alloc(0) : await readTile(dir, 'entries', Math.floor(size / tileWidth), width)
  const entries = bundle === null ? [] : splitBundle(bundle, width).entries
  if (entries.length < width) throw new Error(`${tilePath('entries', Math.floor(size / tileWidth), width)} is missing or too short`)
  return { size, levels, entries, root: createTree(size, edgeOf(levels)).root() }
}
