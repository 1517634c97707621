import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { newKey } from '../crypto/seal.ts'
import { Secret } from '../model/secret.ts'
import { lockDirectory } from './lock.ts'
import { createSealedValues, purposeText, type SealedKind } from './sealed-values.ts'
import { openDatabase } from './sqlite.ts'

const all = mkdtempSync(join(tmpdir(), 'store-'))
after(() => rmSync(all, { recursive: true, force: true }))
let count = 0
const directory = (): string => {
  const dir = join(all, String(count++))
  mkdirSync(dir, { mode: 0o700 })
  return dir
}
const purpose = { service: 'openai', hosts: ['b.test', 'a.test'], port: 443, slot: 'bearer', dangerouslyFixed: false }
const text = purposeText(purpose)

test('put, get, list, rotate, remove; nothing in clear on disk', async () => {
  const dir = directory()
  const path = join(dir, 'store.db')
  const key = newKey()
  const database = openDatabase(path)
  const values = createSealedValues(database, key)
  const first = await values.put('secret', 'openai', text, new Secret('sk-real-0123456789'), 1)
  assert.deepEqual([first.name, first.created, first.version], ['openai', 1, 1])
  const opened = await values.get('secret', 'openai', text)
  assert.ok(opened instanceof Secret && opened.equals(new Secret('sk-real-0123456789')))
  const second = await values.put('secret', 'openai', text, new Secret('sk-real-9876543210'), 2)
  assert.deepEqual([second.created, second.version], [2, 2])
  assert.notEqual(second.fingerprint, first.fingerprint)
  await values.put('issuer-key', 'openai', 'openai', new Secret('PEM-of-a-key'), 3)
  assert.deepEqual(
    (await values.list('secret')).map((row) => row.name),
    ['openai'],
  )
  assert.deepEqual(
    (await values.list('issuer-key')).map((row) => row.name),
    ['openai'],
  )
  assert.ok(!JSON.stringify(await values.list('secret')).includes('sk-real'))
  for (const file of readdirSync(dir)) {
    assert.equal(statSync(join(dir, file)).mode & 0o077, 0, file)
    const bytes = readFileSync(join(dir, file))
    for (const canary of ['sk-real', 'PEM-of', Buffer.from('sk-real-0123').toString('base64').slice(0, 12)])
      assert.ok(!bytes.includes(canary), file)
    assert.ok(!bytes.includes(key), file)
  }
  assert.equal(await values.remove('secret', 'openai'), true)
  assert.equal(await values.remove('secret', 'openai'), false)
  assert.equal(await values.get('secret', 'openai', text), null)
  assert.ok((await values.get('issuer-key', 'openai', 'openai')) instanceof Secret)
  values.close()
  // A data key that was wiped would seal for everybody.
  await assert.rejects(values.put('secret', 'late', text, new Secret('x'), 4), /closed/)
  await assert.rejects(values.get('issuer-key', 'openai', 'openai'), /closed/)
  database.close()
})

test('it is all there after a restart, under the same key only', async () => {
  const path = join(directory(), 'store.db')
  const key = newKey()
  let database = openDatabase(path)
  await createSealedValues(database, key).put('secret', 'a', text, new Secret('value'), 1)
  database.close()
  database = openDatabase(path)
  const found = await createSealedValues(database, key).get('secret', 'a', text)
  assert.ok(found instanceof Secret && found.equals(new Secret('value')))
  assert.throws(() => createSealedValues(database, newKey()), /key file does not open this store.*restore/)
  database.close()
})

