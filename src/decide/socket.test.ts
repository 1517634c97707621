import assert from 'node:assert/strict'
import { test } from 'node:test'
import { anthropic } from '../catalog/anthropic.ts'
import { gemini } from '../catalog/gemini.ts'
import { openai } from '../catalog/openai.ts'
import type { Call } from '../model/call.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service, SocketRule } from '../model/service.ts'
import type { Target } from '../model/target.ts'
import type { BodyRead } from './body.ts'
import { call, decider, identity, outcome } from './fakes.test.ts'
import { readMessage, readOpening, socketRuleOf } from './socket.ts'

const nothing: BodyRead = { model: undefined, tools: undefined }
const at = (path: string, query = ''): Target => ({ path, query }) as Target
const ruleAt = (service: Service, path: string): SocketRule => socketRuleOf(service, at(path)) as SocketRule
const realtime = ruleAt(openai, '/v1/realtime')
const responses = ruleAt(openai, '/v1/responses')
const live = ruleAt(gemini, '/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent')

function code(act: () => unknown): string {
  try {
    act()
    return 'none'
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error))
    return error.code
  }
}

const read = (rule: SocketRule, service: Service, message: unknown, before = nothing) =>
  readMessage(rule, service, Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)), 64, before)
const models = (rule: SocketRule, service: Service, message: unknown, before = nothing) =>
  read(rule, service, message, before).asks.map((ask) => ask.model)

test('where a WebSocket may be opened', () => {
  assert.equal(socketRuleOf({ ...openai, sockets: undefined } as unknown as Service, at('/any')), null)
  for (const [service, path] of [
    [openai, '/v1/chat/completions'],
    [openai, '/v1/realtime/'],
    [openai, '/v1/Realtime'],
    [anthropic, '/v1/messages'],
    [gemini, '/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContentConstrained'],
  ] as const)
    assert.equal(
      code(() => socketRuleOf(service, at(path))),
      'decide.socket',
      path,
    )
})

test('the opening names the model in one plain parameter, or none', () => {
  const opening = (query: string) => readOpening(realtime, openai, at('/v1/realtime', query)).model
  assert.equal(opening('?model=gpt-realtime'), 'gpt-realtime')
  assert.equal(opening('?call_id=x'), undefined)
  assert.equal(opening(''), undefined)
  for (const query of ['?model=a&model=b', '?Model=a', '?model=%61', '?mod%65l=a', '?model=a+b', '?model=a&MODEL=b'])
    assert.equal(
      code(() => opening(query)),
      'decide.body_unreadable',
      query,
    )
})

test('only what the catalog lists starts nothing', () => {
  const before = { model: 'm', tools: [] }
  assert.deepEqual(models(realtime, openai, { type: 'input_audio_buffer.append', audio: 'AAAA' }, before), [])
  assert.deepEqual(models(realtime, openai, { type: 'response.create' }, before), ['m'])
  assert.deepEqual(models(realtime, openai, { type: 'something.new' }, before), ['m'])
  assert.deepEqual(models(realtime, openai, {}, before), ['m'])
  assert.deepEqual(models(live, gemini, { realtimeInput: {} }, before), [])
  assert.deepEqual(models(live, gemini, { realtimeInput: {}, clientContent: {} }, before), ['m'])
  assert.deepEqual(models(live, gemini, {}, before), ['m'])
  // One that names a model is no harmless one, whatever it calls itself.
  assert.deepEqual(models(realtime, openai, { type: 'response.cancel', session: { model: 'x' } }, before), ['x'])
})

test('every model that a message names is asked about, and the socket is set to the first', () => {
  const message = {
    type: 'session.update',
    session: { model: 'one', audio: { input: { transcription: { model: 'two' } } }, tools: [{ type: 'mcp' }] },
  }
  const { asks, setTo } = read(realtime, openai, message)
  assert.deepEqual(asks, [
    { model: 'one', tools: ['mcp'] },
    { model: 'two', tools: ['mcp'] },
  ])
  assert.deepEqual(setTo, { model: 'one', tools: ['mcp'] })
  assert.deepEqual(read(realtime, openai, { type: 'response.create' }, setTo).asks, [{ model: 'one', tools: ['mcp'] }])
  assert.deepEqual(models(responses, openai, { type: 'response.create', model: 'a', response: { model: 'b' } }), ['a', 'b'])
  assert.deepEqual(models(live, gemini, { setup: { model: 'models/gemini-x' } }), ['gemini-x'])
  assert.deepEqual(read(live, gemini, { setup: { model: 'm', tools: [{ googleSearch: {} }] } }).setTo.tools, ['google_search'])
})

test('what another parser could read in another way is refused', () => {
  for (const message of [
    'hello',
    '',
    '[]',
    '"x"',
    '{"type":"a","type":"b"}',
    '{"type":"a","Type":"input_audio_buffer.append"}',
    '{"type":"session.update","Session":{"model":"x"}}',
    '{"type":"session.update","session":{"Model":"x"}}',
    '{"type":"session.update","session":{"model":1}}',
    '{"type":"session.update","session":"x"}',
    '{"type":"session.update","session":{"tools":1}}',
    '{"type":"session.update","session":{"Tools":[]}}',
    '{"type":"session.update","session":{"model":"\\ud800"}}',
    `{"type":"x","a":${'['.repeat(70)}${']'.repeat(70)}}`,
    '\ufeff{"type":"x"}',
  ])
    assert.equal(
      code(() => read(realtime, openai, message)),
      'decide.body_unreadable',
      message,
    )
})

const permit = '@id("models") permit (principal, action in Action::"inference", resource);'
const reads = `${permit} forbid (principal, action in Action::"inference", resource) when { context.request has model && context.request.model == "x" };`
const readsTools = `${permit} forbid (principal, action in Action::"inference", resource) when { context.request has tools && context.request.tools.contains("mcp") };`
const opening = (url: string, service?: Service): Call => ({
  ...call('GET', url),
  ...(service === undefined ? {} : { service }),
  upgrade: {} as never,
})

test('where policy reads what only messages say, a service whose messages are not known takes no socket', async () => {
  const { sockets: _, ...unknown } = openai
  const url = 'https://api.openai.com/v1/realtime?model=x'
  const code = (policy: string, one: Call) => outcome(() => decider(policy).decide(one, identity()))
  assert.equal(await code(permit, opening(url, unknown)), 'permitted')
  assert.equal(await code(reads, opening(url, unknown)), 'decide.body_unreadable')
  assert.equal(await code(readsTools, opening(url, unknown)), 'decide.body_unreadable')
  assert.equal(await code(`permit (principal, action, resource);`, opening('https://api.openai.com/v1/chat/completions')), 'decide.socket')
  assert.equal(await code(reads, opening(url)), 'decide.forbidden')
  assert.equal(await code(reads, opening('https://api.openai.com/v1/realtime?model=y')), 'permitted')
})

test('a message is decided on its model and tools, and refused where none has said the model that policy wants', async () => {
  const one = opening('https://api.openai.com/v1/responses')
  const message = (policy: string, model: string | undefined, tools: readonly string[] = []) =>
    outcome(() => decider(policy).decideMessage(one, identity(), { model, tools }))
  assert.equal(await message(permit, undefined), 'permitted')
  assert.equal(await message(reads, undefined), 'decide.body_unreadable')
  assert.equal(await message(reads, 'x'), 'decide.forbidden')
  assert.equal(await message(reads, 'y'), 'permitted')
  assert.equal(await message(readsTools, 'y', ['mcp']), 'decide.forbidden')
  assert.equal(await message(readsTools, 'y', []), 'permitted')
})
