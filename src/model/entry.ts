// One leaf of the log. No secret, token, query value or body ever stands in it.

export type EntryKind = 'intent' | 'outcome' | 'token' | 'alert' | 'administration' | 'recovered' | 'pruned'

/** JSON values only; `undefined` fields are left out. Written as one line of JSON, at most entryBytesMax. */
export interface Entry {
  readonly kind: EntryKind
  /** Milliseconds since the epoch. */
  readonly time: number
  /** Joins the entries of one call or one token request. */
  readonly call?: string | undefined
  readonly workload?: string | undefined
  readonly spiffeId?: string | undefined
  readonly provider?: string | undefined
  readonly run?: string | undefined
  /** Stated by whoever started the run. */
  readonly runLabels?: Readonly<Record<string, string>> | undefined
  readonly custody?: string | undefined
  readonly process?: Readonly<Record<string, string | number>> | undefined
  readonly address?: string | undefined
  readonly way?: string | undefined
  readonly service?: string | undefined
  readonly host?: string | undefined
  readonly port?: number | undefined
  /** The proxy of this network, HOST:PORT, through which it went. */
  readonly via?: string | undefined
  readonly method?: string | undefined
  readonly path?: string | undefined
  readonly action?: string | undefined
  readonly model?: string | undefined
  readonly decision?: 'permit' | 'refuse' | undefined
  readonly code?: string | undefined
  readonly detail?: string | undefined
  /** Code of the refusal that there would have been: the workload is only observed. */
  readonly observed?: string | undefined
  readonly policies?: readonly string[] | undefined
  readonly facts?: Readonly<Record<string, unknown>> | undefined
  readonly policyVersion?: string | undefined
  readonly credential?: string | undefined
  readonly credentialKind?: string | undefined
  readonly lease?: string | undefined
  readonly expires?: number | undefined
  readonly status?: number | undefined
  readonly bytesIn?: number | undefined
  readonly bytesOut?: number | undefined
  readonly messagesIn?: number | undefined
  readonly messagesOut?: number | undefined
  readonly durationMs?: number | undefined
  readonly scrubbed?: number | undefined
  /** Who broke the answer off after its head had gone: it was permitted and answered all the same. */
  readonly ended?: string | undefined
  /** Equals that followed; of `pruned`, below which entry. */
  readonly count?: number | undefined
  readonly notes?: readonly string[] | undefined
  readonly alert?: string | undefined
  readonly by?: string | undefined
  readonly what?: string | undefined
}
