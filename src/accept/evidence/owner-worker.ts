// The thread in which the search for a socket's owner runs: /proc is read synchronously there, for all who wait at once,
// so that neither a long search nor the hash of a large executable delays a request.
import { parentPort } from 'node:worker_threads'
import { type Batch, findAmongAll, findInTrees, nobody } from './owner.ts'

parentPort?.on('message', ({ ids, sought, roots }: Batch) => {
  try {
    parentPort?.postMessage({ ids, found: roots === null ? findAmongAll(sought) : findInTrees(sought, roots) })
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    parentPort?.postMessage({ ids, found: ids.map(() => nobody(why)) })
  }
})