test('a value opens for nothing but its purpose, whatever is done to the rows', async () => {
  const database = openDatabase(join(directory(), 'store.db'))
  const values = createSealedValues(database, newKey())
  await values.put('secret', 'a', text, new Secret('for openai'), 1)
  const others = [
    { ...purpose, service: 'evil' },
    { ...purpose, hosts: ['a.test'] },
    { ...purpose, hosts: ['a.test', 'b.test', 'evil.test'] },
    { ...purpose, hosts: ['a.test b.test'], slot: '' },
    { ...purpose, port: 8443 },
    { ...purpose, slot: 'header x-key' },
    { ...purpose, dangerouslyFixed: true },
  ]
  for (const other of others) assert.equal(await values.get('secret', 'a', purposeText(other)), 'purpose', JSON.stringify(other))
  assert.ok((await values.get('secret', 'a', purposeText({ ...purpose, hosts: ['a.test', 'b.test'] }))) instanceof Secret)
  // Who can write the file can change the column; the seal knows better.
  const evil = purposeText(others[0] as typeof purpose)
  database.prepare('UPDATE sealed SET purpose = ?').run(evil)
  await assert.rejects(values.get('secret', 'a', evil), /does not open: the store was changed/)
  database.prepare('UPDATE sealed SET purpose = ?').run(text)
  await values.put('secret', 'b', text, new Secret('another'), 1)
  database.exec("UPDATE sealed SET sealed = (SELECT sealed FROM sealed WHERE name = 'a') WHERE name = 'b'")
  await assert.rejects(values.get('secret', 'b', text), /does not open/)
  database.exec("UPDATE sealed SET kind = 'ca', name = 'ca/a' WHERE name = 'a'")
  await assert.rejects(values.get('ca', 'a', text), /does not open/)
  values.close()
  database.close()
})

test('a secret cannot take the place of a key of ours, nor be empty or too large', async () => {
  const database = openDatabase(join(directory(), 'store.db'))
  const values = createSealedValues(database, newKey())
  await values.put('ca', 'key', 'interception', new Secret('the CA'), 1)
  for (const name of ['ca/key', 'issuer-key/openai', '', '../a', 'a b', "a'; DROP TABLE sealed; --", 'a'.repeat(101), 'ä'])
    await assert.rejects(values.put('secret', name, text, new Secret('x'), 1), /name of a secret/, name)
  for (const kind of ['secret', 'ca', 'issuer-key'] satisfies SealedKind[])
    for (const value of ['', 'x'.repeat(64 * 1024 + 1)])
      await assert.rejects(values.put(kind, 'a', text, new Secret(value), 1), /1 to 65536 bytes/)
  assert.ok((await values.get('ca', 'key', 'interception')) instanceof Secret)
  values.close()
  database.close()
})

test('a store that is foreign, newer, damaged, open to others or no file is refused with what to do, and left alone', () => {
  const dir = directory()
  const of = (name: string, change: (path: string) => void): string => {
    const path = join(dir, name)
    openDatabase(path).close()
    change(path)
    return path
  }
  const sql = (text: string) => (path: string) => {
    const database = openDatabase(path)
    database.exec(text)
    database.close()
  }
  const series =
    'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) INSERT INTO meta SELECT i, randomblob(2000) FROM n'
  const damaged = (at: number) => (path: string) => {
    sql(series)(path)
    const bytes = readFileSync(path)
    bytes.fill(0x5a, at, at + 3_000)
    writeFileSync(path, bytes)
  }
  const cases: readonly (readonly [string, RegExp])[] = [
    [of('foreign.db', sql('PRAGMA application_id = 1')), /is not a store of Ostiary: name another directory/],
    [
      of('future.db', sql('PRAGMA user_version = 99')),
      /written by a newer Ostiary \(store version 99, this one knows 1\): use that release/,
    ],
    [
      of('text.db', (path) => writeFileSync(path, 'this is no database, it is a text of some length '.repeat(99))),
      /is damaged .*restore it from your backup/,
    ],
    [of('head.db', damaged(0)), /is damaged/],
    [of('page.db', damaged(8_192)), /is damaged/],
    [of('mode.db', (path) => chmodSync(path, 0o644)), /can be read by others: chmod 600/],
  ]
  for (const [path, words] of cases) {
    const before = readFileSync(path)
    assert.throws(() => openDatabase(path), words, path)
    assert.deepEqual(readFileSync(path), before, path)
    // The next try says the same: nothing is held.
    assert.throws(() => openDatabase(path), words, path)
  }
  mkdirSync(join(dir, 'folder.db'), { mode: 0o700 })
  assert.throws(() => openDatabase(join(dir, 'folder.db')), /cannot be used/)
  assert.throws(() => openDatabase(join(dir, 'absent', 'store.db')), /cannot be used \(ENOENT\)/)
})

test('an empty file, as a start that was cut short leaves it, becomes a store', () => {
  const path = join(directory(), 'store.db')
  writeFileSync(path, '', { mode: 0o600 })
  openDatabase(path).close()
  openDatabase(path).close()
})

