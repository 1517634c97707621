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

export function createShares(limits: Pick<Limits, 'callsPerWorkloadMax' | 'callsPerWorkloadAndHostMax'>): Shares {
  const calls = new Map<string, number>()

  function check(key: string, max: number, name: string): void {
    if ((calls.get(key) ?? 0) >= max) throw new Refusal('accept.too_many', name)
  }

  function add(key: string, count: number): void {
    const now = (calls.get(key) ?? 0) + count
    if (now > 0) calls.set(key, now)
    else calls.delete(key)
  }

  function checkBoth(workload: string, host: string): void {
    check(workload, limits.callsPerWorkloadMax, 'callsPerWorkloadMax')
    check(`${workload} ${host}`, limits.callsPerWorkloadAndHostMax, 'callsPerWorkloadAndHostMax')
  }

  return {
    check: checkBoth,
    hold(workload, host) {
      checkBoth(workload, host)
      add(workload, 1)
      add(`${workload} ${host}`, 1)
      let held = true
      return () => {
        if (!held) return
        held = false
        add(workload, -1)
        add(`${workload} ${host}`, -1)
      }
    },
  }
}
