import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../model/limits.ts'
import { call, decider, identity, outcome } from './fakes.test.ts'

const responses = 'https://api.openai.com/v1/responses'
const inference = '@id("models") permit (principal, action in Action::"inference", resource);'
const deferred = '@id("later") permit (principal, action == Action::"deferred", resource);'
const post = (body: string | Buffer, headers?: Readonly<Record<string, string>>) =>
  call('POST', responses, headers === undefined ? { body } : { body, headers })

test('an answer in the background must be permitted as deferred too', async () => {
  const one = decider(inference)
  const asks = (body: string | Buffer, headers?: Readonly<Record<string, string>>) =>
    outcome(() => one.decide(post(body, headers), identity()))
  for (const plain of ['', '{"model":"m","input":"background"}', '{"background":false}', '{"background":null}', '{"input":"\\u0041"}'])
    assert.equal(await asks(plain), 'permitted', plain)
  for (const later of [
    '{"background":true}',
    '{"b\\u0061ckground":true}',
    '{"Background":true}',
    '{"background":1,"background":false}',
    '{"background":"true"}',
    '{"background":true',
    '[{"background":true}]',
    Buffer.from('{"background":true}', 'utf16le'),
    Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xff]), Buffer.from('"}')]),
  ])
    assert.equal(await asks(later), 'decide.denied', String(later))
  assert.equal(await asks('{}', { 'content-encoding': 'gzip' }), 'decide.denied', 'what cannot be read is taken to ask for it')
  assert.equal(await asks('{}', { 'content-type': 'multipart/form-data; boundary=x' }), 'decide.denied')

  const both = decider(`${inference} ${deferred}`)
  const permitted = post('{"background":true}')
  assert.equal(await outcome(() => both.decide(permitted, identity())), 'permitted')
  assert.equal(permitted.reads, 0, 'where both are permitted nobody reads it')
  const only = decider(deferred)
  assert.equal(await outcome(() => only.decide(post('{"background":true}'), identity())), 'decide.denied')
  const forbids = decider(`${inference} ${deferred} @id("no later") forbid (principal, action == Action::"deferred", resource);`)
  assert.equal(await outcome(() => forbids.decide(post('{"background":true}'), identity())), 'decide.forbidden')
  assert.equal(await outcome(() => forbids.decide(post('{}'), identity())), 'permitted')
})

test('who is denied anyway is not read; other routes are not read', async () => {
  const denied = post('{"background":true}')
  assert.equal(await outcome(() => decider(deferred).decide(denied, identity())), 'decide.denied')
  assert.equal(denied.reads, 0)
  const chat = call('POST', 'https://api.openai.com/v1/chat/completions', { body: '{"background":true}' })
  assert.equal(await outcome(() => decider(inference).decide(chat, identity())), 'permitted')
  assert.equal(chat.reads, 0)
})

test('a body longer than is searched is taken to ask for it; pictures pass', async () => {
  const one = decider(inference, { limits: { ...limits, readBodyBytesMax: 100 as never, searchedBodyBytesMax: 1_000 as never } })
  const asks = (body: string) => outcome(() => one.decide(post(body), identity()))
  assert.equal(await asks(`{"input":"${'x'.repeat(500)}"}`), 'permitted')
  assert.equal(await asks(`{"input":"${'x'.repeat(500)}","background":false}`), 'decide.denied', 'too long to be parsed')
  assert.equal(await asks(`{"input":"${'x'.repeat(1_500)}"}`), 'decide.denied')
})

test('a policy on what is deferred may read the model, which is then read for both', async () => {
  const one = decider(
    `${inference} ${deferred} forbid (principal, action == Action::"deferred", resource) when { context.request has model && context.request.model == "big" };`,
  )
  assert.equal(await outcome(() => one.decide(post('{"model":"big","background":true}'), identity())), 'decide.forbidden')
  assert.equal(await outcome(() => one.decide(post('{"model":"small","background":true}'), identity())), 'permitted')
  assert.equal(await outcome(() => one.decide(post('{"model":"big"}'), identity())), 'permitted')
})

