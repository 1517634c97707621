import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { Secret } from '../model/secret.ts'
import { associate, fingerprint, loadKeyFile, newKey, open, seal, sealSecret } from './seal.ts'

const dir = mkdtempSync(join(tmpdir(), 'seal-'))
after(() => rmSync(dir, { recursive: true, force: true }))
let count = 0
const fresh = (): string => join(dir, `key-${count++}`)

test('what was sealed opens under the same key and association, and never the same way twice', () => {
  const key = newKey()
  const plain = Buffer.from('sk-real')
  const sealed = seal(key, plain, 'purpose')
  assert.deepEqual(open(key, sealed, 'purpose'), plain)
  assert.notDeepEqual(seal(key, plain, 'purpose'), sealed)
  assert.ok(!sealed.includes(plain))
  assert.deepEqual(open(key, sealSecret(key, new Secret('x'), 'a'), 'a'), Buffer.from('x'))
})

test('another key, another association, any changed, missing or added byte: an Error that tells nothing', () => {
  const key = newKey()
  const sealed = seal(key, Buffer.from('sk-real'), 'purpose')
  const fails = (run: () => unknown): void =>
    assert.throws(run, (error: Error) => error instanceof Error && !/sk-real|purpose/.test(error.message))
  fails(() => open(newKey(), sealed, 'purpose'))
  fails(() => open(key, sealed, 'purpos'))
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed)
    changed[at] = (changed[at] as number) ^ 1
    fails(() => open(key, changed, 'purpose'))
    fails(() => open(key, sealed.subarray(0, at), 'purpose'))
  }
  fails(() => open(key, Buffer.concat([sealed, Buffer.of(0)]), 'purpose'))
  fails(() => open(key.subarray(1), sealed, 'purpose'))
})

test('generated: parts of an association never shift into each other', () => {
  const parts = fc.array(fc.string({ unit: fc.constantFrom('a', ':', ',', '1', '2', 'ä') }), { maxLength: 4 })
  fc.assert(
    fc.property(
      parts,
      parts,
      (one, other) => (associate(...one) === associate(...other)) === (JSON.stringify(one) === JSON.stringify(other)),
    ),
  )
})

test('a fingerprint is the same for the same value under one key only', () => {
  const key = newKey()
  assert.equal(fingerprint(key, new Secret('a')), fingerprint(key, new Secret('a')))
  assert.notEqual(fingerprint(key, new Secret('a')), fingerprint(key, new Secret('b')))
  assert.notEqual(fingerprint(key, new Secret('a')), fingerprint(newKey(), new Secret('a')))
})

test('the key file is made once, whole, for its owner alone', () => {
  const path = fresh()
  const key = loadKeyFile(path)
  assert.equal(key.length, 32)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.deepEqual(loadKeyFile(path), key)
  assert.deepEqual(readFileSync(path), key)
  assert.equal(readdirSync(dir).filter((name) => name.startsWith('key-0')).length, 1)
})

test('a key file that is not ours alone, not whole or not a file is refused with what to do', () => {
  const open = fresh()
  loadKeyFile(open)
  for (const mode of [0o640, 0o604, 0o660]) {
    chmodSync(open, mode)
    assert.throws(() => loadKeyFile(open), /can be read by others: chmod 600/)
  }
  const short = fresh()
  loadKeyFile(short)
  truncateSync(short, 31)
  assert.throws(() => loadKeyFile(short), /not a key of 32 bytes: restore/)
  const link = fresh()
  symlinkSync(short, link)
  assert.throws(() => loadKeyFile(link), /cannot be used \(ELOOP\)/)
  const folder = fresh()
  mkdirSync(folder)
  assert.throws(() => loadKeyFile(folder), /not a plain file/)
  assert.throws(() => loadKeyFile(join(dir, 'absent', 'key')), /cannot be made \(ENOENT\)/)
  // A link that leads nowhere must not be followed to make a key elsewhere.
  const dangling = fresh()
  symlinkSync(join(dir, 'elsewhere'), dangling)
  assert.throws(() => loadKeyFile(dangling), /cannot be/)
  assert.equal(existsSync(join(dir, 'elsewhere')), false)
})
