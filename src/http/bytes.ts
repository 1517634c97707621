// Tables of bytes and the names that the reader knows. No allocation per message: a name that was seen before is one string.
import { limits } from '../model/limits.ts'

/** tchar of RFC 9110 §5.6.2. */
export const tokenByte = table((byte) => /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(byte)))
/** VCHAR, SP and HTAB: what a field value may hold (RFC 9110 §5.5); obs-text in answers only. */
export const valueBytes = {
  request: table((byte) => byte === 9 || (byte >= 0x20 && byte <= 0x7e)),
  answer: table((byte) => byte === 9 || (byte >= 0x20 && byte !== 0x7f)),
} as const
/** What RFC 3986 lets stand in a request target; `#`, quotes, backslash, braces and controls are out. */
export const targetByte = table((byte) => /[A-Za-z0-9\-._~:/?[\]@!$&'()*+,;=%]/.test(String.fromCharCode(byte)))

function table(holds: (byte: number) => boolean): Uint8Array {
  const bytes = new Uint8Array(256)
  for (let byte = 0; byte < 256; byte++) bytes[byte] = holds(byte) ? 1 : 0
  return bytes
}

const interned = new Map<number, string>()

/** A byte of a name as it counts: lower-case, `_` as `-` (an alias that some origins fold); 0 where no name holds it. */
export const nameByte: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  tokenByte[byte] !== 1 ? 0 : byte === 0x5f ? 0x2d : byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte,
)

/** The start of `hash`, which the scanner of a name feeds with each of its bytes as they count. */
export const hashStart = 7

export function hashStep(hash: number, byte: number): number {
  return (Math.imul(hash, 31) + byte) | 0
}

/** The name in a range of token bytes; one that was seen before is the same string. */
export function internName(buffer: Buffer, start: number, end: number, hash: number): string {
  const known = interned.get(hash)
  if (known !== undefined && same(known, buffer, start, end)) return known
  const name = buffer.toString('latin1', start, end).toLowerCase().replaceAll('_', '-')
  // Long names are not kept: strangers choose them, and what they chose stays for good.
  if (known === undefined && interned.size < limits.namesRememberedMax && name.length <= limits.rememberedNameBytesMax)
    interned.set(hash, name)
  return name
}

function same(name: string, buffer: Buffer, start: number, end: number): boolean {
  if (name.length !== end - start) return false
  for (let at = start; at < end; at++) if (name.charCodeAt(at - start) !== nameByte[buffer[at] as number]) return false
  return true
}

/** Verbs that pass; an unknown one is refused, TRACE always (RFC 9110 §9, WebDAV as far as APIs use it). */
export const methods: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'CONNECT',
  'PROPFIND',
  'PROPPATCH',
  'MKCOL',
  'COPY',
  'MOVE',
  'REPORT',
  'SEARCH',
])

const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'http2-settings',
])

/** Names that end with this connection (RFC 9110 §7.6.1) and are never passed on; what begins with `proxy-` speaks to us. */
export function endsHere(name: string): boolean {
  return hopByHop.has(name) || (name.charCodeAt(0) === 0x70 && name.startsWith('proxy-'))
}

/** Written by us alone, from the Target and the framing. */
export const framingNames: ReadonlySet<string> = new Set(['host', 'content-length', 'transfer-encoding'])

/** A Connection field that names one of these wants to hide it from somebody: refused. */
export const neverNamed: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'authorization',
  'cookie',
  'set-cookie',
  'content-encoding',
  'content-type',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'xi-api-key',
  'location',
  'date',
])

// Common names first, so that nobody's junk takes their places.
for (const name of `accept accept-encoding accept-language accept-ranges access-control-expose-headers age alt-svc
  anthropic-beta anthropic-dangerous-direct-browser-access anthropic-organization-id anthropic-version api-key authorization
  cache-control cf-cache-status cf-ray connection content-disposition content-encoding content-language content-length content-type
  cookie date etag expect expires host idempotency-key if-match if-modified-since if-none-match keep-alive last-modified location
  openai-beta openai-organization openai-processing-ms openai-project openai-version origin pragma proxy-authorization
  proxy-connection range referer request-id retry-after sec-fetch-mode server set-cookie strict-transport-security te traceparent
  trailer transfer-encoding upgrade user-agent vary via www-authenticate x-api-key x-app x-content-type-options x-envoy-upstream-service-time
  x-forwarded-for x-goog-api-client x-goog-api-key x-ratelimit-limit-requests x-ratelimit-limit-tokens
  x-ratelimit-remaining-requests x-ratelimit-remaining-tokens x-ratelimit-reset-requests x-ratelimit-reset-tokens x-request-id
  x-stainless-arch x-stainless-async x-stainless-helper-method x-stainless-lang x-stainless-os x-stainless-package-version
  x-stainless-read-timeout x-stainless-retry-count x-stainless-runtime x-stainless-runtime-version x-stainless-timeout`.split(/\s+/))
  interned.set([...Buffer.from(name)].reduce(hashStep, hashStart), name)
