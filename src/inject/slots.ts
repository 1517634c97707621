// Finds everything in a head that stands where a credential can stand: the service's slots and those of every other vendor.
import type { RequestHead } from '../model/message.ts'
import type { Service } from '../model/service.ts'

export interface Found {
  readonly slot: 'header' | 'query' | 'cookie'
  /** What a record may say of it. */
  readonly name: string
  /** Lower-case header name; empty for a query parameter. */
  readonly header: string
  /** Index of the query parameter. */
  readonly at: number
  /** Bare value, without its scheme. */
  readonly value: string
  /** `user:password` of a Basic value. */
  readonly basic: string | null
  /** Is it a slot of the called service? */
  readonly ofService: boolean
}

/** Headers in which some vendor takes a credential; `_` spellings come as `-` from the reader. */
export const knownHeaders: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'xi-api-key',
  'private-token',
  'job-token',
  'x-subscription-token',
  'dd-api-key',
  'dd-application-key',
  'x-amz-security-token',
])

/** Query parameters in which some vendor takes one. */
const knownQuery: ReadonlySet<string> = new Set(['key', 'api_key', 'api-key', 'apikey', 'access_token', 'private_token', 'token'])

export function foundIn(head: RequestHead, query: string, service: Service): readonly Found[] {
  const found: Found[] = []
  head.each((name, value) => {
    const custom = service.slots.some((slot) => slot.kind === 'header' && slot.name === name)
    if (knownHeaders.has(name) || custom) {
      if (name !== 'proxy-authorization') found.push(headerFound(name, value, service, custom))
    } else if (name === 'cookie') cookiesIn(value, service, found)
  })
  if (query !== '') queryIn(query, service, found)
  return found
}

function headerFound(name: string, value: string, service: Service, custom: boolean): Found {
  if (name !== 'authorization') return { slot: 'header', name, header: name, at: -1, value, basic: null, ofService: custom }
  const match = /^(bearer|basic|token) +(.*)$/i.exec(value)
  const scheme = match?.[1]?.toLowerCase() ?? ''
  const bare = match?.[2] ?? value
  const ofService =
    service.slots.some((slot) => (slot.kind === 'bearer' && scheme === 'bearer') || (slot.kind === 'basic' && scheme === 'basic')) || custom
  if (scheme !== 'basic') return { slot: 'header', name, header: name, at: -1, value: bare, basic: null, ofService }
  const text = Buffer.from(bare, 'base64').toString('latin1')
  const password = text.slice(text.indexOf(':') + 1)
  return { slot: 'header', name, header: name, at: -1, value: password === '' ? text.replace(/:$/, '') : password, basic: text, ofService }
}

function cookiesIn(value: string, service: Service, found: Found[]): void {
  for (const pair of value.split(/[;,]\s*/)) {
    const equals = pair.indexOf('=')
    const name = pair.slice(0, equals).trim()
    if (service.slots.some((slot) => slot.kind === 'cookie' && slot.name === name))
      found.push({
        slot: 'cookie',
        name: `cookie ${name}`,
        header: 'cookie',
        at: -1,
        value: pair.slice(equals + 1),
        basic: null,
        ofService: true,
      })
  }
}

function queryIn(query: string, service: Service, found: Found[]): void {
  for (const [at, part] of query.slice(1).split('&').entries()) {
    const equals = part.indexOf('=')
    const name = percentDecoded(equals < 0 ? part : part.slice(0, equals))
    const ofService = service.slots.some((slot) => slot.kind === 'query' && slot.name === name.toLowerCase())
    if (!ofService && !knownQuery.has(name.toLowerCase())) continue
    // A page token is no credential: only slots of the service and names that mean nothing else count.
    if (!ofService && name.toLowerCase() === 'token') continue
    found.push({
      slot: 'query',
      name: `query ${name.toLowerCase()}`,
      header: '',
      at,
      value: equals < 0 ? '' : percentDecoded(part.slice(equals + 1)),
      basic: null,
      ofService,
    })
  }
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}
