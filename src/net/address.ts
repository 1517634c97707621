// Which addresses may be dialled. IPv4 inside IPv6 is unwrapped first, so that no spelling leads around the classes.
import ipaddr from 'ipaddr.js'

export type AddressClass = 'public' | 'private' | 'loopback' | 'link-local' | 'metadata' | 'reserved'

/** Credentials of clouds live here: never dialled, whatever a service allows. */
const metadata = new Set([
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
])

/** Class of an IP literal as the resolver gives it. Anything that is not strictly an address is reserved. */
export function classifyAddress(text: string): AddressClass {
  const address = parse(text)
  if (address === null) return 'reserved'
  let worst = classOf(address)
  for (const inner of embedded(address)) {
    const kind = classOf(inner)
    if (worst === 'public' || kind === 'metadata') worst = kind
  }
  return worst
}

function classOf(address: ipaddr.IPv4 | ipaddr.IPv6): AddressClass {
  if (metadata.has(address.toString())) return 'metadata'
  switch (address.range()) {
    case 'unicast':
      // RFC 4291 §2.4: of IPv6 only 2000::/3 was given out.
      return address instanceof ipaddr.IPv4 || (address.toByteArray()[0] as number) >> 5 === 1 ? 'public' : 'reserved'
    case 'private':
    case 'uniqueLocal':
    case 'carrierGradeNat':
      return 'private'
    case 'loopback':
      return 'loopback'
    case 'linkLocal':
      return 'link-local'
    // What they carry decides.
    case 'ipv4Mapped':
    case '6to4':
    case 'teredo':
      return 'public'
    case 'rfc6052':
      // RFC 8215: where the IPv4 address stands in 64:ff9b:1::/48 only that network knows.
      return (address.toByteArray()[5] as number) === 1 ? 'reserved' : 'public'
    default:
      return 'reserved'
  }
}

function parse(text: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  // Octal, decimal and short forms are for resolvers, not for us.
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) return /(^|\.)0\d/.test(text) || !ipaddr.IPv4.isValid(text) ? null : ipaddr.IPv4.parse(text)
  // ipaddr.js takes the compatible form for the mapped one.
  const compatible = /^::(\d{1,3}(?:\.\d{1,3}){3})$/.exec(text)?.[1]
  if (compatible !== undefined)
    return ipaddr.IPv4.isValid(compatible) ? new ipaddr.IPv6([...zeros(12), ...ipaddr.IPv4.parse(compatible).toByteArray()]) : null
  return text.includes(':') && !text.includes('%') && ipaddr.IPv6.isValid(text) ? ipaddr.IPv6.parse(text) : null
}

const zeros = (count: number): readonly number[] => new Array(count).fill(0)
const mappedPrefix = [...zeros(10), 0xff, 0xff]
const nat64Prefix = [0, 0x64, 0xff, 0x9b, ...zeros(8)]

/** RFC 4291 §2.5.5.1, deprecated; `::` and `::1` are not of this kind. */
function isCompatible(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  const bytes = address.toByteArray()
  return bytes.length === 16 && begins(bytes, zeros(12)) && bytes.slice(12).some((byte, at) => byte > (at === 3 ? 1 : 0))
}

function begins(bytes: readonly number[], prefix: readonly number[]): boolean {
  return prefix.every((byte, at) => bytes[at] === byte)
}

/** Mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380: its server and its client), ISATAP (RFC 5214). */
function embedded(address: ipaddr.IPv4 | ipaddr.IPv6): readonly ipaddr.IPv4[] {
  if (address instanceof ipaddr.IPv4) return []
  const bytes = address.toByteArray()
  const four = (at: number, flip = 0): ipaddr.IPv4 => new ipaddr.IPv4(bytes.slice(at, at + 4).map((byte) => byte ^ flip))
  if (begins(bytes, mappedPrefix) || isCompatible(address) || begins(bytes, nat64Prefix)) return [four(12)]
  if (begins(bytes, [0x20, 0x02])) return [four(2)]
  if (begins(bytes, [0x20, 0x01, 0, 0])) return [four(12, 0xff), four(4)]
  if (((bytes[8] as number) & 0xfd) === 0 && begins(bytes.slice(9), [0, 0x5e, 0xfe])) return [four(12)]
  return []
}

/** The plain form of an address, for comparing with what a socket says. */
export function plainAddress(text: string): string {
  const address = parse(text)
  if (address === null) return text
  return address instanceof ipaddr.IPv6 && begins(address.toByteArray(), mappedPrefix)
    ? address.toIPv4Address().toString()
    : address.toString()
}
