import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Refusal } from '../model/refusal.ts'
import { createShares } from './shares.ts'

const tooMany = (detail: string) => (error: unknown) =>
  error instanceof Refusal && error.code === 'accept.too_many' && error.detail === detail
const limits = { callsPerWorkloadMax: 3, callsPerWorkloadAndHostMax: 2 } as unknown as Parameters<typeof createShares>[0]

test('a workload that holds its share is refused, another is not, and what ends makes room', () => {
  const shares = createShares(limits)
  const first = shares.hold('greedy', 'a.test')
  shares.hold('greedy', 'a.test')
  assert.throws(() => shares.check('greedy', 'a.test'), tooMany('callsPerWorkloadAndHostMax'))
  assert.throws(() => shares.hold('greedy', 'a.test'), tooMany('callsPerWorkloadAndHostMax'))
  shares.hold('modest', 'a.test')
  const third = shares.hold('greedy', 'b.test')
  assert.throws(() => shares.hold('greedy', 'c.test'), tooMany('callsPerWorkloadMax'))
  third()
  third()
  first()
  shares.hold('greedy', 'a.test')
  shares.hold('greedy', 'c.test')
  assert.throws(() => shares.hold('greedy', 'd.test'), tooMany('callsPerWorkloadMax'))
})
