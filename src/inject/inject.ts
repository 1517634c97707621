// Puts the credential into exactly one slot of the head, and takes away whatever the agent put into any (invariant 4). Pure:
// head in, edits out; never a search-and-replace over a message. Of a body only its hash is ever wanted, by a signature.
import { authorityOf } from '../http/write-head.ts'
import type { Call } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Credential } from '../model/credential.ts'
import type { Identity } from '../model/identity.ts'
import { limits } from '../model/limits.ts'
import type { Edits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { scopeOf } from '../model/scope.ts'
import { Secret } from '../model/secret.ts'
import type { Service } from '../model/service.ts'
import { signCall, signedAnew } from './sign-call.ts'
import { type Found, type Scan, type Slots, scan, slotsOf } from './slots.ts'

export interface Placeholders {
  /** Stands in every placeholder. */
  readonly marker: string
  of(run: string, service: string): string | null
}

export interface InjectOptions {
  readonly placeholders: Placeholders
  readonly clock: Pick<Clock, 'now'>
  /** Counts against the attested sender, never against the owner of what was sent (invariant 17). */
  readonly trip: (identity: Identity) => void
  /** Whose key the value looks like; null: nobody's. */
  readonly shape: (value: string) => string | null
  /** Keyed: the same value is recognised in two records of this installation, and cannot be guessed from one. */
  readonly recognise: (value: string) => string
}

export type Inject = (call: Call, identity: Identity, credential: Credential, record: { note(text: string): void }) => Edits

export function createInject(options: InjectOptions): Inject {
  const { placeholders, trip, clock } = options
  const { marker } = placeholders
  return (call, identity, credential, record) => {
    const { service } = call
    if (service === null) throw new Refusal('accept.host_unmanaged', call.target.host)
    const slots = slotsOf(service, credential)
    const seen = scan(call.head, call.target, slots, marker)
    const own = identity.run === null ? null : placeholders.of(identity.run, service.name)
    if (seen.stray || seen.found.some((one) => strays(one, own, marker))) {
      trip(identity)
      throw new Refusal('inject.foreign_placeholder', service.name)
    }
    const foreign = seen.found.filter((one) => one.value !== '' && one.value !== own)
    if (foreign.length > 0) {
      // Outside a run clients send something that stands for a key, since they must: that goes. Somebody's key does not pass for it.
      const strict = service.credential === 'none' || identity.run !== null
      if (strict || foreign.some((one) => keyOf(one, options, credential) !== null))
        throw new Refusal(
          'inject.foreign_credential',
          foreign
            .slice(0, limits.foreignNamedMax)
            .map((one) => described(one, options))
            .join('; '),
        )
      record.note(`removed what the agent sent in ${namesOf(foreign)}`)
    }
    refuseWebPage(call, identity, service)
    if (seen.cookie !== null) record.note('removed cookies that the service does not list')
    // What is left with a value is the run's own placeholder in the service's own slot.
    const meant = identity.run === null || service.credential === 'none' || seen.found.some((one) => one.value !== '')
    if (meant) return editsFor(call, service, credential, slots, seen, clock)
    if (service.placeholder === 'required') throw new Refusal('inject.no_placeholder', service.name)
    record.note('sent without the credential: the placeholder was not there')
    return { ...editsFor(call, service, { kind: 'none' }, slots, seen, clock), bare: true }
  }
}

/**
 * Outside a run nothing shows that a request is meant. Any web page can make one through a browser that knows the proxy or the base
 * URL, but it cannot hide that it is one (Fetch §3.2, §4.5).
 */
function refuseWebPage({ head }: Call, identity: Identity, service: Service): void {
  if (identity.run !== null || service.credential === 'none') return
  const origin = head.get('origin')
  if (origin === undefined ? head.get('sec-fetch-site') === undefined : service.origins.includes(origin)) return
  throw new Refusal('inject.web_page', service.name)
}

/** A placeholder anywhere but, whole, in a slot of its own service. */
function strays({ value, rest, ofService }: Found, own: string | null, marker: string): boolean {
  if (rest.includes(marker)) return true
  return value.includes(marker) && !(ofService && value === own)
}

function namesOf(found: readonly Found[]): string {
  return found.length === 1 ? (found[0] as Found).name : [...new Set(found.map((one) => one.name))].join(', ')
}

/** The part of it that looks like a key of anybody but us: password, user, or a value without its scheme. */
function keyOf(found: Found, { shape }: InjectOptions, credential: Credential): string | null {
  for (const text of [found.value, found.rest]) if (shape(text) !== null && !isOurs(text, credential)) return text
  return null
}

/** A client that holds the very credential that it is given brings nothing foreign. */
function isOurs(text: string, credential: Credential): boolean {
  if (credential.kind === 'sigv4') return text === credential.accessKeyId
  const own = secretOf(credential)
  return own?.equals(new Secret(text)) ?? false
}

function secretOf(credential: Credential): Secret | null {
  if (credential.kind === 'bearer') return credential.token
  if (credential.kind === 'header' || credential.kind === 'query') return credential.value
  return credential.kind === 'basic' ? credential.password : null
}

/** Where it stood, whose it looks like, and by what it is known again; never itself. */
function described(found: Found, { shape, recognise }: InjectOptions): string {
  const text = shape(found.value) === null && shape(found.rest) !== null ? found.rest : found.value
  return `${found.name}: ${shape(text) ?? 'unknown'} key hmac-sha256:${recognise(text)}`
}

function editsFor(call: Call, service: Service, credential: Credential, slots: Slots, seen: Scan, clock: InjectOptions['clock']): Edits {
  const { head, target } = call
  const set: [string, Buffer][] = []
  const more: string[] = []
  let { query } = seen
  if (seen.cookie !== null) {
    more.push('cookie')
    if (seen.cookie !== '') set.push(['Cookie', Buffer.from(seen.cookie, 'latin1')])
  }
  // RFC 9110 §14.2 lets whoever answers ignore it: with a credential in the request no answer comes in parts, or a secret that is
  // echoed could come half in one and half in another, where no search finds it.
  if (mayEcho(call, service, credential) && head.get('range') !== undefined) more.push('range', 'if-range')
  if (call.upgrade !== undefined) {
    // What is read must be readable: no extension is ever agreed on (RFC 6455 §9.1).
    more.push('sec-websocket-extensions')
    if (seen.subprotocols.length > 0) set.push(['Sec-WebSocket-Protocol', Buffer.from(seen.subprotocols.join(', '), 'latin1')])
  }
  if (credential.kind !== 'none' && service.credential === 'none') throw new Refusal('obtain.no_credential', `${service.name} takes none`)
  switch (credential.kind) {
    case 'bearer':
      set.push(['Authorization', bearerOrBasic(service, target.host, credential.token)])
      for (const [name, value] of Object.entries(credential.lists ?? {})) {
        const listed = head.get(name) ?? ''
        if (listed.split(',').some((one) => one.trim() === value)) continue
        more.push(name)
        set.push([name, checked(Buffer.from(listed === '' ? value : `${listed},${value}`, 'latin1'))])
      }
      break
    case 'header':
      // A copy: the lease may be wiped while the head waits for its turn.
      set.push([credential.name, Buffer.from(checked(credential.value.reveal()))])
      break
    case 'query':
      query += `${query === '' ? '?' : '&'}${encodeURIComponent(credential.name)}=${encodeURIComponent(checked(credential.value.reveal()).toString('latin1'))}`
      break
    case 'basic':
      set.push(['Authorization', basicOf(credential.user, credential.password)])
      break
    case 'sigv4':
      more.push(...signedAnew)
      for (const [name, value] of signCall(call, service, credential, seen, authorityOf(target), clock.now()))
        set.push([name, checked(value)])
      break
    case 'none':
      break
    default:
      credential satisfies never
  }
  return {
    remove: more.length === 0 ? slots.remove : new Set([...slots.remove, ...more]),
    set,
    target: query === target.query ? null : Buffer.from(`${target.path}${query}`, 'latin1'),
  }
}

/** Of a pair of AWS only a session token is sent, and S3, whose clients fetch in parts and trust that they get them, never echoes it. */
function mayEcho({ target }: Call, service: Service, credential: Credential): boolean {
  if (credential.kind === 'sigv4') return credential.sessionToken !== null && scopeOf(service, target.host)?.service !== 's3'
  return credential.kind !== 'none'
}

const bearer = Buffer.from('Bearer ')

/** git knows no other scheme than Basic: there the token is the password of a user that the vendor names. */
function bearerOrBasic(service: Service, host: string, token: Secret): Buffer {
  if (service.basicAt?.hosts.includes(host) === true) return basicOf(service.basicAt.user, token)
  return Buffer.concat([bearer, checked(token.reveal())])
}

function basicOf(user: string, password: Secret): Buffer {
  // RFC 7617 §2: the user holds no colon.
  if (/[:\x00-\x1f\x7f]/.test(user)) throw new Refusal('inject.bad_value')
  const pair = Buffer.concat([Buffer.from(`${user}:`), checked(password.reveal())])
  const value = Buffer.from(`Basic ${pair.toString('base64')}`)
  pair.fill(0)
  return value
}

/** What a header field can carry (RFC 9110 §5.5, ASCII only); anything else could end the line. */
function checked(value: Buffer): Buffer {
  if (value.length === 0) throw new Refusal('obtain.revoked', 'the lease has just ended')
  for (let at = 0; at < value.length; at++) {
    const byte = value[at] as number
    if (byte < 0x20 || byte > 0x7e) throw new Refusal('inject.bad_value')
  }
  return value
}
