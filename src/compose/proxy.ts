// The data plane of one process: listeners, and the steps of a call and of a tunnel fitted to what is in force. It stands in the
// broker's process or in one of its own (plane-process.ts), and reaches no store, no door of the broker and no kind that identifies or
// obtains.
import { randomBytes } from 'node:crypto'
import { createAccept } from '../accept/accept.ts'
import { createLeaves } from '../accept/authority.ts'
import { createGather } from '../accept/evidence/peer.ts'
import type { Reader } from '../accept/evidence/reader-client.ts'
import { looksLikeKey } from '../catalog/leaks.ts'
import type { Config } from '../config/config.ts'
import type { Authority as Ca } from '../crypto/x509.ts'
import { call } from '../flow/call.ts'
import { lease } from '../flow/lease.ts'
import { tunnel } from '../flow/tunnel.ts'
import { createForward, type Forward, type ForwardOptions } from '../forward/forward.ts'
import { createInject } from '../inject/inject.ts'
import type { Clock } from '../model/clock.ts'
import { limits } from '../model/limits.ts'
import type { Passed } from '../net/activation.ts'
import type { Blocked } from '../runs/runs.ts'
import { createScrub } from '../scrub/scrub.ts'
import { limitsHere } from './descriptors.ts'
import { earlyRefusal } from './early-refusal.ts'
import type { Ground } from './ground.ts'
import type { Tallies } from './metrics.ts'
import type { Standing } from './standing.ts'
import { createSteps, createTunnelSteps, type StepParts } from './steps.ts'

export interface Addresses {
  readonly proxy: string
  readonly baseUrl: string
}

/** What one process says of itself. */
export interface Report {
  readonly pid: number
  readonly calls: number
  readonly connections: number
  readonly audit: { readonly size: number; readonly failed: boolean }
  readonly tallies: Tallies
}

/** Of one run. */
export interface Counts {
  readonly calls: number
  readonly blocked: number
  readonly kinds: readonly Blocked[]
}

export interface Revoked {
  readonly workload?: string | undefined
  readonly credential?: string | undefined
}

export interface ProxyPlane {
  start(): Promise<Addresses>
  /** The door of isolated runs. */
  listenInside(path: string): Promise<void>
  readonly ports: readonly number[]
  /** Cuts calls of what was revoked and of runs that have ended; returns how many. */
  cut(what: Revoked): number
  report(): Report
  counts(run: string): Counts
  /** Takes nothing new, lets what is under way end, then closes what is kept. */
  stop(): Promise<void>
}

/** What the plane needs of its process. */
export interface ProxyGround extends Pick<Ground, 'clock' | 'log' | 'audit' | 'records' | 'runs' | 'live' | 'metrics'> {
  readonly revocations: StepParts['revocations']
  readonly ca: Ca
  readonly recognise: (text: string) => string
  /** A tripwire was touched: counted in the broker. */
  readonly trip: (run: string | null, otherwise: string) => void
}

export interface ProxyPlaneParts {
  readonly listen: Config['listen']
  readonly ground: ProxyGround
  readonly standing: Pick<Standing, 'config' | 'world' | 'obtain'>
  readonly upstream: Pick<ForwardOptions, 'dial' | 'roots' | 'route'>
  readonly distrust: StepParts['distrust']
  readonly reader: Reader | null
  readonly passed: Passed
}

export function createProxyPlane(parts: ProxyPlaneParts): ProxyPlane {
  const { listen, ground, standing, upstream, reader, passed } = parts
  const { clock, log, runs, live, metrics } = ground
  const forward = createForward({ ...upstream, clock })
  const gather = createGather({ candidates: runs.rootPids, clock, limits, log, reader })
  const { steps, tunnelSteps } = stepsOf(parts, forward)
  const accept = createAccept({
    limits: limitsHere(limits, log),
    proxy: listen.proxy,
    baseUrl: listen.baseUrl,
    passed,
    leaves: createLeaves(ground.ca, clock),
    clock,
    log,
    lookup: {
      find: (scheme, host, port) => standing.world.services.find(scheme, host, port),
      byName: (name) => standing.world.services.byName(name),
      action: (service, method, path, place) => standing.world.services.action(service, method, path, place),
      repository: (service, host, path) => standing.world.services.repository(service, host, path),
      manages: (host) => standing.config.services.some((service) => service.hosts.includes(host)),
    },
    gather,
    // One agent's connections leave room for those of the others, who come from the same address.
    sender: ({ process, uid, address }) =>
      (process === null ? undefined : runs.member(process)?.id) ?? (uid === null ? address : `uid ${uid}`),
    tokenRequired: (peer) => peer.process === null && peer.uid === null && standing.world.tokensCanIdentify,
    onCall: (incoming) => call(steps, incoming),
    onTunnel: (incoming) => tunnel(tunnelSteps, incoming),
    onRefused: (refusal, about) => {
      metrics.refused(refusal.code)
      earlyRefusal(ground.audit, clock, refusal, about)
    },
    newId: createIds(clock),
  })
  return {
    async start() {
      const { proxy, baseUrl } = await accept.start()
      return { proxy: textOf(proxy), baseUrl: textOf(baseUrl) }
    },
    listenInside: async (path) => void (await accept.listenInside(path)),
    ports: accept.ports,
    cut: ({ workload, credential }) =>
      live.cutWhere(
        ({ identity, lease }) =>
          (identity.run !== null && runs.byId(identity.run)?.state === 'ended') ||
          (workload !== undefined && identity.workload === workload) ||
          (credential !== undefined && lease?.credentialName === credential),
      ),
    report: () => ({
      pid: process.pid,
      calls: live.count,
      connections: accept.connections,
      audit: ground.audit.status(),
      tallies: metrics.tallies(),
    }),
    counts: (run) => ({ ...runs.counts(run), kinds: runs.blocked(run) }),
    async stop() {
      await accept.stop()
      forward.close()
      await gather.close()
    },
  }
}

function stepsOf({ ground, standing, distrust }: ProxyPlaneParts, forward: Forward) {
  const { clock, log, records, runs, live, revocations } = ground
  const among = { world: () => standing.world, clock, log, records, runs, forward, live, revocations }
  const steps = createSteps({
    ...among,
    lease: (identity, incoming, decision) => {
      const { decider } = standing.world
      const seam = {
        now: clock.now,
        policyVersion: () => decider.version,
        decideAgain: decider.decideAgain,
        warm: standing.obtain.warm,
        obtain: standing.obtain.leaseFor,
      }
      return lease(seam, identity, incoming.target, decision)
    },
    inject: createInject({
      placeholders: runs.placeholders,
      clock,
      trip: (identity) => ground.trip(identity.run, `${identity.workload}@${identity.address}`),
      shape: looksLikeKey,
      recognise: ground.recognise,
    }),
    scrub: createScrub({ limits }),
    distrust,
  })
  return { steps, tunnelSteps: createTunnelSteps(among) }
}

export function textOf({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Sortable by time and unique over restarts. */
function createIds(clock: Clock): () => string {
  const boot = randomBytes(4).toString('hex')
  let counter = 0
  let at = 0
  let prefix = ''
  return () => {
    const now = clock.now()
    if (now !== at) {
      at = now
      prefix = `${now.toString(36)}-${boot}-`
    }
    return `${prefix}${(counter++).toString(36)}`
  }
}
