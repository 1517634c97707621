// The logs of one installation read as one, by time. Each has the whole of a call, since one process made it; which log an entry
// stands in is said with it, because an index is of its log only.
import { setTimeout as sleep } from 'node:timers/promises'
import type { NumberedLog } from './logs.ts'
import { type CallRecordLine, entries, type Numbered, records, show, since, tail } from './read.ts'

const followMs = 200

export type InLog<One> = One & { readonly log: number }
type Logs = readonly NumberedLog[]

/** The last `count` entries; with `signal` each new one as well, of logs that begin meanwhile too, until it aborts. */
export async function* tailAll(logs: () => Logs, count: number, signal?: AbortSignal): AsyncGenerator<InLog<Numbered>> {
  const next = new Map<number, number>()
  const seen = (come: readonly InLog<Numbered>[]): void => {
    for (const { log, index } of come) next.set(log, index + 1)
  }
  const last = (await Promise.all(logs().map(async ({ n, dir }) => inLog(n, await Array.fromAsync(tail(dir, Math.max(1, count))))))).flat()
  seen(last)
  yield* last.sort(byTime).slice(Math.max(0, last.length - count))
  while (signal !== undefined && !signal.aborted) {
    await sleep(followMs, undefined, { signal }).catch(() => {})
    const news = logs().map(async ({ n, dir }) => inLog(n, await Array.fromAsync(entries(dir, next.get(n) ?? 0))))
    const come = (await Promise.all(news)).flat()
    seen(come)
    yield* come.sort(byTime)
  }
}

/** Entries from a time on. */
export const sinceAll = (logs: Logs, time: number): AsyncGenerator<InLog<Numbered>> =>
  merged(logs.map(({ n, dir }) => numbered(n, since(dir, time))))

/** As read.ts's: in the order in which they end in each log, and in that of their beginning between two. */
export const recordsAll = (logs: Logs): AsyncGenerator<InLog<CallRecordLine>> => merged(logs.map(({ n, dir }) => numbered(n, records(dir))))

/** Every entry of one call, and the record they make; null where no log has any. */
export async function showAll(logs: Logs, call: string): Promise<InLog<NonNullable<Awaited<ReturnType<typeof show>>>> | null> {
  for (const { n, dir } of logs) {
    const found = await show(dir, call)
    if (found !== null) return { ...found, log: n }
  }
  return null
}

const inLog = (log: number, found: readonly Numbered[]): readonly InLog<Numbered>[] => found.map((one) => ({ ...one, log }))

const byTime = (one: Numbered, other: Numbered): number => one.time - other.time

async function* numbered<One extends object>(log: number, all: AsyncGenerator<One>): AsyncGenerator<InLog<One>> {
  for await (const one of all) yield { ...one, log }
}

/** What each has stays in its order; of the heads the earliest comes first. */
async function* merged<One extends { readonly time: number | string }>(all: readonly AsyncGenerator<One>[]): AsyncGenerator<One> {
  const heads = await Promise.all(all.map(async (from) => ({ from, head: await from.next() })))
  for (;;) {
    const open = heads.filter(({ head }) => head.done !== true)
    const [first] = open.sort((a, b) => ((a.head.value as One).time < (b.head.value as One).time ? -1 : 1))
    if (first === undefined) return
    yield first.head.value as One
    first.head = await first.from.next()
  }
}
