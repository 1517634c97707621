import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readText } from './proc.ts'

test('a text is read whole, however long; what is gone is nothing', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-proc-'))
  t.after(() => rmSync(dir, { recursive: true }))
  for (const text of ['', 'a', 'b'.repeat(4_096), 'c\xff\n'.repeat(5_000)]) {
    writeFileSync(join(dir, 'text'), text, 'latin1')
    assert.equal(readText(join(dir, 'text')), text)
  }
  assert.equal(readText(join(dir, 'none')), null)
  assert.equal(readText(dir), null)
})

test('it leaves the pool of small buffers alone, of which a piece that lasts keeps the whole', () => {
  const before = Buffer.from('x')
  readText('/proc/self/stat')
  const after = Buffer.from('x')
  assert.equal(after.buffer, before.buffer)
  assert.ok(after.byteOffset - before.byteOffset <= 64)
})
