import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { type Addition, difference, withAddition } from './allow.ts'

const addition: Addition = {
  host: 'docs.acme.example',
  workload: 'coder',
  service: { name: 'docs', inCatalog: false },
  policy: { resource: 'Service::"docs"', action: 'call' },
  tunnel: null,
}

const forms = {
  'blocks with comments': `# mine
trustDomain: acme.example # and here
services:
  openai: {} # keep
  crm:
    hosts: [crm.acme.example]
    # inside
policies:
  - cedar: |
      permit (principal, action, resource);
  # the end
other: 1
`,
  'on one line': 'trustDomain: acme.example\nservices: { openai: {} }\npolicies: [ "a.cedar" ]\n',
  'lists that are not indented': 'policies:\n- a.cedar\n- b.cedar\nservices:\n    openai: {}\n',
  'empty sections': 'services: {}\npolicies: []\n',
  'nothing behind the colon': 'services: # none yet\npolicies:\ntrustDomain: a.example\n',
  'no section': 'trustDomain: acme.example',
  'an empty file': '',
}

for (const [name, text] of Object.entries(forms))
  test(`a service and a policy are added to ${name}, and all that was there stays as it was`, () => {
    const made = withAddition(text, addition)
    const before = parse(text) ?? {}
    const { services, policies, ...rest } = parse(made)
    const { services: _, policies: __, ...untouched } = before
    assert.deepEqual(rest, untouched)
    assert.deepEqual(services, {
      ...before.services,
      docs: { hosts: ['docs.acme.example'], credential: 'none', methods: ['GET', 'HEAD'] },
    })
    assert.deepEqual(policies.slice(0, -1), before.policies ?? [])
    assert.match(policies.at(-1).cedar, /principal == Workload::"coder", action in Action::"call", resource == Service::"docs"/)
    for (const comment of text.match(/#.*/g) ?? []) assert.ok(made.includes(comment))
  })

test('a tunnel is listed with its reason, which cannot break out of its place', () => {
  const reason = 'pins: "it" }\nworkloads: {}'
  const made = withAddition('tunnels:\n  - { host: a.example, reason: old }\n', { ...addition, service: null, tunnel: reason })
  assert.deepEqual(parse(made).tunnels.at(-1), { host: 'docs.acme.example', reason })
  assert.deepEqual(Object.keys(parse(made)), ['tunnels', 'policies'])
})

test('what has another form is left to the writer', () => {
  assert.throws(() => withAddition('services: [openai]\n', addition), /by hand/)
  assert.throws(() => withAddition('services: {\n', addition), /not YAML/)
})

test('the difference shows what was added and what is gone', () => {
  assert.deepEqual(difference('a\nb\nc', 'a\nx\nc'), ['+x', '-b'])
  assert.deepEqual(difference('a\n', 'a\nb\n'), ['+b'])
})
