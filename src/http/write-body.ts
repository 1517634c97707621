// Chunked framing (RFC 9112 §7.1). An empty chunk would end the body, so none is ever written but the last.
import { tokenByte } from './bytes.ts'

const crlf = Buffer.from('\r\n')

/** What fits into one TLS record is put together and leaves in one write. */
const oneWriteBytesMax = 16 * 1024

/** Of a socket. */
interface Writable {
  write(bytes: Buffer): boolean
  cork(): void
  uncork(): void
}

/** Head and body that are both there: small ones leave in one write, and in one TLS record. */
export function writeWhole(to: Writable, head: Buffer, body: Buffer): void {
  if (body.length === 0) to.write(head)
  else if (body.length <= oneWriteBytesMax) to.write(Buffer.concat([head, body], head.length + body.length))
  else {
    to.cork()
    to.write(head)
    to.write(body)
    to.uncork()
  }
}

/** A piece of a body. False: the socket is full. */
export function writePiece(to: Writable, piece: Buffer, chunked: boolean): boolean {
  if (piece.length === 0) return true
  if (!chunked) return to.write(piece)
  if (piece.length <= oneWriteBytesMax) return to.write(wholeChunk(piece))
  to.cork()
  to.write(Buffer.from(`${piece.length.toString(16)}\r\n`, 'latin1'))
  to.write(piece)
  const more = to.write(crlf)
  to.uncork()
  return more
}

/** One buffer with the chunk's line, content and end. */
function wholeChunk(content: Buffer): Buffer {
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
