// Builds everything by hand, starts it, stops it in reverse: accept, identify, decide, obtain, inject, audit, forward, scrub,
// in one process. The only room that knows everybody; ground.ts, in-force.ts and proxy.ts build its three parts.
import { chmodSync, rmSync } from 'node:fs'
import { createReader, type Reader } from '../accept/evidence/reader-client.ts'
import type { Config } from '../config/config.ts'
import { createOnce } from '../identify/once.ts'
import { limits } from '../model/limits.ts'
import type { Passed } from '../net/activation.ts'
import { createFetch } from '../net/fetch.ts'
import { setUndumpable } from '../net/kernel.ts'
import { metricsOf, startAdmin } from './admin-server.ts'
import { custodyOf } from './custody.ts'
import { furtherProcesses } from './each-process.ts'
import { closeGround, type Ground, openGround } from './ground.ts'
import { createInForce, type InForce } from './in-force.ts'
import { loadConfig } from './kinds.ts'
import { serveMetrics } from './metrics-server.ts'
import { ownPlane, type Planes } from './planes.ts'
import { type Addresses, createProxyPlane, textOf } from './proxy.ts'
import { giveBackMemory, watchRest } from './rest.ts'
import { createRunDoorFor, userName } from './run-door-for.ts'
import { createUpstream, type UpstreamWay } from './upstream.ts'

export interface BrokerOptions {
  readonly configFile: string | null
  readonly dataDir: string | null
  readonly env: Readonly<Record<string, string | undefined>>
  /** Listening sockets that systemd opened, by the name of the door. */
  readonly passed?: Passed
}

export interface Broker {
  readonly config: Config
  readonly addresses: Addresses
  /** Throws ConfigMistakes; the last good configuration stays in force. */
  reload(): Promise<void>
  stop(): Promise<void>
  readonly stopped: Promise<void>
}

export async function startBroker(options: BrokerOptions): Promise<Broker> {
  setUndumpable()
  const config = loadConfig(options.configFile, options.dataDir)
  let inForce: InForce | null = null
  let planes: Planes | null = null
  const upstream = createUpstream(config, () => planes?.ports ?? [])
  const ground = await openGround(
    config,
    () => inForce?.config ?? config,
    upstream.via,
    (change) => planes?.run(change),
  )
  const { log, records, runs } = ground
  inForce = createInForce({
    first: config,
    configFile: options.configFile,
    ground,
    hosts: {
      plain: { clock: ground.clock, fetch: createFetch(upstream.dial, upstream.roots, upstream.guards), log, limits },
      clock: ground.clock,
      runs,
      once: createOnce({ clock: ground.clock, max: limits.seenTokensMax }),
      secret: ground.vault.secret,
      sign: ground.issuer.sign,
      defaultCustody: custodyOf(0, process.getuid?.() ?? -1),
      runEvidence: (run) => door.evidence(run),
    },
    changed: upstream.follow,
    spread: async (next) => planes?.bring(next),
  })
  const force = inForce
  const door = createRunDoorFor({
    paths: ground.paths,
    log,
    runs,
    config: () => force.config,
    addresses: () => addresses,
    ended: (run) => void runs.end(run.id),
    planes: () => served,
    record: (what) => records.administration('run door', what),
  })
  const factsSocket = options.env['OSTIARY_FACTS_SOCKET'] ?? ''
  const reader = factsSocket === '' ? null : createReader(factsSocket, log)
  const passed = options.passed ?? new Map()
  planes = await createPlanes({ ground, inForce, upstream, reader, factsSocket, passed })
  const served = planes
  const addresses = await listen(served, config, ground)
  await door.start()
  const ending = once(async () => {
    force.close()
    await door.stop()
    await served.stop()
    reader?.close()
    await records.administration('server', 'stop').catch(() => {})
    await admin.stop()
    metrics?.close()
    await closeGround(ground)
  })
  const admin = await startAdmin({ ground, inForce, planes, addresses, reader, stop: ending.run })
  const metrics = config.listen.metrics === null ? null : await serveMetrics(config.listen.metrics, () => metricsOf(ground, served))
  await records.administration(userName(process.getuid?.() ?? -1), 'start', { policyVersion: inForce.world.decider.version })
  watchRest({ live: () => ground.live.count, happened: () => ground.audit.status().size, giveBack: giveBackMemory })
  log.info('ready', { ...addresses })
  return { config, addresses, reload: () => force.reload(false).then(() => {}), stop: ending.run, stopped: ending.done }
}

interface PlaneParts {
  readonly ground: Ground
  readonly inForce: InForce
  readonly upstream: UpstreamWay
  readonly reader: Reader | null
  readonly factsSocket: string
  readonly passed: Passed
}

async function createPlanes({ ground, inForce, upstream, reader, factsSocket, passed }: PlaneParts): Promise<Planes> {
  if (furtherProcesses(inForce.config) > 0) return (await import('./proxies.ts')).createProxies({ ground, inForce, passed, factsSocket })
  const { vault, runs } = ground
  return ownPlane(
    createProxyPlane({
      listen: inForce.config.listen,
      ground: { ...ground, ca: vault.ca, recognise: vault.values.recognise, trip: runs.trip },
      standing: inForce,
      upstream,
      distrust: (lease) => void inForce.obtain.distrust(lease),
      reader,
      passed,
    }),
  )
}

async function listen(planes: Planes, { listen: wanted }: Config, ground: Ground): Promise<Addresses> {
  const { insideSocket } = ground.paths
  rmSync(insideSocket, { force: true })
  try {
    const addresses = await planes.start(insideSocket)
    // Anybody may knock, as at the run door: the kernel says who it is.
    chmodSync(insideSocket, 0o666)
    return addresses
  } catch (error) {
    await closeGround(ground)
    // From a process of its own the words alone arrive.
    if (!/\bEADDRINUSE\b/.test((error as Error).message)) throw error
    throw new Error(`${textOf(wanted.proxy)} or the base-URL port is in use: choose others under listen, or stop what holds them`)
  }
}

/** However often it is asked for, it runs once. */
function once(work: () => Promise<void>): { run(): Promise<void>; readonly done: Promise<void> } {
  let running: Promise<void> | null = null
  const { promise, resolve } = Promise.withResolvers<void>()
  return {
    done: promise,
    run() {
      running ??= work().then(resolve)
      return running
    },
  }
}
