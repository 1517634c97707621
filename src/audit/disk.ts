// The seam between the journal and the file system, so that tests can watch the order of writes and syncs and make them fail.
// It must never retry: a failed fsync has already lost the pages (the kernel marks them clean), so only its caller may judge.
import { fdatasync, write } from 'node:fs'
import { open, statfs } from 'node:fs/promises'

type Done = (error: Error | null) => void

export interface Disk {
  /** May write less than asked for. */
  write(
    fd: number,
    bytes: Buffer,
    offset: number,
    length: number,
    position: number,
    done: (error: Error | null, written: number) => void,
  ): void
  sync(fd: number, done: Done): void
}

export const realDisk: Disk = {
  write: (fd, bytes, offset, length, position, done) => write(fd, bytes, offset, length, position, done),
  sync: (fd, done) => fdatasync(fd, done),
}

/** Bytes that an unprivileged writer may still use in the file system of `dir`. */
export async function freeBytes(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir)
  return bavail * bsize
}

/** Makes names in a directory durable (created, renamed, removed files). */
export async function syncDir(dir: string): Promise<void> {
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Durable when it resolves, its name excepted: the caller syncs the directory. */
export async function writeSynced(path: string, bytes: Uint8Array | string, mode = 0o640): Promise<void> {
  const handle = await open(path, 'w', mode)
  try {
    await handle.writeFile(bytes)
    await handle.datasync()
  } finally {
    await handle.close()
  }
}
