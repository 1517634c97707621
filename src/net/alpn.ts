// The list of protocols that a side of TLS offers or takes, as ALPN writes it.

/**
 * RFC 7301 §3.1: each name behind its length. A view, since Node copies any other form into its pool of small buffers for each
 * connection, and then the 64 KB around it stay as long as that.
 */
export function protocolList(names: readonly string[]): DataView {
  const { buffer } = Uint8Array.from(names.flatMap((name) => [name.length, ...Buffer.from(name, 'latin1')]))
  return new DataView(buffer)
}
