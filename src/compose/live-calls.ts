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
  /** Steps.watch of the flow; takes one set entry and no timer. */
  watch(call: Call | TunnelCall, identity: Identity, lease: Lease | null, cut: () => void): () => void
  /** Cuts those that the question says; returns how many. */
  cutWhere(question: (live: LiveCall) => boolean): number
  all(): Iterable<LiveCall>
  readonly count: number
}

interface Link extends LiveCall {
  before: Link
  after: Link
  watched: boolean
}

/** A ring, not a Set: every call comes and goes here, and a Set of objects costs a hash each and a new table every few dozen. */
export function createLiveCalls(): LiveCalls {
  const ring = {} as Link
  ring.before = ring
  ring.after = ring
  let count = 0

  function drop(link: Link): void {
    if (!link.watched) return
    link.watched = false
    link.before.after = link.after
    link.after.before = link.before
    count -= 1
  }

  function* all(): Iterable<LiveCall> {
    // What is dropped meanwhile still leads on.
    for (let link = ring.after; link !== ring; link = link.after) if (link.watched) yield link
  }

  return {
    watch(call, identity, lease, cut) {
      const link: Link = { call, identity, lease, cut, before: ring.before, after: ring, watched: true }
      ring.before.after = link
      ring.before = link
      count += 1
      return () => drop(link)
    },
    cutWhere(question) {
      let cuts = 0
      for (const live of [...all()]) {
        if (!question(live)) continue
        drop(live as Link)
        cuts += 1
        live.cut()
      }
      return cuts
    },
    all,
    get count() {
      return count
    },
  }
}
