// The thread in which the search for a socket's owner runs: /proc is read synchronously there, for all who wait at once,
// so that neither a long search nor the hash of a large executable delays a request.
import { parentPort } from 'node:worker_threads'
import { findOwners, nobody, type Sought } from './owner.ts'

interface Batch {
  readonly ids: readonly number[]
  readonly sought: readonly Sought[]
  readonly roots: readonly number[]
}

parentPort?.on('message', ({ ids, sought, roots }: Batch) => {
  try {
    parentPort?.postMessage({ ids, found: findOwners(sought, roots) })
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    parentPort?.postMessage({ ids, found: ids.map(() => nobody(why)) })
  }
})
