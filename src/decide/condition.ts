// The contract of a condition: states facts, never a verdict.
import type { Asked, FactValue } from '../model/facts.ts'
import type { ConditionHost, Kind } from '../model/kind.ts'

export type CedarType = 'Bool' | 'Long' | 'String' | 'Set<String>'

/** One type: the condition is one fact `context.facts.<name>`. A record: `context.facts.<name>.<fact>`; `?` ends the name of an optional one. */
export type FactShape = CedarType | Readonly<Record<string, CedarType>>

export interface Condition {
  /** Every required fact of the shape, or a Refusal decide.fact_missing that says which and how to mend it. */
  facts(asked: Asked, signal: AbortSignal): Promise<FactValue | Readonly<Record<string, FactValue>>>
}

export interface ConditionKind<Config> extends Kind<Config, ConditionHost, Condition> {
  shape(config: Config): FactShape
}

// biome-ignore lint/suspicious/noExplicitAny: a list holds kinds of different configurations; each closes over its own
export type AnyConditionKind = ConditionKind<any>
