import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Entry } from '../model/entry.ts'
import { limits } from '../model/limits.ts'
import { encodeEntry } from './encode.ts'
import { redactPath, redactText } from './redact.ts'

const base: Entry = { kind: 'intent', time: 1_700_000_000_000, call: 'c1' }

test('a plain entry comes back as it was', () => {
  const entry: Entry = {
    ...base,
    workload: 'research-agent',
    process: { pid: 7, uid: 1000, executable: '/usr/bin/node' },
    host: 'api.openai.com',
    port: 443,
    path: '/v1/chat/completions',
    decision: 'permit',
    policies: ['a "quoted" name', 'b'],
    facts: { hours: true, age: 3, tools: ['x'], nested: { a: 'b' } },
    expires: 5,
    scrubbed: 0,
    notes: ['one'],
  }
  assert.deepEqual(JSON.parse(encodeEntry(entry)), entry)
})

test('control characters, escapes of terminals and non-ASCII never stand in the line', () => {
  const nasty = '\u001b[31mred\u0007\u009b\u202e\u007f\n\r"\\ü\u{1f600}'
  const line = encodeEntry({
    ...base,
    path: `/${nasty}`,
    host: nasty,
    facts: { [nasty]: nasty },
    notes: [nasty],
    process: { executable: nasty },
  })
  assert.match(line, /^[\x20-\x7e]+$/)
  const back = JSON.parse(line)
  assert.equal(back.host, nasty)
  assert.deepEqual(back.facts, { [nasty]: nasty })
})

test('a long field is cut, with the hash of what was cut', () => {
  const host = `${'a'.repeat(600)}é`
  const { host: cut } = JSON.parse(encodeEntry({ ...base, host }))
  const [, kept = '', gone, hash] = /^(a*)\[cut (\d+) sha256:([0-9a-f]{64})\]$/.exec(cut) ?? []
  assert.equal(kept.length + Number(gone), host.length)
  assert.equal(hash, createHash('sha256').update(host.slice(kept.length)).digest('hex'))
  assert.ok(cut.length <= limits.entryFieldBytesMax)
})

test('any entry is one line of JSON in ASCII, at most entryBytesMax', () => {
  const long = fc.oneof(fc.string({ unit: 'binary', maxLength: 2_000 }), fc.string({ maxLength: 20 }))
  const names = ['call', 'workload', 'spiffeId', 'provider', 'run', 'custody', 'address', 'way', 'service', 'host', 'method', 'path', 'action', 'model', 'code', 'detail', 'policyVersion', 'credential', 'credentialKind', 'lease', 'alert', 'by', 'what'] as const // biome-ignore format: one line
  const texts = fc.record(Object.fromEntries(names.map((name) => [name, long])), { requiredKeys: [] })
  const groups = fc.record(
    {
      policies: fc.array(long),
      notes: fc.array(long),
      facts: fc.dictionary(long, fc.oneof(long, fc.array(long), fc.double())),
      process: fc.dictionary(long, long),
    },
    { requiredKeys: [] },
  )
  fc.assert(
    fc.property(texts, groups, (a, b) => {
      const line = encodeEntry({ ...base, ...a, ...b } as Entry)
      assert.ok(line.length <= limits.entryBytesMax, String(line.length))
      assert.match(line, /^[\x20-\x7e]+$/)
      assert.equal(JSON.parse(line).kind, 'intent')
    }),
    { numRuns: 300 },
  )
})

test('every field at its worst still fits', () => {
  const worst = '\u001b'.repeat(2_000)
  const entry: Record<string, unknown> = { ...base }
  for (const name of [
    'call',
    'workload',
    'spiffeId',
    'provider',
    'run',
    'custody',
    'address',
    'way',
    'service',
    'host',
    'method',
    'path',
    'action',
    'model',
    'code',
    'detail',
    'policyVersion',
    'credential',
    'credentialKind',
    'lease',
    'alert',
    'by',
    'what',
  ])
    entry[name] = worst
  const many = Array.from({ length: 500 }, () => worst)
  const line = encodeEntry({
    ...entry,
    policies: many,
    notes: many,
    facts: Object.fromEntries(many.map((v, i) => [`${i}`, v])),
    process: { a: worst },
  } as unknown as Entry)
  assert.ok(line.length <= limits.entryBytesMax, String(line.length))
  JSON.parse(line)
})

// Each is made here from parts, so that no scanner takes the test for a leak.
const keyLike = [
  `sk-${'proj-'}abcdEFGH1234`,
  `AIza${'SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q'}`,
  `ghp${'_'}0123456789abcdefghij0123456789abcdef`,
  `xoxb${'-'}123456789012-abcdefghijkl`,
  `AKIA${'IOSFODNN7EXAMPLE'}`,
  `eyJ${'hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln'}`,
  'Zk3xV9qT7bLw2Rn8Yc5Jm1Hd6Ps4Gf0A',
  '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
  `bot123456:AA${'Hx8Yk2Lm3Nq4Rs5Tv6Wz7Bc8Df9Gh1'}`,
  `sk%2D${'abcdEFGH1234'}`,
]
const plainSegments = [
  'claude-sonnet-4-5-20250929',
  'gemini-2.5-flash-preview-09-2025:streamGenerateContent',
  'gpt-4o-mini-realtime-preview-2024-12-17',
  'chat',
  'completions',
  'resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b',
  'file-AbCdEf123456ghIJkl7890',
  '3f2b8c1e-9d4a-4b6f-8e2d-1a7c5b9e0f34',
  'a-very-long-repository-name-of-somebody',
  'internationalization-and-localization',
  'task-1-of-the-morning',
]

test('path segments that look like keys go, names and ids stay', () => {
  for (const key of keyLike) {
    assert.equal(redactPath(`/v1/${key}/x`), '/v1/[redacted]/x', key)
    assert.equal(redactText(`refused: ${key} was seen`).includes(key), false, key)
    assert.equal(encodeEntry({ ...base, path: `/${key}`, detail: key, notes: [key], what: key }).includes(key), false, key)
  }
  for (const name of plainSegments) assert.equal(redactPath(`/v1/${name}/x`), `/v1/${name}/x`)
})

test('a query is never recorded', () => {
  assert.equal(JSON.parse(encodeEntry({ ...base, path: '/v1/models?key=abc#x' })).path, '/v1/models')
  assert.equal(JSON.parse(encodeEntry({ ...base, path: '/a?b' })).path, '/a')
})
