// Puts the credential into exactly one slot of the head, and takes away whatever the agent put into any (invariant 4). Pure:
// head in, edits out; never a search-and-replace over a message. A body is not looked at here.
import type { Call } from '../model/call.ts'
import type { Credential } from '../model/credential.ts'
import type { Identity } from '../model/identity.ts'
import type { Edits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import { type Found, foundIn, knownHeaders } from './slots.ts'

export interface Placeholders {
  /** Stands in every placeholder. */
  readonly marker: string
  of(run: string, service: string): string | null
  owner(value: string): { readonly run: string; readonly service: string } | null
}

export interface InjectOptions {
  readonly placeholders: Placeholders
  /** Counts against the attested sender, never against the owner of what was sent (invariant 17). */
  readonly trip: (identity: Identity) => void
}

export type Inject = (call: Call, identity: Identity, credential: Credential, record: { note(text: string): void }) => Edits

export function createInject(options: InjectOptions): Inject {
  const { placeholders } = options

  /** Throws Refusal inject.foreign_placeholder where one stands anywhere but in `own` slot. */
  function tripwire(call: Call, identity: Identity, own: string | null, found: readonly Found[]): void {
    const { marker } = placeholders
    const elsewhere = (text: string): boolean => text.includes(marker) || (text.includes('%') && decoded(text).includes(marker))
    let hit =
      elsewhere(call.target.path) || (elsewhere(call.target.query) && !found.some((one) => one.slot === 'query' && one.value === own))
    for (const { value, basic } of found) if (value !== own && (value.includes(marker) || basic?.includes(marker) === true)) hit = true
    call.head.each((name, value) => {
      if (!hit && value.includes(marker) && !found.some((one) => one.header === name)) hit = true
    })
    if (!hit) return
    options.trip(identity)
    throw new Refusal('inject.foreign_placeholder', call.target.host)
  }

  return (call, identity, credential, record) => {
    const service = call.service as Service
    const found = foundIn(call.head, call.target.query, service)
    const own = identity.run === null ? null : placeholders.of(identity.run, service.name)
    tripwire(call, identity, own, found)
    const own_ = found.filter((one) => one.value === own && one.ofService)
    const foreign = found.filter((one) => one.value !== own && one.value !== '')
    if (service.credential === 'none' && foreign.length > 0)
      throw new Refusal('inject.foreign_credential', foreign.map((one) => one.name).join(', '))
    if (identity.run !== null && service.credential === 'required') {
      if (foreign.length > 0) throw new Refusal('inject.foreign_credential', foreign.map((one) => one.name).join(', '))
      if (own_.length === 0 && service.placeholder === 'required') throw new Refusal('inject.no_placeholder', service.name)
    } else if (foreign.length > 0) record.note(`removed what the agent sent in ${foreign.map((one) => one.name).join(', ')}`)
    return editsFor(call, service, credential, found)
  }
}

function editsFor(call: Call, service: Service, credential: Credential, found: readonly Found[]): Edits {
  const remove = new Set(knownHeaders)
  for (const slot of service.slots) if (slot.kind === 'header') remove.add(slot.name)
  const set: [string, Buffer][] = []
  const cookies = keptCookies(call, service)
  remove.add('cookie')
  if (cookies !== '') set.push(['Cookie', Buffer.from(cookies, 'latin1')])
  let query = found.some((one) => one.slot === 'query') ? keptQuery(call.target.query, found) : call.target.query
  switch (credential.kind) {
    case 'bearer':
      set.push(['Authorization', checked(Buffer.concat([bearer, credential.token.reveal()]))])
      for (const [name, value] of Object.entries(credential.lists ?? {})) {
        const listed = call.head.get(name)
        if (listed?.split(',').some((one) => one.trim() === value) === true) continue
        remove.add(name)
        set.push([name, Buffer.from(listed === undefined ? value : `${listed},${value}`, 'latin1')])
      }
      break
    case 'header':
      set.push([credential.name, checked(credential.value.reveal())])
      break
    case 'query':
      query += `${query === '' ? '?' : '&'}${credential.name}=${encodeURIComponent(checked(credential.value.reveal()).toString('latin1'))}`
      break
    case 'basic':
      set.push([
        'Authorization',
        Buffer.from(`Basic ${Buffer.concat([Buffer.from(`${credential.user}:`), credential.password.reveal()]).toString('base64')}`),
      ])
      break
    case 'none':
      break
    default:
      credential satisfies never
  }
  return { remove, set, target: query === call.target.query ? null : Buffer.from(`${call.target.path}${query}`, 'latin1') }
}

const bearer = Buffer.from('Bearer ')

/** What a header field can carry; anything else could end the line. */
function checked(value: Buffer): Buffer {
  if (value.length === 0) throw new Refusal('obtain.revoked', 'the lease has just ended')
  for (const byte of value) if (byte < 0x20 || byte > 0x7e) throw new Refusal('inject.bad_value')
  return value
}

function keptQuery(query: string, found: readonly Found[]): string {
  const parts = query.slice(1).split('&')
  const kept = parts.filter((_, at) => !found.some((one) => one.slot === 'query' && one.at === at))
  return kept.length === 0 ? '' : `?${kept.join('&')}`
}

function keptCookies(call: Call, service: Service): string {
  const value = call.head.get('cookie')
  if (value === undefined) return ''
  const names = new Set(service.slots.flatMap((slot) => (slot.kind === 'cookie' ? [slot.name] : [])))
  return value
    .split(/[;,]\s*/)
    .filter((pair) => !names.has((pair.split('=')[0] as string).trim()))
    .join('; ')
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
