// The way out, as the file states it: the network's own proxy, further roots, a resolver, fixed addresses.
import { isIP } from 'node:net'
import { address, split } from './address.ts'
import type { Address, Config, FixedAddress } from './config.ts'
import { pathFrom } from './places.ts'
import { type Reading, textOf } from './reading.ts'
import type { FileShape } from './shape.ts'

const proxyExample = 'proxy: http://proxy.corp.example:3128'

export function readEgress(reading: Reading, shape: FileShape['egress']): Config['egress'] {
  const extraCa = shape.extraCa === undefined ? null : pathFrom(reading.source.base, shape.extraCa)
  if (extraCa !== null) {
    const pem = textOf(reading, ['egress', 'extraCa'], extraCa)
    if (pem !== null && !pem.includes('-----BEGIN CERTIFICATE-----'))
      reading.wrong(['egress', 'extraCa'], `${extraCa} holds no certificate`, 'name a PEM file with -----BEGIN CERTIFICATE-----')
  }
  if (shape.resolver !== undefined) {
    const bare = isIP(shape.resolver) !== 0
    if (!bare && isIP(split(shape.resolver).host) === 0)
      reading.wrong(['egress', 'resolver'], `${shape.resolver} is no address`, 'resolver: 192.0.2.53   or   192.0.2.53:5353')
  }
  const proxy = shape.proxy === undefined ? null : proxyOf(reading, shape.proxy)
  const noProxy = shape.noProxy.flatMap((text, at) => exceptionOf(reading, text, at) ?? [])
  for (const key of ['noProxy', 'inspects'] as const)
    if (shape.proxy === undefined && (key === 'inspects' ? shape.inspects : noProxy.length > 0))
      reading.wrong(['egress', key], `${key} says something of egress.proxy, and there is none`, proxyExample)
  return {
    proxy,
    noProxy,
    inspects: shape.inspects,
    extraCa,
    resolver: shape.resolver ?? null,
    dangerouslyFixedAddresses: shape.dangerouslyFixedAddresses.map((one, at) => fixedOf(reading, one, at)),
  }
}

function fixedOf(reading: Reading, one: FileShape['egress']['dangerouslyFixedAddresses'][number], at: number): FixedAddress {
  const path = ['egress', 'dangerouslyFixedAddresses', at]
  if (Date.parse(`${one.until}T23:59:59Z`) < reading.options.now)
    reading.wrong(
      [...path, 'until'],
      `the fixed address of ${one.host} ended on ${one.until}`,
      'take it out, or write a later date with its reason',
    )
  const { host, port } = address(reading, [...path, 'address'], one.address)
  // A name would be resolved after all, and by whom the file does not say.
  if (isIP(host) === 0) reading.wrong([...path, 'address'], `${host} is no IP address`, 'address: 192.0.2.10:443')
  return { host: one.host, address: host, port, reason: one.reason, until: one.until }
}

/** In clear towards the proxy itself: what it is told are names and ports, and all else is TLS to the host. */
function proxyOf(reading: Reading, text: string): Address | null {
  const path = ['egress', 'proxy']
  const url = URL.canParse(text) ? new URL(text) : null
  const wrong = (what: string, write = proxyExample): null => {
    reading.wrong(path, what, write)
    return null
  }
  if (url !== null && (url.username !== '' || url.password !== ''))
    return wrong(
      'a login stands in egress.proxy, and Ostiary logs in nowhere on the way out',
      'take it out; where the proxy insists, name a helper on loopback that logs in (cntlm, px)',
    )
  if (url?.protocol !== 'http:')
    return wrong(url === null ? 'egress.proxy is no URL' : `egress.proxy is spoken to by http:, and not by ${url.protocol}`)
  if (url.hostname === '' || url.pathname !== '/' || url.search !== '' || url.hash !== '')
    return wrong('egress.proxy is more than http://HOST:PORT')
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 80 : Number(url.port) }
}

/** `corp.example`, `.corp.example` and `*.corp.example` say the same, as they do to curl: the name and everything below it. */
function exceptionOf(reading: Reading, text: string, at: number): string | null {
  const name = text.toLowerCase().replace(/^\*?\./, '')
  if (isIP(name) !== 0 || /^(?!-)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(name)) return name
  reading.wrong(['egress', 'noProxy', at], `${text} is neither a name nor an address`, 'noProxy: [corp.example, 192.0.2.7]')
  return null
}
