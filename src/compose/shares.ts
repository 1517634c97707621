// How much of what all agents share one workload may hold at a time: calls under way, in all and to one host. It must never make
// anybody wait: who is over its share is refused at once, and its neighbours do not notice.
import type { Limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'

export interface Shares {
  /** Throws Refusal accept.too_many; holds nothing. Asked before a decision, so that what is refused costs little. */
  check(workload: string, host: string): void
  /** Counts a call until it is let go. Throws Refusal accept.too_many. */
  hold(workload: string, host: string): () => void
}

interface Held {
  all: number
  readonly byHost: Map<string, number>
}

export function createShares(limits: Pick<Limits, 'callsPerWorkloadMax' | 'callsPerWorkloadAndHostMax'>): Shares {
  const workloads = new Map<string, Held>()

  function check(workload: string, host: string): void {
    const held = workloads.get(workload)
    if (held === undefined) return
    if (held.all >= limits.callsPerWorkloadMax) throw new Refusal('accept.too_many', 'callsPerWorkloadMax')
    if ((held.byHost.get(host) ?? 0) >= limits.callsPerWorkloadAndHostMax)
      throw new Refusal('accept.too_many', 'callsPerWorkloadAndHostMax')
  }

  /** Hosts are those of configured services and of tunnels: one that nobody uses any more is forgotten with its workload. */
  function letGo(workload: string, host: string, held: Held): void {
    held.all -= 1
    held.byHost.set(host, (held.byHost.get(host) ?? 1) - 1)
    if (held.all === 0) workloads.delete(workload)
  }

  return {
    check,
    hold(workload, host) {
      check(workload, host)
      let held = workloads.get(workload)
      if (held === undefined) {
        held = { all: 0, byHost: new Map() }
        workloads.set(workload, held)
      }
      const counted = held
      counted.all += 1
      counted.byHost.set(host, (counted.byHost.get(host) ?? 0) + 1)
      let holds = true
      return () => {
        if (holds) letGo(workload, host, counted)
        holds = false
      }
    },
  }
}
