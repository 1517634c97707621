// The event loop's half of the search: asks the worker, bounded in number and time, and looks again where a second owner may
// be the moment between fork and exec.
import { Worker } from 'node:worker_threads'
import type { Log } from '../../model/kind.ts'
import type { Asked, Found } from './owner.ts'

export interface Search {
  find(asked: Asked): Promise<Found>
  close(): Promise<void>
}

const waitingMax = 4_096
const answerMs = 10_000
const againAfterMs = [5, 25, 100] as const

const nobody = (why: string): Found => ({ process: null, likeness: '', why, unreadable: false, root: 0 })

export function createSearch({ log }: { readonly log: Log }): Search {
  const waiting = new Map<number, (found: Found) => void>()
  let worker: Worker | null = null
  let nextId = 1
  let lastRoot = 0

  function thread(): Worker {
    if (worker !== null) return worker
    const started = new Worker(here('./owner-worker.ts'), { stdin: false, env: {} })
    started.unref()
    started.on('message', ({ id, found }: { readonly id: number; readonly found: Found }) => waiting.get(id)?.(found))
    const ended = (): void => {
      if (worker === started) worker = null
      for (const answer of [...waiting.values()]) answer(nobody('the search ended'))
    }
    started.on('error', (error) => {
      log.error('the search for socket owners failed', { error: String(error) })
      ended()
    })
    started.on('exit', ended)
    worker = started
    return started
  }

  function ask(asked: Asked): Promise<Found> {
    if (waiting.size >= waitingMax) return Promise.resolve(nobody('too many searches at once'))
    const id = nextId++
    return new Promise((resolve) => {
      const timer = setTimeout(() => answer(nobody('the search took too long')), answerMs)
      const answer = (found: Found): void => {
        clearTimeout(timer)
        waiting.delete(id)
        resolve(found)
      }
      waiting.set(id, answer)
      thread().postMessage({ id, asked })
    })
  }

  thread() // now, so that the first connection does not wait for its start
  return {
    async find(asked) {
      // The run that was found last is likely the next.
      const roots = asked.roots.includes(lastRoot) ? [lastRoot, ...asked.roots.filter((root) => root !== lastRoot)] : asked.roots
      let found = await ask({ ...asked, roots })
      for (const pauseMs of againAfterMs) {
        if (found.process !== null || found.unreadable) break
        await new Promise((resolve) => setTimeout(resolve, pauseMs))
        found = await ask({ ...asked, roots })
      }
      if (found.root > 0) lastRoot = found.root
      return found
    },
    async close() {
      await worker?.terminate()
    },
  }
}

/** Sources run as .ts, the release as .js. */
function here(file: string): URL {
  return new URL(import.meta.url.endsWith('.ts') ? file : file.replace(/\.ts$/, '.js'), import.meta.url)
}
