// Drops whole bundles that are older than the log is kept. The hash tiles stay, so that tree and checkpoints verify as before.
// It must never drop one before an entry that says so lies under a signed checkpoint: that is how pruned is told from removed.
import { access, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../model/clock.ts'
import type { Entry } from '../model/entry.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { readTile, splitBundle, tilePath, tileWidth } from './tiles.ts'

const dayMs = 86_400_000

export interface PrunerParts {
  readonly dir: string
  readonly keepDays: number
  readonly clock: Clock
  readonly log: Log
  /** Entries below the newest checkpoint. */
  readonly covered: () => number
  readonly append: (entry: Entry) => Promise<void>
  readonly checkpoint: () => Promise<void>
  /** The journal begins a new file, so that the one with what goes can go too. */
  readonly rotate: () => void
}

/** A round at once and one every pruneEveryMs. */
export function createPruner(parts: PrunerParts): { stop(): Promise<void> } {
  let stopped = false
  let underWay: Promise<void> = Promise.resolve()
  const round = (): void => {
    underWay = underWay
      .then(() => prune(parts, () => stopped))
      .catch((error: Error) => {
        if (!stopped) parts.log.warn('audit not pruned, tried again later', { error: error.message })
      })
  }
  round()
  const timer = setInterval(round, limits.pruneEveryMs).unref()
  return {
    async stop() {
      stopped = true
      clearInterval(timer)
      await underWay
    },
  }
}

async function prune({ dir, keepDays, clock, log, ...under }: PrunerParts, stopped: () => boolean): Promise<void> {
  const end = Math.floor(under.covered() / tileWidth)
  const first = await firstBundle(dir, end)
  const to = await oldBundles(dir, first, end, clock.now() - keepDays * dayMs)
  if (to === first || stopped()) return
  const count = to * tileWidth
  under.rotate()
  await under.append({ kind: 'pruned', time: clock.now(), count, what: `entries below ${count}: older than ${keepDays} days` })
  await under.checkpoint()
  for (let bundle = first; bundle < to && !stopped(); bundle += 1)
    await rm(join(dir, tilePath('entries', bundle, tileWidth)), { force: true })
  log.info('audit pruned', { below: count })
}

/** Bundles go from the beginning on: the first of those below `end` that is there is found by halves. */
export async function firstBundle(dir: string, end: number): Promise<number> {
  return (await isThere(dir, 0)) ? 0 : halve(0, end, (bundle) => isThere(dir, bundle))
}

async function isThere(dir: string, bundle: number): Promise<boolean> {
  return access(join(dir, tilePath('entries', bundle, tileWidth))).then(
    () => true,
    () => false,
  )
}

/** Behind the last bundle that is older; entries stand in the order of their time, but for a little. */
function oldBundles(dir: string, first: number, end: number, before: number): Promise<number> {
  return halve(first, end, async (bundle) => {
    const bytes = await readTile(dir, 'entries', bundle, tileWidth)
    const last = bytes === null ? undefined : splitBundle(bytes).entries.at(-1)
    const time = /^\{"kind":"[a-z]+","time":(\d+)/.exec(last?.toString('latin1', 0, 100) ?? '')?.[1]
    return time === undefined || Number(time) >= before
  })
}

/** The first index for which it is so; `to` where it is for none. */
async function halve(from: number, to: number, isSo: (index: number) => Promise<boolean>): Promise<number> {
  let [low, high] = [from, to]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (await isSo(middle)) high = middle
    else low = middle + 1
  }
  return low
}

/** Below which entry the log itself says that it was pruned. Whether it may be believed, the tree says. */
export async function prunedBelow(dir: string, size: number): Promise<number> {
  if (await isThere(dir, 0)) return 0
  for (let bundle = Math.ceil(size / tileWidth) - 1; bundle >= 0; bundle -= 1) {
    const width = Math.min(tileWidth, size - bundle * tileWidth)
    const bytes = await readTile(dir, 'entries', bundle, width)
    const said = bytes === null ? undefined : splitBundle(bytes, width).entries.findLast((entry) => entry.indexOf('{"kind":"pruned"') === 0)
    const count = Number(/"count":(\d+)/.exec(said?.toString('latin1') ?? '')?.[1] ?? 0)
    if (count > 0 && count <= bundle * tileWidth + width) return count
  }
  return 0
}
