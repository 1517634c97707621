// What only the whole file can say: names that must exist, choices that must be single, things that exclude each other.
import type { Service } from '../model/service.ts'
import type { Config, CredentialRule } from './config.ts'
import { meant } from './nearest.ts'
import type { Reading } from './reading.ts'

export function crossChecks(reading: Reading, config: Config): void {
  for (const rule of config.credentials) credential(reading, config, rule)
  oneCredentialEach(reading, config)
  hosts(reading, config)
  tunnels(reading, config)
  identities(reading, config)
  insides(reading, config)
  listeners(reading, config)
  audiences(reading, config)
  for (const [at, dir] of config.audit.copies.entries())
    if (`${dir}/`.startsWith(`${config.dataDir}/`))
      reading.wrong(
        ['audit', 'copies', at],
        `${dir} lies beside the log: who changes one changes both`,
        'name a folder on another machine or medium',
      )
  const fixed = new Set<string>()
  for (const [at, one] of config.egress.dangerouslyFixedAddresses.entries()) {
    if (fixed.has(one.host))
      reading.wrong(['egress', 'dangerouslyFixedAddresses', at], `${one.host} has a fixed address already`, 'write one of them')
    fixed.add(one.host)
  }
}

function credential(reading: Reading, config: Config, rule: CredentialRule): void {
  const path = ['credentials', rule.name]
  const service = config.services.find((one) => one.name === rule.service)
  if (service === undefined) {
    if (!reading.written('services').includes(rule.service)) {
      const known = config.services.map((one) => one.name)
      const inCatalog = reading.options.catalog.some((one) => one.name === rule.service)
      const write = inCatalog
        ? `services: { ${rule.service}: {} }`
        : known.length > 0
          ? meant(rule.service, known)
          : 'add it under services'
      reading.wrong([...path, 'service'], `there is no service ${rule.service}`, write)
    }
  } else if (service.credential === 'none')
    reading.wrong([...path, 'service'], `${rule.service} takes no credential`, 'take one out: the credential, or `credential: none`')
  else vendor(reading, rule, service)
  const groups = [...new Set(config.workloads.flatMap((workload) => workload.groups))]
  const workloads = config.workloads.map((one) => one.name)
  for (const [at, name] of rule.for.entries()) {
    const members = config.workloads.filter((one) => one.groups.includes(name)).map((one) => one.name)
    if (!groups.includes(name) && !workloads.includes(name)) {
      if (reading.written('workloads').includes(name)) continue
      const known = [...workloads, ...groups]
      reading.wrong(
        [...path, 'for', at],
        `${name} is neither a workload nor a group`,
        known.length > 0 ? meant(name, known) : 'add it under workloads',
      )
    } else if (workloads.includes(name) && members.some((member) => member !== name))
      reading.wrong([...path, 'for', at], `${name} is a workload and a group of others`, 'give one of them another name')
  }
}

/** A federation is one vendor's: its token at another vendor's service would be a secret given away. */
function vendor(reading: Reading, rule: CredentialRule, service: Service): void {
  const kind = reading.options.kinds.credential.find((one) => one.name === rule.kind)
  if (kind?.federated !== true) return
  const own = reading.options.catalog.find((one) => `${one.name}-federation` === rule.kind)
  const other = reading.options.catalog.find((one) => one.hosts.some((host) => service.hosts.includes(host)))
  if (own !== undefined && other !== undefined && own.name !== other.name)
    reading.wrong(
      ['credentials', rule.name, rule.kind],
      `${rule.kind} gets tokens of ${own.name}, and ${service.name} is ${other.name}'s`,
      `static-key: { secret: ${rule.name} }   or   service: ${own.name}`,
    )
}

function oneCredentialEach(reading: Reading, config: Config): void {
  const said = new Set<string>()
  for (const workload of config.workloads) {
    for (const service of config.services) {
      const fitting = config.credentials
        .filter(
          (rule) => rule.service === service.name && rule.for.some((name) => name === workload.name || workload.groups.includes(name)),
        )
        .map((rule) => rule.name)
      const key = fitting.join(', ')
      if (fitting.length < 2 || said.has(key)) continue
      said.add(key)
      reading.wrong(
        ['credentials', fitting.at(-1) as string, 'for'],
        `two credentials fit ${workload.name} at ${service.name}: ${key}`,
        'narrow one of them with `for`',
      )
    }
  }
}

