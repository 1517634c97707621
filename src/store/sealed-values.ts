// Sealed values: what is stored opens only under the data key and for the purpose that it was sealed for.
import { associate, fingerprint, newKey, open, recognise, recognitionKey, seal, sealSecret } from '../crypto/seal.ts'
import type { Purpose } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Secret } from '../model/secret.ts'
import type { Database } from './sqlite.ts'

export type SealedKind = 'secret' | 'issuer-key' | 'issuer-key-next' | 'ca'

export interface SealedRow {
  readonly name: string
  readonly purpose: string
  readonly fingerprint: string
  readonly created: number
  readonly version: number
}

export interface SealedValues {
  put(kind: SealedKind, name: string, purpose: string, value: Secret, now: number): Promise<SealedRow>
  /** null: none of this name; 'purpose': there is one, for something else. */
  get(kind: SealedKind, name: string, purpose: string): Promise<Secret | 'purpose' | null>
  list(kind: SealedKind): Promise<readonly SealedRow[]>
  remove(kind: SealedKind, name: string): Promise<boolean>
  /** Keyed hash of text that is not stored: the same over restarts, and of this installation only. */
  recognise(text: string): string
  /** What `recognise` is keyed with, for a process that has no store. */
  readonly recognition: Secret
  close(): void
}

/** The purpose as one text; part of the seal's associated data. */
export function purposeText(purpose: Purpose): string {
  const fixed = purpose.dangerouslyFixed ? ['dangerously fixed address'] : []
  return associate(purpose.service, [...purpose.hosts].sort().join(' '), String(purpose.port), purpose.slot, ...fixed)
}

export function createSealedValues(database: Database, keyEncryptionKey: Buffer): SealedValues {
  const dataKey = loadDataKey(database, keyEncryptionKey)
  const associated = (kind: SealedKind, name: string, purpose: string): string => associate(kind, name, purpose)
  const one = database.prepare('SELECT purpose, sealed FROM sealed WHERE kind = ? AND name = ?')
  const row = database.prepare('SELECT name, purpose, fingerprint, created, version FROM sealed WHERE kind = ? AND name = ?')
  const all = database.prepare('SELECT name, purpose, fingerprint, created, version FROM sealed WHERE kind = ? ORDER BY name')
  const upsert =
    database.prepare(`INSERT INTO sealed (name, kind, purpose, sealed, fingerprint, created, version) VALUES (?, ?, ?, ?, ?, ?, 1)
    ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, purpose = excluded.purpose, sealed = excluded.sealed,
    fingerprint = excluded.fingerprint, created = excluded.created, version = version + 1`)
  const drop = database.prepare('DELETE FROM sealed WHERE kind = ? AND name = ?')
  const plainRow = (found: unknown, name: string): SealedRow => ({ ...(found as SealedRow), name })
  const recognition = recognitionKey(dataKey)
  let closed = false
  return {
    recognition,
    async put(kind, name, purpose, value, now) {
      // A wiped data key is a key that everybody knows.
      if (closed) throw new Error('the store is closed')
      if (value.size === 0 || value.size > limits.secretBytesMax)
        throw new Error(`${name}: a value has 1 to ${limits.secretBytesMax} bytes; this one has ${value.size}`)
      upsert.run(
        key(kind, name),
        kind,
        purpose,
        sealSecret(dataKey, value, associated(kind, name, purpose)),
        fingerprint(dataKey, value),
        now,
      )
      return plainRow(row.get(kind, key(kind, name)), name)
    },
    async get(kind, name, purpose) {
      if (closed) throw new Error('the store is closed')
      const found = one.get(kind, key(kind, name)) as { purpose: string; sealed: Uint8Array } | undefined
      if (found === undefined) return null
      if (found.purpose !== purpose) return 'purpose'
      const plain = opened(name, () => open(dataKey, Buffer.from(found.sealed), associated(kind, name, purpose)))
      const secret = new Secret(plain)
      plain.fill(0)
      return secret
    },
    async list(kind) {
      return all
        .all(kind)
        .map((found) => plainRow(found, kind === 'secret' ? String(found['name']) : String(found['name']).slice(kind.length + 1)))
    },
    async remove(kind, name) {
      return Number(drop.run(kind, key(kind, name)).changes) > 0
    },
    recognise(text) {
      // A wiped key is one that everybody knows.
      if (closed) throw new Error('the store is closed')
      return recognise(recognition, text)
    },
    close() {
      closed = true
      dataKey.fill(0)
      recognition.wipe()
    },
  }
}

/** Names are unique over kinds in the table; a kind that is not a secret stands before its name. */
function key(kind: SealedKind, name: string): string {
  if (kind !== 'secret') return `${kind}/${name}`
  // With a slash it could be the CA's key, and putting it would replace that.
  if (!/^[\w.-]{1,100}$/.test(name)) throw new Error('the name of a secret has 1 to 100 letters, digits, dots, dashes and underscores')
  return name
}

function opened(name: string, open: () => Buffer): Buffer {
  try {
    return open()
  } catch {
    throw new Error(`the sealed value ${name} does not open: the store was changed or mixed from backups; store the value again`)
  }
}

function loadDataKey(database: Database, keyEncryptionKey: Buffer): Buffer {
  const found = database.prepare("SELECT value FROM meta WHERE name = 'data-key'").get() as { value: Uint8Array } | undefined
  if (found !== undefined) {
    try {
      return open(keyEncryptionKey, Buffer.from(found.value), 'data-key')
    } catch {
      throw new Error('the key file does not open this store: both belong together, restore them from one backup')
    }
  }
  const key = newKey()
  database.prepare("INSERT INTO meta (name, value) VALUES ('data-key', ?)").run(seal(keyEncryptionKey, key, 'data-key'))
  return key
}