test('a message of a WebSocket that asks for it is one too', async () => {
  const one = decider(inference)
  const message = (more: object) => outcome(() => one.decideMessage(call('GET', responses), identity(), { model: 'm', tools: [], ...more }))
  assert.equal(await message({}), 'permitted')
  assert.equal(await message({ deferred: true }), 'decide.denied')
  assert.equal(
    await outcome(() =>
      decider(`${inference} ${deferred}`).decideMessage(call('GET', responses), identity(), { model: 'm', tools: [], deferred: true }),
    ),
    'permitted',
  )
})

const files = [
  'https://api.openai.com/v1/batches',
  'https://api.openai.com/v1/batches/',
  'https://api.anthropic.com/v1/messages/batches',
  'https://generativelanguage.googleapis.com/v1beta/models/g:batchGenerateContent',
  'https://generativelanguage.googleapis.com/v1beta/models/g:asyncBatchEmbedContent',
  'https://generativelanguage.googleapis.com/v1beta/openai/batches',
]

test('a file of calls is deferred, and refused wherever a policy in force reads what a call says', async () => {
  for (const url of files) {
    const asks = (policies: string, method = 'POST', who = identity()) =>
      outcome(() => decider(policies).decide(call(method, url, { body: '{"input_file_id":"f"}' }), who))
    assert.equal(await asks(inference), 'decide.denied', url)
    assert.equal(await asks(`${inference} ${deferred}`), 'permitted', url)
    for (const reads of [
      'context.request has model && context.request.model == "big"',
      'context.request has tools && context.request.tools.contains("mcp")',
    ]) {
      const policies = `${inference} ${deferred} forbid (principal in Group::"research", action in Action::"inference", resource) when { ${reads} };`
      assert.equal(await asks(policies), 'decide.body_unreadable', `${url} ${reads}`)
      assert.equal(await asks(policies, 'GET'), 'permitted', 'the list of them is no file')
      assert.equal(await asks(policies, 'POST', identity({ groups: ['pods'] })), 'permitted', 'a policy that is not for this workload')
    }
  }
})

test('one workload has no more bodies held than its share, and another has its own', async () => {
  const one = decider(inference, { limits: { ...limits, heldBodiesPerWorkloadBytesMax: 25 as never } })
  const body = '{"input":"0123"}'
  let free = (): void => {}
  const freed = new Promise<void>((resolve) => {
    free = resolve
  })
  // It has not come with its head: somebody must wait for it.
  const streamed = (): ReturnType<typeof post> => {
    const made = post(body)
    return Object.assign(made, { body: { ...made.body, whole: null } })
  }
  const slow = Object.assign(streamed(), { readBody: () => freed.then(() => Buffer.from(body)) })
  const first = outcome(() => one.decide(slow, identity()))
  assert.equal(await outcome(() => one.decide(streamed(), identity())), 'decide.busy')
  assert.equal(await outcome(() => one.decide(streamed(), identity({ workload: 'other' }))), 'permitted')
  free()
  assert.equal(await first, 'permitted')
  assert.equal(await outcome(() => one.decide(streamed(), identity())), 'permitted')
})

test('explain reads the body that would be sent, and says what its answer in the background would need', async () => {
  const told = (policies: string, body?: string) =>
    decider(policies).explain(identity(), call('POST', responses).target, body === undefined ? {} : { body: Buffer.from(body) })
  const later = await told(inference, '{"background":true}')
  assert.deepEqual([later.permitted, later.code], [false, 'decide.denied'])
  assert.match(later.reasons.join('\n'), /"models" permits it\.\n.*`deferred` too\.\nNo policy permits agent the action deferred/)
  const both = await told(`${inference} ${deferred}`, '{"background":true}')
  assert.deepEqual([both.permitted, both.policies], [true, ['models', 'later']])
  const plain = await told(inference, '{"background":false}')
  assert.deepEqual([plain.permitted, plain.policies, plain.reasons.length], [true, ['models'], 1])

  const small = `${inference} forbid (principal, action, resource) when { context.request has model && context.request.model == "big" };`
  assert.equal((await told(small, '{"model":"big"}')).code, 'decide.forbidden')
  assert.equal((await told(small, '{"model":"small"}')).permitted, true)
  assert.match((await told(small)).reasons.join('\n'), /Policy reads the body, and none was given \(--body\)\./)
  const odd = await told(small, '{"model":')
  assert.deepEqual([odd.permitted, odd.code], [false, 'decide.body_unreadable'])
})
