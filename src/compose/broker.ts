// Builds everything by hand, starts it, stops it in reverse: accept, identify, decide, obtain, inject, audit, forward, scrub,
// in one process. The only place that knows everybody.
import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { hostname, userInfo } from 'node:os'
import { createAccept } from '../accept/accept.ts'
import { createLeaves } from '../accept/authority.ts'
import { createGather } from '../accept/evidence/peer.ts'
import { openAudit } from '../audit/audit.ts'
import { createRecords } from '../audit/record.ts'
import type { Config } from '../config/config.ts'
import { call } from '../flow/call.ts'
import { lease } from '../flow/lease.ts'
import { tunnel } from '../flow/tunnel.ts'
import { createForward } from '../forward/forward.ts'
import { createOnce } from '../identify/once.ts'
import { createInject } from '../inject/inject.ts'
import { createIssuer } from '../mint/issuer.ts'
import { systemClock } from '../model/clock.ts'
import { limits } from '../model/limits.ts'
import { createDial } from '../net/dial.ts'
import { createFetch } from '../net/fetch.ts'
import { setUndumpable } from '../net/kernel.ts'
import { createResolve } from '../net/resolve.ts'
import { createObtain, type Obtain } from '../obtain/obtain.ts'
import { createRuns } from '../runs/runs.ts'
import { createScrub } from '../scrub/scrub.ts'
import { startAdmin } from './admin-server.ts'
import { custodyOf, ownPidNamespace } from './custody.ts'
import { earlyRefusal } from './early-refusal.ts'
import { loadConfig } from './kinds.ts'
import { createLiveCalls } from './live-calls.ts'
import { createLogger } from './logger.ts'
import { createMetrics } from './metrics.ts'
import { pathsOf } from './paths.ts'
import { openRevocations } from './revocations.ts'
import { createRunDoorFor } from './run-door-for.ts'
import { createSteps, createTunnelSteps } from './steps.ts'
import { upstreamRoots } from './trust-roots.ts'
import { openVault } from './vault.ts'
import { watchFiles } from './watch-files.ts'
import { createWorld, type World } from './world.ts'

export interface BrokerOptions {
  readonly configFile: string | null
  readonly dataDir: string | null
  readonly env: Readonly<Record<string, string | undefined>>
}

export interface Broker {
  readonly config: Config
  readonly addresses: { readonly proxy: string; readonly baseUrl: string }
  /** Throws ConfigMistakes; the last good configuration stays in force. */
  reload(): Promise<void>
  stop(): Promise<void>
  readonly stopped: Promise<void>
}

