import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../model/limits.ts'
import { connectionsWithin, descriptorsMax } from './descriptors.ts'

test('connections leave descriptors for the log, and keep their share for one sender', () => {
  const plenty = { connectionsMax: limits.connectionsMax, connectionsPerSenderMax: limits.connectionsPerSenderMax }
  assert.deepEqual(connectionsWithin(limits, null), plenty)
  assert.deepEqual(connectionsWithin(limits, 1_048_576), plenty)
  assert.deepEqual(connectionsWithin(limits, 1_024), { connectionsMax: 384, connectionsPerSenderMax: 128 })
  assert.deepEqual(connectionsWithin(limits, 64), { connectionsMax: 16, connectionsPerSenderMax: 6 })
})

test('the limit is read where there is one', () => {
  assert.equal(descriptorsMax('/nowhere'), null)
  const found = descriptorsMax()
  if (process.platform === 'linux') assert.ok(found !== null && found >= 64)
})
