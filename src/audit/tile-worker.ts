// The thread that writes tiles. Off the event loop it may call synchronously, which costs a third of the same by promises; and all
// files stand before the first is synced, so that syncs share the work of the file system. It must never answer before all are durable.
import { closeSync, fdatasyncSync, fsyncSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parentPort } from 'node:worker_threads'
import { limits } from '../model/limits.ts'
import { descriptorAgainMs, noDescriptor } from './disk.ts'

export interface TileFile {
  /** Below the log's directory. */
  readonly path: string
  readonly bytes: Uint8Array
}

const openFilesMax = 64
const known = new Set<string>()
const still = new Int32Array(new SharedArrayBuffer(4))

export function writeTiles(dir: string, files: readonly TileFile[]): void {
  const dirs = new Set<string>()
  for (let at = 0; at < files.length; at += openFilesMax) {
    const some = files.slice(at, at + openFilesMax).map((file) => begin(dir, file, dirs))
    for (const one of some) end(one)
  }
  for (const one of dirs) syncDirNow(one)
  for (const one of dirs) known.add(one)
}

interface Begun {
  readonly fd: number
  readonly written: string
  readonly path: string
}

function begin(dir: string, file: TileFile, dirs: Set<string>): Begun {
  const path = join(dir, file.path)
  const parent = dirname(path)
  if (!known.has(parent)) mkdirSync(parent, { recursive: true })
  // Its directory, and those above that are new: their names are made durable too.
  for (let one = parent; one !== dirname(dir) && !known.has(one); one = dirname(one)) dirs.add(one)
  dirs.add(parent)
  // A partial of a higher level keeps its name over many checkpoints, and the one in force covers it: never is it open while it is
  // short. A full tile is covered by no checkpoint before this write of it has ended.
  const written = file.path.includes('.p/') ? `${path}.new` : path
  const fd = openNow(written, 'w')
  for (let at = 0; at < file.bytes.length; ) at += writeSync(fd, file.bytes, at)
  return { fd, written, path }
}

function end({ fd, written, path }: Begun): void {
  fdatasyncSync(fd)
  closeSync(fd)
  if (written !== path) renameSync(written, path)
}

/** As openPatiently: this thread may stand still, nobody but the next checkpoint waits for it. */
function openNow(path: string, flags: string): number {
  for (let waitedMs = 0; ; waitedMs += descriptorAgainMs) {
    try {
      return openSync(path, flags, 0o640)
    } catch (error) {
      if (!noDescriptor(error) || waitedMs >= limits.descriptorWaitMs) throw error
      Atomics.wait(still, 0, 0, descriptorAgainMs)
    }
  }
}

function syncDirNow(path: string): void {
  const fd = openNow(path, 'r')
  fsyncSync(fd)
  closeSync(fd)
}

parentPort?.on('message', ({ dir, files }: { readonly dir: string; readonly files: readonly TileFile[] }) => {
  try {
    writeTiles(dir, files)
    parentPort?.postMessage(null)
  } catch (error) {
    parentPort?.postMessage(error instanceof Error ? error.message : String(error))
  }
})
