import assert from 'node:assert/strict'
import { test } from 'node:test'
import { catalog } from '../catalog/catalog.ts'
import { ConfigMistakes, Refusal } from '../model/refusal.ts'
import { call, condition, decider, identity, outcome, target, tunnelCall } from './fakes.test.ts'

const chat = 'https://api.openai.com/v1/chat/completions'
const permitInference =
  '@id("models") permit (principal in Group::"research", action in Action::"inference", resource == Service::"openai");'

test('permits what a policy permits, and says by which, with which credential', () => {
  const decision = decider(permitInference).decide(call('POST', chat), identity())
  assert.ok(!(decision instanceof Promise), 'nothing to wait for: a value')
  assert.deepEqual(decision.policies, ['models'])
  assert.equal(decision.credential, 'openai-key')
  assert.match(decision.policyVersion, /^[0-9a-f]{64}$/)
})

test('an empty policy set is valid and denies all', async () => {
  const empty = decider('')
  assert.equal(await outcome(() => empty.decide(call('POST', chat), identity())), 'decide.denied')
  assert.equal(await outcome(() => empty.decideTunnel(tunnelCall('x.example'), identity())), 'decide.denied')
})

test('denies other principals, services and actions', async () => {
  const one = decider(permitInference)
  assert.equal(await outcome(() => one.decide(call('POST', chat), identity({ workload: 'other', groups: ['pods'] }))), 'decide.denied')
  assert.equal(await outcome(() => one.decide(call('POST', 'https://api.anthropic.com/v1/messages'), identity())), 'decide.denied')
  assert.equal(await outcome(() => one.decide(call('POST', 'https://api.openai.com/v1/files'), identity())), 'decide.denied')
})

test('a forbid wins and is named', async () => {
  const one = decider(`${permitInference} @id("not for runs") forbid (principal, action, resource) when { principal has run };`)
  await assert.rejects(
    async () => one.decide(call('POST', chat), identity()),
    (error: unknown) => error instanceof Refusal && error.code === 'decide.forbidden' && error.detail.includes('"not for runs"'),
  )
  assert.equal(await outcome(() => one.decide(call('POST', chat), identity({ run: null }))), 'permitted')
})

test('mint and tunnel need a permit that names them in its scope', async () => {
  const mint = () => call('POST', 'https://api.openai.com/v1/realtime/client_secrets')
  for (const scope of ['action', 'action in Action::"call"', 'action in [Action::"call", Action::"inference"]']) {
    const blanket = decider(`permit (principal, ${scope}, resource);`)
    assert.equal(await outcome(() => blanket.decide(call('POST', chat), identity())), 'permitted', scope)
    assert.equal(await outcome(() => blanket.decide(mint(), identity())), 'decide.denied', scope)
    assert.equal(await outcome(() => blanket.decideTunnel(tunnelCall('x.example'), identity())), 'decide.denied', scope)
  }
  for (const scope of ['action == Action::"mint"', 'action in Action::"mint"', 'action in [Action::"inference", Action::"mint"]']) {
    assert.equal(await outcome(() => decider(`permit (principal, ${scope}, resource);`).decide(mint(), identity())), 'permitted', scope)
  }
  const tunnels = decider('permit (principal, action == Action::"tunnel", resource == Host::"updates.acme.example");')
  assert.equal(await outcome(() => tunnels.decideTunnel(tunnelCall('updates.acme.example'), identity())), 'permitted')
  assert.equal(await outcome(() => tunnels.decideTunnel(tunnelCall('evil.example'), identity())), 'decide.denied')
  // A condition that names it is not a scope that names it.
  const sly = decider('permit (principal, action, resource) when { action == Action::"mint" || action in Action::"inference" };')
  assert.equal(await outcome(() => sly.decide(mint(), identity())), 'decide.denied')
})

test('a fact that policy reads and that cannot be had refuses before Cedar is asked; one that none reads does not', async () => {
  const broken = condition('host', { patchAgeDays: 'Long' }, () => {
    throw new Refusal('decide.fact_missing', 'stale: run the collector')
  })
  const reads = decider(
    `${permitInference} forbid (principal, action in Action::"inference", resource) when { context.facts.host.patchAgeDays > 30 };`,
    {
      conditions: [broken],
    },
  )
  await assert.rejects(
    async () => reads.decide(call('POST', chat), identity()),
    (error: unknown) =>
      error instanceof Refusal && error.code === 'decide.fact_missing' && error.detail === 'host: stale: run the collector',
  )
  // In another slice nobody reads it.
  const elsewhere = decider(
    `${permitInference} forbid (principal, action in Action::"state", resource) when { context.facts.host.patchAgeDays > 30 };`,
    {
      conditions: [broken],
    },
  )
  assert.equal(await outcome(() => elsewhere.decide(call('POST', chat), identity())), 'permitted')
})

