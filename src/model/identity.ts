// Who is asking, as proven; and the workload that configuration knows.

export type Attributes = Readonly<Record<string, string>>

/** What a trust provider proved. */
export interface Attested {
  /** Name of the trust provider in the configuration. */
  readonly provider: string
  readonly attributes: Attributes
  /** Milliseconds since the epoch; the identity is never remembered past it. */
  readonly expiresAt: number
  /** The run whose membership was proven, if any. */
  readonly run: string | null
}

export type Custody = string // 'system-user' | 'namespace' | 'shared-user' | 'exposed(NAME)' | 'agent-held(NAME)' | 'other-user'

export interface Identity {
  readonly workload: string
  /** spiffe://<trust domain>/<path> */
  readonly spiffeId: string
  readonly groups: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly proven: Attributes
  readonly provider: string
  readonly run: string | null
  readonly custody: Custody
  readonly expiresAt: number
  /** Unchangeable key of everything above but expiry; part of the decision memo's key. */
  readonly key: string
  /** What the kernel said of the connection, for the record and for conditions about this host. */
  readonly onThisHost: boolean
  readonly address: string
}
