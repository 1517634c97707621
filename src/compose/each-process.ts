// What each process of an installation has, the broker's and every further one of the data plane: a log of its own, records that
// are counted, runs that end what is theirs.
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type Audit, openAudit } from '../audit/audit.ts'
import { logName } from '../audit/logs.ts'
import { type AuditRecords, createRecords } from '../audit/record.ts'
import type { Config } from '../config/config.ts'
import type { Clock } from '../model/clock.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import type { Runs } from '../runs/runs.ts'
import type { LiveCalls } from './live-calls.ts'
import type { Metrics } from './metrics.ts'
import type { Paths } from './paths.ts'

/** Each process writes a log of its own; one key signs all, under the name of each. */
export function openLog(config: Config, paths: Paths, n: number, clock: Clock, log: Log): Promise<Audit> {
  return openAudit({
    dir: join(paths.dataDir, logName(n)),
    origin: `${config.trustDomain}/${hostname()}/${n}`,
    clock,
    limits,
    log,
    keyFile: paths.auditKeyFile,
    publicKeyFile: join(paths.dataDir, `${logName(n)}.pub`),
    ...config.audit,
  })
}

/** Of the data plane, beside the broker's. */
export const furtherProcesses = ({ processes }: Pick<Config, 'processes'>): number => (processes === 1 ? 0 : processes)

interface Counted {
  readonly audit: Audit
  readonly clock: Clock
  readonly via: (host: string) => string | undefined
  readonly metrics: Metrics
  readonly runs: () => Runs
}

export function countedRecords({ audit, clock, via, metrics, runs }: Counted): AuditRecords {
  return createRecords({
    audit,
    clock,
    via,
    runLabels: (run) => runs().byId(run)?.labels ?? {},
    count({ service, run, host, action, status, code, seconds }) {
      if (code !== null) metrics.refused(code)
      else if (status !== null) metrics.answered(service ?? 'none', status, seconds)
      if (run !== null) runs().count(run, { host, action, code })
    },
  })
}

/** Runs inside of one are suspended with it. */
export function cutSuspended(live: LiveCalls, runs: Runs): void {
  live.cutWhere(({ identity }) => identity.run !== null && runs.byId(identity.run)?.state !== 'open')
}
