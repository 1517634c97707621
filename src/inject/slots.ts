// Reads everything in a head that stands where a credential can stand: the service's slots and those of every other vendor.
// One pass over the fields; it judges nothing, and what it found is never printed, only named.

import { Fields } from '../http/read-head.ts'
import type { Credential } from '../model/credential.ts'
import { limits } from '../model/limits.ts'
import type { RequestHead } from '../model/message.ts'
import type { Service } from '../model/service.ts'
import type { Target } from '../model/target.ts'

/** The places of a service, in the forms that a scan asks for. Names as the reader spells them: lower-case, `_` as `-`. */
export interface Slots {
  readonly headers: ReadonlySet<string>
  readonly queries: ReadonlySet<string>
  readonly cookies: ReadonlySet<string>
  readonly bearer: boolean
  readonly basic: boolean
  /** The agent's Authorization is a signature, which names a key. */
  readonly sigv4: boolean
  /** What stands before a key in an entry of Sec-WebSocket-Protocol. */
  readonly subprotocols: readonly string[]
  /** Cookies that pass both ways. */
  readonly passing: readonly string[]
  /** Every header that never goes on as the agent wrote it. */
  readonly remove: ReadonlySet<string>
}

export interface Found {
  /** What a record may say of it: never text of the agent's choice. */
  readonly name: string
  /** Bare value, without its scheme, decoded. */
  readonly value: string
  /** The other half of a Basic value. */
  readonly rest: string
  /** Is it a slot of the called service? */
  readonly ofService: boolean
  /** Of a signature: how it was made, and the scope that it was made for. */
  readonly signed?: { readonly algorithm: string; readonly scope: string }
}

export interface Scan {
  readonly found: readonly Found[]
  /** The marker of a placeholder stands where no credential can. */
  readonly stray: boolean
  /** Query without credentials, with its `?`; the received one where it had none. */
  readonly query: string
  /** null: there is no Cookie, or all of it passes. */
  readonly cookie: string | null
  /** What is offered as subprotocols, without keys; of use where the request becomes a WebSocket. */
  readonly subprotocols: readonly string[]
}

/** Headers in which some vendor takes a credential. */
const knownHeaders = [
  'authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'xi-api-key',
  'x-auth-token',
  'x-access-token',
  'private-token',
  'job-token',
  'x-subscription-token',
  'ocp-apim-subscription-key',
  'x-functions-key',
  'dd-api-key',
  'dd-application-key',
  'x-amz-security-token',
  'x-amz-s3session-token',
  // What gateways in front of vendors take, and what a lenient origin reads as one of the above.
  'x-authorization',
  'x-forwarded-authorization',
  'x-original-authorization',
  'x-secret-key',
  'x-auth-key',
  'apikey',
  'x-apikey',
  'access-token',
  'openai-api-key',
  'x-openai-api-key',
  'anthropic-api-key',
  'x-anthropic-api-key',
  'x-gemini-api-key',
  'x-portkey-api-key',
  'helicone-auth',
  'cf-aig-authorization',
]

/** Query parameters in which some vendor takes one, without `$`, `-`, `_` and `.`. */
const knownQueries: ReadonlySet<string> = new Set([
  'key',
  'apikey',
  'xapikey',
  'accesstoken',
  'oauthtoken',
  'privatetoken',
  'authtoken',
  'bearertoken',
  'clientsecret',
  'subscriptionkey',
])

/** What makes a URL a signed one at AWS: a credential that stands in the query. */
const presigning: ReadonlySet<string> = new Set(['xamzcredential', 'xamzsignature', 'xamzsecuritytoken', 'awsaccesskeyid'])

/** How browsers give OpenAI a key: one of the offered subprotocols (RFC 6455 §11.3.4). */
const subprotocols = 'sec-websocket-protocol'
const subprotocolKey = 'openai-insecure-api-key.'

const known = new WeakMap<Service, Map<string, Slots>>()

/** The slot that the credential itself fills counts as the service's, whatever the configuration chose. */
export function slotsOf(service: Service, credential: Credential): Slots {
  const extra = credential.kind === 'header' || credential.kind === 'query' ? `${credential.kind} ${credential.name}` : ''
  const bySlot = known.get(service) ?? new Map<string, Slots>()
  const slots = bySlot.get(extra)
  if (slots !== undefined) return slots
  const made = makeSlots(service, credential)
  bySlot.set(extra, made)
  known.set(service, bySlot)
  return made
}

