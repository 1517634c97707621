// The seam between the journal and the file system, so that tests can watch the order of writes and make them fail.
// It must never retry: a failed sync has already lost the pages (the kernel marks them clean), so only its caller may judge.
import { constants, fdatasync, write } from 'node:fs'
import { type FileHandle, open, statfs } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { limits } from '../model/limits.ts'

/** Whether each write of the journal syncs itself. */
const syncsItself = process.platform === 'linux'

/**
 * How the journal's file is opened: each write is durable when it returns (open(2), O_DSYNC). One trip to the thread pool where a
 * write and an fdatasync are two, and a tenth of what a call costs. Darwin's does not reach the platter: there it is two.
 */
export const journalFlags = constants.O_RDWR | (syncsItself ? constants.O_DSYNC : 0)

export interface Disk {
  /** What it has written, which may be less than asked for, is durable when it is done. `fd` was opened with journalFlags. */
  write(
    fd: number,
    bytes: Buffer,
    offset: number,
    length: number,
    position: number,
    done: (error: Error | null, written: number) => void,
  ): void
}

export const realDisk: Disk = {
  write: (fd, bytes, offset, length, position, done) =>
    write(fd, bytes, offset, length, position, (error, written) =>
      error !== null || syncsItself ? done(error, written) : fdatasync(fd, (unsynced) => done(unsynced, written)),
    ),
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
export async function openPatiently(path: string, flags: string | number, mode?: number): Promise<FileHandle> {
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
