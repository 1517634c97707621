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
  /** Stated by whoever started it, for the records; policy never reads them. */
  readonly labels: Readonly<Record<string, string>>
  /** The run in which it was started; null for one that was started outside of any. */
  readonly parent: string | null
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
