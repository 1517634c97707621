// The seam between the journal and the file system, so that tests can watch the order of writes and syncs and make them fail.
// It must never retry: a failed fsync has already lost the pages (the kernel marks them clean), so only its caller may judge.
import { fdatasync, write } from 'node:fs'
import { type FileHandle, open, statfs } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { limits } from '../model/limits.ts'

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

/** An agent that opens many connections can take the last descriptor: that passes, and is no failure of the disk. */
export const noDescriptor = (error: unknown): boolean => /^E[MN]FILE$/.test((error as NodeJS.ErrnoException).code ?? '')
export const descriptorAgainMs = 50

/** Waits for a descriptor where none is left. */
export async function openPatiently(path: string, flags: string, mode?: number): Promise<FileHandle> {
  for (let waitedMs = 0; ; waitedMs += descriptorAgainMs) {
    try {
      return await open(path, flags, mode)
    } catch (error) {
      if (!noDescriptor(error) || waitedMs >= limits.descriptorWaitMs) throw error
      await sleep(descriptorAgainMs)
    }
  }
}

/** Makes names in a directory durable (created, renamed, removed files). */
export async function syncDir(dir: string): Promise<void> {
  const handle = await openPatiently(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Durable when it resolves, its name excepted: the caller syncs the directory. */
export async function writeSynced(path: string, bytes: Uint8Array | string, mode = 0o640): Promise<void> {
  const handle = await openPatiently(path, 'w', mode)
  try {
    await handle.writeFile(bytes)
    await handle.datasync()
  } finally {
    await handle.close()
  }
}
