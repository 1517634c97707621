// The only file with node:sqlite. Opens the store for one owner, migrates it, refuses what it does not know.
import { closeSync, existsSync, openSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { sql as first } from './migrations/001-first.ts'

export type Database = DatabaseSync

const migrations = [first]
/** "osti" in the header of the file, so that a foreign database is not taken for ours. */
const applicationId = 0x6f737469

/** Throws an Error that says what to do with a store that is foreign, damaged, newer, in use or cannot be used. */
export function openDatabase(path: string): Database {
  checkFile(path)
  let database: DatabaseSync | null = null
  try {
    database = new DatabaseSync(path, { timeout: 0 })
    prepare(database, path)
    return database
  } catch (error) {
    if (database?.isOpen === true) database.close()
    throw explained(path, error as Error)
  }
}

/** One in a format of somebody else's: nobody's store, made anew at each start, so that nothing waits for the disk. */
export function plainDatabase(path: string): Database {
  const database = new DatabaseSync(path)
  database.exec('PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF')
  return database
}

/** Made by us, so that it is never readable by others, not even at first. */
function checkFile(path: string): void {
  try {
    if (!existsSync(path)) return closeSync(openSync(path, 'wx', 0o600))
    const { uid, mode } = statSync(path)
    if (process.getuid !== undefined && uid !== process.getuid())
      throw new Error(`${path} belongs to another user: start Ostiary as that user`)
    if ((mode & 0o077) !== 0) throw new Error(`${path} can be read by others: chmod 600 ${path}`)
  } catch (error) {
    throw explained(path, error as Error)
  }
}

function prepare(database: DatabaseSync, path: string): void {
  const pragma = (name: string): number => Number(Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0])
  // Held until close, by the kernel: a second process gets SQLITE_BUSY whatever became of the lock file.
  database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT')
  // Taking the lock may have written a first page, so an empty schema is what tells a new file.
  const isNew = pragma('application_id') === 0 && database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n'] === 0
  if (!isNew && pragma('application_id') !== applicationId)
    throw new Error(`${path} is not a store of Ostiary: name another directory with --data`)
  const version = pragma('user_version')
  if (version > migrations.length)
    throw new Error(
      `${path} was written by a newer Ostiary (store version ${version}, this one knows ${migrations.length}): use that release`,
    )
  if (!isNew && database.prepare('PRAGMA quick_check(1)').get()?.['quick_check'] !== 'ok') throw damaged(path, 'quick_check')
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON')
  for (const [at, sql] of migrations.entries()) {
    if (at < version) continue
    database.exec(`BEGIN; ${sql}; PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${at + 1}; COMMIT`)
  }
}

/** SQLite and the system say what happened; a person needs to know what to do. Our own words pass. */
function explained(path: string, error: Error): Error {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === undefined) return error
  if (/not a database|malformed|corrupt/.test(message)) return damaged(path, message)
  if (/is locked|busy/.test(message))
    return new Error(`${path} is in use by another Ostiary: stop it by \`ostiary stop\`, or name another directory with --data`)
  if (/is full|ENOSPC/.test(message)) return new Error(`${path} cannot grow, the disk is full: free some space`)
  const what = code.startsWith('ERR_') ? message : code
  return new Error(`${path} cannot be used (${what}): make it readable and writable for this user, or name another directory with --data`)
}

function damaged(path: string, what: string): Error {
  return new Error(`${path} is damaged (${what}): restore it from your backup, or move it away and store the secrets again`)
}
