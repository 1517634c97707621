import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createRootAuthority } from '../crypto/x509.ts'
import { limits } from '../model/limits.ts'
import { createLeaves } from './authority.ts'

test('a leaf is kept for half its life, and not by a clock that is set back to before it', () => {
  const clock = { wall: 1_800_000_000_000, now: () => clock.wall, monotonic: () => 0 }
  const leaves = createLeaves(createRootAuthority({ commonName: 'Test', now: clock.wall, years: 1 }), clock)
  const first = leaves.contextFor('api.example')
  assert.equal(leaves.contextFor('api.example'), first)
  clock.wall += limits.leafValidMs / 2
  const second = leaves.contextFor('api.example')
  assert.notEqual(second, first)
  clock.wall -= limits.clockSkewMs
  assert.equal(leaves.contextFor('api.example'), second, 'a little is within what a leaf allows')
  clock.wall -= 1
  assert.notEqual(leaves.contextFor('api.example'), second)
})
