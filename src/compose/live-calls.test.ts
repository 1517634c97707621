import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Call } from '../model/call.ts'
import type { Identity } from '../model/identity.ts'
import { createLiveCalls, type LiveCall } from './live-calls.ts'

const made = () => {
  const live = createLiveCalls()
  const cuts: string[] = []
  const watch = (id: string) => live.watch({ id } as Call, {} as Identity, null, () => void cuts.push(id))
  const ids = (): string => [...live.all()].map(({ call }) => (call as Call).id).join('')
  return { live, cuts, watch, ids }
}

const idOf = ({ call }: LiveCall): string => (call as Call).id

test('who left is gone once, and everybody else is still watched', () => {
  const { live, watch, ids } = made()
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(watch) as [() => void, () => void, () => void, () => void]
  b()
  b()
  assert.deepEqual([ids(), live.count], ['adc', 3])
  c()
  a()
  watch('e')
  a()
  assert.deepEqual([ids(), live.count], ['de', 2])
  d()
  d()
  assert.deepEqual([ids(), live.count], ['e', 1])
})

test('each that the question says is cut once, also when a cut lets others go', () => {
  const { live, cuts, watch, ids } = made()
  const stops = new Map<string, () => void>()
  for (const id of ['a', 'b', 'c', 'd', 'e']) stops.set(id, watch(id))
  const other = live.watch({ id: 'f' } as Call, {} as Identity, null, () => {
    for (const stop of stops.values()) stop()
  })
  assert.equal(
    live.cutWhere((one) => 'bd'.includes(idOf(one))),
    2,
  )
  assert.deepEqual([cuts, [...ids()].sort().join('')], [['b', 'd'], 'acef'])
  assert.equal(
    live.cutWhere((one) => idOf(one) === 'f'),
    1,
  )
  other()
  assert.deepEqual([live.count, live.cutWhere(() => true)], [0, 0])
})
