// What stands under everything else and outlives every reload: keys and store, the log, runs, and what is under way.
import type { Audit } from '../audit/audit.ts'
import { logsIn } from '../audit/logs.ts'
import type { AuditRecords } from '../audit/record.ts'
import type { Config } from '../config/config.ts'
import { createIssuer, type Issuer } from '../mint/issuer.ts'
import { type Clock, systemClock } from '../model/clock.ts'
import { createRuns, type RunChange, type Runs } from '../runs/runs.ts'
import { ownPidNamespace } from './custody.ts'
import { countedRecords, cutSuspended, furtherProcesses, openLog } from './each-process.ts'
import { createLiveCalls, type LiveCalls } from './live-calls.ts'
import { createLogger, type Logger } from './logger.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { type Paths, pathsOf } from './paths.ts'
import { openRevocations, type Revocations } from './revocations.ts'
import { servicesFor } from './services-for.ts'
import { openVault, type Vault } from './vault.ts'

export interface Ground {
  readonly clock: Clock
  readonly log: Logger
  readonly paths: Paths
  readonly vault: Vault
  readonly audit: Audit
  readonly records: AuditRecords
  readonly issuer: Issuer
  readonly revocations: Revocations
  readonly live: LiveCalls
  readonly runs: Runs
  readonly metrics: Metrics
}

/** `config` is the one in force at the time of the question, but for what only a restart changes: names and places. */
export async function openGround(
  first: Config,
  config: () => Config,
  via: (host: string) => string | undefined = () => undefined,
  changed: (change: RunChange) => void = () => {},
): Promise<Ground> {
  const clock = systemClock
  const log = createLogger(first.logLevel)
  const paths = pathsOf(first.dataDir)
  const vault = await openVault(paths, clock)
  const audit = await openLogs(first, paths, clock, log).catch((error) => {
    vault.close()
    throw error
  })
  const live = createLiveCalls()
  const metrics = createMetrics()
  const records = countedRecords({ audit, clock, via, metrics, runs: () => runs })
  const runs: Runs = createRuns({
    clock,
    services: (workload) => servicesFor(config(), workload),
    suspension: () => config().suspension,
    ownPidNamespace: ownPidNamespace(),
    onSuspended: (one) => {
      const run = one.run === null ? {} : { run: one.run }
      records.alert({ alert: 'suspended', what: `${one.sender} after ${one.trips} trips`, ...run }, one.sender)
      cutSuspended(live, runs)
    },
    changed,
  })
  const issuer = createIssuer(vault.issuerKeys, first.audience, clock)
  return { clock, log, paths, vault, audit, records, issuer, revocations: openRevocations(first.dataDir), live, runs, metrics }
}

/** The broker's own; those of processes that are no more are closed properly where they were not. */
async function openLogs(config: Config, paths: Paths, clock: Clock, log: Logger): Promise<Audit> {
  const audit = await openLog(config, paths, 0, clock, log)
  for (const { n } of logsIn(paths.dataDir)) if (n > furtherProcesses(config)) await (await openLog(config, paths, n, clock, log)).close()
  return audit
}

export async function closeGround(ground: Ground): Promise<void> {
  await ground.audit.close()
  ground.vault.close()
}
