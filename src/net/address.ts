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
  const plain = unwrap(address)
  if (metadata.has(plain.toString())) return 'metadata'
  const range = plain.range()
  switch (range) {
    case 'unicast':
      return 'public'
    case 'private':
    case 'uniqueLocal':
    case 'carrierGradeNat':
      return 'private'
    case 'loopback':
      return 'loopback'
    case 'linkLocal':
      return 'link-local'
    default:
      return 'reserved'
  }
}

function parse(text: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  // Octal, decimal and short forms are for resolvers, not for us.
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) return /(^|\.)0\d/.test(text) || !ipaddr.IPv4.isValid(text) ? null : ipaddr.IPv4.parse(text)
  return text.includes(':') && !text.includes('%') && ipaddr.IPv6.isValid(text) ? ipaddr.IPv6.parse(text) : null
}

/** Mapped, compatible, NAT64 (RFC 6052, 8215), 6to4 and Teredo all carry an IPv4 address. */
function unwrap(address: ipaddr.IPv4 | ipaddr.IPv6): ipaddr.IPv4 | ipaddr.IPv6 {
  if (address instanceof ipaddr.IPv4) return address
  const bytes = address.toByteArray()
  const four = (at: number, flip = 0): ipaddr.IPv4 => new ipaddr.IPv4(bytes.slice(at, at + 4).map((byte) => byte ^ flip))
  const begins = (prefix: readonly number[]): boolean => prefix.every((byte, at) => bytes[at] === byte)
  const zeros = (count: number): readonly number[] => new Array(count).fill(0)
  if (begins([...zeros(10), 0xff, 0xff]) || (begins(zeros(12)) && bytes.slice(12).some((byte, at) => byte > (at === 3 ? 1 : 0))))
    return four(12)
  if (begins([0, 0x64, 0xff, 0x9b, ...zeros(8)])) return four(12)
  if (begins([0, 0x64, 0xff, 0x9b, 0, 1])) return four(12)
  if (begins([0x20, 0x02])) return four(2)
  if (begins([0x20, 0x01, 0, 0])) return four(12, 0xff)
  return address
}

/** The plain form of an address, for comparing with what a socket says. */
export function plainAddress(text: string): string {
  const address = parse(text)
  return address === null ? text : unwrap(address).toString()
}
