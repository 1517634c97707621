import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createOnce } from './once.ts'

test('the first holder keeps a value until it ends; full means no', () => {
  const time = { now: 0 }
  const once = createOnce({ clock: { now: () => time.now, monotonic: () => time.now }, max: 2 })
  assert.equal(once('a', 'one', 10_000), true)
  assert.equal(once('a', 'one', 10_000), true)
  assert.equal(once('a', 'two', 10_000), false)
  assert.equal(once('b', 'two', 20_000), true)
  assert.equal(once('c', 'two', 20_000), false)
  assert.equal(once('a', 'one', 10_000), true)
  time.now = 10_000
  assert.equal(once('c', 'two', 20_000), true)
  assert.equal(once('a', 'two', 20_000), false)
  time.now = 20_000
  assert.equal(once('b', 'three', 30_000), true)
})
