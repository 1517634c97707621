import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Asked } from '../../model/facts.ts'
import type { ConditionHost } from '../../model/kind.ts'
import { stage } from './stage.ts'

const state = (config: Record<string, unknown>, labels: Record<string, string>, proven: Record<string, string> = {}) =>
  stage
    .start(stage.schema.parse(config), {} as ConditionHost, 's')
    .facts({ labels, proven } as unknown as Asked, AbortSignal.timeout(1_000))

test('production by the label stage unless configured', async () => {
  assert.equal(await state({}, { stage: 'production' }), true)
  assert.equal(await state({}, { stage: 'Production' }), false)
  assert.equal(await state({}, {}), false)
  assert.equal(await state({}, {}, { stage: 'production' }), false)
})

test('all that is listed must hold', async () => {
  const config = { production: { label: { tier: 'gold' }, proven: { namespace: 'prod' } } }
  assert.equal(await state(config, { tier: 'gold' }, { namespace: 'prod' }), true)
  assert.equal(await state(config, { tier: 'gold' }, {}), false)
  assert.equal(await state(config, { tier: 'gold', namespace: 'prod' }, {}), false)
})

test('an empty list is a mistake and, if it came through, never production', async () => {
  assert.equal(stage.check?.(stage.schema.parse({ production: {} })).length, 1)
  assert.equal(await state({ production: {} }, { stage: 'production' }), false)
})
