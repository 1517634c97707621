// Signature Version 4 of AWS: over the bytes that are sent, method, path, query and the fields that count, never over what an agent
// says was signed. Pure. The keys that are derived here live no longer than one signature.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
import { createHash, createHmac } from 'node:crypto'
import type { SigningScope } from '../model/service.ts'

export const algorithm = 'AWS4-HMAC-SHA256'

export interface ToSign {
  readonly method: string
  /** As sent, latin1. */
  readonly path: string
  /** As sent, with its `?`, or empty. */
  readonly query: string
  /** Every field that is signed: lower-case name, value as sent. */
  readonly fields: readonly (readonly [name: string, value: string])[]
  /** What stands for the body: its SHA-256 in hex, or the word that says that it is not signed. */
  readonly payload: string
  /** `20150830T123600Z` */
  readonly date: string
  readonly scope: SigningScope
  /** S3 takes a path as it is; everybody else encodes it once more than it was sent. */
  readonly encodedOnce: boolean
}

/** The value of Authorization. `secretKey` stays the caller's. */
export function signature(toSign: ToSign, accessKeyId: string, secretKey: Buffer): string {
  const { date, scope } = toSign
  const { text, signed } = canonicalRequest(toSign)
  const credentialScope = `${date.slice(0, 8)}/${scope.region}/${scope.service}/aws4_request`
  const key = Buffer.concat([Buffer.from('AWS4'), secretKey])
  let derived = key
  for (const part of credentialScope.split('/')) {
    const next = createHmac('sha256', derived).update(part).digest()
    derived.fill(0)
    derived = next
  }
  const made = createHmac('sha256', derived)
    .update(stringToSign(text, date, credentialScope))
    .digest('hex')
  derived.fill(0)
  return `${algorithm} Credential=${accessKeyId}/${credentialScope}, SignedHeaders=${signed}, Signature=${made}`
}

export function stringToSign(canonical: string, date: string, credentialScope: string): string {
  return `${algorithm}\n${date}\n${credentialScope}\n${sha256(Buffer.from(canonical, 'latin1'))}`
}

export function canonicalRequest({ method, path, query, fields, payload, encodedOnce }: ToSign): { text: string; signed: string } {
  const byName = new Map<string, string[]>()
  for (const [name, value] of fields) byName.set(name, [...(byName.get(name) ?? []), value.trim().replace(/ +/g, ' ')])
  const names = [...byName.keys()].sort()
  const lines = names.map((name) => `${name}:${byName.get(name)?.join(',')}\n`).join('')
  const signed = names.join(';')
  const segments = (encodedOnce ? path : normalized(path)).split('/')
  const at = segments.map((one) => encoded(encodedOnce ? decoded(one) : one)).join('/')
  return { text: `${method}\n${at}\n${canonicalQuery(query)}\n${lines}\n${signed}\n${payload}`, signed }
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** `20150830T123600Z` */
export function signingDate(nowMs: number): string {
  return new Date(nowMs).toISOString().replace(/[:-]|\.\d{3}/g, '')
}

function canonicalQuery(query: string): string {
  const pairs = query
    .slice(1)
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const equals = part.indexOf('=')
      const [name, value] = equals < 0 ? [part, ''] : [part.slice(0, equals), part.slice(equals + 1)]
      return [encoded(decoded(name.replaceAll('+', ' '))), encoded(decoded(value.replaceAll('+', ' ')))] as const
    })
  return pairs
    .sort(([a, x], [b, y]) => (a === b ? order(x, y) : order(a, b)))
    .map(([name, value]) => `${name}=${value}`)
    .join('&')
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** RFC 3986 §5.2.4, and without empty segments. */
function normalized(path: string): string {
  const kept: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '..') kept.pop()
    else if (segment !== '' && segment !== '.') kept.push(segment)
  }
  return `/${kept.join('/')}${kept.length > 0 && path.endsWith('/') ? '/' : ''}`
}

/** RFC 3986 §2.3: every byte but the unreserved ones. */
function encoded(text: string): string {
  return text.replace(/[^\w.~-]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}

function decoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
