// The contract of a trust provider: verifies evidence of one kind and turns it into attributes.
import type { z } from 'zod'
import type { Evidence } from '../model/evidence.ts'
import type { Attested, Attributes } from '../model/identity.ts'
import type { Kind, TrustHost } from '../model/kind.ts'

export interface TrustProvider {
  /** null: this evidence is not of my kind. Throws Refusal identify.* when it is and does not hold. */
  verify(evidence: Evidence, signal: AbortSignal): Promise<Attested | null>
}

export interface TrustKind<Config, Rule> extends Kind<Config, TrustHost, TrustProvider> {
  /** What a workload writes under `identify: { <kind or provider name>: rule }`. */
  readonly rule: z.ZodType<Rule>
  /** Sentences on what is wrong with a rule, e.g. that it has no anchor. Pure. */
  checkRule(rule: Rule): readonly string[]
  /** Pure. */
  fits(rule: Rule, attributes: Attributes): boolean
}

// biome-ignore lint/suspicious/noExplicitAny: a list holds kinds of different configurations; each closes over its own
export type AnyTrustKind = TrustKind<any, any>
