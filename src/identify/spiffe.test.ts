import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { identityKey, spiffeId, spiffePath } from './spiffe.ts'

test('a path is filled from attributes; a missing or unfit one is a no', () => {
  const path = (value: string) => spiffePath('/ns/{namespace}/sa/x-{namespace}', { namespace: value })
  assert.equal(path('agents'), '/ns/agents/sa/x-agents')
  for (const unfit of ['', '.', '..', 'a/b', 'a%2fb', 'a b', 'ä', '{namespace}', 'a\n', '$&']) assert.equal(path(unfit), null, unfit)
  assert.equal(spiffePath('/ns/{namespace}', {}), null)
  assert.equal(spiffePath('/ns/{toString}', {}), null)
  for (const template of ['', 'ns', '/', '/a//b', '/a/', '/{a', '/a/../b']) assert.equal(spiffePath(template, { a: 'x' }), null, template)
  assert.equal(spiffeId('acme.example', `/${'a'.repeat(3_000)}`), null)
})

const base = {
  workload: 'w',
  spiffeId: 'spiffe://t/w',
  groups: ['a', 'b'],
  labels: { x: 'y' } as Record<string, string>,
  proven: { p: 'q' } as Record<string, string>,
  provider: 'process',
  run: null as string | null,
  custody: 'namespace',
  onThisHost: true,
  address: '127.0.0.1',
}

test('different identities have different keys; order does not count', () => {
  const word = fc.string({ maxLength: 4 })
  const identity = fc.record({
    workload: word,
    spiffeId: word,
    groups: fc.uniqueArray(word, { maxLength: 3 }).map((list) => list.sort()),
    labels: fc.dictionary(word, word, { maxKeys: 2 }),
    proven: fc.dictionary(word, word, { maxKeys: 2 }),
    provider: word,
    run: fc.option(word),
    custody: word,
    onThisHost: fc.boolean(),
    address: word,
  })
  const canonical = (one: typeof base): string =>
    JSON.stringify({ ...one, labels: Object.entries(one.labels).sort(), proven: Object.entries(one.proven).sort() })
  fc.assert(
    fc.property(identity, identity, (a, b) => (canonical(a) === canonical(b)) === (identityKey(a) === identityKey(b))),
    { numRuns: 500 },
  )
  assert.equal(identityKey({ ...base, groups: ['b', 'a'] }), identityKey(base))
  assert.notEqual(identityKey({ ...base, run: '' }), identityKey(base))
  assert.notEqual(identityKey({ ...base, labels: { p: 'q' }, proven: { x: 'y' } }), identityKey(base))
  assert.notEqual(identityKey({ ...base, groups: ['a2:b'] }), identityKey(base))
})
