// Calls under way, so that a revocation cuts them within the bound (invariant 8).
import type { Call, TunnelCall } from '../model/call.ts'
import type { Lease } from '../model/credential.ts'
import type { Identity } from '../model/identity.ts'

export interface LiveCall {
  readonly call: Call | TunnelCall
  readonly identity: Identity
  readonly lease: Lease | null
  readonly cut: () => void
}

export interface LiveCalls {
  /** Steps.watch of the flow; takes one entry and no timer. */
  watch(call: Call | TunnelCall, identity: Identity, lease: Lease | null, cut: () => void): () => void
  /** Cuts those that the question says; returns how many. */
  cutWhere(question: (live: LiveCall) => boolean): number
  all(): Iterable<LiveCall>
  readonly count: number
}

interface Watched extends LiveCall {
  place: number
}

/**
 * An array in which the last one takes the place of who leaves. Every call comes and goes here, and must be forgotten at once:
 * a ring or a Set that outlives a collection leaves links from what is dead to what is new, and with them every call
 * survives until the next full collection.
 */
export function createLiveCalls(): LiveCalls {
  const watched: Watched[] = []

  function drop(one: Watched): void {
    if (watched[one.place] !== one) return
    const last = watched.pop() as Watched
    if (last !== one) {
      watched[one.place] = last
      last.place = one.place
    }
  }

  return {
    watch(call, identity, lease, cut) {
      const one: Watched = { call, identity, lease, cut, place: watched.length }
      watched.push(one)
      return () => drop(one)
    },
    cutWhere(question) {
      const chosen = watched.filter(question)
      for (const one of chosen) {
        drop(one)
        one.cut()
      }
      return chosen.length
    },
    all: () => [...watched],
    get count() {
      return watched.length
    },
  }
}
