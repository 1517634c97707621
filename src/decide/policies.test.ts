import assert from 'node:assert/strict'
import { test } from 'node:test'
import { catalog } from '../catalog/catalog.ts'
import { leavesRead, readPolicy } from './analysis.ts'
import type { FactShape } from './condition.ts'
import { checkPolicies, type PolicySchemaParts, readPolicies } from './policies.ts'
import { leavesOf } from './schema.ts'

const conditions: readonly { name: string; shape: FactShape }[] = [
  { name: 'open', shape: 'Bool' },
  { name: 'host', shape: { patchAgeDays: 'Long' } },
  { name: 'place', shape: { 'region?': 'String' } },
]
const parts: PolicySchemaParts = {
  services: catalog,
  conditions,
  workloads: [
    { name: 'agent', groups: ['research'], labels: { stage: 'production' } },
    { name: 'pods', groups: ['pods'], labels: { tier: 'gold' } },
  ],
}
const check = (text: string) => checkPolicies([{ id: 'one', text, file: 'a.cedar', line: 10 }], parts)

test('the example of the design is valid', () => {
  const text = `@id("research may use models in business hours")
permit (principal in Group::"research", action in Action::"inference", resource == Service::"openai")
when { context.facts.open && principal.labels.stage == "production" };
@id("nobody mints keys")
forbid (principal, action in Action::"mint", resource);`
  assert.deepEqual(check(text), [])
  assert.deepEqual(check(''), [])
})

const mistakes: readonly (readonly [what: string, text: string, wrong: RegExp, line: number])[] = [
  [
    'a repository in another spelling than it is compared in',
    'forbid (principal, action, resource)\nwhen { context.request has repository && context.request.repository like "Acme/*" };',
    /lower case/,
    11,
  ],
  [
    'an optional repository without has',
    'forbid (principal, action in Action::"git.push", resource)\nwhen { context.request.repository == "acme/site" };',
    /optional attribute `request.repository`/,
    11,
  ],
  [
    'an optional attribute without has',
    'forbid (principal, action, resource)\nwhen { context.request.model == "x" };',
    /optional attribute `request.model`/,
    11,
  ],
  [
    'an optional fact without has',
    'forbid (principal, action, resource)\nwhen { context.facts.place.region == "x" };',
    /optional attribute `facts.place.region`/,
    11,
  ],
  [
    'a label that not every matching workload has',
    'forbid (principal, action, resource) when { principal.labels.stage == "x" };',
    /optional attribute `labels.stage`/,
    10,
  ],
  [
    'a proven attribute without has',
    'forbid (principal, action, resource) when { principal.proven.namespace == "x" };',
    /optional attribute/,
    10,
  ],
  [
    'a typo in a fact',
    'forbid (principal, action, resource)\n\nwhen { context.facts.opem };',
    /attribute `facts.opem` in context not found/,
    12,
  ],
  ['a label that no workload has', 'permit (principal, action, resource) when { principal.labels has nope };', /impossible/, 10],
  ['an unknown action', 'permit (principal, action == Action::"infer", resource);', /unrecognized action/, 10],
  ['an unknown group', 'permit (principal in Group::"reserch", action, resource);', /no group "reserch"/, 10],
  ['an unknown workload', 'permit (principal == Workload::"x", action, resource);', /no workload "x"/, 10],
  ['an unknown service', 'permit (principal, action,\nresource == Service::"opnai");', /no service "opnai"/, 11],
  ['an unknown group in a condition', 'permit (principal, action, resource) when { principal in Group::"x" };', /no group "x"/, 10],
  ['a type error', 'permit (principal, action, resource) when { context.facts.host.patchAgeDays > "3" };', /./, 10],
  ['a syntax error', 'permit (principal, action, resource)\nwhen { context. };', /unexpected token/, 11],
  ['a template', 'permit (principal == ?principal, action, resource);', /templates/, 10],
  ['mixed scripts', 'permit (principal, action, resource) when { context.custody == "раураl" };', /mixed scripts/, 10],
  ['a tunnel at a service', 'permit (principal, action == Action::"tunnel", resource == Service::"openai");', /impossible|applicable/, 10],
]

for (const [what, text, wrong, line] of mistakes) {
  test(`a mistake, with its line: ${what}`, () => {
    const found = check(text)
    assert.equal(found.length, 1, JSON.stringify(found))
    assert.match(found[0]?.wrong ?? '', wrong)
    assert.equal(found[0]?.line, line)
    assert.equal(found[0]?.file, 'a.cedar')
    assert.notEqual(found[0]?.write, '')
  })
}

test('several mistakes at once, each in its policy, and ids that collide', () => {
  const text = `@id("a") permit (principal in Group::"nope", action, resource);
@id("a") permit (principal, action, resource) when { context.facts.nope };`
  const found = check(text).map(({ line, wrong }) => `${line} ${wrong}`)
  assert.equal(found.length, 3, found.join('\n'))
  assert.match(found.join('\n'), /11 another policy is called "a" \(a.cedar:10\)/)
})

test('a label is certain where the scope leaves only workloads that have it', () => {
  assert.deepEqual(check('permit (principal in Group::"research", action, resource) when { principal.labels.stage == "production" };'), [])
  assert.deepEqual(check('permit (principal == Workload::"pods", action, resource) when { principal.labels.tier == "gold" };'), [])
  assert.equal(check('permit (principal in Group::"pods", action, resource) when { principal.labels.stage == "production" };').length, 1)
})

const leaves = leavesOf({ ...parts, provenNames: ['namespace'] })
const read = (condition: string): readonly string[] => {
  const tree = readPolicy(`permit (principal, action, resource) when { ${condition} };`)
  assert.ok('reads' in tree, JSON.stringify(tree))
  return [...leavesRead(tree, leaves)].map((leaf) => [leaf.root, ...leaf.path].join('.')).sort()
}

test('the analysis finds what is read', () => {
  assert.deepEqual(read('context.facts.open'), ['context.facts.open'])
  assert.deepEqual(read('context.request has model && context.request.model like "gpt-*"'), ['context.request.model'])
  assert.deepEqual(read('principal has labels.stage'), ['principal.labels.stage'])
  assert.deepEqual(read('["a"].contains(context.custody) || context.facts["host"]["patchAgeDays"] > 1'), [
    'context.custody',
    'context.facts.host.patchAgeDays',
  ])
  assert.deepEqual(read('principal in Group::"research" && resource == Service::"openai"'), [])
  assert.deepEqual(read('context.facts == context.facts').length, 3)
  assert.deepEqual(
    read('(if context.facts.open then context.facts else context.facts).host.patchAgeDays > 1').includes('principal.run'),
    true,
  )
})

test('the analysis is not fooled by names that look like operators', () => {
  assert.ok(read('{ "Var": context.facts.open }["Var"]').includes('context.facts.open'))
  assert.ok(read('{ "Value": context.custody } == { "Value": "x" }').includes('context.custody'))
  assert.ok(read('{ ".": context } == { ".": context }').includes('context.custody'))
})

test('policies without an @id are numbered over all texts of their file', () => {
  const text = 'permit (principal, action, resource);'
  const source = { id: '', file: 'a.yaml', line: 1 }
  const found = readPolicies(
    [
      { ...source, text },
      { ...source, text: `@id("x") ${text}\n${text}` },
      { ...source, file: 'b.cedar', text },
    ],
    parts,
  )
  assert.deepEqual(found.mistakes, [])
  assert.deepEqual(
    found.policies.map((policy) => policy.id),
    ['a.yaml#1', 'x', 'a.yaml#3', 'b.cedar#1'],
  )
})