test('a condition that fails, misstates or never answers is a missing fact', async () => {
  const policy = `${permitInference} forbid (principal, action, resource) unless { context.facts.ok };`
  for (const value of [
    () => {
      throw new TypeError('boom')
    },
    () => 'yes',
    () => ({ ok: true }),
  ]) {
    const one = decider(policy, { conditions: [condition('ok', 'Bool', value)] })
    assert.equal(await outcome(() => one.decide(call('POST', chat), identity())), 'decide.fact_missing')
  }
  const hangs = { name: 'ok', kind: 'fake', shape: 'Bool' as const, condition: { facts: () => new Promise<boolean>(() => {}) } }
  const slow = decider(policy, { conditions: [hangs], limits: { ...(await import('../model/limits.ts')).limits, factMs: 20 as 5_000 } })
  const keep = setTimeout(() => {}, 5_000)
  assert.equal(await outcome(() => slow.decide(call('POST', chat), identity())), 'decide.fact_missing')
  clearTimeout(keep)
})

test('an evaluation error is a no, though Cedar would skip the forbid', async () => {
  const one = decider(`${permitInference} forbid (principal, action, resource) when { context.facts.n * 9000000000000000 > 1 };`, {
    conditions: [condition('n', 'Long', () => 9_000_000)],
  })
  assert.equal(await outcome(() => one.decide(call('POST', chat), identity())), 'decide.policy_error')
})

test('facts change the answer at once: the memo keys on their values', async () => {
  let open = true
  const one = decider('permit (principal, action, resource) when { context.facts.open };', {
    conditions: [condition('open', 'Bool', () => open)],
  })
  const decision = await one.decide(call('POST', chat), identity())
  assert.deepEqual(decision.facts, { open: true })
  open = false
  assert.equal(await outcome(() => one.decide(call('POST', chat), identity())), 'decide.denied')
  open = true
  assert.equal(await outcome(() => one.decide(call('POST', chat), identity())), 'permitted')
})

test('two deciders in one process do not see each other', async () => {
  const old = decider('permit (principal, action, resource);')
  const next = decider('forbid (principal, action, resource);')
  assert.equal(await outcome(() => next.decide(call('POST', chat), identity())), 'decide.forbidden')
  assert.equal(await outcome(() => old.decide(call('POST', chat), identity())), 'permitted')
  assert.notEqual(old.version, next.version)
})

test('labels, custody, credential and proven attributes are readable', async () => {
  const one = decider(`
    permit (principal, action, resource) when { principal has labels.stage && principal.labels.stage == "production" };
    forbid (principal, action, resource) when { context.custody == "shared-user" };
    forbid (principal, action, resource) unless { context has credential && context.credential == "openai-key" };
    forbid (principal, action, resource) when { principal.proven has namespace && principal.proven.namespace == "evil" };`)
  assert.equal(await outcome(() => one.decide(call('POST', chat), identity())), 'permitted')
  assert.equal(await outcome(() => one.decide(call('POST', chat), identity({ custody: 'shared-user' }))), 'decide.forbidden')
  assert.equal(await outcome(() => one.decide(call('POST', chat), identity({ labels: {} }))), 'decide.denied')
  assert.equal(await outcome(() => one.decide(call('POST', chat), identity({ proven: { namespace: 'evil' } }))), 'decide.forbidden')
  assert.equal(await outcome(() => one.decide(call('POST', 'https://api.anthropic.com/v1/messages'), identity())), 'decide.forbidden')
})

test('that there is no credential is said only after policy has permitted', async () => {
  const credentialFor = () => {
    throw new Refusal('obtain.no_credential', 'agent has none for openai')
  }
  assert.equal(
    await outcome(() => decider(permitInference, { credentialFor }).decide(call('POST', chat), identity())),
    'obtain.no_credential',
  )
  assert.equal(await outcome(() => decider('', { credentialFor }).decide(call('POST', chat), identity())), 'decide.denied')
})

