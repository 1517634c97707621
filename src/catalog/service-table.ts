// Finds the service of a host and the action of a path. It must never decode, fold or repair a path:
// what is classified is, byte for byte, what is sent.
import { limits } from '../model/limits.ts'
import type { ActionRule, Service } from '../model/service.ts'

export interface ServiceTable {
  find(scheme: string, host: string, port: number): Service | null
  byName(name: string): Service | null
  /** The action in the catalog's words; `call` where no rule fits. */
  action(service: Service, method: string, path: string, place?: Place): string
  /** The repository that the path names, as policies compare it. */
  repository(service: Service, host: string, path: string): string | undefined
}

/** What only some rules look at. */
export interface Place {
  readonly host: string
  readonly query: string
}

interface CompiledRule {
  readonly action: string
  readonly methods: ReadonlySet<string> | null
  readonly path: RegExp
  readonly fits: ((host: string) => boolean) | null
  readonly query: string | undefined
}

/** Guarded actions are recognised in any case and with a trailing slash: a vendor that is lenient there must not lead past them. */
const guarded = /^(?:mint|admin|git\.push)(?:\.|$)/

export function createServiceTable(services: readonly Service[]): ServiceTable {
  const byOrigin = new Map<string, Service>()
  const byName = new Map<string, Service>()
  const rules = new Map<Service, readonly CompiledRule[]>()
  /** Paths repeat: the same few are asked for all day. */
  const known = new Map<string, string>()
  for (const service of services) {
    byName.set(service.name, service)
    rules.set(service, service.actions.map(compileRule))
    for (const host of service.hosts) byOrigin.set(origin(service.scheme, host, service.port), service)
  }
  return {
    find: (scheme, host, port) => byOrigin.get(origin(scheme, host, port)) ?? null,
    byName: (name) => byName.get(name) ?? null,
    action(service, method, path, place = { host: service.hosts[0] ?? '', query: '' }) {
      const own = rules.get(service) ?? service.actions.map(compileRule)
      if (own.length === 0) return 'call'
      if (place.query !== '') return classify(own, method, path, place)
      const key = `${service.name} ${place.host} ${method} ${path}`
      let action = known.get(key)
      if (action === undefined) {
        action = classify(own, method, path, place)
        if (known.size >= limits.pathsRememberedMax) known.clear()
        known.set(key, action)
      }
      return action
    },
    repository: repositoryOf,
  }
}

/** Hosts fold case and drop one `.git`; so does what policies compare. */
function repositoryOf(service: Service, host: string, path: string): string | undefined {
  const paths = service.repositoryPaths
  if (paths === undefined || !Object.hasOwn(paths, host)) return undefined
  return paths[host]
    ?.exec(path)?.[1]
    ?.toLowerCase()
    .replace(/\.git$/, '')
}

function origin(scheme: string, host: string, port: number): string {
  return `${scheme}://${host}:${port}`
}

// RFC 3986 §2.3: a vendor may decode an encoded unreserved character, so it can only hide a path from its rule.
const hiddenUnreserved = /%(?:4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae]|3[0-9]|2d|2e)/i

function classify(rules: readonly CompiledRule[], method: string, path: string, place: Place): string {
  const found = firstFit(rules, method, path, place)
  if (!path.includes('%')) return found
  // Fail closed: `mint` is the one action that no blanket policy permits.
  if (hiddenUnreserved.test(path)) return 'mint'
  return firstFit(rules, method, path.replace(/%3a/gi, ':'), place) === found ? found : 'mint'
}

function firstFit(rules: readonly CompiledRule[], method: string, path: string, { host, query }: Place): string {
  for (const rule of rules) {
    if (rule.fits?.(host) === false || (rule.query ?? query) !== query) continue
    if ((rule.methods === null || rule.methods.has(method)) && rule.path.test(path)) return rule.action
  }
  return 'call'
}

function compileRule(rule: ActionRule): CompiledRule {
  const methods = rule.methods === undefined || rule.methods.length === 0 ? null : new Set(rule.methods)
  const { action, hosts, query } = rule
  return { action, methods, path: compilePath(rule.path, guarded.test(action)), fits: hosts === undefined ? null : fitting(hosts), query }
}

function fitting(hosts: readonly string[]): (host: string) => boolean {
  const beginnings = hosts.flatMap((host) => (host.endsWith('.*') ? [host.slice(0, -1)] : []))
  if (beginnings.length === 0) return (host) => hosts.includes(host)
  return (host) => hosts.includes(host) || beginnings.some((beginning) => host.startsWith(beginning))
}

/** `*` is one segment or a part of one, `**` any rest; a closing slash and `**` fit the bare path too. */
export function compilePath(pattern: string, lenient: boolean): RegExp {
  const open = pattern.endsWith('/**')
  const body = (open ? pattern.slice(0, -3) : pattern)
    .split('**')
    .map((part) =>
      part
        .split('*')
        .map((text) => text.replace(/[.+?^${}()|[\]\\/-]/g, '\\$&'))
        .join('[^/]+'),
    )
    .join('.*')
  const rest = open ? '(?:/.*)?' : lenient ? '/?' : ''
  return new RegExp(`^${body}${rest}$`, lenient ? 'is' : 's')
}
