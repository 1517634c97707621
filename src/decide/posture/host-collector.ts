// Collects the posture of this host on Debian and Ubuntu from what dpkg and apt leave behind; nothing is changed.
// It must never guess: what cannot be found out makes the posture missing.

import { execFile } from 'node:child_process'
import { access, readdir, readFile, stat } from 'node:fs/promises'
import { release } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { limits } from '../../model/limits.ts'
import { Refusal } from '../../model/refusal.ts'
import type { Posture } from './document.ts'

export interface HostPlaces {
  readonly root: string
  /** Output of a simulated upgrade. */
  readonly simulate: () => Promise<string>
}

const dayMs = 24 * 3_600_000

const thisHost: HostPlaces = { root: '/', simulate }

const missing = (detail: string): Refusal => new Refusal('decide.fact_missing', detail)

export async function collectHere(
  ask: { readonly now: number; readonly listsMaxAgeMs: number },
  places: HostPlaces = thisHost,
): Promise<Posture> {
  const { root } = places
  const listsAt = await packageListsAt(root)
  const listsAgeMs = ask.now - listsAt
  if (listsAgeMs > ask.listsMaxAgeMs)
    throw missing(`the package lists are ${Math.floor(listsAgeMs / 3_600_000)} hours old; run apt-get update, or raise listsMaxAgeHours`)
  const [patchedAt, pending, rebootNeeded] = await Promise.all([
    lastUpgradeAt(root),
    places.simulate().then(pendingSecurity),
    exists(join(root, 'run/reboot-required')),
  ])
  return {
    at: ask.now,
    facts: {
      patchAgeDays: Math.max(0, Math.floor((ask.now - patchedAt) / dayMs)),
      pendingSecurityUpdates: pending,
      rebootNeeded,
      kernel: release(),
    },
  }
}

/**
 * When the lists were last known to be current: the newest of the signed `Date` of an archive's index, the time of that
 * index, and the stamps that apt's periodic jobs leave after success. The time of the directory does not count, since an
 * update that fails changes it too.
 */
async function packageListsAt(root: string): Promise<number> {
  const lists = join(root, 'var/lib/apt/lists')
  const names = await readdir(lists).catch(() => [] as string[])
  const indexes = names.filter((name) => /(?:In)?Release$/.test(name))
  // Where there is a security archive, its lists are the ones that count.
  const security = indexes.filter((name) => /security/.test(name))
  const counted = (security.length > 0 ? security : indexes).map((name) => join(lists, name))
  const stamps = ['update-stamp', 'update-success-stamp'].map((name) => join(root, 'var/lib/apt/periodic', name))
  const times = await Promise.all([...counted.map(signedDate), ...[...counted, ...stamps].map(changedAt)])
  const known = times.filter((time) => !Number.isNaN(time))
  if (known.length === 0) throw missing('there are no package lists; the collector knows Debian and Ubuntu, run apt-get update there')
  return Math.max(...known)
}

function changedAt(path: string): Promise<number> {
  return stat(path).then(
    (found) => found.mtimeMs,
    () => Number.NaN,
  )
}

async function signedDate(path: string): Promise<number> {
  const text = await readBounded(path, limits.postureListBytesMax)
  return Date.parse(/^Date: (.+)$/m.exec(text.toString('latin1'))?.[1] ?? '')
}

/** The last completed upgrade that apt or unattended-upgrades recorded. */
async function lastUpgradeAt(root: string): Promise<number> {
  const folder = join(root, 'var/log/apt')
  const names = (await readdir(folder).catch(() => [] as string[])).filter((name) => /^history\.log(?:\.\d+\.gz)?$/.test(name))
  names.sort((a, b) => Number(/\d+/.exec(a)?.[0] ?? 0) - Number(/\d+/.exec(b)?.[0] ?? 0))
  for (const name of names) {
    const bytes = await readBounded(join(folder, name), limits.postureLogBytesMax)
    const text = (name.endsWith('.gz') ? gunzipSync(bytes, { maxOutputLength: limits.postureLogBytesMax }) : bytes).toString('utf8')
    const found = lastUpgradeIn(text)
    if (found !== null) return found
  }
  throw missing('no upgrade stands in the history of apt; run the pending upgrades')
}

export function lastUpgradeIn(history: string): number | null {
  const ends = history
    .split(/\n\s*\n/)
    .filter((entry) => /^Upgrade: /m.test(entry) && !/^Error: /m.test(entry))
    // An install that happens to lift a dependency is no upgrade of the host.
    .filter(
      (entry) => /^Commandline: .*(?:upgrade|update-packages)/m.test(entry) && !/^Commandline: .*\b(?:install|remove|purge)\b/m.test(entry),
    )
    .map((entry) => /^End-Date: (\d{4}-\d\d-\d\d) +(\d\d:\d\d:\d\d)$/m.exec(entry))
    // apt writes local time of the machine, as Date reads a time without zone.
    .map((match) => (match === null ? Number.NaN : Date.parse(`${match[1]}T${match[2]}`)))
    .filter((time) => !Number.isNaN(time))
  return ends.length === 0 ? null : Math.max(...ends)
}

/** `Inst openssl [3.0.16-1] (3.0.19-1 Debian-Security:12/stable-security [amd64])` */
export function pendingSecurity(simulated: string): number {
  return simulated.split('\n').filter((line) => line.startsWith('Inst ') && /\((?:[^)]*)(?:-security\b|Security:)/i.test(line)).length
}

async function simulate(): Promise<string> {
  const { stdout } = await promisify(execFile)('/usr/bin/apt-get', ['-s', '-o', 'Debug::NoLocking=true', 'dist-upgrade'], {
    env: { LC_ALL: 'C', PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    timeout: limits.postureSimulateMs,
    maxBuffer: limits.postureLogBytesMax,
  })
  return stdout
}

async function readBounded(path: string, bytesMax: number): Promise<Buffer> {
  if ((await stat(path)).size > bytesMax) throw missing(`${path} is larger than ${bytesMax} bytes`)
  return readFile(path)
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