test('the methods of a service are a list', async () => {
  const service = { ...catalog[0]!, methods: ['GET'] }
  const one = decider('permit (principal, action, resource);', { services: [service] })
  assert.equal(await outcome(() => one.decide(call('POST', chat, { service }), identity())), 'decide.method')
})

test('the body is read only when a policy of the slice needs it', async () => {
  const body = '{"model":"gpt-5","tools":[{"type":"web_search_preview_2025_03_11"},{"type":"function","name":"f"}]}'
  const without = call('POST', chat, { body })
  await decider(permitInference).decide(without, identity())
  assert.equal(without.reads, 0)
  const one = decider(`${permitInference}
    forbid (principal, action in Action::"inference", resource) unless { context.request has model && ["gpt-5"].contains(context.request.model) };
    forbid (principal, action in Action::"inference", resource) when { context.request has tools && context.request.tools.contains("mcp") };`)
  const asked = call('POST', chat, { body })
  const decision = await one.decide(asked, identity())
  assert.equal(asked.reads, 1)
  assert.equal(decision.model, 'gpt-5')
  assert.deepEqual(decision.tools, ['web_search_preview'])
  assert.equal(await outcome(() => one.decide(call('POST', chat, { body: '{"model":"o9"}' }), identity())), 'decide.forbidden')
  assert.equal(
    await outcome(() => one.decide(call('POST', chat, { body: '{"model":"gpt-5","tools":[{"type":"mcp"}]}' }), identity())),
    'decide.forbidden',
  )
  assert.equal(
    await outcome(() => one.decide(call('POST', chat, { body: '{"model":"gpt-5","model":"o9"}' }), identity())),
    'decide.body_unreadable',
  )
  const gzip = { 'content-encoding': 'gzip', 'content-type': 'application/json' }
  assert.equal(await outcome(() => one.decide(call('POST', chat, { body, headers: gzip }), identity())), 'decide.body_unreadable')
  const form = { 'content-type': 'multipart/form-data; boundary=x' }
  assert.equal(await outcome(() => one.decide(call('POST', chat, { body, headers: form }), identity())), 'decide.body_unreadable')
})

test('the model of Gemini comes from the path, also on its compatible route from the body', async () => {
  const one = decider(
    `permit (principal, action in Action::"inference", resource) when { context.request has model && context.request.model == "gemini-pro" };`,
  )
  const base = 'https://generativelanguage.googleapis.com/v1beta'
  const plain = call('POST', `${base}/models/gemini-pro:generateContent`, { body: '{"contents":[]}' })
  assert.equal((await one.decide(plain, identity())).model, 'gemini-pro')
  assert.equal(plain.reads, 0)
  assert.equal(await outcome(() => one.decide(call('POST', `${base}/models/other:generateContent`), identity())), 'decide.denied')
  const compatible = (model: string) => call('POST', `${base}/openai/chat/completions`, { body: JSON.stringify({ model }) })
  assert.equal(await outcome(() => one.decide(compatible('gemini-pro'), identity())), 'permitted')
  assert.equal(await outcome(() => one.decide(compatible('other'), identity())), 'decide.denied')
})

test('decideAgain decides on the facts given and demands those that policy reads', async () => {
  const one = decider('permit (principal, action, resource) when { context.facts.open && context.facts.host.age < 5 };', {
    conditions: [condition('open', 'Bool', () => true), condition('host', { age: 'Long' }, () => ({ age: 1 }))],
  })
  const decision = await one.decide(call('POST', chat), identity())
  assert.deepEqual(one.decideAgain(identity(), target('POST', chat), decision.facts).policies, ['p'])
  assert.equal(await outcome(() => one.decideAgain(identity(), target('POST', chat), { open: true })), 'decide.fact_missing')
  assert.equal(await outcome(() => one.decideAgain(identity(), target('POST', chat), { open: true, 'host.age': 9 })), 'decide.denied')
  assert.equal(
    await outcome(() => one.decideAgain(identity(), target('POST', chat), { open: 'yes', 'host.age': 1 })),
    'decide.policy_error',
  )
  const model = decider('permit (principal, action, resource) unless { context.request has model && context.request.model == "x" };')
  assert.equal(await outcome(() => model.decideAgain(identity(), target('POST', chat), {})), 'decide.fact_missing')
  assert.equal(await outcome(() => model.decideAgain(identity(), target('POST', chat), {}, { model: 'x', tools: [] })), 'decide.denied')
})

