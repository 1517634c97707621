// Sealing: AES-256-GCM under a data key that is itself wrapped by a key-encryption key, a 0600 file. What a value may be
// used for is part of the associated data, so that it opens for nothing else.
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, fsyncSync, linkSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { Secret } from '../model/secret.ts'

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
  const plain = decipher.update(sealed.subarray(1 + nonceBytes + tagBytes))
  try {
    decipher.final() // the tag is judged here; in this mode it adds no byte
    return plain
  } catch (error) {
    plain.fill(0)
    throw error
  }
}

export function sealSecret(key: Buffer, secret: Secret, associated: string): Buffer {
  return seal(key, secret.reveal(), associated)
}

/** Tells whether two stored values are the same without telling either. */
export function fingerprint(key: Buffer, secret: Secret): string {
  return createHmac('sha256', key).update('fingerprint').update(secret.reveal()).digest('hex').slice(0, 12)
}

/** Of the data key, for nothing but `recognise`: it opens no seal. */
export function recognitionKey(key: Buffer): Secret {
  return new Secret(createHmac('sha256', key).update('foreign').digest())
}

/** Knows text again that is not ours and that may not be kept: nobody without the key can try guesses against it. */
export function recognise(key: Secret, text: string): string {
  return createHmac('sha256', key.reveal()).update(text).digest('hex').slice(0, 32)
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
  let file: number
  try {
    // A link could point at a file that others write.
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return makeKeyFile(path)
    throw new Error(`${path} cannot be used (${code}): it has to be a plain file of the user that starts Ostiary`)
  }
  try {
    return readKey(file, path)
  } finally {
    closeSync(file)
  }
}

function readKey(file: number, path: string): Buffer {
  const stat = fstatSync(file)
  if (!stat.isFile()) throw new Error(`${path} is not a plain file: restore it from your backup`)
  if (process.getuid !== undefined && stat.uid !== process.getuid())
    throw new Error(`${path} belongs to another user: start Ostiary as that user`)
  if ((stat.mode & 0o077) !== 0) throw new Error(`${path} can be read by others: chmod 600 ${path}, and rotate every secret that it sealed`)
  if (stat.size !== keyBytes) throw new Error(`${path} is not a key of ${keyBytes} bytes: restore it from your backup`)
  const key = Buffer.alloc(keyBytes)
  if (readSync(file, key, 0, keyBytes, 0) !== keyBytes) throw new Error(`${path} could not be read whole: restore it from your backup`)
  return key
}

/** It appears whole and on disk, or not at all: without it everything that it sealed is lost. */
function makeKeyFile(path: string): Buffer {
  const key = newKey()
  const draft = `${path}.${process.pid}`
  try {
    const file = openSync(draft, 'wx', 0o600)
    try {
      writeSync(file, key)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    linkSync(draft, path)
    const directory = openSync(dirname(path), 'r')
    fsyncSync(directory)
    closeSync(directory)
    return key
  } catch (error) {
    throw new Error(`${path} cannot be made (${(error as NodeJS.ErrnoException).code}): its directory has to be writable and have space`)
  } finally {
    rmSync(draft, { force: true })
  }
}