function hosts(reading: Reading, config: Config): void {
  const owners = new Map<string, string>()
  for (const service of config.services) {
    for (const host of service.hosts) {
      const other = owners.get(host)
      if (other === service.name) reading.wrong(['services', service.name, 'hosts'], `${host} stands twice`, 'name it once')
      else if (other !== undefined)
        reading.wrong(['services', service.name], `${host} belongs to ${other} already`, 'name each host at one service')
      owners.set(host, service.name)
    }
  }
}

function tunnels(reading: Reading, config: Config): void {
  const known = new Set<string>()
  for (const [at, { host }] of config.tunnels.entries()) {
    if (known.has(host)) reading.wrong(['tunnels', at], `${host} stands twice`, 'name it once')
    known.add(host)
    const owner = config.services.find((service) => service.hosts.includes(host))
    if (owner !== undefined)
      reading.wrong(
        ['tunnels', at, 'host'],
        `${host} belongs to ${owner.name}, and a managed host is never tunnelled`,
        'take the tunnel out',
      )
  }
}

/** Two workloads of one SPIFFE ID would be one to everybody who is shown it. */
function identities(reading: Reading, config: Config): void {
  const owners = new Map<string, string>()
  for (const { name, path } of config.workloads) {
    const other = owners.get(path)
    if (other !== undefined)
      reading.wrong(['workloads', name, 'path'], `${other} has the path ${path} already`, `path: /${name}   or none, which is the same`)
    owners.set(path, name)
  }
}

/** A run is narrowed to a workload that names the wider one, which must be one that can be run. */
function insides(reading: Reading, config: Config): void {
  const runnable = config.workloads.filter((one) => one.run !== null).map((one) => one.name)
  for (const { name, run } of config.workloads)
    for (const [at, outer] of (run?.within ?? []).entries()) {
      const path = ['workloads', name, 'run', 'within', at]
      if (outer === name) reading.wrong(path, `${name} may be started inside of itself without this`, 'leave it out')
      else if (
        !runnable.includes(outer) &&
        !(reading.written('workloads').includes(outer) && !config.workloads.some((one) => one.name === outer))
      )
        reading.wrong(
          path,
          `${outer} is no workload that can be run`,
          runnable.length > 0 ? meant(outer, runnable) : 'add it under workloads',
        )
    }
}

function listeners(reading: Reading, config: Config): void {
  const taken = new Map<string, string>()
  for (const [name, at] of Object.entries(config.listen)) {
    if (at === null || at.port === 0) continue
    const key = `${at.host}:${at.port}`
    const other = taken.get(key)
    if (other !== undefined) reading.wrong(['listen', name], `${other} listens on ${key} already`, 'write another port')
    taken.set(key, name)
  }
}

/** Our own audience must be nobody else's: a token that an agent holds for us would be good there (DESIGN, invariant 15). */
function audiences(reading: Reading, config: Config): void {
  const host = URL.canParse(config.audience) ? new URL(config.audience).hostname : ''
  const foreign =
    [...reading.options.catalog, ...config.services].some((service) => service.hosts.includes(host)) ||
    config.credentials.some((rule) => (rule.config as { readonly audience?: unknown }).audience === config.audience) ||
    /^kubernetes(\.default(\.svc.*)?)?$/.test(host)
  if (foreign)
    reading.wrong(
      ['audience'],
      `${config.audience} is the audience of a vendor or an API server: a token for Ostiary would be good there too`,
      `audience: https://ostiary.${config.trustDomain}`,
    )
  for (const provider of config.trustProviders) {
    const { audience, issuer } = provider.config as { readonly audience?: unknown; readonly issuer?: unknown }
    const at = ['trustProviders', provider.name, provider.kind, 'audience']
    const vendors = config.credentials.map((rule) => (rule.config as { readonly audience?: unknown }).audience)
    if (typeof audience === 'string' && vendors.includes(audience))
      reading.wrong(at, `${audience} is the audience of a credential's vendor`, 'leave it out, or name one of your own')
    // A token for its own issuer (an API server's default) is good for everything there.
    if (typeof audience === 'string' && audience === issuer)
      reading.wrong(at, 'the audience is the issuer itself', 'leave it out, or name one of your own')
  }
}
