// What the tests of this room share: a log in a temporary directory, entries, and a disk that records, delays and fails.
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { Clock } from '../model/clock.ts'
import type { Entry } from '../model/entry.ts'
import type { Log } from '../model/kind.ts'
import { type Limits, limits } from '../model/limits.ts'
import { type Audit, type AuditOptions, openAudit } from './audit.ts'
import { type Disk, realDisk } from './disk.ts'

export const { privateKey, publicKey } = generateKeyPairSync('ed25519')
export const origin = 'acme.example/test/0'

export interface FakeClock extends Clock {
  wall: number
}

export function movableClock(): FakeClock {
  const clock = {
    wall: 1_700_000_000_000,
    now: () => clock.wall,
    monotonic: () => clock.wall,
  }
  return clock
}

export interface Said {
  readonly lines: string[]
  readonly log: Log
}

export function fakeLog(): Said {
  const lines: string[] = []
  const say = (level: string) => (what: string, fields?: Readonly<Record<string, unknown>>) => {
    lines.push(`${level} ${what} ${JSON.stringify(fields ?? {})}`)
  }
  return { lines, log: { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') } }
}

export function tempDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-audit-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

export function openLog(
  dir: string,
  more: Partial<AuditOptions> = {},
  changed: Partial<Record<keyof Limits, number>> = {},
): Promise<Audit> {
  return openAudit({
    dir,
    origin,
    clock: movableClock(),
    limits: { ...limits, ...changed } as Limits,
    log: fakeLog().log,
    key: privateKey as KeyObject,
    ...more,
  })
}

export function entry(call: string, more: Partial<Entry> = {}): Entry {
  return { kind: 'intent', time: 1_700_000_000_000, call, workload: 'research-agent', host: 'api.openai.com', port: 443, ...more }
}

export interface WatchedDisk extends Disk {
  /** `write N`, `written` in the order in which they happened. */
  readonly events: string[]
  /** Fails the next write with EIO. */
  fail: boolean
  /** Takes at most this many bytes a write. */
  bytesMax: number
  /** While set, writes wait until it is called. */
  held: (() => void)[] | null
}

export function watchedDisk(): WatchedDisk {
  const disk: WatchedDisk = {
    events: [],
    fail: false,
    bytesMax: Number.POSITIVE_INFINITY,
    held: null,
    write(fd, bytes, offset, length, position, done) {
      disk.events.push(`write ${length}`)
      if (disk.fail) return void setImmediate(done, new Error('EIO: write'), 0)
      const go = () =>
        realDisk.write(fd, bytes, offset, Math.min(length, disk.bytesMax), position, (error, written) => {
          disk.events.push('written')
          done(error, written)
        })
      if (disk.held === null) go()
      else disk.held.push(go)
    },
  }
  return disk
}
