// The world in force with the leases that were made under it, in whichever process; how another takes their place. It must never
// let a call go on that the new world refuses (invariant 8).
import type { Config } from '../config/config.ts'
import type { Clock } from '../model/clock.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { createObtain, type LeasedCredential, type Obtain } from '../obtain/obtain.ts'
import type { LiveCalls } from './live-calls.ts'
import type { World } from './world.ts'

export interface Standing<Kind extends World = World> {
  readonly config: Config
  readonly world: Kind
  readonly obtain: Obtain
  /** Resolves when what it refuses has been cut. */
  bring(made: Kind): Promise<void>
  close(): void
}

export interface StandingParts<Kind extends World> {
  readonly first: Kind
  readonly leased: (world: Kind) => readonly LeasedCredential[]
  readonly clock: Clock
  readonly log: Log
  readonly live: LiveCalls
}

export function createStanding<Kind extends World>({ first, leased, clock, log, live }: StandingParts<Kind>): Standing<Kind> {
  let world = first
  let obtain = createObtain(leased(first), clock, log)
  return {
    get config() {
      return world.config
    },
    get world() {
      return world
    },
    get obtain() {
      return obtain
    },
    async bring(made) {
      const old = { obtain, credentials: world.config.credentials }
      world = made
      obtain = createObtain(leased(made), clock, log)
      for (const rule of old.credentials) {
        const now = made.config.credentials.find((one) => one.name === rule.name)
        if (JSON.stringify(now) !== JSON.stringify(rule)) old.obtain.revoke({ credential: rule.name })
      }
      await cutWhatIsRefusedNow(live, made)
      setTimeout(() => old.obtain.retire(), limits.revokeMs).unref()
    },
    close: () => obtain.close(),
  }
}

/** Calls under way that the new configuration would refuse are cut. */
async function cutWhatIsRefusedNow(live: LiveCalls, made: World): Promise<void> {
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
