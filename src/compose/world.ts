// What one configuration makes: services, identify, decide, credentials. Built anew on a reload and swapped as a whole.
import { readFile, stat } from 'node:fs/promises'
import { createServiceTable, type ServiceTable } from '../catalog/service-table.ts'
import type { Config, CredentialRule } from '../config/config.ts'
import { conditionKinds } from '../decide/conditions.ts'
import { createDecide, type Decider } from '../decide/decide.ts'
import { createIdentify, type Provider } from '../identify/identify.ts'
import { trustKinds } from '../identify/trust-providers.ts'
import type { Clock } from '../model/clock.ts'
import type { Evidence } from '../model/evidence.ts'
import type { Identity } from '../model/identity.ts'
import type { ConditionHost, CredentialHost, Host, TrustHost } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { CredentialProvider } from '../obtain/credential-provider.ts'
import { credentialKinds } from '../obtain/credential-providers.ts'
import type { Runs } from '../runs/runs.ts'

export interface CredentialInForce {
  readonly rule: CredentialRule
  readonly provider: CredentialProvider
  readonly federated: boolean
  readonly secret: string | null
}

export interface World {
  readonly config: Config
  readonly services: ServiceTable
  readonly decider: Decider
  readonly identify: (evidence: Evidence, signal: AbortSignal) => Promise<Identity>
  readonly credentials: ReadonlyMap<string, CredentialInForce>
  credentialFor(identity: Pick<Identity, 'workload' | 'groups'>, service: Service): string | null
  /** For `ostiary identify`: they bind no token to whoever shows it. */
  readonly unbound: readonly Provider[]
  /** Would a token help this peer? */
  readonly tokensCanIdentify: boolean
}

export interface WorldHosts {
  readonly plain: Host
  readonly clock: Clock
  readonly runs: Runs
  readonly once: TrustHost['once']
  readonly secret: CredentialHost['secret']
  readonly sign: CredentialHost['sign']
  readonly defaultCustody: string
}

export function createWorld(config: Config, hosts: WorldHosts): World {
  const services = createServiceTable(config.services)
  const providers = startProviders(config, hosts, hosts.once)
  const identify = createIdentify({
    providers,
    kinds: trustKinds,
    workloads: config.workloads,
    trustDomain: config.trustDomain,
    runs: hosts.runs,
    clock: hosts.clock,
    limits,
    defaultCustody: hosts.defaultCustody,
    log: hosts.plain.log,
  })
  const credentials = startCredentials(config, hosts)
  const credentialFor = (identity: Pick<Identity, 'workload' | 'groups'>, service: Service): string | null =>
    chooseCredential(config, identity, service)
  const decider = createDecide({
    policies: config.policies,
    conditions: startConditions(config, hosts),
    services: config.services,
    workloads: config.workloads,
    credentialFor: (identity, service) => credentialFor(identity, service),
    clock: hosts.clock,
    limits,
    log: hosts.plain.log,
    observeUntil: (workload) => config.workloads.find((one) => one.name === workload)?.observeUntil ?? null,
  })
  return {
    config,
    services,
    decider,
    identify,
    credentials,
    credentialFor,
    unbound: startProviders(config, hosts, () => true),
    tokensCanIdentify: config.trustProviders.some((one) => one.kind !== 'process'),
  }
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

function startConditions(config: Config, hosts: WorldHosts) {
  const host: ConditionHost = { ...hosts.plain, readFile: readConfigured }
  return config.conditions.map((chosen) => {
    const kind = conditionKinds.find((one) => one.name === chosen.kind)
    if (kind === undefined) throw new Error(`unknown condition kind ${chosen.kind}`)
    return {
      name: chosen.name,
      kind: chosen.kind,
      condition: kind.start(chosen.config, host, chosen.name),
      shape: kind.shape(chosen.config),
    }
  })
}

async function readConfigured(path: string): Promise<Buffer> {
  const { size } = await stat(path)
  if (size > limits.configuredFileBytesMax)
    throw new Refusal('decide.fact_missing', `${path} is larger than ${limits.configuredFileBytesMax} bytes`)
  return readFile(path)
}

/** Exactly one credential fits a workload and a service; `check` names two as a mistake, so two here are a no. */
export function chooseCredential(config: Config, identity: Pick<Identity, 'workload' | 'groups'>, service: Service): string | null {
  if (service.credential === 'none') return null
  const fitting = config.credentials.filter(
    (rule) => rule.service === service.name && rule.for.some((name) => name === identity.workload || identity.groups.includes(name)),
  )
  if (fitting.length === 1) return (fitting[0] as CredentialRule).name
  const names = fitting.map((rule) => rule.name).join(', ')
  throw new Refusal(
    'obtain.no_credential',
    fitting.length === 0 ? `${identity.workload} has none for ${service.name}` : `several fit: ${names}`,
  )
}
