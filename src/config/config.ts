// The configuration in force: frozen, complete, every default applied. Made by config/read.ts, built upon by compose.
import type { Service } from '../model/service.ts'

/** A kind chosen in the file, with its parsed configuration. */
export interface Chosen {
  readonly name: string
  readonly kind: string
  readonly config: unknown
  readonly line: number
}

export interface WorkloadRule {
  readonly name: string
  /** SPIFFE path template; `{attribute}` only from proven attributes. Default `/<name>`. */
  readonly path: string
  readonly groups: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  /** One entry a trust provider: all listed must fit. `provider` is the configured name. */
  readonly identify: readonly { readonly provider: string; readonly kind: string; readonly rule: unknown }[]
  /** Until then (ms) policy's no is recorded and not obeyed; null: policy is obeyed. */
  readonly observeUntil: number | null
  /** null: no run of this workload can be started. `within`: workloads in whose runs it may be started, by whoever is there. */
  readonly run: { readonly startedBy: readonly string[]; readonly custody: 'any' | 'namespace'; readonly within: readonly string[] } | null
}

export interface CredentialRule extends Chosen {
  readonly service: string
  /** Workloads or groups. */
  readonly for: readonly string[]
  readonly leaseMs: number
}

export interface Address {
  readonly host: string
  readonly port: number
}

export interface PolicyText {
  /** From @id, else `<file>#<n>`. */
  readonly id: string
  readonly text: string
  readonly file: string
  readonly line: number
}

export interface FixedAddress {
  readonly host: string
  readonly address: string
  readonly port: number
  readonly reason: string
  /** ISO date; past it the file is a mistake. */
  readonly until: string
}

export interface Config {
  readonly file: string
  readonly trustDomain: string
  /** https://ostiary.<trust domain> unless configured. */
  readonly audience: string
  readonly dataDir: string
  readonly listen: { readonly proxy: Address; readonly baseUrl: Address; readonly metrics: Address | null }
  /** Of the data plane. 1: it is the broker's own. */
  readonly processes: number
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
  readonly egress: {
    /** The proxy of this network: hosts are reached by CONNECT through it. */
    readonly proxy: Address | null
    /** Reached without it: names, each with everything below it, and addresses. */
    readonly noProxy: readonly string[]
    /** It reads what passes, and credentials go through it all the same. */
    readonly inspects: boolean
    readonly extraCa: string | null
    readonly resolver: string | null
    readonly dangerouslyFixedAddresses: readonly FixedAddress[]
  }
  readonly trustProviders: readonly Chosen[]
  readonly workloads: readonly WorkloadRule[]
  readonly services: readonly Service[]
  readonly tunnels: readonly { readonly host: string; readonly reason: string }[]
  readonly credentials: readonly CredentialRule[]
  readonly conditions: readonly Chosen[]
  readonly policies: readonly PolicyText[]
  /** `keepDays` null: all is kept. */
  readonly audit: { readonly keepDays: number | null; readonly copies: readonly string[] }
  readonly suspension: { readonly trips: number; readonly windowMs: number }
  /** Every file that was read, for custody checks and change watching. */
  readonly files: readonly string[]
  /** What comes to fit one of these is a change of configuration too. */
  readonly patterns: readonly string[]
  /** Files that conditions read by themselves, again and again: in custody like the rest, but no change of configuration. */
  readonly believed: readonly string[]
}