function makeSlots(service: Service, credential: Credential): Slots {
  const named = (kind: 'header' | 'query' | 'cookie'): string[] => [
    ...service.slots.flatMap((slot) => (slot.kind === kind ? [slot.name] : [])),
    ...(credential.kind === kind ? [credential.name] : []),
  ]
  const headers = new Set(named('header').map((name) => name.toLowerCase().replaceAll('_', '-')))
  return {
    headers,
    queries: new Set(named('query').map((name) => name.toLowerCase())),
    cookies: new Set(named('cookie')),
    bearer: service.slots.some((slot) => slot.kind === 'bearer'),
    basic: service.slots.some((slot) => slot.kind === 'basic'),
    sigv4: service.slots.some((slot) => slot.kind === 'sigv4'),
    subprotocols: service.slots.flatMap((slot) => (slot.kind === 'subprotocol' ? [slot.prefix] : [])),
    passing: service.cookies,
    remove: new Set([...knownHeaders, 'proxy-authorization', subprotocols, ...headers]),
  }
}

export function scan(head: RequestHead, target: Target, slots: Slots, marker: string): Scan {
  const reading = new Reading(slots, marker)
  if (head instanceof Fields) readRanges(head, reading)
  else head.each((name, value) => reading.field(name, value))
  if (marked(target.path, marker)) reading.stray = true
  const query = target.query === '' ? '' : readQuery(target.query, slots, reading.found, marker)
  return {
    found: reading.found,
    stray: reading.stray || query === null,
    query: query ?? '',
    cookie: reading.dropped ? reading.kept.join('; ') : null,
    subprotocols: reading.subprotocols,
  }
}

class Reading {
  readonly slots: Slots
  readonly marker: string
  readonly found: Found[] = []
  readonly kept: string[] = []
  readonly subprotocols: string[] = []
  dropped = false
  stray = false

  constructor(slots: Slots, marker: string) {
    this.slots = slots
    this.marker = marker
  }

  field(name: string, value: string): void {
    if (name === 'cookie') this.#cookies(value)
    else if (!this.slots.remove.has(name)) this.stray ||= marked(value, this.marker)
    else if (name === 'authorization') this.found.push(authorization(value, this.slots))
    else if (name === 'proxy-authorization') this.stray ||= value.includes(this.marker) || basicText(value).includes(this.marker)
    else if (name !== subprotocols) this.found.push({ name, value, rest: '', ofService: this.slots.headers.has(name) })
    else for (const entry of value.split(',')) this.#subprotocol(entry.trim())
  }

  #subprotocol(entry: string): void {
    const own = this.slots.subprotocols.find((prefix) => entry.startsWith(prefix))
    const prefix = own ?? (entry.startsWith(subprotocolKey) ? subprotocolKey : null)
    if (prefix !== null) this.found.push({ name: 'subprotocol', value: entry.slice(prefix.length), rest: '', ofService: own !== undefined })
    else if (marked(entry, this.marker)) this.stray = true
    else if (entry !== '') this.subprotocols.push(entry)
  }

  #cookies(value: string): void {
    for (const pair of value.split(';')) {
      const fate = cookie(pair.trim(), this.slots, this.found)
      if (fate !== 'slot' && marked(pair, this.marker)) this.stray = true
      if (fate === 'passes') this.kept.push(pair.trim())
      else this.dropped = true
    }
  }
}

let sought: { readonly marker: string; readonly bytes: Buffer } = { marker: '', bytes: Buffer.alloc(0) }

/** There is one marker in a process: a search for bytes costs half of one for text. */
function bytesOf(marker: string): Buffer {
  if (sought.marker !== marker) sought = { marker, bytes: Buffer.from(marker, 'latin1') }
  return sought.bytes
}

/** The same without making a string of each field: those that carry no credential are searched as they were received. */
function readRanges(head: Fields, reading: Reading): void {
  const { buffer, names, marks } = head
  const { remove } = reading.slots
  const start = marks[0] ?? 0
  const block = buffer.subarray(start, marks[marks.length - 1] ?? 0)
  const escaped = block.includes(0x25)
  const marker = bytesOf(reading.marker)
  let next = block.indexOf(marker)
  for (let index = 0; index < names.length; index++) {
    const name = names[index] as string
    const end = (marks[index * 4 + 3] as number) - start
    const holds = next >= 0 && next < end
    if (holds || escaped || remove.has(name) || name === 'cookie') reading.field(name, head.value(index))
    if (holds) next = block.indexOf(marker, end)
  }
}

