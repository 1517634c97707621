// Reads a compact JWS and judges its header and claims. Pure, no keys: nothing in here says that a token is genuine.
import { Refusal } from '../../model/refusal.ts'

export interface ReadToken {
  readonly header: Readonly<Record<string, unknown>>
  readonly claims: Readonly<Record<string, unknown>>
  /** What the signature is over. */
  readonly signingInput: string
}

const malformed = (detail: string): Refusal => new Refusal('identify.token_malformed', detail)

/** J1: compact, at most bytesMax, one spelling only. */
export function readToken(text: string, bytesMax: number): ReadToken {
  if (text.length > bytesMax) throw malformed(`longer than ${bytesMax} bytes`)
  if (!/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.test(text)) throw malformed('not a compact JWS')
  const parts = text.split('.') as [string, string, string]
  for (const part of parts) {
    // RFC 4648 §3.5: bits that no byte holds must be zero, or one token would have many spellings.
    if (Buffer.from(part, 'base64url').toString('base64url') !== part) throw malformed('base64url that is not canonical')
  }
  return { header: readJson(parts[0]), claims: readJson(parts[1]), signingInput: `${parts[0]}.${parts[1]}` }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function readJson(part: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(Buffer.from(part, 'base64url')))
  } catch {
    throw malformed('not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('not a JSON object')
  return value as Record<string, unknown>
}

/** RFC 8725 §3.1, §3.10: our algorithms only, and no key or extension of the token's own choosing (invariant 11). */
export function judgeHeader(header: ReadToken['header'], algorithms: readonly string[]): { readonly kid: string | undefined } {
  const { alg, kid } = header
  if (typeof alg !== 'string' || !algorithms.includes(alg)) throw malformed('the algorithm is not allowed')
  for (const name of ['crit', 'jku', 'x5u', 'jwk', 'b64', 'zip', 'enc']) if (name in header) throw malformed(`the header has ${name}`)
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > 512)) throw malformed('kid is not a short text')
  return { kid }
}

export interface Expected {
  readonly issuer: string
  readonly audience: string
  readonly lifetimeMs: number
  readonly skewMs: number
  readonly now: number
  readonly jtiRequired: boolean
}

export interface Judged {
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  readonly jti: string | null
}

/** J2, J4, J5. */
export function judgeClaims(claims: ReadToken['claims'], expected: Expected): Judged {
  const { iss, sub, aud, exp, iat, nbf, jti } = claims
  if (iss !== expected.issuer) throw new Refusal('identify.token_issuer', 'the issuer is another')
  const audiences = Array.isArray(aud) ? aud : [aud]
  if (audiences.length !== 1 || audiences[0] !== expected.audience) {
    throw new Refusal('identify.token_audience', 'the audience is not exactly this installation')
  }
  if (typeof sub !== 'string' || sub === '' || sub.length > 2_048) throw malformed('sub is missing')
  if (!isTime(exp) || !isTime(iat) || (nbf !== undefined && !isTime(nbf)))
    throw malformed('exp or iat is missing, or a time is not a number')
  if (jti !== undefined && (typeof jti !== 'string' || jti === '' || jti.length > 1_024)) throw malformed('jti is not a short text')
  if (expected.jtiRequired && jti === undefined) throw malformed('jti is missing')
  const { now, skewMs, lifetimeMs } = expected
  const expired = (detail: string): Refusal => new Refusal('identify.token_expired', detail)
  if (now >= exp * 1000 + skewMs) throw expired('it has expired')
  if (now < iat * 1000 - skewMs || (nbf !== undefined && now < nbf * 1000 - skewMs)) throw expired('it is not valid yet')
  if (exp <= iat || (exp - iat) * 1000 > lifetimeMs) throw expired('it is valid for too long')
  if (now - iat * 1000 > lifetimeMs + skewMs) throw expired('it is too old')
  return { expiresAt: exp * 1000, jti: jti ?? null }
}

const isTime = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value > 0 && value < 1e11
