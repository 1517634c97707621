// Makes the one Target of a request (invariant 3): authority, SNI, Host and path agree, or the request is refused here.
import type { RequestMessage } from '../http/read-head.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { Target, Way } from '../model/target.ts'
import { type Authority, ambiguousPath, parseAuthority } from './canonical.ts'
import { type LeadBack, leadBackOf } from './lead-back.ts'

export interface Lookup {
  find(scheme: 'https' | 'http', host: string, port: number): Service | null
  byName(name: string): Service | null
  action(service: Service, method: string, path: string, place: { readonly host: string; readonly query: string }): string
  repository?(service: Service, host: string, path: string): string | undefined
  /** Does any service name this host, at whatever port or scheme? Without it only the usual ports are looked at. */
  manages?(host: string): boolean
}

export function managed(lookup: Lookup, host: string): boolean {
  return lookup.manages?.(host) ?? (lookup.find('https', host, 443) !== null || lookup.find('http', host, 80) !== null)
}

export interface Aim {
  readonly target: Target
  readonly service: Service | null
  /** How addresses in the answer are led back through the base URL. */
  readonly leadBack?: LeadBack | undefined
}

/** A request inside an intercepted tunnel. */
export function aimIntercepted(head: RequestMessage, authority: Authority, lookup: Lookup, way: Way = 'connect'): Aim {
  if (head.kind !== 'origin') throw new Refusal('accept.disagree', 'a URL as target inside a tunnel')
  // Spelled as it was canonised, as nearly every request is: nothing to parse.
  if (head.host !== authority.host || authority.port !== 443) {
    const host = parseAuthority(head.host, 443)
    if (host.host !== authority.host || host.port !== authority.port) throw new Refusal('accept.disagree', 'Host and CONNECT')
  }
  return targetOf(head, head.target, 'https', authority, way, lookup)
}

/** Plain HTTP that was not sent to a proxy: Host says which host, and its port is the one that was dialled. */
export function aimTransparent(head: RequestMessage, port: number, lookup: Lookup): Aim {
  if (head.kind !== 'origin') throw new Refusal('accept.disagree', 'a URL as target outside a proxy')
  const host = parseAuthority(head.host, 80)
  if (host.port !== port) throw new Refusal('accept.disagree', 'Host and the port that was dialled')
  return targetOf(head, head.target, 'http', host, 'transparent', lookup)
}

/** `GET http://host/path`: plain HTTP by proxy. An https URL in absolute form would be sent in clear: refused. */
export function aimAbsolute(head: RequestMessage, lookup: Lookup): Aim {
  if (head.kind !== 'absolute') throw new Refusal('accept.not_here', 'a path without a host at the proxy')
  const match = /^http:\/\/([^/?]*)(\/?[^?]*)(\?.*)?$/.exec(head.target)
  if (match === null) throw new Refusal('accept.bad_authority', 'only http URLs in absolute form')
  const authority = parseAuthority(match[1] as string, 80)
  // RFC 9112 §3.2.2 lets a proxy ignore Host here; two names for one request are refused instead.
  const host = parseAuthority(head.host, 80)
  if (host.host !== authority.host || host.port !== authority.port) throw new Refusal('accept.disagree', 'Host and the URL')
  return targetOf(head, `${match[2] === '' ? '/' : match[2]}${match[3] ?? ''}`, 'http', authority, 'absolute', lookup)
}

/** `/openai/v1/...`, with a run pointer before it or not: `/r/POINTER/openai/v1/...`. */
export function aimBaseUrl(head: RequestMessage, names: ReadonlySet<string>, lookup: Lookup): Aim & { readonly pointer: string | null } {
  if (head.kind !== 'origin') throw new Refusal('accept.host_wrong', 'a URL as target')
  const host = parseAuthority(head.host, 80)
  if (!names.has(`${host.host}:${host.port}`)) throw new Refusal('accept.host_wrong')
  const match = /^(?:\/r\/(run-[0-9a-f]+))?\/([A-Za-z0-9_-]+)(\/[^?]*|)(\?.*)?$/.exec(head.target)
  const service = match === null ? null : lookup.byName(match[2] as string)
  if (match === null || service === null) throw new Refusal('accept.not_here')
  // Any web page can post to a port of this machine; it cannot hide that it is one.
  const origin = head.get('origin')
  if ((origin !== undefined || head.get('sec-fetch-site') !== undefined) && !(origin !== undefined && service.origins.includes(origin)))
    throw new Refusal('accept.browser', `origin ${origin ?? 'none'}`)
  const rest = match[3] === '' ? '/' : (match[3] as string)
  const prefixed = service.basePrefix === '' || rest === service.basePrefix || rest.startsWith(`${service.basePrefix}/`)
  const path = prefixed ? rest : `${service.basePrefix}${rest}`
  const authority = { host: service.hosts[0] as string, port: service.port }
  const aim = targetOf(head, `${path}${match[4] ?? ''}`, service.scheme, authority, 'base-url', lookup)
  const mapped = `${match[1] === undefined ? '' : `/r/${match[1]}`}/${match[2]}`
  return { ...aim, leadBack: leadBackOf(head, mapped, service), pointer: match[1] ?? null }
}

function targetOf(head: RequestMessage, target: string, scheme: 'https' | 'http', authority: Authority, way: Way, lookup: Lookup): Aim {
  const question = target.indexOf('?')
  const written = question < 0 ? target : target.slice(0, question)
  const query = question < 0 ? '' : target.slice(question)
  const service = lookup.find(scheme, authority.host, authority.port)
  if (service === null) throw new Refusal('accept.host_unmanaged', authority.host)
  const path = service.respelled === undefined ? written : respell(written, service.respelled)
  if (service.actions.length > 0 && ambiguousPath(path)) throw new Refusal('accept.ambiguous_path')
  if (service.methods.length > 0 && !service.methods.includes(head.method)) throw new Refusal('decide.method', head.method)
  const { host, port } = authority
  const action = lookup.action(service, head.method, path, { host, query })
  const repository = lookup.repository?.(service, host, path)
  const made: Target = { scheme, host, port, method: head.method, path, query, service: service.name, action, way }
  return { target: repository === undefined ? made : { ...made, repository }, service }
}

/** Before the Target, and part of it, as the mapping of a base URL is: what policy matches is still what is sent. */
function respell(path: string, spellings: Readonly<Record<string, string>>): string {
  const odd = Object.keys(spellings).find((one) => path.startsWith(one))
  return odd === undefined ? path : `${spellings[odd]}${path.slice(odd.length)}`
}
