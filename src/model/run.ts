// One start of a workload by `ostiary run`.
import type { Custody } from './identity.ts'

export interface Placeholder {
  readonly service: string
  readonly value: string
}

export interface Run {
  readonly id: string
  /** Stands in the proxy URL; selects the run and proves nothing. */
  readonly pointer: string
  readonly workload: string
  readonly startedBy: string
  readonly startedAt: number
  readonly command: string
  readonly custody: Custody
  readonly placeholders: readonly Placeholder[]
  /** First process, host pid and start ticks `pid:ticks`; membership is its PID namespace, or descent from it. */
  readonly root: string
  /** Inode of the run's own PID namespace; empty where it has none. */
  readonly pidNamespace: string
  readonly state: 'open' | 'suspended' | 'ended'
  /** Aborted when the run ends or is suspended. */
  readonly ended: AbortSignal
}
