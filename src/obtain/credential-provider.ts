// The contract of a credential provider: gets or mints a credential for a service.
import type { Credential, Need } from '../model/credential.ts'
import type { CredentialHost, Kind, Purpose } from '../model/kind.ts'
import type { Secret } from '../model/secret.ts'
import type { Service } from '../model/service.ts'

export interface Obtained {
  readonly credential: Credential
  /** Milliseconds since the epoch; the lease ends no later. */
  readonly expiresAt: number
  readonly secrets: readonly Secret[]
  /** Of the lease that it is taken from; left out where it is new. */
  readonly leaseId?: string
}

export interface CredentialProvider {
  obtain(need: Need, signal: AbortSignal): Promise<Obtained>
}

export interface CredentialKind<Config> extends Omit<Kind<Config, CredentialHost, CredentialProvider>, 'start'> {
  /** Pure; the service is the one that the credential is for. */
  start(config: Config, host: CredentialHost, name: string, service: Service): CredentialProvider
  /** Name of the sealed secret that this configuration uses, or null (federation). */
  secretOf(config: Config): string | null
  /** The purpose its secret must be sealed for. */
  purposeOf(config: Config, service: Service): Purpose
  /** What is wrong with a value that is to be sealed for it, before anybody waits for a lease; never shows the value. */
  wrongWith?(config: Config, service: Service, value: Buffer): string | null
  /** Does it sign statements with a key of its own? */
  readonly federated: boolean
}

// biome-ignore lint/suspicious/noExplicitAny: a list holds kinds of different configurations; each closes over its own
export type AnyCredentialKind = CredentialKind<any>
