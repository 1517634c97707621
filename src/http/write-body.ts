// Chunked framing (RFC 9112 §7.1). An empty chunk would end the body, so none is ever written but the last.
import { tokenByte } from './bytes.ts'

const crlf = Buffer.from('\r\n')

export function chunkStart(size: number): Buffer {
  if (size <= 0) throw new RangeError('a chunk has content')
  return Buffer.from(`${size.toString(16)}\r\n`, 'latin1')
}

export const chunkEnd = crlf

/** One buffer with the chunk's line, content and end: small chunks leave in one write. */
export function wholeChunk(content: Buffer): Buffer {
  if (content.length === 0) return content
  const line = `${content.length.toString(16)}\r\n`
  const out = Buffer.allocUnsafe(line.length + content.length + 2)
  out.write(line, 0, 'latin1')
  content.copy(out, line.length)
  out[out.length - 2] = 0x0d
  out[out.length - 1] = 0x0a
  return out
}

const end = Buffer.from('0\r\n\r\n')

/** A trailer that would break the framing is left out; the reader lets none in. */
export function lastChunk(trailers: readonly (readonly [string, string])[]): Buffer {
  if (trailers.length === 0) return end
  const lines = trailers.filter(([name, value]) => isToken(name) && !/[^\t\x20-\x7e\x80-\xff]/.test(value))
  return Buffer.from(`0\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`, 'latin1')
}

function isToken(name: string): boolean {
  for (let at = 0; at < name.length; at++) if (tokenByte[name.charCodeAt(at)] !== 1) return false
  return name.length > 0
}
