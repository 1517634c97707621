import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import { blankIn, replaceFile } from './blank.ts'
import { body } from './home.test-kit.ts'
import { blank, spot } from './keys.ts'

const key = `sk-proj-${body('blank', 50)}`
const dir = mkdtempSync(join(tmpdir(), 'ostiary-blank-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const folder = join(dir, 'f')
beforeEach(() => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
})
const put = (name: string, text: string | Buffer, mode = 0o640): string => {
  writeFileSync(join(folder, name), text)
  chmodSync(join(folder, name), mode)
  return join(folder, name)
}

test('every place of the key goes, and nothing else changes: bytes, mode, neighbours', () => {
  const around = Buffer.from([0x00, 0xff, 0x83, 0x20, 0xc3, 0x28, 0x0a])
  const file = put('.env', Buffer.concat([around, Buffer.from(`A=${key}\r\nB=${key}"x`), around]))
  assert.equal(blankIn(file, [key]), null)
  assert.deepEqual(readFileSync(file), Buffer.concat([around, Buffer.from(`A=${blank}\r\nB=${blank}"x`), around]))
  assert.equal(statSync(file).mode & 0o7777, 0o640)
  assert.deepEqual(readdirSync(folder), ['.env'])
  assert.deepEqual(spot(readFileSync(file, 'latin1')), [])
  assert.equal(blankIn(file, [key]), 'the key does not stand there any more')
})

test('owner and group stay', (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root may give a file away')
  const file = put('.env', `A=${key}`)
  chownSync(file, 12_345, 23_456)
  assert.equal(blankIn(file, [key]), null)
  assert.deepEqual([statSync(file).uid, statSync(file).gid], [12_345, 23_456])
})

test('a symbolic link stays one', () => {
  const file = put('real', `A=${key}`)
  symlinkSync('real', join(folder, '.env'))
  assert.equal(blankIn(join(folder, '.env'), [key]), null)
  assert.ok(lstatSync(join(folder, '.env')).isSymbolicLink())
  assert.equal(readFileSync(file, 'utf8'), `A=${blank}`)
})

test('a hard link is not broken: the key would stay under the other name', () => {
  const file = put('.env', `A=${key}`)
  linkSync(file, join(folder, 'other'))
  assert.match(blankIn(file, [key]) ?? '', /hard link/)
  assert.equal(readFileSync(file, 'utf8'), `A=${key}`)
  assert.deepEqual(readdirSync(folder).sort(), ['.env', 'other'])
})

test('a key that begins like another takes nothing of it away', () => {
  const longer = `${key}Zz9`
  const file = put('.env', `A=${longer}\nB=${key}\n`)
  assert.equal(blankIn(file, [key]), null)
  assert.equal(readFileSync(file, 'utf8'), `A=${longer}\nB=${blank}\n`)
  assert.equal(blankIn(file, [longer]), null)
  assert.equal(readFileSync(file, 'utf8'), `A=${blank}\nB=${blank}\n`)
})

test('a file that changed since it was read is not touched, and no copy stays', () => {
  const file = put('.env', `A=${key}`)
  const before = statSync(file, { bigint: true })
  writeFileSync(file, `A=${key}\nB=2\n`)
  assert.equal(replaceFile(file, before, 'A=x'), 'it changed meanwhile')
  assert.equal(readFileSync(file, 'utf8'), `A=${key}\nB=2\n`)
  assert.deepEqual(readdirSync(folder), ['.env'])
})

test('a file that a program is writing is not taken from under it', (t) => {
  if (process.platform !== 'linux') return t.skip('no /proc on this machine')
  const file = put('log.jsonl', `A=${key}`)
  const opened = openSync(file, 'a')
  assert.match(blankIn(file, [key]) ?? '', new RegExp(`^process ${process.pid} has it open`))
  closeSync(opened)
  const reading = openSync(file, 'r')
  assert.equal(blankIn(file, [key]), null)
  closeSync(reading)
})

test('where the folder may not be written the file stays as it was', (t) => {
  if (process.getuid?.() === 0) return t.skip('root may write everywhere')
  const file = put('.env', `A=${key}`)
  chmodSync(folder, 0o500)
  assert.match(blankIn(file, [key]) ?? '', /EACCES/)
  chmodSync(folder, 0o700)
  assert.equal(readFileSync(file, 'utf8'), `A=${key}`)
})

test('what is gone, a folder, or broken says why', () => {
  assert.match(blankIn(join(folder, 'none'), [key]) ?? '', /ENOENT/)
  assert.notEqual(blankIn(folder, [key]), null)
  symlinkSync('loop', join(folder, 'loop'))
  assert.match(blankIn(join(folder, 'loop'), [key]) ?? '', /ELOOP/)
})
