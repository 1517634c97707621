import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { aws } from '../catalog/aws.ts'
import { catalog } from '../catalog/catalog.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import { checkBodyHead, modelOfPath, readBody, strictJson } from './body.ts'

const [openai, anthropic, gemini] = catalog as readonly [Service, Service, Service]
const unreadable = (run: () => unknown): boolean => {
  try {
    run()
    return false
  } catch (error) {
    if (error instanceof Refusal && error.code === 'decide.body_unreadable') return true
    throw error
  }
}
const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)

const refused: Readonly<Record<string, string | Buffer>> = {
  'a duplicate name': '{"model":"a","model":"b"}',
  'a duplicate name, escaped': '{"model":"a","mod\\u0065l":"b"}',
  'a duplicate name in depth': '{"a":[{"b":{"c":1,"c":2}}]}',
  'a duplicate __proto__': '{"__proto__":1,"__proto__":2}',
  'a byte order mark': Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from('{}')]),
  'bytes that are not UTF-8': Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
  'UTF-16': Buffer.from('{}', 'utf16le'),
  'overlong UTF-8': Buffer.from([0x22, 0xc0, 0xaf, 0x22]),
  'two values': '{}{}',
  'a trailing comma': '{"a":1,}',
  'a comment': '{/**/}',
  'single quotes': "{'a':1}",
  'an open string': '{"a',
  'a lone backslash': '"\\',
  'depth 65': nested(65),
  'great depth': nested(500_000),
  'a bad escape in a name': '{"\\x":1}',
  NaN: '{"a":NaN}',
  nothing: ' ',
}
for (const [what, text] of Object.entries(refused)) {
  test(`refused: ${what}`, () => {
    assert.ok(unreadable(() => strictJson(Buffer.from(text as string), 64)))
  })
}

test('accepted: depth 64, equal names in different objects, names in strings', () => {
  assert.ok(strictJson(Buffer.from(nested(64)), 64))
  assert.deepEqual(strictJson(Buffer.from('[{"a":1},{"a":2,"b":{"a":3}},"{\\"a\\":1,\\"a\\":2}"]'), 64), [
    { a: 1 },
    { a: 2, b: { a: 3 } },
    '{"a":1,"a":2}',
  ])
})

test('what JSON.stringify writes is read as it is; a name doubled anywhere is refused', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), (text) => {
      assert.deepEqual(strictJson(Buffer.from(text), 64), JSON.parse(text))
      const doubled = `{"k":${text},"z":[{"x":${text},"\\u0078":0}]}`
      return unreadable(() => strictJson(Buffer.from(doubled), 64))
    }),
    { numRuns: 300 },
  )
})

const read = (service: Service, body: unknown, path = '/v1/x') => readBody(service, path, Buffer.from(JSON.stringify(body)), 64)

test('the model is a string or nothing', () => {
  assert.equal(read(openai, { model: 'gpt-5' }).model, 'gpt-5')
  assert.equal(read(openai, {}).model, undefined)
  for (const body of [{ model: 1 }, { model: null }, { model: ['gpt-5'] }, { Model: 'x' }, { model: 'a', MODEL: 'b' }, [], 'x', null])
    assert.ok(
      unreadable(() => read(openai, body)),
      JSON.stringify(body),
    )
  assert.ok(unreadable(() => readBody(openai, '/', Buffer.from('{"model":"\\ud800"}'), 64)))
  assert.deepEqual(readBody(openai, '/', Buffer.alloc(0), 64), { model: undefined, tools: undefined })
})

test('tools that are not plainly the own functions of the agent are named', () => {
  assert.deepEqual(
    read(openai, { tools: [{ type: 'function', name: 'f' }, { type: 'web_search' }, { type: 'mcp', server_url: 'x' }] }).tools,
    ['mcp', 'web_search'],
  )
  assert.deepEqual(read(openai, { web_search_options: {}, prompt: { id: 'p' } }).tools, ['stored_prompt', 'web_search'])
  assert.deepEqual(read(openai, { prompt: 'text' }).tools, [])
  assert.deepEqual(
    read(anthropic, {
      tools: [
        { name: 'f', input_schema: {} },
        { type: 'web_search_20250305', name: 'w' },
      ],
      mcp_servers: [{}],
    }).tools,
    ['mcp', 'web_search'],
  )
  assert.deepEqual(read(gemini, { tools: [{ functionDeclarations: [] }, { googleSearch: {}, code_execution: {} }] }).tools, [
    'code_execution',
    'google_search',
  ])
  for (const tools of ['x', {}, [1], [null], [{ type: 1 }]])
    assert.ok(
      unreadable(() => read(openai, { tools })),
      JSON.stringify(tools),
    )
  assert.ok(unreadable(() => read(openai, { Tools: [] })))
})

test('tools in a group, and those that come as an item of the input, are named too', () => {
  const group = {
    type: 'namespace',
    name: 'g',
    tools: [
      { type: 'custom', name: 'exec' },
      { type: 'namespace', tools: [{ type: 'web_search' }] },
    ],
  }
  assert.deepEqual(read(openai, { tools: [group] }).tools, ['web_search'])
  assert.deepEqual(read(openai, { tools: [{ type: 'namespace', name: 'held by the vendor' }] }).tools, ['namespace'])
  const asItem = (type: string, tools: unknown): unknown => ({
    input: [
      { type: 'message', content: 'x' },
      { type, role: 'developer', tools },
    ],
  })
  for (const type of ['additional_tools', 'tool_search_output']) {
    assert.deepEqual(read(openai, asItem(type, [group, { type: 'mcp', server_url: 'x' }])).tools, ['mcp', 'web_search'])
    for (const tools of ['x', [1], [{ type: 'namespace', tools: 'x' }]]) assert.ok(unreadable(() => read(openai, asItem(type, tools))))
  }
  assert.deepEqual(read(openai, { input: 'text' }).tools, [])
})

test('a model in a path is taken as it stands or not at all', () => {
  assert.equal(modelOfPath(gemini, '/v1beta/models/gemini-pro:generateContent'), 'gemini-pro')
  assert.ok(unreadable(() => modelOfPath(gemini, '/v1beta/models/gemini%2Dpro:generateContent')))
  assert.ok(unreadable(() => modelOfPath(gemini, '/v1beta/models/gemini%3Apro:generateContent')))
  for (const spelled of ['amazon.nova-lite-v1%3A0', 'amazon.nova-lite-v1%3a0', 'amazon.nova-lite-v1:0'])
    assert.equal(modelOfPath(aws, `/model/${spelled}/converse`), 'amazon.nova-lite-v1:0')
  assert.ok(unreadable(() => modelOfPath(aws, '/model/amazon.nova%2Dlite-v1%3A0/converse')))
})

test('only JSON in UTF-8 without a content encoding is read', () => {
  const head = (fields: Record<string, string>) => ({ method: 'POST', target: '/', get: (name: string) => fields[name], each() {} })
  for (const fields of [
    {},
    { 'content-type': 'application/json' },
    { 'content-type': 'application/json; charset=UTF-8', 'content-encoding': 'identity' },
  ] as Record<string, string>[])
    checkBodyHead(head(fields))
  for (const fields of [
    { 'content-encoding': 'gzip' },
    { 'content-encoding': 'identity, gzip' },
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/json; charset=utf-16' },
    { 'content-type': 'application/json, multipart/form-data' },
    { 'content-type': 'application/x-www-form-urlencoded' },
  ] as Record<string, string>[])
    assert.ok(
      unreadable(() => checkBodyHead(head(fields))),
      JSON.stringify(fields),
    )
})
