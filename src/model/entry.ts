// One leaf of the log. No secret, token, query value or body ever stands in it.

export type EntryKind = 'intent' | 'outcome' | 'token' | 'alert' | 'administration' | 'recovered'

/** JSON values only; `undefined` fields are left out. Written as one line of JSON, at most entryBytesMax. */
export interface Entry {
  readonly kind: EntryKind
  /** Milliseconds since the epoch. */
  readonly time: number
  /** Joins the entries of one call or one token request. */
  readonly call?: string
  readonly workload?: string
  readonly spiffeId?: string
  readonly provider?: string
  readonly run?: string
  /** Stated by whoever started the run. */
  readonly runLabels?: Readonly<Record<string, string>>
  readonly custody?: string
  readonly process?: Readonly<Record<string, string | number>>
  readonly address?: string
  readonly way?: string
  readonly service?: string
  readonly host?: string
  readonly port?: number
  readonly method?: string
  readonly path?: string
  readonly action?: string
  readonly model?: string
  readonly decision?: 'permit' | 'refuse'
  readonly code?: string
  readonly detail?: string
  /** Code of the refusal that there would have been: the workload is only observed. */
  readonly observed?: string
  readonly policies?: readonly string[]
  readonly facts?: Readonly<Record<string, unknown>>
  readonly policyVersion?: string
  readonly credential?: string
  readonly credentialKind?: string
  readonly lease?: string
  readonly expires?: number
  readonly status?: number
  readonly bytesIn?: number
  readonly bytesOut?: number
  readonly messagesIn?: number
  readonly messagesOut?: number
  readonly durationMs?: number
  readonly scrubbed?: number
  readonly count?: number
  readonly notes?: readonly string[]
  readonly alert?: string
  readonly by?: string
  readonly what?: string
}
