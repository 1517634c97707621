// The only file with node:sqlite. Opens the store, migrates it, refuses what it does not know.
import { chmodSync, existsSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { sql as first } from './migrations/001-first.ts'

export type Database = DatabaseSync

const migrations = [first]
/** "ostiary" in the header of the file, so that a foreign database is not taken for ours. */
const applicationId = 0x6f737469

/** Throws an Error that says what to do with a foreign, corrupted or newer store. */
export function openDatabase(path: string): Database {
  const isNew = !existsSync(path)
  if (!isNew && process.getuid !== undefined && statSync(path).uid !== process.getuid())
    throw new Error(`${path} belongs to another user: start Ostiary as that user`)
  let database: DatabaseSync
  try {
    database = new DatabaseSync(path, { timeout: 1_000 })
    if (isNew) chmodSync(path, 0o600)
    prepare(database, path, isNew)
  } catch (error) {
    const text = (error as Error).message
    if (/not a database|malformed|corrupt/.test(text))
      throw new Error(`${path} is damaged (${text}): restore it from your backup, or move it away and store the secrets again`)
    throw error
  }
  return database
}

function prepare(database: DatabaseSync, path: string, isNew: boolean): void {
  const pragma = (name: string): number => Number(Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0])
  if (!isNew && pragma('application_id') !== applicationId && pragma('page_count') > 0)
    throw new Error(`${path} is not a store of Ostiary: name another directory with --data`)
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON')
  if (!isNew && database.prepare('PRAGMA quick_check(1)').get()?.['quick_check'] !== 'ok')
    throw new Error(`${path} is damaged: restore it from your backup, or move it away and store the secrets again`)
  const version = pragma('user_version')
  if (version > migrations.length)
    throw new Error(
      `${path} was written by a newer Ostiary (store version ${version}, this one knows ${migrations.length}): use that release`,
    )
  for (const [at, sql] of migrations.entries()) {
    if (at < version) continue
    database.exec(`BEGIN; ${sql}; PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${at + 1}; COMMIT`)
  }
}