test('a second instance gets a clear Error: in this process, in another, and where the lock file is gone', async () => {
  const dir = directory()
  const path = join(dir, 'store.db')
  const lock = lockDirectory(dir)
  const database = openDatabase(path)
  assert.throws(() => lockDirectory(dir), new RegExp(`in use by another Ostiary \\(pid ${process.pid}\\): stop it by`))
  assert.throws(() => openDatabase(path), /in use by another Ostiary/)
  const module = (name: string): string => JSON.stringify(join(import.meta.dirname, name))
  const other = (code: string) => spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'inherit'] })
  const trial = other(`
    import { openDatabase } from ${module('sqlite.ts')}
    import { lockDirectory } from ${module('lock.ts')}
    for (const run of [() => lockDirectory(${JSON.stringify(dir)}), () => openDatabase(${JSON.stringify(path)})])
      try { run(); console.log('no error') } catch (error) { console.log(error.message) }
  `)
  let said = ''
  trial.stdout.on('data', (chunk) => {
    said += chunk
  })
  await once(trial, 'close')
  assert.deepEqual(said.match(/in use by another Ostiary/g)?.length, 2, said)
  database.close()
  lock.release()
  assert.equal(existsSync(join(dir, 'lock')), false)
  openDatabase(path).close()
  lockDirectory(dir).release()
})

test('the lock of a dead owner, of a recycled pid or of nobody is taken over; one that is not ours is not released', () => {
  const dir = directory()
  for (const stale of ['999999999 1', `${process.pid} 1`, '', 'x y', '-1 5', `${process.pid}`]) {
    writeFileSync(join(dir, 'lock'), stale)
    const lock = lockDirectory(dir)
    assert.match(readFileSync(join(dir, 'lock'), 'utf8'), new RegExp(`^${process.pid} \\d+$`), stale)
    lock.release()
  }
  const lock = lockDirectory(dir)
  writeFileSync(join(dir, 'lock'), '1 1')
  lock.release()
  assert.equal(readFileSync(join(dir, 'lock'), 'utf8'), '1 1')
  assert.deepEqual(readdirSync(dir), ['lock'])
  assert.throws(() => lockDirectory(join(dir, 'absent')), /cannot be locked \(ENOENT\)/)
})

test('killed at any moment: what was put is there, and the store opens', async () => {
  const dir = directory()
  const path = join(dir, 'store.db')
  const code = `
    import { createSealedValues } from ${JSON.stringify(join(import.meta.dirname, 'sealed-values.ts'))}
    import { openDatabase } from ${JSON.stringify(join(import.meta.dirname, 'sqlite.ts'))}
    import { Secret } from ${JSON.stringify(join(import.meta.dirname, '../model/secret.ts'))}
    const values = createSealedValues(openDatabase(${JSON.stringify(path)}), Buffer.alloc(32, 7))
    for (let at = 0; ; at++) { await values.put('secret', 'n' + at, 'p', new Secret('v' + at), at); process.stdout.write(at + '\\n') }
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  let acknowledged = ''
  child.stdout.on('data', (chunk) => {
    acknowledged += chunk
    if (acknowledged.length > 60) child.kill('SIGKILL')
  })
  await once(child, 'close')
  const last = Number(acknowledged.trimEnd().split('\n').at(-1))
  const database = openDatabase(path)
  const values = createSealedValues(database, Buffer.alloc(32, 7))
  for (let at = 0; at < last; at++) assert.ok((await values.get('secret', `n${at}`, 'p')) instanceof Secret, String(at))
  values.close()
  database.close()
})

test('foreign text is known again after a restart, here only, and not once the store is closed', () => {
  const database = openDatabase(join(directory(), 'store.db'))
  const key = newKey()
  const values = createSealedValues(database, key)
  const mark = values.recognise('sk-proj-somebody')
  assert.match(mark, /^[0-9a-f]{32}$/)
  assert.equal(createSealedValues(database, key).recognise('sk-proj-somebody'), mark)
  assert.notEqual(values.recognise('sk-proj-somebodY'), mark)
  assert.notEqual(createSealedValues(openDatabase(join(directory(), 'other.db')), newKey()).recognise('sk-proj-somebody'), mark)
  values.close()
  assert.throws(() => values.recognise('sk-proj-somebody'), /closed/)
})
