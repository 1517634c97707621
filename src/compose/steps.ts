// Fits the steps together for flow/call: what each declares, given what the world in force offers.
import type { AuditRecords } from '../audit/record.ts'
import type { Steps } from '../flow/call.ts'
import type { TunnelSteps } from '../flow/tunnel.ts'
import type { Forward } from '../forward/forward.ts'
import type { Inject } from '../inject/inject.ts'
import type { Call, ConnectionMemory } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Lease } from '../model/credential.ts'
import type { Decision } from '../model/decision.ts'
import type { Identity } from '../model/identity.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Runs } from '../runs/runs.ts'
import type { Scrub } from '../scrub/scrub.ts'
import { createConverse } from './converse.ts'
import type { LiveCalls } from './live-calls.ts'
import type { Revocations } from './revocations.ts'
import { createShares } from './shares.ts'
import type { World } from './world.ts'

export interface StepParts {
  readonly world: () => World
  readonly clock: Clock
  readonly log: Log
  readonly records: AuditRecords
  readonly runs: Runs
  readonly lease: (identity: Identity, call: Call, decision: Decision) => Lease | Promise<Lease>
  readonly inject: Inject
  readonly forward: Forward
  readonly scrub: Scrub
  readonly live: LiveCalls
  readonly revocations: Pick<Revocations, 'workloads' | 'credentials'>
  readonly distrust: (lease: Lease) => void
}

/** Identity is remembered per connection until it expires, its run changes or another configuration is in force. */
interface Remembered {
  readonly identity: Identity
  readonly world: World
  /** Monotonic: a wall clock that is set back lengthens no life. */
  readonly until: number
}

export function createIdentifyStep(
  parts: Pick<StepParts, 'world' | 'clock' | 'runs'>,
): (memory: ConnectionMemory) => Identity | Promise<Identity> {
  const remembered = new WeakMap<ConnectionMemory, Remembered>()
  /** Streams that begin together on one connection wait for one proof. */
  const proving = new WeakMap<ConnectionMemory, { readonly world: World; readonly identity: Promise<Identity> }>()

  async function prove(memory: ConnectionMemory): Promise<Identity> {
    const world = parts.world()
    const identity = await world.identify(memory.evidence, AbortSignal.timeout(limits.identifyMs))
    remembered.set(memory, { identity, world, until: parts.clock.monotonic() + identity.expiresAt - parts.clock.now() })
    memory.identity = identity
    return identity
  }

  return (memory) => {
    const known = remembered.get(memory)
    const { clock } = parts
    if (
      known === undefined ||
      known.world !== parts.world() ||
      known.identity.expiresAt <= clock.now() ||
      known.until <= clock.monotonic()
    ) {
      const world = parts.world()
      const under = proving.get(memory)
      if (under?.world === world) return under.identity
      const identity = prove(memory).finally(() => proving.delete(memory))
      proving.set(memory, { world, identity })
      return identity
    }
    const { run } = known.identity
    if (run === null) return known.identity
    const state = parts.runs.byId(run)?.state
    if (state === 'open') return known.identity
    throw new Refusal(state === 'suspended' ? 'identify.suspended' : 'identify.run_ended', run)
  }
}

export function createSteps(parts: StepParts): Steps {
  const identify = createIdentifyStep(parts)
  const shares = createShares(limits)
  const prepared = (lease: Lease): Lease => {
    parts.scrub.prepare(lease)
    return lease
  }
  return {
    record: parts.records.call,
    identify: (call) => identify(call.connection),
    decide: (call, identity) => {
      refuseRevoked(parts, call, identity)
      shares.check(identity.workload, call.target.host)
      return parts.world().decider.decide(call, identity)
    },
    obtain(call, identity, decision) {
      if (decision.credential === null) return null
      if (parts.revocations.credentials.has(decision.credential)) throw new Refusal('obtain.revoked', decision.credential)
      const lease = parts.lease(identity, call, decision)
      // What is searched for in the answer is made now: the lease may have ended when the answer comes.
      if (lease instanceof Promise) return lease.then(prepared)
      return prepared(lease)
    },
    inject: parts.inject,
    forward: parts.forward.forward,
    scrub: parts.scrub,
    watch(call, identity, lease, cut) {
      if (lease?.revoked.aborted === true) throw new Refusal('obtain.revoked', lease.credentialName)
      const letGo = shares.hold(identity.workload, call.target.host)
      const unwatch = parts.live.watch(call, identity, lease, cut)
      return () => {
        letGo()
        unwatch()
      }
    },
    converse: createConverse({
      ...parts,
      identify,
      decideMessage(call, identity, read) {
        refuseRevoked(parts, call, identity)
        return parts.world().decider.decideMessage(call, identity, read)
      },
      record: parts.records.call,
      marker: parts.runs.placeholders.marker,
    }),
    distrust: parts.distrust,
    defect(error, call) {
      parts.log.error('defect', { call: call.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
      return new Refusal('flow.defect', error instanceof Error ? error.message : String(error), error)
    },
  }
}

function refuseRevoked(parts: StepParts, call: Call, identity: Identity): void {
  if (call.service === null) throw new Refusal('accept.host_unmanaged', call.target.host)
  refuseSender(parts, identity)
}

/** Whatever it asks for, a tunnel too. */
function refuseSender(parts: Pick<StepParts, 'revocations' | 'runs'>, identity: Identity): void {
  if (parts.revocations.workloads.has(identity.workload)) throw new Refusal('flow.revoked', identity.workload)
  if (identity.run === null && parts.runs.suspended(`${identity.workload}@${identity.address}`))
    throw new Refusal('identify.suspended', identity.address)
}

export type TunnelParts = Pick<StepParts, 'world' | 'clock' | 'runs' | 'records' | 'forward' | 'live' | 'log' | 'revocations'>

export function createTunnelSteps(parts: TunnelParts): TunnelSteps {
  const identify = createIdentifyStep(parts)
  const tunnels = new Map<string, number>()
  return {
    record: parts.records.tunnel,
    listed: (host) => parts.world().config.tunnels.some((one) => one.host === host),
    identify,
    decide(call, identity) {
      refuseSender(parts, identity)
      return parts.world().decider.decideTunnel(call, identity)
    },
    dial: parts.forward.dialTunnel,
    watch(call, identity, cut) {
      const open = tunnels.get(identity.workload) ?? 0
      if (open >= limits.tunnelsPerWorkloadMax) throw new Refusal('accept.too_many', 'tunnelsPerWorkloadMax')
      tunnels.set(identity.workload, open + 1)
      const unwatch = parts.live.watch(call, identity, null, cut)
      return () => {
        tunnels.set(identity.workload, (tunnels.get(identity.workload) ?? 1) - 1)
        unwatch()
      }
    },
    defect(error) {
      parts.log.error('defect', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
      return new Refusal('flow.defect', String(error), error)
    },
  }
}
