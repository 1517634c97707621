// Hosts and paths in one spelling: made once, at the door (invariant 3).
import { isIPv4, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'
import { Refusal } from '../model/refusal.ts'

export interface Authority {
  readonly host: string
  readonly port: number
}

const label = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/

/** Lower-case A-label without its trailing dot, or a strict IP literal without brackets. Throws Refusal accept.bad_authority. */
export function canonicalHost(text: string): string {
  if (text.startsWith('[')) {
    const inner = text.slice(1, -1)
    if (!text.endsWith(']') || !isIPv6(inner) || inner.includes('%')) throw new Refusal('accept.bad_authority', 'not an IPv6 literal')
    return new URL(`http://[${inner}]`).hostname.slice(1, -1)
  }
  if (text.length > 255 || !/^[A-Za-z0-9._\-\u0080-\uffff]+$/.test(text))
    throw new Refusal('accept.bad_authority', 'a byte that a host name may not hold')
  if (isIPv4(text)) return text
  const ascii = domainToASCII(text)
  const host = ascii.endsWith('.') ? ascii.slice(0, -1) : ascii
  // What the URL parser turned into an address was a decimal, octal or hex spelling of one.
  if (
    host === '' ||
    host.length > 253 ||
    isIPv4(host) ||
    /^[0-9]+$/.test(host.split('.').at(-1) ?? '') ||
    !host.split('.').every((part) => label.test(part))
  ) {
    throw new Refusal('accept.bad_authority', 'not a host name')
  }
  return host
}

/** `host:port`; `defaultPort` where none is written, or a refusal where it is null (CONNECT, RFC 9110 §9.3.6). */
export function parseAuthority(text: string, defaultPort: number | null): Authority {
  const match = /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(text)
  if (match === null) throw new Refusal('accept.bad_authority', 'not HOST:PORT')
  const port = match[2] === undefined ? defaultPort : Number(match[2])
  if (port === null || port < 1 || port > 65_535) throw new Refusal('accept.bad_authority', 'no usable port')
  return { host: canonicalHost(match[1] as string), port }
}

/** Could an origin read another path than policy matched? (T18) */
export function ambiguousPath(path: string): boolean {
  return /%(?:2f|5c|25|00|2e)|\/\/|[;\\]|\/\.{1,2}(?:\/|$)|%(?![0-9a-f]{2})/i.test(path)
}
