// The thread in which the search for a socket's owner runs: /proc is read synchronously there, one question after the other,
// so that neither a long search nor the hash of a large executable delays a request.
import { parentPort } from 'node:worker_threads'
import { type Asked, findOwner } from './owner.ts'

parentPort?.on('message', ({ id, asked }: { readonly id: number; readonly asked: Asked }) => {
  try {
    parentPort?.postMessage({ id, found: findOwner(asked) })
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    parentPort?.postMessage({ id, found: { process: null, likeness: '', why, unreadable: false, root: 0 } })
  }
})
