// A trust store that Java reads: the JVM takes no PEM. Holds public certificates only, and needs no password to be read.
import { createHash, X509Certificate } from 'node:crypto'

/**
 * JKS, version 2, as sun.security.provider.JavaKeyStore reads it: big-endian; a trusted certificate is tag 2, alias, time, type, DER.
 * Behind it a SHA-1 over password, a constant and the content, which is looked at only by who gives the password.
 */
export function javaTrustStore(pem: string, at: number): Buffer {
  const ders = (pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []).flatMap(derOf)
  const entries = ders.flatMap((der, index) => [int(2), text(String(index)), long(at), text('X.509'), int(der.length), der])
  const content = Buffer.concat([int(0xfeedfeed), int(2), int(ders.length), ...entries])
  const password = Buffer.from('changeit', 'utf16le').swap16()
  const digest = createHash('sha1').update(password).update('Mighty Aphrodite').update(content).digest()
  return Buffer.concat([content, digest])
}

/** Systems' bundles hold one now and then that nothing can read: Java would refuse the whole store for it. */
function derOf(pem: string): readonly Buffer[] {
  try {
    return [new X509Certificate(pem).raw]
  } catch {
    return []
  }
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function long(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

/** DataOutput.writeUTF, for ASCII. */
function text(value: string): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value.length)
  return Buffer.concat([bytes, Buffer.from(value, 'latin1')])
}
