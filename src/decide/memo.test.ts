import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Refusal } from '../model/refusal.ts'
import { call, condition, decider, identity } from './fakes.test.ts'
import { createMemo, memoKey, type ReadValue } from './memo.ts'

const words = fc.constantFrom('', 'a', 'b', '-', '1:a', 's1:a', 'production', '\u0000', '3')
const value: fc.Arbitrary<ReadValue> = fc.oneof(
  words,
  fc.boolean(),
  fc.integer({ min: -3, max: 12 }),
  fc.uniqueArray(words, { maxLength: 3 }).map((list) => list.sort()),
  fc.constant(undefined),
)

test('the key is injective: equal keys mean equal values', () => {
  fc.assert(
    fc.property(fc.array(value, { maxLength: 4 }), fc.array(value, { maxLength: 4 }), (left, right) => {
      const same = JSON.stringify(left.map(tagged)) === JSON.stringify(right.map(tagged))
      return (memoKey('', left) === memoKey('', right)) === same
    }),
    { numRuns: 3_000 },
  )
})

function tagged(one: ReadValue): unknown {
  return one === undefined ? ['absent'] : [typeof one, one]
}

test('absent differs from empty', () => {
  const keys = [[undefined], [''], [[]], [['']], [false], [0], ['0'], [], [undefined, undefined]] as ReadValue[][]
  assert.equal(new Set(keys.map((values) => memoKey('p', values))).size, keys.length)
})

test('one workload evicts nobody else', () => {
  const memo = createMemo<{ n: number }>(2)
  memo.set('quiet', 'k', { n: 1 })
  for (let n = 0; n < 100; n++) memo.set('loud', `k${n}`, { n })
  assert.deepEqual(memo.get('quiet', 'k'), { n: 1 })
  assert.equal(memo.get('loud', 'k0'), undefined)
})

const policies = `
permit (principal in Group::"research", action in Action::"inference", resource) when { context.facts.open };
permit (principal, action in Action::"state", resource) when { principal.labels has stage && principal.labels.stage == "production" };
permit (principal == Workload::"other", action, resource) when { context.request.path like "/v1/*" };
permit (principal, action == Action::"mint", resource) when { principal.proven has role && principal.proven.role == "minter" };
forbid (principal, action, resource) when { context.facts.host.age > 30 };
forbid (principal, action, resource) when { context.custody == "shared-user" && !(principal in Group::"pods") };
forbid (principal, action in Action::"inference", resource) when { context.request has model && context.request.model == "bad" };
forbid (principal, action in Action::"inference", resource) when { context.request has tools && context.request.tools.contains("mcp") };
forbid (principal, action, resource) unless { context has credential || resource == Service::"gemini" };`

const asks = fc.record({
  workload: fc.constantFrom('agent', 'other'),
  groups: fc.subarray(['research', 'pods']),
  labels: fc.constantFrom<Record<string, string>>({}, { stage: 'production' }, { stage: '' }, { tier: 'gold' }),
  proven: fc.constantFrom<Record<string, string>>({}, { role: 'minter' }, { role: '' }),
  custody: fc.constantFrom('namespace', 'shared-user'),
  open: fc.boolean(),
  age: fc.integer({ min: 29, max: 32 }),
  credential: fc.constantFrom(null, 'k'),
  path: fc.constantFrom('chat/completions', 'files', 'oauth/token', 'batches', 'new'),
  body: fc.constantFrom('', '{}', '{"model":"bad"}', '{"model":"good","tools":[]}', '{"model":"good","tools":[{"type":"mcp"}]}'),
})

test('a decider with a memory decides as one without: generated cases', async () => {
  let now = { open: true, age: 0, credential: null as string | null }
  const make = () =>
    decider(policies, {
      conditions: [condition('open', 'Bool', () => now.open), condition('host', { age: 'Long' }, () => ({ age: now.age }))],
      credentialFor: () => now.credential,
    })
  const lasting = make()
  await fc.assert(
    fc.asyncProperty(asks, async (ask) => {
      now = ask
      const run = async (one: ReturnType<typeof decider>) => {
        const who = identity({ workload: ask.workload, groups: ask.groups, labels: ask.labels, proven: ask.proven, custody: ask.custody })
        try {
          const {
            policies: by,
            facts,
            model,
            tools,
          } = await one.decide(call('POST', `https://api.openai.com/v1/${ask.path}`, { body: ask.body }), who)
          return { by: [...by].sort(), facts, model, tools }
        } catch (error) {
          assert.ok(error instanceof Refusal)
          return error.code === 'decide.forbidden' ? error.code : `${error.code} ${error.detail}`
        }
      }
      assert.deepEqual(await run(lasting), await run(make()))
    }),
    { numRuns: 120 },
  )
})

test('what a condition tests without reading an attribute is part of the key', async () => {
  const one = decider(
    'permit (principal, action, resource) when { principal in Group::"pods" && resource == Service::"openai" && action == Action::"inference" };',
  )
  const ask = async (groups: readonly string[], url: string): Promise<boolean> => {
    try {
      await one.decide(call('POST', url), identity({ groups }))
      return true
    } catch (error) {
      assert.ok(error instanceof Refusal)
      return false
    }
  }
  const chat = 'https://api.openai.com/v1/chat/completions'
  assert.equal(await ask(['pods'], chat), true)
  assert.equal(await ask([], chat), false)
  assert.equal(await ask(['pods'], 'https://api.openai.com/v1/files'), false)
  assert.equal(await ask(['pods'], 'https://api.anthropic.com/v1/messages'), false)
})
