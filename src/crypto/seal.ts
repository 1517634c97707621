// Sealing: AES-256-GCM under a data key that is itself wrapped by a key-encryption key, a 0600 file. What a value may be
// used for is part of the associated data, so that it opens for nothing else.
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import type { Secret } from '../model/secret.ts'

const version = 1
const nonceBytes = 12
const tagBytes = 16
const keyBytes = 32

/** version, nonce, tag, ciphertext. The nonce is random: far below 2^32 seals under one key are ever made. */
export function seal(key: Buffer, plain: Buffer, associated: string): Buffer {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(Buffer.from(associated))
  const body = Buffer.concat([cipher.update(plain), cipher.final()])
  return Buffer.concat([Buffer.from([version]), nonce, cipher.getAuthTag(), body])
}

/** Throws an Error that names nothing of the content when key, bytes or purpose differ. */
export function open(key: Buffer, sealed: Buffer, associated: string): Buffer {
  if (sealed.length < 1 + nonceBytes + tagBytes || sealed[0] !== version) throw new Error('not a sealed value of this version')
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(1, 1 + nonceBytes))
  decipher.setAAD(Buffer.from(associated))
  decipher.setAuthTag(sealed.subarray(1 + nonceBytes, 1 + nonceBytes + tagBytes))
  return Buffer.concat([decipher.update(sealed.subarray(1 + nonceBytes + tagBytes)), decipher.final()])
}

export function sealSecret(key: Buffer, secret: Secret, associated: string): Buffer {
  return seal(key, secret.reveal(), associated)
}

/** Tells whether two stored values are the same without telling either. */
export function fingerprint(key: Buffer, secret: Secret): string {
  return createHmac('sha256', key).update('fingerprint').update(secret.reveal()).digest('hex').slice(0, 12)
}

/** Parts that no choice of their text can shift into each other. */
export function associate(...parts: readonly string[]): string {
  return parts.map((part) => `${Buffer.byteLength(part)}:${part}`).join(',')
}

export function newKey(): Buffer {
  return randomBytes(keyBytes)
}

/** The key-encryption key; made at first use. Throws an Error that says what to do when the file is not ours alone. */
export function loadKeyFile(path: string): Buffer {
  try {
    const file = openSync(path, 'wx', 0o600)
    const key = newKey()
    writeSync(file, key)
    fsyncSync(file)
    closeSync(file)
    return key
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const { mode, uid, size } = statSync(path)
  if (process.getuid !== undefined && uid !== process.getuid())
    throw new Error(`${path} belongs to another user: start Ostiary as that user`)
  if ((mode & 0o077) !== 0) throw new Error(`${path} can be read by others: chmod 600 ${path}, and rotate every secret that it sealed`)
  if (size !== keyBytes) throw new Error(`${path} is not a key of ${keyBytes} bytes: restore it from your backup`)
  return readFileSync(path)
}
