import assert from 'node:assert/strict'
import { test } from 'node:test'
import { protocolList } from './alpn.ts'

test('each name stands behind its length, and in memory of its own', () => {
  const list = protocolList(['h2', 'http/1.1'])
  assert.equal(Buffer.from(list.buffer).toString('latin1'), '\x02h2\x08http/1.1')
  assert.equal(list.byteLength, list.buffer.byteLength)
})
