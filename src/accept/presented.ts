// What a proxy URL's user info says: a run pointer, a token, or both. Never an identity by itself: identify judges it.
import type { RequestMessage } from '../http/read-head.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'

export interface Presented {
  readonly pointer: string | null
  readonly token: Secret | null
}

export const nothingPresented: Presented = { pointer: null, token: null }

/** token68 of RFC 9110 §11.2: what follows the scheme of both kinds. */
const credentials = /^(basic|bearer) +([A-Za-z0-9\-._~+/]+=*)$/i

/** Proxy-Authorization: `Bearer TOKEN`, or `Basic POINTER:TOKEN` where either may be missing. Throws Refusal identify.token_malformed. */
export function presented(head: RequestMessage): Presented {
  // A second field is joined by a comma and so is no token68: it is refused, not chosen from.
  const value = head.get('proxy-authorization')
  if (value === undefined) return nothingPresented
  const match = credentials.exec(value)
  if (match === null || value.length > limits.evidenceBytesMax) throw new Refusal('identify.token_malformed', 'Proxy-Authorization')
  const [, scheme, text] = match as unknown as [string, string, string]
  if (scheme.toLowerCase() === 'bearer') return { pointer: null, token: new Secret(text) }
  const bytes = Buffer.from(text, 'base64')
  const plain = bytes.toString('latin1')
  bytes.fill(0)
  const colon = plain.indexOf(':')
  const user = colon < 0 ? plain : plain.slice(0, colon)
  const password = colon < 0 ? '' : plain.slice(colon + 1)
  return {
    pointer: user.startsWith('run-') ? user : null,
    token: password.split('.').length === 3 ? new Secret(password) : null,
  }
}

export function samePresented(one: Presented, other: Presented): boolean {
  if (one.pointer !== other.pointer || (one.token === null) !== (other.token === null)) return false
  return one.token === null || (other.token !== null && one.token.equals(other.token))
}
