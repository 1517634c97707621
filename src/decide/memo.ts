// Remembers verdicts: a pure function of exactly the values that policies read. Divided by workload, so that one agent's
// endless paths evict nobody else. It must never find a verdict under a key that stands for other values.

import { LRUCache } from 'lru-cache'
import type { FactValue } from '../model/facts.ts'
import { limits } from '../model/limits.ts'

export type ReadValue = FactValue | undefined

/** Injective: typed, length-prefixed, absent differs from empty. Sets must come sorted and without duplicates. */
export function memoKey(prefix: string, values: readonly ReadValue[]): string {
  let key = prefix
  for (let index = 0; index < values.length; index++) key += part(values[index])
  return key
}

function part(value: ReadValue): string {
  if (value === undefined) return '-'
  if (typeof value === 'string') return `s${value.length}:${value}`
  if (typeof value === 'boolean') return value ? 't' : 'f'
  if (typeof value === 'number') return `n${value};`
  let text = `l${value.length}:`
  for (const item of value) text += `${item.length}:${item}`
  return text
}

export interface Memo<Verdict extends object> {
  get(workload: string, key: string): Verdict | undefined
  set(workload: string, key: string, verdict: Verdict): void
}

export function createMemo<Verdict extends object>(perWorkloadMax: number): Memo<Verdict> {
  const workloads = new LRUCache<string, LRUCache<string, Verdict>>({ max: limits.memoWorkloadsMax })
  return {
    get: (workload, key) => workloads.get(workload)?.get(key),
    set(workload, key, verdict) {
      let own = workloads.get(workload)
      if (own === undefined) {
        own = new LRUCache<string, Verdict>({ max: perWorkloadMax })
        workloads.set(workload, own)
      }
      own.set(key, verdict)
    },
  }
}
