// The data plane as the broker sees it: its own, or that of further processes.
import type { Config } from '../config/config.ts'
import type { RunChange } from '../runs/runs.ts'
import type { Addresses, Counts, ProxyPlane, Report, Revoked } from './proxy.ts'

export interface Planes {
  start(insideSocket: string): Promise<Addresses>
  readonly ports: readonly number[]
  /** A run has changed. */
  run(change: RunChange): void
  /** A revocation was made or taken back. */
  revoked(): void
  logLevel(level: string): void
  /** What was said of runs and revocations until now is in force everywhere when it resolves. */
  told(): Promise<void>
  bring(next: Config): Promise<void>
  /** Cuts calls of what was revoked and of runs that have ended; returns how many. */
  cut(what: Revoked): Promise<number>
  /** The leases made of a credential end, and calls may go on. */
  endLeases(credential: string): Promise<void>
  /** One a process. */
  report(): Promise<readonly Report[]>
  counts(run: string): Promise<Counts>
  stop(): Promise<void>
}

/** It shares what the broker has, so that it needs to be told nothing. */
export function ownPlane(plane: ProxyPlane): Planes {
  return {
    async start(insideSocket) {
      const addresses = await plane.start()
      await plane.listenInside(insideSocket)
      return addresses
    },
    ports: plane.ports,
    run() {},
    revoked() {},
    logLevel() {},
    told: async () => {},
    bring: async () => {},
    cut: async (what) => plane.cut(what),
    endLeases: async () => {},
    report: async () => [plane.report()],
    counts: async (run) => plane.counts(run),
    stop: plane.stop,
  }
}
