// The broker's side of the seam between the planes: checks the identity, decides again with the facts that it is given, and
// only then obtains. In all-in-one the data plane calls it in place, and asks only where no lease is warm.
import type { Lease, Need } from '../model/credential.ts'
import type { Decision } from '../model/decision.ts'
import type { Facts } from '../model/facts.ts'
import type { Identity } from '../model/identity.ts'
import { Refusal } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'

export interface LeaseSteps {
  now(): number
  policyVersion(): string
  /** Throws Refusal decide.*. */
  decideAgain(identity: Identity, target: Target, facts: Facts, read: Pick<Decision, 'model' | 'tools'>): Decision
  /** A lease that was issued for exactly this need and holds. */
  warm(need: Need, credentialName: string): Lease | null
  obtain(need: Need, credentialName: string): Lease | Promise<Lease>
}

export function lease(steps: LeaseSteps, identity: Identity, target: Target, decision: Decision): Lease | Promise<Lease> {
  if (identity.expiresAt <= steps.now())
    throw new Refusal(identity.run === null ? 'identify.none' : 'identify.run_ended', 'the identity has expired')
  if (decision.policyVersion !== steps.policyVersion()) throw new Refusal('decide.feed_lost', 'decided under another policy version')
  if (decision.credential === null || target.service === null) throw new Refusal('obtain.no_credential', 'none was chosen')
  const { workload, spiffeId, groups, run } = identity
  const need = { workload, spiffeId, groups, run, service: target.service, host: target.host, port: target.port }
  // What was issued already needs no second judge: the decision is of the policy that is in force.
  const warm = steps.warm(need, decision.credential)
  if (warm !== null) return warm
  const again = steps.decideAgain(identity, target, decision.facts, decision)
  if (again.credential !== decision.credential) throw new Refusal('obtain.no_credential', 'the broker chose another credential')
  return steps.obtain(need, again.credential)
}
