// Reads /proc synchronously: for the worker and for the cheap second look, never for the event loop in bulk. Nothing in here
// believes a word of the process itself: no environment, no command line, no name.
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, statSync } from 'node:fs'
import type { ProcessFacts } from '../../model/evidence.ts'
import { limits } from '../../model/limits.ts'
import { parseCgroup } from './cgroup.ts'

export interface Stat {
  readonly parent: number
  readonly startTicks: string
}

/** Fields of /proc/PID/stat behind the last `)`: the name before it is the process's own text. */
export function parseStat(text: string): Stat | null {
  const fields = text
    .slice(text.lastIndexOf(')') + 2)
    .trim()
    .split(' ')
  const [parent, startTicks] = [fields[1], fields[19]] // fields 4 and 22
  return /^\d+$/.test(parent ?? '') && /^\d+$/.test(startTicks ?? '') ? { parent: Number(parent), startTicks: startTicks as string } : null
}

export function readStat(pid: number): Stat | null {
  const text = readText(`/proc/${pid}/stat`)
  return text === null ? null : parseStat(text)
}

/** `readFileSync` takes 8 KB of Node's pool for each file whose length the kernel does not say: a quarter of a slab a connection. */
const room = Buffer.allocUnsafeSlow(4_096)

/** The whole of it, however long; null where it is gone or may not be read. */
export function readText(path: string): string | null {
  let file: number | null = null
  try {
    file = openSync(path, 'r')
    let text = ''
    for (let got = readSync(file, room); got > 0; got = readSync(file, room)) text += room.toString('latin1', 0, got)
    return text
  } catch {
    return null
  } finally {
    if (file !== null) closeSync(file)
  }
}

/** null where it may not be read, empty where it is gone. */
export function mayReadLink(path: string): string | null {
  try {
    return readlinkSync(path)
  } catch (error) {
    return mayNot(error) ? null : ''
  }
}

export const readLink = (path: string): string => mayReadLink(path) ?? ''

function mayNot(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'EACCES' || code === 'EPERM'
}

/** Names of a folder; null where it may not be read, empty where it is gone. */
export function names(path: string): readonly string[] | null {
  try {
    return readdirSync(path)
  } catch (error) {
    return mayNot(error) ? null : []
  }
}

/** Effective uid and gid, as our user namespace sees them. */
export function readOwner(pid: number): { readonly uid: number; readonly gid: number } | null {
  const text = readText(`/proc/${pid}/status`)
  const uid = /^Uid:\t\d+\t(\d+)/m.exec(text ?? '')?.[1]
  const gid = /^Gid:\t\d+\t(\d+)/m.exec(text ?? '')?.[1]
  return uid === undefined || gid === undefined ? null : { uid: Number(uid), gid: Number(gid) }
}

/** What the cheap second look compares: this process, this program. */
export function likeness(pid: number): string {
  return `${readStat(pid)?.startTicks ?? ''} ${readLink(`/proc/${pid}/exe`)}`
}

export function readFacts(pid: number): ProcessFacts | null {
  const stat = readStat(pid)
  const owner = readOwner(pid)
  const cgroup = readText(`/proc/${pid}/cgroup`)
  if (stat === null || owner === null || cgroup === null) return null
  const { line, systemUnit, containerId } = parseCgroup(cgroup)
  const executable = executableOf(pid, containerId)
  return {
    pid,
    startTicks: stat.startTicks,
    uid: owner.uid,
    gid: owner.gid,
    user: userName(owner.uid),
    executable,
    executableSha256: executable === '' ? '' : hashOf(pid),
    cgroup: line,
    systemUnit,
    containerId,
    pidNamespace: /^pid:\[(\d+)\]$/.exec(readLink(`/proc/${pid}/ns/pid`))?.[1] ?? '',
    ancestors: ancestorsOf(stat),
  }
}

function ancestorsOf(stat: Stat): readonly string[] {
  const chain: string[] = []
  let parent = stat.parent
  while (parent > 0 && chain.length < limits.ancestryMax) {
    const next = readStat(parent)
    if (next === null) break
    chain.push(`${parent}:${next.startTicks}`)
    parent = next.parent
  }
  return chain
}

/** The path of the executable; empty when it was deleted, or when the path names another file here. */
function executableOf(pid: number, containerId: string): string {
  const link = `/proc/${pid}/exe`
  const path = readLink(link)
  if (!path.startsWith('/') || path.endsWith(' (deleted)')) return ''
  if (readLink(`/proc/${pid}/ns/mnt`) === readLink('/proc/self/ns/mnt')) return path
  // In a mount namespace of its own anybody may lay another file over a well-known path; a container's paths are its own.
  try {
    const [running, here] = [statSync(link), statSync(path)]
    return running.dev === here.dev && running.ino === here.ino ? path : containerId === '' ? '' : path
  } catch {
    return containerId === '' ? '' : path
  }
}

const hashes = new Map<string, string>()
const hashesMax = 256
const readBytes = 1024 * 1024

/** Of the bytes that run (/proc/PID/exe), not of what lies at the path now. */
function hashOf(pid: number): string {
  let fd = -1
  try {
    fd = openSync(`/proc/${pid}/exe`, 'r')
    const { dev, ino, mtimeNs, ctimeNs, size } = fstatSync(fd, { bigint: true })
    if (size > BigInt(limits.executableBytesMax)) return ''
    // ctime too: mtime can be set back by whoever owns the file.
    const key = `${dev}:${ino}:${mtimeNs}:${ctimeNs}:${size}`
    const known = hashes.get(key)
    if (known !== undefined) return known
    const hash = createHash('sha256')
    const buffer = Buffer.alloc(readBytes)
    for (let left = limits.executableBytesMax; ; ) {
      const count = readSync(fd, buffer, 0, readBytes, null)
      if (count === 0) break
      left -= count
      if (left < 0) return ''
      hash.update(buffer.subarray(0, count))
    }
    const digest = hash.digest('hex')
    if (hashes.size >= hashesMax) hashes.delete(hashes.keys().next().value as string)
    hashes.set(key, digest)
    return digest
  } catch {
    return ''
  } finally {
    if (fd >= 0) closeSync(fd)
  }
}

let users: { readonly stamp: string; readonly names: ReadonlyMap<number, string> } | null = null

/** From /etc/passwd; empty for a uid that it does not name. */
function userName(uid: number): string {
  try {
    const { mtimeNs, ino, size } = statSync('/etc/passwd', { bigint: true })
    const stamp = `${mtimeNs}:${ino}:${size}`
    if (users?.stamp !== stamp) {
      const rows = readFileSync('/etc/passwd', 'utf8')
        .split('\n')
        .map((row) => row.split(':'))
      // The first row of a uid counts, as getpwuid has it.
      users = { stamp, names: new Map(rows.reverse().map((row) => [Number(row[2] || Number.NaN), row[0] ?? ''])) }
    }
    return users.names.get(uid) ?? ''
  } catch {
    return ''
  }
}
