// A world with what only the broker has: trust providers, and credential providers with the secrets that they may open.
import type { Config, CredentialRule } from '../config/config.ts'
import { createIdentify, type Provider } from '../identify/identify.ts'
import { trustKinds } from '../identify/trust-providers.ts'
import type { Clock } from '../model/clock.ts'
import type { Evidence } from '../model/evidence.ts'
import type { Identity } from '../model/identity.ts'
import type { CredentialHost, Host, TrustHost } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Secret } from '../model/secret.ts'
import type { Service } from '../model/service.ts'
import type { CredentialProvider } from '../obtain/credential-provider.ts'
import { credentialKinds } from '../obtain/credential-providers.ts'
import type { Runs } from '../runs/runs.ts'
import { createWorld, type World } from './world.ts'

export interface CredentialInForce {
  readonly rule: CredentialRule
  readonly provider: CredentialProvider
  readonly federated: boolean
  readonly secret: string | null
}

export interface BrokerWorld extends World {
  readonly credentials: ReadonlyMap<string, CredentialInForce>
  /** For `ostiary identify`: they bind no token to whoever shows it. */
  readonly unbound: readonly Provider[]
}

export interface WorldHosts {
  readonly plain: Host
  readonly clock: Clock
  readonly runs: Runs
  readonly once: TrustHost['once']
  readonly secret: CredentialHost['secret']
  readonly sign: CredentialHost['sign']
  readonly defaultCustody: string
  /** The launcher's token for a run that was started with --evidence. */
  readonly runEvidence: (runId: string) => Promise<string | null>
}

export function createBrokerWorld(config: Config, hosts: WorldHosts): BrokerWorld {
  const identify = createIdentify({
    providers: startProviders(config, hosts, hosts.once),
    kinds: trustKinds,
    workloads: config.workloads,
    trustDomain: config.trustDomain,
    runs: hosts.runs,
    clock: hosts.clock,
    limits,
    defaultCustody: hosts.defaultCustody,
    log: hosts.plain.log,
  })
  const attest = async (evidence: Evidence, signal: AbortSignal): Promise<Identity> =>
    identify(await withRunEvidence(evidence, hosts), signal)
  return {
    ...createWorld(config, hosts.plain, attest),
    credentials: startCredentials(config, hosts),
    unbound: startProviders(config, hosts, () => true),
  }
}

async function withRunEvidence(evidence: Evidence, { runs, runEvidence }: WorldHosts): Promise<Evidence> {
  if (evidence.token !== null || evidence.peer.process === null) return evidence
  const run = runs.member(evidence.peer.process)
  if (run === null) return evidence
  const token = await runEvidence(run.id)
  return token === null ? evidence : { ...evidence, token: new Secret(token) }
}

function startProviders(config: Config, hosts: WorldHosts, once: TrustHost['once']): readonly Provider[] {
  return config.trustProviders.map((chosen) => {
    const kind = trustKinds.find((one) => one.name === chosen.kind)
    if (kind === undefined) throw new Error(`unknown trust provider kind ${chosen.kind}`)
    const host: TrustHost = { ...hosts.plain, once, audience: config.audience }
    return { name: chosen.name, kind: chosen.kind, provider: kind.start(chosen.config, host, chosen.name) }
  })
}

function startCredentials(config: Config, hosts: WorldHosts): ReadonlyMap<string, CredentialInForce> {
  const host: CredentialHost = { ...hosts.plain, secret: hosts.secret, sign: hosts.sign }
  const started = new Map<string, CredentialInForce>()
  for (const rule of config.credentials) {
    const kind = credentialKinds.find((one) => one.name === rule.kind)
    const service = config.services.find((one) => one.name === rule.service)
    if (kind === undefined || service === undefined) throw new Error(`credential ${rule.name} names an unknown kind or service`)
    started.set(rule.name, {
      rule,
      provider: kind.start(rule.config, bound(host, service, config), rule.name, service),
      federated: kind.federated,
      secret: kind.secretOf(rule.config),
    })
  }
  return started
}

/** The purpose that a kind names is completed with what only the configuration knows: is the host's address a fixed one? */
function bound(host: CredentialHost, service: Service, config: Config): CredentialHost {
  const fixed = isFixed(config, service)
  return {
    ...host,
    secret: (name, purpose) => host.secret(name, { ...purpose, dangerouslyFixed: fixed }),
    sign: (name, claims, audience) => host.sign(issuerKeyName(config, name), claims, audience),
  }
}

/**
 * A federation whose API or token endpoint is dialled at a fixed address signs with a key of its own: the vendor knows only the
 * other one, so no real token can be had that would then go to that address.
 */
export function issuerKeyName(config: Config, credential: string): string {
  const name = config.credentials.find((one) => one.name === credential)?.service
  const service = config.services.find((one) => one.name === name)
  if (service === undefined) return credential
  const tokenHost = service.tokenUrl === null ? null : new URL(service.tokenUrl).hostname
  const fixed = isFixed(config, service) || config.egress.dangerouslyFixedAddresses.some((one) => one.host === tokenHost)
  return fixed ? `${credential} (dangerously fixed)` : credential
}

export function isFixed(config: Config, service: Service): boolean {
  return config.egress.dangerouslyFixedAddresses.some((one) => service.hosts.includes(one.host))
}
