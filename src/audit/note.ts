// Checkpoints as C2SP signed notes (Ed25519): written, read and verified; and the key of a log in its file and as text.
// It must never sign anything but a checkpoint that the caller knows to be consistent with the one before.
import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, type KeyObject, sign, verify } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncDir, writeSynced } from './disk.ts'

export interface Checkpoint {
  readonly origin: string
  readonly size: number
  readonly root: Buffer
}

/** Signature type of plain Ed25519 (C2SP signed-note). */
const ed25519 = 1
const noteBytesMax = 64 * 1024

/** The 32 bytes of an Ed25519 public key. */
function rawKey(key: KeyObject): Buffer {
  const { x } = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' })
  return Buffer.from(x ?? '', 'base64url')
}

/** C2SP signed-note: SHA-256(name || 0x0A || type || key)[:4]. */
export function keyId(name: string, key: KeyObject): Buffer {
  return hash('sha256', Buffer.concat([Buffer.from(`${name}\n`), Buffer.from([ed25519]), rawKey(key)]), 'buffer').subarray(0, 4)
}

/** Key names hold no white space and no plus (C2SP signed-note); an origin is the name of its key. */
export function isOrigin(origin: string): boolean {
  return /^[!-*,-~]+$/.test(origin) && origin.length <= 256
}

export function signCheckpoint(checkpoint: Checkpoint, key: KeyObject): string {
  const text = `${checkpoint.origin}\n${checkpoint.size}\n${checkpoint.root.toString('base64')}\n`
  const signature = Buffer.concat([keyId(checkpoint.origin, key), sign(null, Buffer.from(text), key)])
  return `${text}\n— ${checkpoint.origin} ${signature.toString('base64')}\n`
}

export type Opened = { readonly checkpoint: Checkpoint; readonly signed: boolean } | { readonly wrong: string }

/** `signed` is false where no signature of this key is there or it does not hold; `wrong` where it is no checkpoint at all. */
export function openCheckpoint(note: string, key: KeyObject): Opened {
  if (note.length > noteBytesMax) return { wrong: 'it is longer than a checkpoint can be' }
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n')) return { wrong: 'it is not a signed note' }
  const text = note.slice(0, end + 1)
  const [origin = '', sizeText = '', rootText = ''] = text.split('\n')
  const root = Buffer.from(rootText, 'base64')
  const size = Number(sizeText)
  if (!isOrigin(origin) || !/^(0|[1-9]\d{0,15})$/.test(sizeText) || !Number.isSafeInteger(size))
    return { wrong: 'its origin or size is unreadable' }
  if (root.length !== 32 || root.toString('base64') !== rootText) return { wrong: 'its root hash is unreadable' }
  const id = keyId(origin, key)
  const signed = note
    .slice(end + 2)
    .split('\n')
    .some((line) => holds(line, origin, id, text, key))
  return { checkpoint: { origin, size, root }, signed }
}

function holds(line: string, origin: string, id: Buffer, text: string, key: KeyObject): boolean {
  const prefix = `— ${origin} `
  if (!line.startsWith(prefix)) return false
  const encoded = line.slice(prefix.length)
  const bytes = Buffer.from(encoded, 'base64')
  // One signature, one spelling: Buffer.from would take stray characters and bits of the padding.
  if (bytes.length !== 68 || bytes.toString('base64') !== encoded) return false
  return bytes.subarray(0, 4).equals(id) && verify(null, Buffer.from(text), key, bytes.subarray(4))
}

/** The verifier key as C2SP and Go's note package write it: `name+id+base64(type || key)`. */
export function verifierKey(origin: string, key: KeyObject): string {
  const encoded = Buffer.concat([Buffer.from([ed25519]), rawKey(key)]).toString('base64')
  return `${origin}+${keyId(origin, key).toString('hex')}+${encoded}`
}

/** Reads what verifierKey wrote; throws an Error that says what is wrong. */
export function readVerifierKey(text: string): { readonly origin: string; readonly key: KeyObject } {
  const [origin = '', id = '', ...rest] = text.trim().split('+')
  const bytes = Buffer.from(rest.join('+'), 'base64')
  if (!isOrigin(origin) || bytes.length !== 33 || bytes[0] !== ed25519) throw new Error('this is not the public key of an audit log')
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: bytes.subarray(1).toString('base64url') }, format: 'jwk' })
  if (keyId(origin, key).toString('hex') !== id) throw new Error('the public key of the audit log does not fit its own id')
  return { origin, key }
}

/** The key of a log from its file (PKCS #8, 0600). It is made only where `mayCreate`: a log that exists never gets another key. */
export async function loadKey(path: string, mayCreate: boolean): Promise<KeyObject> {
  const pem = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (pem !== null) {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType !== 'ed25519') throw new Error(`${path} does not hold an Ed25519 key`)
    return key
  }
  if (!mayCreate)
    throw new Error(`the audit log has a checkpoint, but its key ${path} is gone; restore the key, a new one would break the log`)
  const { privateKey } = generateKeyPairSync('ed25519')
  await writeSynced(path, privateKey.export({ type: 'pkcs8', format: 'pem' }), 0o600)
  await syncDir(dirname(path))
  return privateKey
}
