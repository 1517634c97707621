// Builds everything by hand, starts it, stops it in reverse: accept, identify, decide, obtain, inject, audit, forward, scrub,
// in one process. The only room that knows everybody; ground.ts, in-force.ts and proxy.ts build its three parts.
import { chmodSync, rmSync } from 'node:fs'
import { createReader } from '../accept/evidence/reader-client.ts'
import type { Config } from '../config/config.ts'
import { createOnce } from '../identify/once.ts'
import { limits } from '../model/limits.ts'
import type { Passed } from '../net/activation.ts'
import { createFetch } from '../net/fetch.ts'
import { setUndumpable } from '../net/kernel.ts'
import { startAdmin } from './admin-server.ts'
import { custodyOf } from './custody.ts'
import { closeGround, type Ground, openGround } from './ground.ts'
import { createInForce, type InForce } from './in-force.ts'
import { loadConfig } from './kinds.ts'
import { serveMetrics } from './metrics-server.ts'
import { createProxyPlane, type ProxyPlane } from './proxy.ts'
import { giveBackMemory, watchRest } from './rest.ts'
import { createRunDoorFor, userName } from './run-door-for.ts'
import { createUpstream } from './upstream.ts'

export interface BrokerOptions {
  readonly configFile: string | null
  readonly dataDir: string | null
  readonly env: Readonly<Record<string, string | undefined>>
  /** Listening sockets that systemd opened, by the name of the door. */
  readonly passed?: Passed
}

export interface Addresses {
  readonly proxy: string
  readonly baseUrl: string
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
  let plane: ProxyPlane | null = null
  const upstream = createUpstream(config, () => plane?.accept.ports ?? [])
  const ground = await openGround(config, () => inForce?.config ?? config, upstream.via)
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
    },
    changed: upstream.follow,
  })
  const force = inForce
  const door = createRunDoorFor({
    paths: ground.paths,
    log,
    runs,
    config: () => force.config,
    addresses: () => addresses,
    ended: (run) => void runs.end(run.id),
    ownPorts: () => plane?.accept.ports ?? [],
    record: (what) => records.administration('run door', what),
  })
  const readerSocket = options.env['OSTIARY_FACTS_SOCKET'] ?? ''
  const reader = readerSocket === '' ? null : createReader(readerSocket, log)
  const passed = options.passed ?? new Map()
  plane = createProxyPlane({ listen: config.listen, ground, inForce, upstream, runEvidence: door.evidence, reader, passed })
  const addresses = await listen(plane, config, ground)
  await door.start()
  await listenInside(plane, ground.paths.insideSocket)
  const ending = once(async () => {
    force.close()
    await door.stop()
    await plane.stop()
    await records.administration('server', 'stop').catch(() => {})
    await admin.stop()
    metrics?.close()
    await closeGround(ground)
  })
  const admin = await startAdmin({ ground, inForce, accept: plane.accept, addresses, reader, stop: ending.run })
  const metrics = config.listen.metrics === null ? null : await serveMetrics(config.listen.metrics, () => ground.metrics.text())
  await records.administration(userName(process.getuid?.() ?? -1), 'start', { policyVersion: inForce.world.decider.version })
  watchRest({ live: () => ground.live.count, happened: () => ground.audit.status().size, giveBack: giveBackMemory })
  log.info('ready', { ...addresses })
  return { config, addresses, reload: () => force.reload(false).then(() => {}), stop: ending.run, stopped: ending.done }
}

async function listen(plane: ProxyPlane, { listen: wanted }: Config, ground: Ground): Promise<Addresses> {
  const text = ({ host, port }: { host: string; port: number }): string => `${host.includes(':') ? `[${host}]` : host}:${port}`
  try {
    const { proxy, baseUrl } = await plane.accept.start()
    return { proxy: text(proxy), baseUrl: text(baseUrl) }
  } catch (error) {
    await closeGround(ground)
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new Error(`${text(wanted.proxy)} or the base-URL port is in use: choose others under listen, or stop what holds them`)
  }
}

/** Anybody may knock, as at the run door: the kernel says who it is. */
async function listenInside(plane: ProxyPlane, path: string): Promise<void> {
  rmSync(path, { force: true })
  await plane.accept.listenInside(path)
  chmodSync(path, 0o666)
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