test('createDecide refuses policies with mistakes', () => {
  assert.throws(() => decider('permit (principal, action, resource) when { context.facts.nope };'), ConfigMistakes)
})

test('explain says what would happen and why', async () => {
  const policies = `${permitInference}
@id("office hours") forbid (principal, action in Action::"inference", resource) unless { context.facts.open };`
  const one = decider(policies, { conditions: [condition('open', 'Bool', () => false)] })
  const closed = await one.explain(identity(), target('POST', chat))
  assert.equal(closed.permitted, false)
  assert.equal(closed.code, 'decide.forbidden')
  assert.deepEqual(closed.policies, ['office hours'])
  assert.deepEqual(
    closed.considered.map(({ policy, holds, line }) => [policy, holds, line]),
    [
      ['models', true, 1],
      ['office hours', true, 2],
    ],
  )
  const open = await one.explain(identity(), target('POST', chat), { facts: { open: true } })
  assert.deepEqual([open.permitted, open.code, open.policies], [true, null, ['models']])
  assert.deepEqual(open.reasons, ['"models" permits it.'])
  const mint = await decider('permit (principal, action, resource);').explain(
    identity(),
    target('POST', 'https://api.openai.com/v1/oauth/token'),
  )
  assert.match(mint.reasons[0] ?? '', /must name Action::"mint"/)
  const broken = decider(policies, {
    conditions: [
      condition('open', 'Bool', () => {
        throw new Refusal('decide.fact_missing', 'mend it')
      }),
    ],
  })
  const missing = await broken.explain(identity(), target('POST', chat))
  assert.deepEqual([missing.permitted, missing.code, missing.missing], [false, 'decide.fact_missing', ['open: mend it']])
})

test('what overrides method or path, in a header or the query, is refused where a rule looks at them', async () => {
  const one = decider('permit (principal, action, resource);')
  const models = 'https://generativelanguage.googleapis.com/v1beta/models/x'
  for (const name of ['x-http-method', 'x-method-override', 'x-original-url', 'x-rewrite-url', 'x-forwarded-uri', 'x-original-method'])
    assert.equal(await outcome(() => one.decide(call('GET', models, { headers: { [name]: 'DELETE' } }), identity())), 'decide.method', name)
  for (const query of ['_method=DELETE', 'a=1&%5Fmethod=DELETE', '$httpMethod=DELETE', 'X-HTTP-Method-Override=DELETE', 'http_method=PUT'])
    assert.equal(await outcome(() => one.decide(call('GET', `${models}?${query}`), identity())), 'decide.method', query)
  for (const query of ['method=x', 'payment_method=card', 'alt=sse'])
    assert.equal(await outcome(() => one.decide(call('GET', `${models}?${query}`), identity())), 'permitted', query)
})

test('a header that overrides the method is refused, and a model in the query where policy reads the model', async () => {
  const one = decider('permit (principal, action in Action::"inference", resource);')
  const headers = { 'x-http-method-override': 'DELETE' }
  assert.equal(
    await outcome(() => one.decide(call('GET', 'https://generativelanguage.googleapis.com/v1beta/models/x', { headers }), identity())),
    'decide.method',
  )
  const model = decider('permit (principal, action, resource) unless { context.request has model && context.request.model == "bad" };')
  assert.equal(
    await outcome(() => model.decide(call('POST', 'https://api.openai.com/v1/realtime/calls?mod%65l=bad'), identity())),
    'decide.body_unreadable',
  )
})

test('a managed host is never tunnelled, and a target must be of its service', async () => {
  const one = decider('permit (principal, action == Action::"tunnel", resource); permit (principal, action, resource);')
  assert.equal(await outcome(() => one.decideTunnel(tunnelCall('api.openai.com'), identity())), 'decide.denied')
  assert.equal(await outcome(() => one.decideAgain(identity(), target('POST', chat, { host: 'evil.example' }), {})), 'decide.denied')
  assert.equal(await outcome(() => one.decideAgain(identity(), target('POST', chat, { port: 8443 }), {})), 'decide.denied')
  assert.equal(await outcome(() => one.decideAgain(identity(), target('POST', chat, { service: 'nope' }), {})), 'decide.denied')
  assert.equal(await outcome(() => one.decideAgain(identity(), target('POST', chat, { action: 'made-up' }), {})), 'decide.policy_error')
})

