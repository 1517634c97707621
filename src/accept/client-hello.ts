// Reads the first TLS record of a tunnel: which name does it ask for, and does it hide another (ECH)? Sans-io; it throws
// nothing but Refusal accept.not_tls.
import { Refusal } from '../model/refusal.ts'

export interface Hello {
  /** Lower-case, or null where none is asked for. */
  readonly serverName: string | null
  readonly encrypted: boolean
}

const notTls = (detail: string): Refusal => new Refusal('accept.not_tls', detail)

/** null: more bytes are needed. Only what lies in handshake records of type 22 is read (RFC 8446 §5.1). */
export function readClientHello(bytes: Buffer): Hello | null {
  const parts: Buffer[] = []
  let at = 0
  let have = 0
  while (at + 5 <= bytes.length) {
    if (bytes[at] !== 22 || bytes[at + 1] !== 3) throw notTls('not a handshake record')
    const length = bytes.readUInt16BE(at + 3)
    if (length === 0 || length > 16_640) throw notTls('a record of impossible length')
    if (at + 5 + length > bytes.length) break
    parts.push(bytes.subarray(at + 5, at + 5 + length))
    have += length
    at += 5 + length
    const message = Buffer.concat(parts, have)
    if (message.length < 4) continue
    if (message[0] !== 1) throw notTls('not a client hello')
    const size = message.readUIntBE(1, 3)
    if (message.length >= 4 + size) return readHello(message.subarray(4, 4 + size))
  }
  if (bytes.length > 0 && bytes[0] !== 22) throw notTls('not a handshake record')
  return null
}

function readHello(hello: Buffer): Hello {
  const need = (end: number): void => {
    if (end > hello.length) throw notTls('a client hello that is cut short')
  }
  let at = 34
  need(at + 1)
  at += 1 + (hello[at] as number)
  need(at + 2)
  at += 2 + hello.readUInt16BE(at)
  need(at + 1)
  at += 1 + (hello[at] as number)
  if (at === hello.length) return { serverName: null, encrypted: false }
  need(at + 2)
  const end = at + 2 + hello.readUInt16BE(at)
  if (end !== hello.length) throw notTls('extensions of the wrong length')
  at += 2
  let serverName: string | null = null
  // encrypted_client_hello, and its draft as encrypted_server_name.
  let encrypted = false
  while (at < end) {
    need(at + 4)
    const type = hello.readUInt16BE(at)
    const length = hello.readUInt16BE(at + 2)
    at += 4
    need(at + length)
    if (type === 0) {
      if (serverName !== null) throw notTls('two server names')
      serverName = readServerName(hello.subarray(at, at + length))
    }
    if (type === 0xfe0d || type === 0xffce) encrypted = true
    at += length
  }
  return { serverName, encrypted }
}

/** RFC 6066 §3: exactly one name of type host_name. */
function readServerName(extension: Buffer): string {
  if (extension.length < 5 || extension.readUInt16BE(0) !== extension.length - 2 || extension[2] !== 0)
    throw notTls('a server name that cannot be read')
  const length = extension.readUInt16BE(3)
  if (length !== extension.length - 5) throw notTls('more than one server name')
  return extension.toString('latin1', 5).toLowerCase()
}