/** RFC 9110 §11.4: a scheme in any case, then its value. */
function authorization(value: string, slots: Slots): Found {
  const signed = slots.sigv4 ? signature(value) : null
  if (signed !== null) return signed
  const match = /^(bearer|basic|token)(?: +(.*))?$/i.exec(value)
  const scheme = match?.[1]?.toLowerCase() ?? ''
  const ofService = slots.headers.has('authorization') || (slots.bearer && scheme === 'bearer') || (slots.basic && scheme === 'basic')
  const name = 'authorization'
  if (scheme !== 'basic') return { name, value: match === null ? value : (match[2] ?? ''), rest: '', ofService }
  const text = basicText(value)
  const colon = text.indexOf(':')
  const user = colon < 0 ? text : text.slice(0, colon)
  const password = colon < 0 ? '' : text.slice(colon + 1)
  // RFC 7617 §2: many APIs take a key as the user, with no password.
  return password === '' ? { name, value: user, rest: '', ofService } : { name, value: password, rest: user, ofService }
}

/** Of AWS, whatever its version. Behind the key's id stand day, region and service. */
function signature(value: string): Found | null {
  const match = /^(AWS4-[\w-]+) +(.*?\bCredential=)([^/,\s]*)\/?([^,\s]*)(.*)$/.exec(value)
  if (match === null) return null
  const [, algorithm = '', before = '', id = '', scope = '', behind = ''] = match
  return { name: 'authorization', value: id, rest: `${before}${scope}${behind}`, ofService: true, signed: { algorithm, scope } }
}

function basicText(value: string): string {
  const match = /^basic +(\S+)$/i.exec(value)
  return match === null ? '' : Buffer.from(match[1] as string, 'base64').toString('latin1')
}

/** A Cookie is a credential, so only what the service lists passes (RFC 6265 §4.2.1). */
function cookie(pair: string, slots: Slots, found: Found[]): 'slot' | 'passes' | 'dropped' {
  const equals = pair.indexOf('=')
  const name = equals < 0 ? '' : pair.slice(0, equals).trim()
  if (slots.cookies.has(name)) {
    found.push({ name: `cookie ${name}`, value: pair.slice(equals + 1).trim(), rest: '', ofService: true })
    return 'slot'
  }
  // A comma separates pairs for some origins.
  return name !== '' && slots.passing.includes(name) && !pair.includes(',') ? 'passes' : 'dropped'
}

/** null: the marker stands in a parameter that is no slot. Some origins split at `;` too. */
function readQuery(query: string, slots: Slots, found: Found[], marker: string): string | null {
  const parts = query.slice(1).split(/([&;])/)
  let kept = ''
  let changed = false
  for (let at = 0; at < parts.length; at += 2) {
    const part = parts[at] as string
    const equals = part.indexOf('=')
    const name = parameterName(equals < 0 ? part : part.slice(0, equals))
    const ofService = slots.queries.has(name)
    const bare = name.replace(/[$._-]/g, '')
    if (slots.sigv4 && presigning.has(bare)) {
      const text = equals < 0 ? '' : unescaped(part.slice(equals + 1))
      // A signature itself is nobody's key.
      const cut = bare === 'xamzsignature' ? 0 : text.indexOf('/') < 0 ? text.length : text.indexOf('/')
      const signed = { algorithm: '', scope: '' }
      found.push({ name: `query ${bare}`, value: text.slice(0, cut), rest: text.slice(cut), ofService: true, signed })
      changed = true
    } else if (ofService || knownQueries.has(bare)) {
      const value = equals < 0 ? '' : unescaped(part.slice(equals + 1).replaceAll('+', ' '))
      found.push({ name: `query ${ofService ? name : bare}`, value, rest: '', ofService })
      changed = true
    } else {
      if (marked(part, marker)) return null
      kept += kept === '' ? part : `${parts[at - 1]}${part}`
    }
  }
  if (!changed) return query
  return kept === '' ? '' : `?${kept}`
}

/** As the most lenient origin reads it: decoded, any case, without blanks, controls and the brackets of a list. */
function parameterName(text: string): string {
  if (/^[a-z]*$/.test(text)) return text
  return unescaped(text.replaceAll('+', ' '))
    .toLowerCase()
    .replace(/[\x00-\x20\x7f]/g, '')
    .replace(/\[.*$/, '')
}

/** Percent-decoded byte by byte: what is malformed stays, so that it hides nothing behind it. */
function unescaped(text: string): string {
  return text.includes('%') ? text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))) : text
}

/** Does the marker stand in it, plain or percent-encoded, even twice? */
function marked(text: string, marker: string): boolean {
  let plain = text
  for (let times = 0; times < limits.unescapesMax; times++) {
    if (plain.includes(marker)) return true
    const next = unescaped(plain)
    if (next === plain) return false
    plain = next
  }
  return plain.includes(marker)
}
