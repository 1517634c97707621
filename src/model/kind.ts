// The one shape of trust providers, credential providers and conditions.
import type { z } from 'zod'
import type { Clock } from './clock.ts'
import type { Limits } from './limits.ts'
import type { Secret } from './secret.ts'

export interface Log {
  debug(what: string, fields?: Readonly<Record<string, unknown>>): void
  info(what: string, fields?: Readonly<Record<string, unknown>>): void
  warn(what: string, fields?: Readonly<Record<string, unknown>>): void
  error(what: string, fields?: Readonly<Record<string, unknown>>): void
}

export interface PlainRequest {
  readonly method: 'GET' | 'POST'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer
  readonly bytesMax: number
  readonly timeoutMs: number
  readonly signal?: AbortSignal
}

export interface PlainAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** An ordinary bounded https request: vetted address, no redirect, no retry. Throws Refusal forward.* */
export type Fetch = (request: PlainRequest) => Promise<PlainAnswer>

/** All that a kind may touch. */
export interface Host {
  readonly clock: Clock
  readonly fetch: Fetch
  readonly log: Log
  readonly limits: Limits
}

export interface CredentialHost extends Host {
  /** Opens a sealed secret for its purpose. Throws Refusal obtain.secret_missing or obtain.purpose. */
  secret(name: string, purpose: Purpose): Promise<Secret>
  /** Signs a statement with the credential's own ES256 key; adds iat, exp, jti, iss and kid. */
  sign(credentialName: string, claims: Readonly<Record<string, string>>, audience: string): Promise<string>
}

export interface TrustHost extends Host {
  /** Binds `key` to its first holder until `until` (ms); true when it is new or the same holder presents it again. */
  once(key: string, holder: string, until: number): boolean
  /** This installation's own audience. */
  readonly audience: string
}

export interface ConditionHost extends Host {
  /** Reads a configured file, bounded. */
  readFile(path: string): Promise<Buffer>
}

/** What a sealed secret may be used for; part of the seal's associated data. */
export interface Purpose {
  readonly service: string
  readonly hosts: readonly string[]
  readonly port: number
  readonly slot: string
  /** Sealed for use at a `dangerouslyFixedAddresses` host; never mixed with the real one. */
  readonly dangerouslyFixed: boolean
}

/** What a list of kinds holds. `Config` is the parsed output of `schema`. */
export interface Kind<Config, H extends Host, Instance> {
  /** Equals its folder; stands in configuration, audit and docs. */
  readonly name: string
  readonly summary: string
  readonly schema: z.ZodType<Config>
  /** What the schema cannot say; pure. Returns sentences. */
  check?(config: Config): readonly string[]
  /** Pure: no I/O before first use. `name` is the instance's name in the configuration. */
  start(config: Config, host: H, name: string): Instance
}
