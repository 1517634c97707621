// Chunked framing (RFC 9112 §7.1).

const crlf = Buffer.from('\r\n')

export function chunkStart(size: number): Buffer {
  return Buffer.from(`${size.toString(16)}\r\n`, 'latin1')
}

export const chunkEnd = crlf

/** One buffer with the chunk's line, content and end: small chunks leave in one write. */
export function wholeChunk(content: Buffer): Buffer {
  const line = `${content.length.toString(16)}\r\n`
  const out = Buffer.allocUnsafe(line.length + content.length + 2)
  out.write(line, 0, 'latin1')
  content.copy(out, line.length)
  out[out.length - 2] = 0x0d
  out[out.length - 1] = 0x0a
  return out
}

export function lastChunk(trailers: readonly (readonly [string, string])[]): Buffer {
  return Buffer.from(`0\r\n${trailers.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`, 'latin1')
}
