// The data plane: listeners, and the steps of a call and of a tunnel fitted to what is in force.
import { randomBytes } from 'node:crypto'
import { type Accept, createAccept } from '../accept/accept.ts'
import { createLeaves } from '../accept/authority.ts'
import { createGather } from '../accept/evidence/peer.ts'
import type { Reader } from '../accept/evidence/reader-client.ts'
import { looksLikeKey } from '../catalog/leaks.ts'
import type { Config } from '../config/config.ts'
import { call } from '../flow/call.ts'
import { lease } from '../flow/lease.ts'
import { tunnel } from '../flow/tunnel.ts'
import { createForward, type ForwardOptions } from '../forward/forward.ts'
import { createInject } from '../inject/inject.ts'
import type { Clock } from '../model/clock.ts'
import { limits } from '../model/limits.ts'
import type { Passed } from '../net/activation.ts'
import { createScrub } from '../scrub/scrub.ts'
import { limitsHere } from './descriptors.ts'
import { earlyRefusal } from './early-refusal.ts'
import type { Ground } from './ground.ts'
import type { InForce } from './in-force.ts'
import { createSteps, createTunnelSteps, type StepParts } from './steps.ts'

export interface ProxyPlane {
  readonly accept: Accept
  /** Takes nothing new, lets what is under way end, then closes what is kept. */
  stop(): Promise<void>
}

export interface ProxyPlaneParts {
  readonly listen: Config['listen']
  readonly ground: Ground
  readonly inForce: InForce
  readonly upstream: Pick<ForwardOptions, 'dial' | 'roots' | 'route'>
  readonly runEvidence: StepParts['runEvidence']
  readonly reader: Reader | null
  readonly passed: Passed
}

export function createProxyPlane({ listen, ground, inForce, upstream, runEvidence, reader, passed }: ProxyPlaneParts): ProxyPlane {
  const { clock, log, records, runs, live, revocations, metrics } = ground
  const forward = createForward({ ...upstream, clock })
  const gather = createGather({ candidates: runs.rootPids, clock, limits, log, reader })
  const among = { world: () => inForce.world, clock, log, records, runs, forward, live, revocations, runEvidence }
  const steps = createSteps({
    ...among,
    lease: (identity, incoming, decision) => {
      const { decider } = inForce.world
      const seam = {
        now: clock.now,
        policyVersion: () => decider.version,
        decideAgain: decider.decideAgain,
        warm: inForce.obtain.warm,
        obtain: inForce.obtain.leaseFor,
      }
      return lease(seam, identity, incoming.target, decision)
    },
    inject: createInject({
      placeholders: runs.placeholders,
      clock,
      trip: (identity) => runs.trip(identity.run, `${identity.workload}@${identity.address}`),
      shape: looksLikeKey,
      recognise: (value) => ground.vault.values.recognise(value),
    }),
    scrub: createScrub({ limits }),
    distrust: (one) => inForce.obtain.distrust(one),
  })
  const tunnelSteps = createTunnelSteps(among)
  const accept = createAccept({
    limits: limitsHere(limits, log),
    proxy: listen.proxy,
    baseUrl: listen.baseUrl,
    passed,
    leaves: createLeaves(ground.vault.ca, clock),
    clock,
    log,
    lookup: {
      find: (scheme, host, port) => inForce.world.services.find(scheme, host, port),
      byName: (name) => inForce.world.services.byName(name),
      action: (service, method, path, place) => inForce.world.services.action(service, method, path, place),
      repository: (service, host, path) => inForce.world.services.repository(service, host, path),
      manages: (host) => inForce.config.services.some((service) => service.hosts.includes(host)),
    },
    gather,
    // One agent's connections leave room for those of the others, who come from the same address.
    sender: ({ process, uid, address }) =>
      (process === null ? undefined : runs.member(process)?.id) ?? (uid === null ? address : `uid ${uid}`),
    tokenRequired: (peer) => peer.process === null && peer.uid === null && inForce.world.tokensCanIdentify,
    onCall: (incoming) => call(steps, incoming),
    onTunnel: (incoming) => tunnel(tunnelSteps, incoming),
    onRefused: (refusal, about) => {
      metrics.refused(refusal.code)
      earlyRefusal(ground.audit, clock, refusal, about)
    },
    newId: createIds(clock),
  })
  return {
    accept,
    async stop() {
      await accept.stop()
      forward.close()
      await gather.close()
      reader?.close()
    },
  }
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