export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const clock = systemClock
  let config = loadConfig(options.configFile, options.dataDir)
  const log = createLogger(config.logLevel)
  const paths = pathsOf(config.dataDir)
  setUndumpable()
  const vault = await openVault(paths, clock)
  const origin = `${config.trustDomain}/${hostname()}/0`
  const audit = await openAudit({
    dir: paths.auditDir,
    origin,
    clock,
    limits,
    log,
    keyFile: paths.auditKeyFile,
    publicKeyFile: paths.auditPublicKey,
  }).catch((error) => {
    vault.close()
    throw error
  })
  const records = createRecords({ audit, clock })
  const issuer = createIssuer(vault.issuerKeys, config.audience, clock)
  const live = createLiveCalls()
  const revocations = openRevocations(config.dataDir)
  const runs = createRuns({
    clock,
    services: () => world.config.services,
    suspension: () => config.suspension,
    ownPidNamespace: ownPidNamespace(),
    onSuspended: (one) => {
      records.alert(
        { alert: 'suspended', what: `${one.sender} after ${one.trips} trips`, ...(one.run === null ? {} : { run: one.run }) },
        one.sender,
      )
      live.cutWhere((entry) => entry.identity.run === one.run && one.run !== null)
    },
  })
  let roots = upstreamRoots(config.egress.extraCa)
  let resolve = createResolve(config.egress.resolver)
  const dial = createDial({
    resolve: (host) => resolve(host),
    fixed: (host) => config.egress.dangerouslyFixedAddresses.find((one) => one.host === host) ?? null,
    ownPorts: () => accept.ports,
  })
  const plain = { clock, fetch: createFetch(dial, () => roots), log, limits }
  const hosts = {
    plain,
    clock,
    runs,
    once: createOnce({ clock, max: limits.seenTokensMax }),
    secret: vault.secret,
    sign: issuer.sign,
    defaultCustody: custodyOf(0, process.getuid?.() ?? -1),
  }
  let world: World = createWorld(config, hosts)
  let obtain: Obtain = obtainFor(world)
  const metrics = createMetrics({
    liveCalls: () => live.count,
    runs: () => runs.rootPids().length,
    auditEntries: () => audit.status().size,
  })
  const forward = createForward({ dial, roots: () => roots, clock })
  const gather = createGather({ candidates: runs.rootPids, clock, limits, log })
  const door = createRunDoorFor({
    paths,
    log,
    runs,
    config: () => config,
    addresses: () => addresses,
    ended: (run) => void runs.end(run.id),
    record: (what) => records.administration('run door', what),
  })

  function obtainFor(of: World): Obtain {
    return createObtain(
      [...of.credentials].map(([name, one]) => ({ name, kind: one.rule.kind, provider: one.provider, leaseMs: one.rule.leaseMs })),
      clock,
      log,
    )
  }

  const steps = createSteps({
    world: () => world,
    clock,
    log,
    records,
    runs,
    lease: (identity, incoming, decision) =>
      lease(
        {
          now: () => clock.now(),
          policyVersion: () => world.decider.version,
          decideAgain: world.decider.decideAgain,
          obtain: obtain.leaseFor,
        },
        identity,
        incoming.target,
        decision,
      ),
    inject: createInject({
      placeholders: runs.placeholders,
      trip: (identity) => runs.trip(identity.run, `${identity.workload}@${identity.address}`),
    }),
    forward,
    scrub: createScrub({ limits }),
    live,
    revocations,
    metrics,
    distrust: (one) => obtain.distrust(one),
    runEvidence: door.evidence,
  })

  const tunnelSteps = createTunnelSteps({
    world: () => world,
    clock,
    runs,
    runEvidence: door.evidence,
    records,
    forward,
    live,
    log,
    revocations,
  })
  // Ids are sortable by time and unique over restarts.
  const boot = randomBytes(4).toString('hex')
  let counter = 0
  const accept = createAccept({
    proxy: config.listen.proxy,
    baseUrl: config.listen.baseUrl,
    leaves: createLeaves(vault.ca, clock),
    clock,
    log,
    lookup: {
      find: (scheme, host, port) => world.services.find(scheme, host, port),
      byName: (name) => world.services.byName(name),
      action: (service, method, path) => world.services.action(service, method, path),
      manages: (host) => world.config.services.some((service) => service.hosts.includes(host)),
    },
    gather,
    tokenRequired: (peer) => peer.process === null && peer.uid === null && world.tokensCanIdentify,
    onCall: (incoming) => call(steps, incoming),
    onTunnel: (incoming) => tunnel(tunnelSteps, incoming),
    onRefused: (refusal, about) => {
      metrics.refused(refusal.code)
      earlyRefusal(audit, clock, refusal, about)
    },
    newId: () => `${clock.now().toString(36)}-${boot}-${(counter++).toString(36)}`,
  })

  const bound = await accept.start().catch(async (error: NodeJS.ErrnoException) => {
    await audit.close()
    vault.close()
    throw new Error(
      error.code === 'EADDRINUSE'
        ? `${config.listen.proxy.host}:${config.listen.proxy.port} or the base-URL port is in use: choose others under listen, or stop what holds them`
        : error.message,
    )
  })
  const text = ({ host, port }: { host: string; port: number }): string => `${host.includes(':') ? `[${host}]` : host}:${port}`
  const addresses = { proxy: text(bound.proxy), baseUrl: text(bound.baseUrl) }

  async function bringIntoForce(next: Config): Promise<readonly string[]> {
    const made = createWorld(next, hosts)
    const nextRoots = upstreamRoots(next.egress.extraCa)
    const changes = changesBetween(config, next)
    await records.administration('configuration', `reload: ${changes.join('; ') || 'nothing changed'}`, {
      policyVersion: made.decider.version,
    })
    const oldObtain = obtain
    const changed = new Set(
      config.credentials
        .filter((rule) => JSON.stringify(next.credentials.find((one) => one.name === rule.name)) !== JSON.stringify(rule))
        .map((rule) => rule.name),
    )
    config = next
    world = made
    roots = nextRoots
    resolve = createResolve(next.egress.resolver)
    obtain = obtainFor(made)
    log.level(next.logLevel)
    for (const name of changed) oldObtain.revoke({ credential: name })
    await cutWhatIsRefusedNow(made)
    setTimeout(() => oldObtain.retire(), limits.revokeMs).unref()
    return changes
  }

  /** Calls under way that the new configuration would refuse are cut (invariant 8). */
  async function cutWhatIsRefusedNow(made: World): Promise<void> {
    for (const entry of [...live.all()]) {
      try {
        const identity = await made.identify(entry.call.connection.evidence, AbortSignal.timeout(limits.revokeMs))
        if ('head' in entry.call) await made.decider.decide(entry.call, identity)
        else await made.decider.decideTunnel(entry.call, identity)
      } catch {
        live.cutWhere((one) => one === entry)
      }
    }
  }

  const reloadNow = async (showOnly: boolean): Promise<Record<string, unknown>> => {
    const next = loadConfig(options.configFile, config.dataDir)
    if (showOnly) return { ok: true, changes: changesBetween(config, next), version: createWorld(next, hosts).decider.version }
    const changes = await bringIntoForce(next)
    return { ok: true, changes, version: world.decider.version }
  }
  let lastReload: string | null = null
  const watcher = watchFiles(
    () => config.files,
    async () => {
      // While an agent could write the file, a change comes into force only on command (DESIGN part 5).
      const shared = runs.list().find((run) => run.state !== 'ended' && run.custody === 'shared-user')
      if (shared !== undefined) {
        lastReload = `the configuration changed while ${shared.id} runs with custody shared-user: look at it, then \`ostiary reload\``
        log.warn(lastReload)
        return
      }
      try {
        await reloadNow(false)
        lastReload = null
        log.info('configuration in force', { version: world.decider.version })
      } catch (error) {
        lastReload = `the changed configuration is not in force: ${(error as Error).message}; see \`ostiary check\``
        log.warn(lastReload)
      }
    },
  )

  await door.start()
  let stopping: Promise<void> | null = null
  let ended = (): void => {}
  const stopped = new Promise<void>((done) => {
    ended = done
  })
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      watcher.close()
      await door.stop()
      await accept.stop()
      forward.close()
      obtain.close()
      await gather.close()
      await records.administration('server', 'stop').catch(() => {})
      await admin.stop()
      await audit.close()
      vault.close()
      ended()
    })()
    return stopping
  }
  const admin = await startAdmin({
    paths,
    log,
    vault,
    issuer,
    clock,
    records,
    audit,
    runs,
    live,
    revocations,
    accept,
    metrics,
    addresses,
    world: () => world,
    obtain: () => obtain,
    config: () => config,
    reload: async (showOnly) => {
      const done = await reloadNow(showOnly)
      if (!showOnly) lastReload = null
      return done
    },
    lastReload: () => lastReload,
    stop,
  })
  let metricsServer: Server | null = null
  if (config.listen.metrics !== null) metricsServer = await serveMetrics(config.listen.metrics, () => metrics.text())
  void stopped.then(() => metricsServer?.close())
  await records.administration(userInfo().username, 'start', { policyVersion: world.decider.version })
  log.info('ready', addresses)
  return { config, addresses, reload: () => reloadNow(false).then(() => {}), stop, stopped }
}

function changesBetween(old: Config, next: Config): readonly string[] {
  const changes: string[] = []
  for (const section of [
    'workloads',
    'services',
    'tunnels',
    'credentials',
    'conditions',
    'trustProviders',
    'policies',
    'egress',
  ] as const) {
    if (JSON.stringify(old[section]) !== JSON.stringify(next[section])) changes.push(`${section} changed`)
  }
  if (JSON.stringify(old.listen) !== JSON.stringify(next.listen)) changes.push('listen changed: in force after a restart only')
  if (old.trustDomain !== next.trustDomain) changes.push('trustDomain changed: in force after a restart only')
  return changes
}

function serveMetrics(address: { readonly host: string; readonly port: number }, text: () => Promise<string>): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.url !== '/metrics' || request.method !== 'GET') return void response.writeHead(404).end()
    void text().then((body) => response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(body))
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(address.port, address.host, () => resolve(server))
  })
}
