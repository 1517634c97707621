// Policy's yes, with what it was made of: the record and the seam between the planes read it.
import type { FactValue } from './facts.ts'

/** Policy said yes; a no is a Refusal `decide.*`. */
export interface Decision {
  /** Ids of the policies that permitted. */
  readonly policies: readonly string[]
  /** Facts that the policies of the slice read, flattened as `condition` or `condition.name`. */
  readonly facts: Readonly<Record<string, FactValue>>
  readonly policyVersion: string
  /** Name of the credential chosen for workload and service; null where the service takes none. */
  readonly credential: string | null
  readonly model: string | null
  readonly tools: readonly string[]
  /** The no that there would have been: the workload is only observed. */
  readonly observed?: { readonly code: string; readonly detail: string }
}
