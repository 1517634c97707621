// The roots of browsers: Chromium reads no variable and no PEM file, only the SQLite database of NSS (cert9.db, PKCS #11 objects as
// rows). Made anew at each start, for runs alone, and with our CA alone; nothing in it is secret.
import { createHash, X509Certificate } from 'node:crypto'
import { rmSync } from 'node:fs'
import { plainDatabase } from './sqlite.ts'

/** Attributes by their number in PKCS #11: those that NSS gives a column. */
const columns =
  '0 1 2 3 10 11 12 80 81 82 83 84 85 86 87 88 89 8a 8b 90 100 101 102 103 104 105 106 107 108 109 10a 10b 10c 110 111 120 121 122 123 124 125 126 127 128 129 130 131 132 133 134 160 161 162 163 164 165 166 170 180 181 200 201 202 210 300 301 302 400 401 402 403 404 405 406 480 481 482 500 501 502 503 40000211 40000212 80000001 ce534351 ce534352 ce534353 ce534354 ce534355 ce534356 ce534357 ce534358 ce534364 ce534365 ce534366 ce534367 ce534368 ce534369 ce534373 ce534374 ce536351 ce536352 ce536353 ce536354 ce536355 ce536356 ce536357 ce536358 ce536359 ce53635a ce53635b ce53635c ce53635d ce53635e ce53635f ce536360 ce5363b4 ce5363b5 d5a0db00'.split(
    ' ',
  )

const yes = Buffer.of(1)
const no = Buffer.of(0)
const certificateClass = number(1)
const x509 = number(0)
const trustClass = number(0xce534353)
/** May sign for servers, and for nothing else. */
const delegator = number(0xce534352)
const mustVerify = number(0xce534353)

export function writeNssDatabase(path: string, caPem: string): void {
  const certificate = new X509Certificate(caPem)
  const { serial, issuer, subject } = partsOf(certificate.raw)
  rmSync(path, { force: true })
  const database = plainDatabase(path)
  try {
    database.exec(`CREATE TABLE nssPublic (id PRIMARY KEY UNIQUE ON CONFLICT ABORT, ${columns.map((one) => `a${one}`).join(', ')})`)
    for (const [name, column] of Object.entries({ issuer: 'a81', subject: 'a101', label: 'a3', ckaid: 'a102' }))
      database.exec(`CREATE INDEX ${name} ON nssPublic (${column})`)
    const insert = (id: number, row: Readonly<Record<string, Buffer>>): void => {
      const names = Object.keys(row)
      const values = names.map((name) => row[name] as Buffer)
      database
        .prepare(`INSERT INTO nssPublic (id, ${names.join(', ')}) VALUES (${['?', ...names.map(() => '?')].join(', ')})`)
        .run(id, ...values)
    }
    const both = { a1: yes, a2: no, a3: Buffer.from('Ostiary'), a81: issuer, a82: serial, a170: yes }
    const id = createHash('sha1').update(certificate.raw).digest()
    insert(1, { ...both, a0: certificateClass, a11: certificate.raw, a80: x509, a101: subject, a102: id })
    const sums = { ace5363b4: id, ace5363b5: createHash('md5').update(certificate.raw).digest() }
    const uses = { ace536358: delegator, ace536359: mustVerify, ace53635a: mustVerify, ace53635b: mustVerify, ace536360: no }
    insert(2, { ...both, ...uses, ...sums, a0: trustClass })
  } finally {
    database.close()
  }
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** RFC 5280 §4.1: version, serial number, algorithm, issuer, validity, subject; each as it is encoded. */
function partsOf(der: Buffer): { readonly serial: Buffer; readonly issuer: Buffer; readonly subject: Buffer } {
  let at = contentOf(der, contentOf(der, 0).from).from
  const next = (): Buffer => {
    const { to } = contentOf(der, at)
    const element = der.subarray(at, to)
    at = to
    return element
  }
  next()
  const serial = next()
  next()
  const issuer = next()
  next()
  return { serial, issuer, subject: next() }
}

/** X.690 §8.1.3: where the content of the element at `at` begins and ends. */
function contentOf(der: Buffer, at: number): { readonly from: number; readonly to: number } {
  const first = der[at + 1] as number
  if (first < 0x80) return { from: at + 2, to: at + 2 + first }
  const count = first & 0x7f
  const from = at + 2 + count
  return { from, to: from + der.readUIntBE(at + 2, count) }
}
