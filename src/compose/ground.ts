// What stands under everything else and outlives every reload: keys and store, the log, runs, and what is under way.
import { hostname } from 'node:os'
import { type Audit, openAudit } from '../audit/audit.ts'
import { type AuditRecords, createRecords } from '../audit/record.ts'
import type { Config } from '../config/config.ts'
import { createIssuer, type Issuer } from '../mint/issuer.ts'
import { type Clock, systemClock } from '../model/clock.ts'
import { limits } from '../model/limits.ts'
import { createRuns, type Runs } from '../runs/runs.ts'
import { ownPidNamespace } from './custody.ts'
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
): Promise<Ground> {
  const clock = systemClock
  const log = createLogger(first.logLevel)
  const paths = pathsOf(first.dataDir)
  const vault = await openVault(paths, clock)
  const audit = await openAudit({
    dir: paths.auditDir,
    origin: `${first.trustDomain}/${hostname()}/0`,
    clock,
    limits,
    log,
    keyFile: paths.auditKeyFile,
    publicKeyFile: paths.auditPublicKey,
    ...first.audit,
  }).catch((error) => {
    vault.close()
    throw error
  })
  const live = createLiveCalls()
  const metrics = createMetrics({
    liveCalls: () => live.count,
    runs: () => runs.rootPids().length,
    auditEntries: () => audit.status().size,
  })
  const records = createRecords({
    audit,
    clock,
    via,
    runLabels: (run) => runs.byId(run)?.labels ?? {},
    count({ service, run, host, action, status, code, seconds }) {
      if (code !== null) metrics.refused(code)
      else if (status !== null) metrics.answered(service ?? 'none', status, seconds)
      if (run !== null) runs.count(run, { host, action, code })
    },
  })
  const runs: Runs = createRuns({
    clock,
    services: (workload) => servicesFor(config(), workload),
    suspension: () => config().suspension,
    ownPidNamespace: ownPidNamespace(),
    onSuspended: (one) => {
      const run = one.run === null ? {} : { run: one.run }
      records.alert({ alert: 'suspended', what: `${one.sender} after ${one.trips} trips`, ...run }, one.sender)
      // Runs inside of it are suspended with it.
      live.cutWhere((entry) => entry.identity.run !== null && runs.byId(entry.identity.run)?.state !== 'open')
    },
  })
  const issuer = createIssuer(vault.issuerKeys, first.audience, clock)
  return { clock, log, paths, vault, audit, records, issuer, revocations: openRevocations(first.dataDir), live, runs, metrics }
}

export async function closeGround(ground: Ground): Promise<void> {
  await ground.audit.close()
  ground.vault.close()
}
