// Reads the journal's files: frames, and where the good ones end. Knows nothing of what an entry says and changes nothing.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { frameHeadBytes, type Segment } from './journal.ts'

export interface Frames {
  readonly entries: Buffer[]
  /** Bytes up to the end of the last good frame. */
  readonly good: number
  /** What is wrong behind it; empty where the file ends there or only zeros follow. */
  readonly wrong: string
  /** A whole good frame stands somewhere behind the bad one: not what a torn write leaves, unless a batch lost a page. */
  readonly goodBehind: boolean
}

export function readFrames(bytes: Buffer, entryBytesMax: number): Frames {
  const entries: Buffer[] = []
  let at = 0
  while (at < bytes.length) {
    const entry = frameAt(bytes, at, entryBytesMax)
    if (typeof entry === 'string')
      return { entries, good: at, wrong: zeros(bytes, at) ? '' : entry, goodBehind: behind(bytes, at, entryBytesMax) }
    entries.push(entry)
    at += frameHeadBytes + entry.length
  }
  return { entries, good: at, wrong: '', goodBehind: false }
}

function frameAt(bytes: Buffer, at: number, entryBytesMax: number): Buffer | string {
  if (at + frameHeadBytes > bytes.length) return 'a frame head is cut off'
  const length = bytes.readUInt32BE(at)
  if (length === 0 || length > entryBytesMax) return 'a frame has an impossible length'
  const end = at + frameHeadBytes + length
  if (end > bytes.length) return 'a frame is cut off'
  const entry = bytes.subarray(at + frameHeadBytes, end)
  return crc32(entry) === bytes.readUInt32BE(at + 4) ? entry : 'a frame does not fit its checksum'
}

/** A frame whose length was not damaged leads to the next one; where the length is gone, the opening of an entry is looked for. */
function behind(bytes: Buffer, at: number, entryBytesMax: number): boolean {
  for (let open = bytes.indexOf('{"kind":', at + frameHeadBytes + 1); open >= 0; open = bytes.indexOf('{"kind":', open + 1)) {
    if (typeof frameAt(bytes, open - frameHeadBytes, entryBytesMax) !== 'string') return true
  }
  return false
}

function zeros(bytes: Buffer, from: number): boolean {
  for (let i = from; i < bytes.length; i += 1) if (bytes[i] !== 0) return false
  return true
}

/** In order of the entries that they hold. */
export async function listSegments(dir: string): Promise<Segment[]> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  return names
    .filter((name) => /^\d{16}$/.test(name))
    .sort()
    .map((name) => ({ path: join(dir, name), first: Number(name) }))
}

export interface ReadSegment extends Segment, Frames {
  readonly length: number
}

/** null where the file has gone since it was listed. */
export async function readSegment(segment: Segment, entryBytesMax: number): Promise<ReadSegment | null> {
  const bytes = await readFile(segment.path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  return bytes === null ? null : { ...segment, ...readFrames(bytes, entryBytesMax), length: bytes.length }
}
