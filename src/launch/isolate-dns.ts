// Answers DNS questions inside an isolated run, where every address leads to the proxy: bytes in, bytes out. Any name has an
// address, so that a refusal comes from the proxy, which says why. It never answers HTTPS or SVCB (RFC 9460): their hints and
// ECH keys would hide the name that the connection is for.

const pointerToName = 0xc00c
const ttlSeconds = 60

/** null: no question that can be answered; nothing is sent back. `addressOf` takes a lower-case name without its last dot. */
export function answerQuestion(query: Buffer, addressOf: (name: string) => string): Buffer | null {
  // RFC 1035 §4.1.1: a question (QR 0) that is a standard query (opcode 0), with exactly one name.
  if (query.length < 17 || query.length > 4_096) return null
  if (((query[2] as number) & 0xf8) !== 0 || query.readUInt16BE(4) !== 1) return null
  const labels: string[] = []
  let at = 12
  for (;;) {
    const length = query[at]
    if (length === undefined || length > 63 || at + 1 + length > query.length) return null
    at += 1 + length
    if (length === 0) break
    labels.push(query.toString('latin1', at - length, at))
  }
  if (at - 12 > 255 || at + 4 > query.length) return null
  const [type, kind] = [query.readUInt16BE(at), query.readUInt16BE(at + 2)]
  const question = query.subarray(12, at + 4)
  const address = type === 1 && kind === 1 ? addressOf(labels.join('.').toLowerCase()) : null
  const head = Buffer.alloc(12)
  query.copy(head, 0, 0, 2)
  // QR and AA, RD as it was asked, RA; no error: a name without a record of this type is an empty answer (RFC 2308 §2.2).
  head[2] = 0x84 | ((query[2] as number) & 1)
  head[3] = 0x80
  head.writeUInt16BE(1, 4)
  if (address === null) return Buffer.concat([head, question])
  head.writeUInt16BE(1, 6)
  const record = Buffer.alloc(16)
  record.writeUInt16BE(pointerToName, 0)
  record.writeUInt16BE(1, 2)
  record.writeUInt16BE(1, 4)
  record.writeUInt32BE(ttlSeconds, 6)
  record.writeUInt16BE(4, 10)
  address.split('.').forEach((octet, index) => void record.writeUInt8(Number(octet), 12 + index))
  return Buffer.concat([head, question, record])
}
