// Tables of bytes and the names that the reader knows. No allocation per message: a name that was seen before is one string.

/** tchar of RFC 9110 §5.6.2. */
export const tokenByte = table((byte) => /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(byte)))
/** VCHAR, SP and HTAB: what a field value of a request may hold (RFC 9110 §5.5); obs-text only in answers. */
export const valueByte = table((byte) => byte === 9 || (byte >= 0x20 && byte <= 0x7e))
/** What RFC 3986 lets stand in a request target; `#`, quotes, backslash, braces and controls are out. */
export const targetByte = table((byte) => /[A-Za-z0-9\-._~:/?[\]@!$&'()*+,;=%]/.test(String.fromCharCode(byte)))

function table(holds: (byte: number) => boolean): Uint8Array {
  const bytes = new Uint8Array(256)
  for (let byte = 0; byte < 256; byte++) bytes[byte] = holds(byte) ? 1 : 0
  return bytes
}

const internedMax = 1_024
const interned = new Map<number, string>()

/** Lower-case name with `_` as `-` (an alias that some origins fold), of a range that holds token bytes only. */
export function internName(buffer: Buffer, start: number, end: number): string {
  let hash = end - start
  for (let at = start; at < end; at++) {
    let byte = buffer[at] as number
    if (byte >= 65 && byte <= 90) byte |= 32
    else if (byte === 95) byte = 45
    hash = (Math.imul(hash, 31) + byte) | 0
  }
  const known = interned.get(hash)
  if (known !== undefined && same(known, buffer, start, end)) return known
  const name = buffer.toString('latin1', start, end).toLowerCase().replaceAll('_', '-')
  if (known === undefined && interned.size < internedMax) interned.set(hash, name)
  return name
}

function same(name: string, buffer: Buffer, start: number, end: number): boolean {
  if (name.length !== end - start) return false
  for (let at = start; at < end; at++) {
    let byte = buffer[at] as number
    if (byte >= 65 && byte <= 90) byte |= 32
    else if (byte === 95) byte = 45
    if (name.charCodeAt(at - start) !== byte) return false
  }
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

/** Names that end with this connection (RFC 9110 §7.6.1) and are never passed on. */
export const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'http2-settings',
])

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
