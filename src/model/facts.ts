// A named value about the world with its source and age.

export type FactValue = string | number | boolean | readonly string[]

/** By name, below `context.facts.<condition>` when the condition states several, or the value itself when it states one. */
export type Facts = Readonly<Record<string, FactValue>>

/** What a condition is asked about. */
export interface Asked {
  readonly workload: string
  readonly labels: Readonly<Record<string, string>>
  readonly proven: Readonly<Record<string, string>>
  readonly provider: string
  readonly onThisHost: boolean
  readonly address: string
  readonly service: string | null
}