test('a missing fact beside an unreadable body is one refusal and nothing is left unhandled', async () => {
  const one = decider('permit (principal, action, resource) when { context.facts.open && context.request has model };', {
    conditions: [
      condition('open', 'Bool', () => {
        throw new Error('boom')
      }),
    ],
  })
  const gzip = { 'content-encoding': 'gzip' }
  const asked = call('POST', chat, { body: '{}', headers: gzip })
  assert.equal(await outcome(() => one.decide(asked, identity())), 'decide.fact_missing')
  assert.equal(asked.reads, 0)
})

test('more slices than the engine has places: each decider stays itself', async () => {
  const many = Array.from({ length: 300 }, (_, index) =>
    decider(`permit (principal, action, resource) when { context.request.path == "/v1/${index}" };`),
  )
  for (const round of [0, 1]) {
    for (const [index, one] of many.entries()) {
      if (round === 1 && index % 10 !== 0) continue
      const ask = (path: number) =>
        outcome(() => one.decide(call('POST', chat, { target: { path: `/v1/${path}` } }), identity({ custody: `${round}` })))
      assert.equal(await ask(index), 'permitted')
      assert.equal(await ask(index + 1 + round), 'decide.denied')
    }
  }
})

test('a record condition that leaves out a required fact is a missing fact; an optional one may be left out', async () => {
  const policy = `${permitInference} forbid (principal, action, resource) when { context.facts.host.age > 30 };
    forbid (principal, action, resource) when { context.facts.host has zone && context.facts.host.zone == "x" };`
  const stating = (value: Record<string, number | string>) =>
    decider(policy, { conditions: [condition('host', { age: 'Long', 'zone?': 'String' }, () => value)] })
  assert.equal(await outcome(() => stating({ age: 1 }).decide(call('POST', chat), identity())), 'permitted')
  assert.equal(await outcome(() => stating({ age: 1, zone: 'x' }).decide(call('POST', chat), identity())), 'decide.forbidden')
  assert.equal(await outcome(() => stating({ zone: 'x' }).decide(call('POST', chat), identity())), 'decide.fact_missing')
  assert.equal(await outcome(() => stating({ age: 1.5 }).decide(call('POST', chat), identity())), 'decide.fact_missing')
})

test('an observed workload: the verdict alone is not obeyed, and only until the date', async () => {
  const mint = 'https://api.openai.com/v1/realtime/client_secrets'
  const observed = (text: string, until: number, more = {}) =>
    decider(text, { ...more, observeUntil: (name) => (name === 'coder' ? until : null) })
  const coder = () => identity({ workload: 'coder' })
  const soon = Number.MAX_SAFE_INTEGER
  const decision = await observed('', soon).decide(call('POST', chat), coder())
  assert.equal(decision.observed?.code, 'decide.denied')
  assert.deepEqual(decision.policies, [])
  const forbidding = observed(`${permitInference} @id("no") forbid (principal, action, resource);`, soon)
  assert.deepEqual((await forbidding.decide(call('POST', chat), coder())).observed, { code: 'decide.forbidden', detail: 'by "no"' })
  assert.equal((await observed(permitInference, soon).decide(call('POST', chat), coder())).observed, undefined, 'a yes is a yes')
  assert.equal(await outcome(() => observed('', 0).decide(call('POST', chat), coder())), 'decide.denied', 'the date has passed')
  assert.equal(await outcome(() => observed('', soon).decide(call('POST', chat), identity({ workload: 'other' }))), 'decide.denied')
  assert.equal(
    await outcome(() => observed('', soon).decide(call('POST', mint), coder())),
    'decide.denied',
    'never what answers with secrets',
  )
  assert.equal(
    await outcome(() => observed('', soon).decideTunnel(tunnelCall('x.example'), coder())),
    'decide.denied',
    'never what is unread',
  )
  const broken = condition('host', 'Bool', () => {
    throw new Refusal('decide.fact_missing', 'stale')
  })
  const reads = observed('forbid (principal, action, resource) when { context.facts.host };', soon, { conditions: [broken] })
  assert.equal(await outcome(() => reads.decide(call('POST', chat), coder())), 'decide.fact_missing', 'never an error')
})
