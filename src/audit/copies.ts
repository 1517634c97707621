// Copies of the newest checkpoint elsewhere, a file a day: who holds the disk of the log cannot take back what is signed there, and
// `audit verify --since FILE` sees a rollback, a truncation and a fork. It must never hold up the log, and never puts a checkpoint
// over a copy that covers more.
import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../model/clock.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { writeSynced } from './disk.ts'

interface Signed {
  readonly text: string
  readonly size: number
}

export interface Copies {
  /** Returns at once; where one is being written, the newest follows it. */
  put(text: string, size: number): void
  /** All is written, or copyWaitMs have passed. */
  settled(): Promise<void>
}

export function createCopies(dirs: readonly string[], origin: string, clock: Clock, log: Log): Copies {
  /** Entries that a copy of ours covers at least, by its path. */
  const covers = new Map<string, number>()
  const failing = new Set<string>()
  let next: Signed | null = null
  let underWay: Promise<void> | null = null

  async function copy(dir: string, { text, size }: Signed): Promise<void> {
    const day = new Date(clock.now()).toISOString().slice(0, 10)
    const path = join(dir, `${origin.replace(/[^A-Za-z0-9.-]/g, '_')}-${day}.checkpoint`)
    const before = covers.get(path) ?? (await sizeIn(path))
    if (before > size) throw new Error(`${path} covers ${before} entries and the log ${size}: was it rolled back? The copy stays as it is`)
    await writeSynced(`${path}.new`, text, 0o644)
    await rename(`${path}.new`, path)
    covers.set(path, size)
  }

  async function all(): Promise<void> {
    for (let one = next; one !== null; one = next) {
      next = null
      for (const dir of dirs) {
        try {
          await copy(dir, one)
          if (failing.delete(dir)) log.info('the checkpoint is copied again', { dir })
        } catch (error) {
          if (!failing.has(dir)) log.error('the checkpoint is not copied', { dir, error: (error as Error).message })
          failing.add(dir)
        }
      }
    }
    underWay = null
  }

  return {
    put(text, size) {
      if (dirs.length === 0) return
      next = { text, size }
      underWay ??= all()
    },
    async settled() {
      if (underWay !== null) await Promise.race([underWay, sleep(limits.copyWaitMs, undefined, { ref: false })])
    },
  }
}

/** Origin, size, root: the size stands in the second line. */
async function sizeIn(path: string): Promise<number> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  return Number(/^[^\n]*\n(\d{1,16})\n/.exec(text)?.[1] ?? 0)
}
