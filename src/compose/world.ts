// What one configuration makes of policy: services and decider, and who is asked who somebody is. All that the data plane knows of
// a configuration, in whichever process it stands. Built anew on a reload and swapped as a whole.
import { readFile, stat } from 'node:fs/promises'
import { createServiceTable, type ServiceTable } from '../catalog/service-table.ts'
import type { Config, CredentialRule } from '../config/config.ts'
import { conditionKinds } from '../decide/conditions.ts'
import { createDecide, type Decider } from '../decide/decide.ts'
import type { Evidence } from '../model/evidence.ts'
import type { Identity } from '../model/identity.ts'
import type { ConditionHost, Host } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'

export interface World {
  readonly config: Config
  readonly services: ServiceTable
  readonly decider: Decider
  readonly identify: (evidence: Evidence, signal: AbortSignal) => Promise<Identity>
  /** Would a token help this peer? */
  readonly tokensCanIdentify: boolean
}

export function createWorld(config: Config, plain: Host, identify: World['identify']): World {
  const decider = createDecide({
    policies: config.policies,
    conditions: startConditions(config, plain),
    services: config.services,
    workloads: config.workloads,
    credentialFor: (identity, service) => chooseCredential(config, identity, service),
    clock: plain.clock,
    limits,
    log: plain.log,
    observeUntil: (workload) => config.workloads.find((one) => one.name === workload)?.observeUntil ?? null,
  })
  return {
    config,
    services: createServiceTable(config.services),
    decider,
    identify,
    tokensCanIdentify: config.trustProviders.some((one) => one.kind !== 'process'),
  }
}

function startConditions(config: Config, plain: Host) {
  const host: ConditionHost = { ...plain, readFile: readConfigured }
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
