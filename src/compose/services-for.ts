// The services as a run of one workload meets them: where a subscription's token is what will be injected, the placeholder has its
// shape and stands in its variable, so that the agent behaves as with the token itself.
import type { Config } from '../config/config.ts'
import type { Service } from '../model/service.ts'
import { kindOf } from './vault.ts'

export function servicesFor(config: Config, workload: string): readonly Service[] {
  const groups = config.workloads.find((one) => one.name === workload)?.groups ?? []
  return config.services.map((service) => {
    if (service.login === undefined) return service
    const rule = config.credentials.find(
      (one) => one.service === service.name && one.for.some((name) => name === workload || groups.includes(name)),
    )
    const kind = rule === undefined ? undefined : kindOf(rule.kind)
    if (rule === undefined || kind === undefined || kind.secretOf(rule.config) === null) return service
    const { keyPrefix, keyVariables } = service.login
    return kind.purposeOf(rule.config, service).slot === 'bearer' ? { ...service, keyPrefix, keyVariables } : service
  })
}
