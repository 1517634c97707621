// Takes keys out of a file: the blanked text replaces it in one step, with its mode and owner. A failure leaves the old file or
// the blanked one, never a copy; a file that changed meanwhile is not touched.
import { randomBytes } from 'node:crypto'
import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { blank } from './keys.ts'

/** null when it is done; otherwise why the file is as it was. */
export function blankIn(path: string, values: readonly string[]): string | null {
  try {
    // A symbolic link stays one: what it leads to is rewritten.
    const real = realpathSync(path)
    const { before, text } = look(real)
    if (!before.isFile()) return 'it is no regular file'
    if (before.nlink > 1n) return 'it has another name too (a hard link), under which the key would stay'
    const writer = writerOf(before)
    if (writer !== null) return `process ${writer} has it open for writing, and what it writes next would be lost: end it first`
    // The longest first: a key may begin like another one.
    const blanked = [...values].sort((a, b) => b.length - a.length).reduce((rest, value) => rest.replace(whole(value), blank), text)
    return blanked === text ? 'the key does not stand there any more' : replaceFile(real, before, blanked)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return `it cannot be rewritten (${code ?? message})`
  }
}

function look(real: string): { readonly before: BigIntStats; readonly text: string } {
  const opened = openSync(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const before = fstatSync(opened, { bigint: true })
    return { before, text: before.isFile() ? readFileSync(opened, 'latin1') : '' }
  } finally {
    closeSync(opened)
  }
}

/** In one step, if the file still is what it was when it was read; no copy stays beside it. */
export function replaceFile(real: string, before: BigIntStats, text: string): string | null {
  const temporary = join(dirname(real), `.${basename(real).slice(0, 100)}.${randomBytes(6).toString('hex')}.ostiary`)
  try {
    write(temporary, text, before)
    if (!same(before, statSync(real, { bigint: true }))) return 'it changed meanwhile'
    renameSync(temporary, real)
    syncFolder(dirname(real))
    return null
  } finally {
    rmSync(temporary, { force: true })
  }
}

/** A process of this user that has the file open for writing, as far as /proc says. */
function writerOf({ dev, ino }: BigIntStats): string | null {
  for (const pid of namesIn('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    for (const descriptor of namesIn(`/proc/${pid}/fd`)) {
      try {
        const found = statSync(`/proc/${pid}/fd/${descriptor}`, { bigint: true })
        if (found.dev !== dev || found.ino !== ino) continue
        const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${descriptor}`, 'latin1'))?.[1] ?? '0'
        if ((Number.parseInt(flags, 8) & (constants.O_WRONLY | constants.O_RDWR)) !== 0) return pid
      } catch {
        // it has just been closed
      }
    }
  }
  return null
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** Not the beginning of a longer key; what JSON and terminals write before one is no part of it. */
function whole(value: string): RegExp {
  return new RegExp(`${RegExp.escape(value)}(?![A-Za-z0-9_-])`, 'g')
}

/** Nobody else may open it before it has the owner and mode of the one that it replaces. */
function write(path: string, text: string, like: BigIntStats): void {
  const opened = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
  try {
    writeFileSync(opened, text, 'latin1')
    const made = fstatSync(opened, { bigint: true })
    if (made.uid !== like.uid || made.gid !== like.gid) fchownSync(opened, Number(like.uid), Number(like.gid))
    fchmodSync(opened, Number(like.mode & 0o7777n))
    fsyncSync(opened)
  } finally {
    closeSync(opened)
  }
}

function same(before: BigIntStats, now: BigIntStats): boolean {
  return (['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs'] as const).every((field) => before[field] === now[field])
}

function syncFolder(path: string): void {
  const opened = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(opened)
  } finally {
    closeSync(opened)
  }
}
