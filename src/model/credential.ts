// What goes on the wire, and for how long it may.
import type { Secret } from './secret.ts'

/** A closed union: inject switches on it exhaustively. Names are lower-case. */
export type Credential =
  | { readonly kind: 'bearer'; readonly token: Secret; readonly lists?: Readonly<Record<string, string>> } // lists: value to add to a list field, e.g. anthropic-beta
  | { readonly kind: 'header'; readonly name: string; readonly value: Secret }
  | { readonly kind: 'query'; readonly name: string; readonly value: Secret }
  | { readonly kind: 'basic'; readonly user: string; readonly password: Secret }
  | { readonly kind: 'sigv4'; readonly accessKeyId: string; readonly secretKey: Secret; readonly sessionToken: Secret | null }
  | { readonly kind: 'none' }

/** What a credential provider is asked for. */
export interface Need {
  readonly workload: string
  readonly spiffeId: string
  readonly groups: readonly string[]
  readonly run: string | null
  readonly service: string
  readonly host: string
  readonly port: number
}

/** In memory only. Bound to workload, service, host and port. */
export interface Lease {
  readonly id: string
  /** Name of the credential in the configuration. */
  readonly credentialName: string
  /** e.g. `static-key`, `openai-federation`. */
  readonly providerKind: string
  readonly credential: Credential
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  readonly workload: string
  readonly service: string
  readonly host: string
  readonly port: number
  /** Every secret value in the credential, for scrub. */
  readonly secrets: readonly Secret[]
  /** Aborted on revocation: cuts the calls under way. */
  readonly revoked: AbortSignal
}
