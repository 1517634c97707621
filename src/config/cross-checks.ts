// What only the whole file can say: names that must exist, choices that must be single, things that exclude each other.
import type { Config } from './config.ts'
import type { Reading } from './read.ts'

export function crossChecks(reading: Reading, config: Config): void {
  credentials(reading, config)
  hosts(reading, config)
  for (const [at, tunnel] of config.tunnels.entries()) {
    if (config.services.some((service) => service.hosts.includes(tunnel.host)))
      reading.wrong(['tunnels', at], `${tunnel.host} belongs to a service, and a managed host is never tunnelled`, 'take the tunnel out')
  }
  if (
    config.listen.proxy.port !== 0 &&
    config.listen.proxy.port === config.listen.baseUrl.port &&
    config.listen.proxy.host === config.listen.baseUrl.host
  )
    reading.wrong(['listen'], 'both listeners have one address', 'listen: { proxy: 127.0.0.1:7070, baseUrl: 127.0.0.1:7071 }')
}

function credentials(reading: Reading, config: Config): void {
  const groups = new Set(config.workloads.flatMap((workload) => workload.groups))
  for (const rule of config.credentials) {
    const path = ['credentials', rule.name]
    const service = config.services.find((one) => one.name === rule.service)
    if (service === undefined)
      reading.wrong(
        [...path, 'service'],
        `there is no service ${rule.service}`,
        `one of: ${config.services.map((one) => one.name).join(', ') || 'none yet; add it under services'}`,
      )
    else if (service.credential === 'none')
      reading.wrong(
        [...path, 'service'],
        `${rule.service} takes no credential`,
        'take the credential out, or `credential: none` at the service',
      )
    for (const name of rule.for) {
      if (!groups.has(name) && !config.workloads.some((one) => one.name === name))
        reading.wrong(
          [...path, 'for'],
          `${name} is neither a workload nor a group`,
          `one of: ${[...config.workloads.map((one) => one.name), ...groups].join(', ') || 'none yet; add it under workloads'}`,
        )
    }
  }
  for (const workload of config.workloads) {
    for (const service of config.services) {
      const fitting = config.credentials.filter(
        (rule) => rule.service === service.name && rule.for.some((name) => name === workload.name || workload.groups.includes(name)),
      )
      if (fitting.length > 1)
        reading.wrong(
          ['credentials', fitting[1]?.name ?? ''],
          `two credentials fit ${workload.name} and ${service.name}: ${fitting.map((one) => one.name).join(', ')}`,
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
      if (other !== undefined)
        reading.wrong(['services', service.name], `${host} belongs to ${other} already`, 'name each host at one service')
      owners.set(host, service.name)
    }
  }
}
