// The event loop's half of the search: asks the worker, or the reader where another user's processes are closed to us, bounded
// in number and time, and looks again where a second owner may be the moment between fork and exec.
import { Worker } from 'node:worker_threads'
import type { Clock } from '../../model/clock.ts'
import { emitted } from '../../model/emitted.ts'
import type { ProcessFacts } from '../../model/evidence.ts'
import type { Log } from '../../model/kind.ts'
import { limits } from '../../model/limits.ts'
import { type Asked, type Batch, type Found, lookAt, nobody } from './owner.ts'
import { likeness, readStat } from './proc.ts'
import type { Reader } from './reader-client.ts'

export interface Search {
  /** `still`: is there anybody left to be found? */
  find(asked: Asked, still: () => boolean): Promise<Found>
  /** The process of that pid, as it is now. */
  look(peer: { readonly pid: number; readonly uid: number }): Promise<Found>
  /** What it is like now, to be compared with what was found. */
  likenessOf(process: ProcessFacts): string | Promise<string>
  close(): Promise<void>
}

interface SearchParts {
  readonly clock: Clock
  readonly log: Log
  readonly reader: Reader | null
}

const againAfterMs = [5, 25, 100] as const

export function createSearch({ clock, log, reader }: SearchParts): Search {
  const own = createOwnSearch(log)
  let lastRoot = 0

  /** Only root may look at everybody's. */
  const ours = (uid: number): boolean => reader === null || process.geteuid?.() === 0 || process.geteuid?.() === uid

  async function askWhoCan(asked: Asked, still: () => boolean): Promise<Found> {
    const roots = asked.roots.slice(0, limits.readerRootsMax)
    return (ours(asked.uid) ? null : await reader?.ask({ ...asked, roots })) ?? own.ask(asked, still)
  }

  return {
    async find(asked, still) {
      // The run that was found last is likely the next.
      const roots = asked.roots.includes(lastRoot) ? [lastRoot, ...asked.roots.filter((root) => root !== lastRoot)] : asked.roots
      const until = clock.monotonic() + limits.ownerMs
      let found = await askWhoCan({ ...asked, roots }, still)
      for (const pauseMs of againAfterMs) {
        // Whoever waits hears something: a search that took all its time is not begun again.
        if (found.process !== null || found.unreadable || !still() || clock.monotonic() >= until) break
        await new Promise((resolve) => setTimeout(resolve, pauseMs))
        found = await askWhoCan({ ...asked, roots }, still)
      }
      if (found.root > 0) lastRoot = found.root
      return found
    },
    async look({ pid, uid }) {
      const startTicks = readStat(pid)?.startTicks ?? ''
      return (ours(uid) || startTicks === '' ? null : await reader?.ask({ pid, startTicks })) ?? lookAt(pid, startTicks)
    },
    likenessOf({ pid, startTicks, uid }) {
      if (ours(uid)) return likeness(pid)
      return (reader as Reader).ask({ pid, startTicks }).then((found) => found?.likeness ?? likeness(pid))
    },
    async close() {
      await own.close()
    },
  }
}

interface Waiting {
  readonly asked: Asked
  readonly still: () => boolean
  readonly answer: (found: Found) => void
}

/**
 * Who waits for a search. All who wait are searched for together: however many connections one agent makes, another waits for two
 * searches at most. In the trees of the runs first, and only then, if still there, among all processes: that takes far longer.
 */
function createQueues() {
  const waiting = new Map<number, Waiting>()
  const forTrees: number[] = []
  const forAll: number[] = []
  let triedTrees = false
  let nextId = 1

  /** Those of the queue whose connection is still there. */
  function alive(queue: number[]): readonly number[] {
    return queue.splice(0).filter((id) => {
      const one = waiting.get(id)
      const still = one?.still() === true
      if (!still) one?.answer(nobody('the connection is gone'))
      return still
    })
  }

  return {
    add(asked: Asked, still: () => boolean): Promise<Found> {
      if (waiting.size >= limits.ownerWaitingMax) return Promise.resolve(nobody('too many searches at once'))
      const id = nextId++
      return new Promise((resolve) => {
        const timer = setTimeout(() => answer(nobody('the search took too long')), limits.ownerMs)
        const answer = (found: Found): void => {
          clearTimeout(timer)
          waiting.delete(id)
          resolve(found)
        }
        waiting.set(id, { asked, still, answer })
        forTrees.push(id)
      })
    },
    /** In turns: neither kind makes the other wait for more than one search. */
    batch(): Batch | null {
      const all = triedTrees ? alive(forAll) : []
      const inTrees = all.length > 0 ? [] : alive(forTrees)
      const ids = all.length > 0 ? all : inTrees.length > 0 ? inTrees : alive(forAll)
      if (ids.length === 0) return null
      triedTrees = inTrees.length > 0
      const asked = ids.map((id) => (waiting.get(id) as Waiting).asked)
      // The newest knows all the roots there are.
      const roots = triedTrees ? (asked.at(-1) as Asked).roots : null
      return { ids, sought: asked.map(({ uid, inode }) => ({ uid, inode })), roots }
    },
    answer(ids: readonly number[], found: readonly (Found | null)[]): void {
      for (const [at, id] of ids.entries()) {
        const one = found[at] ?? null
        if (one === null) forAll.push(id)
        else waiting.get(id)?.answer(one)
      }
    },
    end(): void {
      for (const { answer } of [...waiting.values()]) answer(nobody('the search ended'))
    },
  }
}

/** In a thread of this process: what our own user may look at. */
function createOwnSearch(log: Log): { ask(asked: Asked, still: () => boolean): Promise<Found>; close(): Promise<unknown> } {
  const queues = createQueues()
  let worker: Worker | null = null
  let searching = false

  function thread(): Worker {
    if (worker !== null) return worker
    const started = new Worker(emitted('./owner-worker.ts', import.meta.url), { stdin: false, env: {} })
    started.unref()
    started.on('message', ({ ids, found }: { readonly ids: readonly number[]; readonly found: readonly (Found | null)[] }) => {
      searching = false
      queues.answer(ids, found)
      next()
    })
    const ended = (): void => {
      if (worker === started) worker = null
      searching = false
      queues.end()
    }
    started.on('error', (error) => {
      log.error('the search for socket owners failed', { error: String(error) })
      ended()
    })
    started.on('exit', ended)
    worker = started
    return started
  }

  function next(): void {
    const batch = searching ? null : queues.batch()
    if (batch === null) return
    searching = true
    thread().postMessage(batch)
  }

  thread() // now, so that the first connection does not wait for its start
  return {
    ask(asked, still) {
      const found = queues.add(asked, still)
      next()
      return found
    },
    close: async () => worker?.terminate(),
  }
}

/** Sources run as .ts, the release as .js. */
