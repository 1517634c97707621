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

export function createLiveCalls(): LiveCalls {
  const live = new Set<LiveCall>()
  return {
    watch(call, identity, lease, cut) {
      const entry = { call, identity, lease, cut }
      live.add(entry)
      return () => live.delete(entry)
    },
    cutWhere(question) {
      let cuts = 0
      for (const entry of live) {
        if (!question(entry)) continue
        live.delete(entry)
        cuts++
        entry.cut()
      }
      return cuts
    },
    all: () => live,
    get count() {
      return live.size
    },
  }
}
