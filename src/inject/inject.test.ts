import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { anthropic } from '../catalog/anthropic.ts'
import { gemini } from '../catalog/gemini.ts'
import { github } from '../catalog/github.ts'
import { looksLikeKey } from '../catalog/leaks.ts'
import { openai } from '../catalog/openai.ts'
import { findHeadEnd, noBody, type RequestMessage, readRequestHead } from '../http/read-head.ts'
import { writeRequestHead } from '../http/write-head.ts'
import type { Call } from '../model/call.ts'
import type { Credential } from '../model/credential.ts'
import type { Identity } from '../model/identity.ts'
import type { Edits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import type { Service } from '../model/service.ts'
import { createInject } from './inject.ts'

const marker = 'Ost1ary'
const mine = `sk-proj-${marker}0123456789abcdefghijklmnopqrstuvw`
const minesOf: Readonly<Record<string, string>> = {
  openai: mine,
  anthropic: `sk-ant-api03-${marker}9876543210zyxwvutsrqponmlkjihgfed`,
  gemini: `AIza${marker}abcdefghijklmnopqrstuvwxyz01`,
  crm: `crm-${marker}0123`,
  github: `ghp_${marker}0123456789abcdefghijklmnopqrstuvw`,
}
const others = `sk-proj-${marker}ANOTHERRUN0000000000000000000000`
const attackers = 'sk-proj-attackers-own-key-000000000000'
const real = 'sk-real-5f2c9a0b7d1e4c3f8a6b'

const crm: Service = {
  ...openai,
  name: 'crm',
  hosts: ['crm.test'],
  slots: [
    { kind: 'header', name: 'x-crm_key' },
    { kind: 'cookie', name: 'session' },
  ],
}
const stripe: Service = { ...openai, name: 'openai', hosts: ['pay.test'], slots: [{ kind: 'basic' }] }
const docs: Service = { ...openai, name: 'docs', hosts: ['docs.test'], slots: [], credential: 'none', cookies: [] }

interface Asked {
  readonly service?: Service
  readonly target?: string
  readonly fields?: readonly string[]
  readonly run?: string | null
  readonly credential?: Credential
}

interface Got {
  readonly code: string
  readonly detail: string
  /** The head as the vendor gets it. */
  readonly head: string
  readonly trips: readonly Identity[]
  readonly notes: readonly string[]
}

const bearerReal = (): Credential => ({ kind: 'bearer', token: new Secret(real) })

function ask({ service = openai, target = '/v1/x', fields = [], run = 'run-1', credential = bearerReal() }: Asked): Got {
  const bytes = Buffer.from(
    `GET ${target} HTTP/1.1\r\nHost: ${service.hosts[0]}\r\n${fields.map((one) => `${one}\r\n`).join('')}\r\n`,
    'latin1',
  )
  const head: RequestMessage = readRequestHead(bytes, 0, findHeadEnd(bytes, 0))
  const cut = target.indexOf('?')
  const aim = {
    scheme: 'https',
    host: service.hosts[0],
    port: 443,
    method: 'GET',
    path: cut < 0 ? target : target.slice(0, cut),
    query: cut < 0 ? '' : target.slice(cut),
    service: service.name,
    action: 'call',
    way: 'connect',
  } as const
  const call = { head, target: aim, service } as unknown as Call
  // Another reader's head holds no byte ranges.
  const plain = { ...call, head: { get: (name: string) => head.get(name), each: head.each.bind(head) } } as unknown as Call
  const identity = { workload: 'coder', run } as unknown as Identity
  const trips: Identity[] = []
  const notes: string[] = []
  const inject = createInject({
    clock: { now: () => Date.UTC(2026, 0, 2, 3, 4, 5) },
    placeholders: { marker, of: (id, name) => (id === 'run-1' ? (minesOf[name] ?? null) : null) },
    trip: (one) => trips.push(one),
    shape: looksLikeKey,
    recognise: (text) => hash('sha256', `test ${text}`).slice(0, 32),
  })
  const attempt = (one: Call): Edits | Refusal => {
    try {
      return inject(one, identity, credential, { note: (text) => notes.push(text) })
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      return error
    }
  }
  const result = attempt(plain)
  const got = [result, trips.splice(0), notes.splice(0)]
  const edits = attempt(call)
  assert.deepEqual([edits, trips, notes], got)
  if (edits instanceof Refusal) return { code: edits.code, detail: edits.detail, head: '', trips, notes }
  return { code: '', detail: '', head: writeRequestHead(head, edits, call.target, noBody).toString('latin1'), trips, notes }
}

const lines = (got: Got): readonly string[] => got.head.trimEnd().split('\r\n')

test('the placeholder in its slot becomes the credential, and all else goes on byte for byte', () => {
  const got = ask({ fields: ['User-Agent: OpenAI/JS 7', `Authorization: Bearer ${mine}`, 'X-Stainless-Lang: js'] })
  assert.deepEqual(lines(got), [
    'GET /v1/x HTTP/1.1',
    'Host: api.openai.com',
    'User-Agent: OpenAI/JS 7',
    'X-Stainless-Lang: js',
    `Authorization: Bearer ${real}`,
  ])
  assert.deepEqual([got.trips, got.notes], [[], []])
})

test('Anthropic: the placeholder as Bearer (TypeScript) and as x-api-key (Python) both end as what the vendor wants', () => {
  const placeholder = minesOf['anthropic']
  const token: Credential = { kind: 'bearer', token: new Secret(real), lists: { 'anthropic-beta': 'oauth-2025-04-20' } }
  const key: Credential = { kind: 'header', name: 'x-api-key', value: new Secret(real) }
  for (const field of [`Authorization: Bearer ${placeholder}`, `X-Api-Key: ${placeholder}`]) {
    const federated = ask({ service: anthropic, fields: [field], credential: token })
    assert.deepEqual(lines(federated).slice(2), [`Authorization: Bearer ${real}`, 'anthropic-beta: oauth-2025-04-20'])
    const sealed = ask({ service: anthropic, fields: [field], credential: key })
    assert.deepEqual(lines(sealed).slice(2), [`x-api-key: ${real}`])
  }
})

test('a list field keeps what the client put into it, once', () => {
  const credential: Credential = { kind: 'bearer', token: new Secret(real), lists: { 'anthropic-beta': 'oauth-2025-04-20' } }
  const own = `x-api-key: ${minesOf['anthropic']}`
  const betas = (fields: readonly string[]): readonly string[] =>
    lines(ask({ service: anthropic, fields: [own, ...fields], credential })).filter((line) => /^anthropic.beta/i.test(line))
  assert.deepEqual(betas(['Anthropic-Beta: files-api-2025-04-14']), ['anthropic-beta: files-api-2025-04-14,oauth-2025-04-20'])
  assert.deepEqual(betas(['anthropic-beta: a', 'Anthropic_Beta: b']), ['anthropic-beta: a, b,oauth-2025-04-20'])
  assert.deepEqual(betas(['Anthropic-Beta: a, oauth-2025-04-20']), ['Anthropic-Beta: a, oauth-2025-04-20'])
  assert.deepEqual(betas(['anthropic-beta:']), ['anthropic-beta: oauth-2025-04-20'])
})

test('Gemini: from the query or a header into the header, the query without the key', () => {
  const placeholder = minesOf['gemini'] as string
  const credential: Credential = { kind: 'header', name: 'x-goog-api-key', value: new Secret(real) }
  for (const [target, left] of [
    [`/v1beta/x?key=${placeholder}`, '/v1beta/x'],
    [`/v1beta/x?alt=sse&key=${placeholder}`, '/v1beta/x?alt=sse'],
    [`/v1beta/x?key=${placeholder}&alt=sse`, '/v1beta/x?alt=sse'],
    [`/v1beta/x?a=%20&%6bey=${placeholder}&alt=sse`, '/v1beta/x?a=%20&alt=sse'],
    [`/v1beta/x?$key=${placeholder}`, '/v1beta/x'],
    [`/v1beta/x?%24KEY=${placeholder.replace('A', '%41')}`, '/v1beta/x'],
  ] as const) {
    const got = ask({ service: gemini, target, credential })
    assert.equal(got.code, '', target)
    assert.deepEqual([lines(got)[0], ...lines(got).slice(2)], [`GET ${left} HTTP/1.1`, `x-goog-api-key: ${real}`], target)
  }
  assert.equal(ask({ service: gemini, fields: [`X-Goog-Api-Key: ${placeholder}`], credential }).code, '')
})

test('query, basic and a header of the configuration: exactly one slot is filled, whatever stood there', () => {
  const query = ask({
    service: { ...openai, slots: [{ kind: 'bearer' }] },
    target: '/v1/x?a=1&signature=',
    fields: [`Authorization: Bearer ${mine}`],
    credential: { kind: 'query', name: 'signature', value: new Secret('a+b/c=&d e') },
  })
  assert.deepEqual(lines(query), ['GET /v1/x?a=1&signature=a%2Bb%2Fc%3D%26d%20e HTTP/1.1', 'Host: api.openai.com'])
  const basic = ask({
    service: stripe,
    fields: [`Authorization: Basic ${Buffer.from(`${mine}:`).toString('base64')}`],
    credential: { kind: 'basic', user: 'u', password: new Secret('p:w') },
  })
  assert.equal(lines(basic)[2], `Authorization: Basic ${Buffer.from('u:p:w').toString('base64')}`)
  // The agent's own line under the name that is filled would come first.
  const custom: Credential = { kind: 'header', name: 'x-custom', value: new Secret(real) }
  assert.equal(
    ask({ fields: [`Authorization: Bearer ${mine}`, `X_Custom: ${attackers}`], credential: custom }).code,
    'inject.foreign_credential',
  )
  const outside = ask({ run: null, target: '/v1/x?sig=a', fields: ['X-Custom: anything'], credential: custom })
  assert.deepEqual(lines(outside).slice(2), [`x-custom: ${real}`])
})

const basicOf = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`

/** The same with a text that no vendor gives out. */
function standingIn(form: Asked): Asked {
  const other = (text: string): string =>
    text.replaceAll(attackers, 'stand-in').replace(/Basic (\S+)/, (_, pair: string) => {
      return basicOf(Buffer.from(pair, 'base64').toString().replaceAll(attackers, 'stand-in'))
    })
  return { ...form, ...(form.target && { target: other(form.target) }), ...(form.fields && { fields: form.fields.map(other) }) }
}

test('the own key of an attacker is refused in every slot and every spelling, whether the placeholder is there too or not', () => {
  const forms: readonly Asked[] = [
    { fields: [`Authorization: Bearer ${attackers}`] },
    { fields: [`AUTHORIZATION: bearer   ${attackers}`] },
    { fields: [`authorization: ${attackers}`] },
    { fields: [`Authorization: token ${attackers}`] },
    { fields: [`Authorization: ${basicOf(`:${attackers}`)}`] },
    { fields: [`Authorization: ${basicOf(attackers)}`] },
    { fields: [`Authorization: Digest username="x"`] },
    { fields: [`x-api-key: ${attackers}`] },
    { fields: [`X_API_KEY: ${attackers}`] },
    { fields: [`Api-Key: ${attackers}`] },
    { fields: [`X_Goog_Api-Key: ${attackers}`] },
    { fields: [`xi-api-key: ${attackers}`] },
    { fields: [`Private-Token: ${attackers}`] },
    { fields: [`Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.${attackers}`] },
    ...[
      'key',
      'KEY',
      '%6bey',
      '%6B%65%79',
      'api_key',
      'api-key',
      'apiKey',
      'access_token',
      '%20key',
      'key%00',
      'key[]',
      'key%5B0%5D',
      '+key',
    ].map((name) => ({ target: `/v1/x?a=1&${name}=${attackers}` })),
    { target: `/v1/x?a=1;key=${attackers}` },
  ]
  for (const form of forms) {
    const told = JSON.stringify(form)
    for (const service of [openai, docs]) {
      const got = ask({ ...form, service, credential: service === docs ? { kind: 'none' } : bearerReal() })
      assert.equal(got.code, 'inject.foreign_credential', `${service.name} ${told}`)
      assert.ok(!got.detail.includes(attackers), told)
      assert.equal(got.trips.length, 0, told)
    }
    const both = ask({ ...form, fields: [`Authorization: Bearer ${mine}`, ...(form.fields ?? [])] })
    assert.equal(both.code, 'inject.foreign_credential', told)
    const behind = ask({ ...form, fields: [...(form.fields ?? []), `Authorization: Bearer ${mine}`] })
    assert.equal(behind.code, 'inject.foreign_credential', told)
    // Outside a run a key is refused as well; what only stands for one never reaches the vendor.
    const foreign = ask({ ...form, run: null })
    if (told.includes(attackers) || told.includes(Buffer.from(`:${attackers}`).toString('base64')))
      assert.equal(foreign.code, 'inject.foreign_credential', told)
    const outside = ask({ ...standingIn(form), run: null })
    assert.ok(outside.code === '' && !outside.head.includes('stand-in') && outside.notes.length === 1, told)
    assert.equal(
      lines(outside)
        .filter((line) => /^authorization:/i.test(line))
        .join(),
      `Authorization: Bearer ${real}`,
      told,
    )
  }
})

test('no placeholder, no injection; an empty slot is none', () => {
  for (const fields of [[], ['Authorization:'], ['Authorization: Bearer'], ['x-api-key:'], ['Authorization: Basic Og==']]) {
    assert.equal(ask({ fields }).code, 'inject.no_placeholder', fields.join())
    const got = ask({ service: { ...openai, placeholder: 'optional' }, fields })
    assert.equal(got.code, '', fields.join())
    assert.ok(!lines(got).some((line) => /^authorization:/i.test(line)), fields.join())
    assert.equal(got.notes.length, 1)
  }
  assert.equal(ask({ target: '/v1/x?api-key=' }).code, 'inject.no_placeholder')
  // A run that was opened before the service was configured has none.
  assert.equal(ask({ service: { ...openai, name: 'newer' } }).code, 'inject.no_placeholder')
  assert.equal(
    ask({ service: { ...openai, placeholder: 'optional' }, fields: [`Authorization: Bearer ${attackers}`] }).code,
    'inject.foreign_credential',
  )
})

test('a placeholder anywhere but in its own slot of its own service trips the sender', () => {
  const own = `Authorization: Bearer ${mine}`
  const twice = (text: string): string => [...text].map((one) => `%25${one.charCodeAt(0).toString(16)}`).join('')
  const forms: readonly Asked[] = [
    { fields: [`Authorization: Bearer ${others}`] },
    { fields: [`Authorization: Bearer ${minesOf['gemini']}`] },
    { fields: [`Authorization: Bearer ${mine}x`] },
    { fields: [`Authorization: Bearer ${mine} `, `Authorization: Bearer ${others}`] },
    { fields: [`Authorization: Bearer ${mine}, Bearer ${mine}`] },
    { fields: [`Authorization: ${mine}`] },
    { fields: [`Authorization: ${basicOf(`user:${mine}`)}`] },
    { fields: [`Authorization: ${basicOf(`${mine}:${attackers}`)}`] },
    { fields: [own, `x-goog-api-key: ${mine}`] },
    { fields: [own, `X_Api_Key: ${mine}`] },
    { fields: [own, `User-Agent: curl ${mine}`] },
    { fields: [own, `Referer: https://x.test/?k=${encodeURIComponent(others)}`] },
    { fields: [own, `X-Note: ${others.replace('O', '%4f')} %zz %`] },
    { fields: [own, `Cookie: a=1; b=${mine}`] },
    { fields: [own, `Proxy-Authorization: ${basicOf(`run:${others}`)}`] },
    { fields: [own, `Sec-WebSocket-Protocol: openai-insecure-api-key.${others}`] },
    { fields: [own, `Sec-WebSocket-Protocol: realtime, realtime.${mine}`] },
    { service: gemini, fields: [`Sec-WebSocket-Protocol: openai-insecure-api-key.${minesOf['gemini']}`] },
    { fields: [own], target: `/v1/${mine}` },
    { fields: [own], target: `/v1/x?note=${mine}` },
    { fields: [own], target: `/v1/x?${mine}` },
    { fields: [own], target: `/v1/x?key=${others}` },
    { fields: [own], target: `/v1/x?key=${mine}` },
    { fields: [own], target: `/v1/x?note=%zz${mine.replace('Ost', '%4fs%74')}` },
    { fields: [own], target: `/v1/x?note=${twice(others)}` },
    { service: gemini, target: `/v1/x?key=${minesOf['gemini']}&note=${minesOf['gemini']}` },
    { service: docs, fields: [`Authorization: Bearer ${mine}`], credential: { kind: 'none' } },
    { service: docs, fields: [`X-Any: ${mine}`], credential: { kind: 'none' } },
  ]
  for (const form of forms) {
    for (const run of ['run-1', 'run-2', null]) {
      const got = ask({ ...form, run })
      const told = `${run} ${JSON.stringify(form)}`
      assert.equal(got.code, 'inject.foreign_placeholder', told)
      assert.deepEqual(
        got.trips.map((one) => [one.workload, one.run]),
        [['coder', run]],
        told,
      )
      assert.ok(!got.detail.includes(marker), told)
    }
  }
  // The right place, but of another run, or in no run: invariant 17, it is the sender who is counted.
  for (const run of ['run-2', null]) assert.equal(ask({ fields: [own], run }).trips[0]?.run, run)
})

test('cookies: a slot is read and emptied, what the service lists passes, the rest is dropped', () => {
  const credential: Credential = { kind: 'header', name: 'x-crm-key', value: new Secret(real) }
  const service = { ...crm, cookies: ['lang'] }
  const key = `X-Crm-Key: ${minesOf['crm']}`
  const sent = (fields: readonly string[], run: string | null = 'run-1'): Got => ask({ service, fields, run, credential })
  assert.deepEqual(lines(sent([`Cookie: session=${minesOf['crm']}`])).slice(2), [`x-crm-key: ${real}`])
  assert.equal(sent([key, `Cookie: lang=de; session=${attackers}`]).code, 'inject.foreign_credential')
  assert.equal(sent([key, 'Cookie: a=1', `COOKIE: session=${attackers}`]).code, 'inject.foreign_credential')
  assert.deepEqual(lines(sent([key, 'Cookie: lang=de; __Secure-id=evil; other'])).slice(2), ['Cookie: lang=de', `x-crm-key: ${real}`])
  assert.deepEqual(lines(sent([key, 'Cookie: lang=de'])).slice(2), ['Cookie: lang=de', `x-crm-key: ${real}`])
  assert.deepEqual(lines(sent([key, `Cookie: lang=de,session=${attackers}`])).slice(2), [`x-crm-key: ${real}`])
  assert.deepEqual(lines(sent(['Cookie: evil=1'], null)).slice(2), [`x-crm-key: ${real}`])
  // A slot that the configuration spells with `_` is the reader's name with `-`.
  assert.equal(sent([`X_CRM_KEY: ${attackers}`]).code, 'inject.foreign_credential')
})

test('a value that a field cannot carry is not sent; a lease that was wiped neither', () => {
  for (const bad of ['a\r\nX: y', 'a\nb', 'a\0b', 'ä', 'a\x7f', '\t'])
    for (const credential of [
      { kind: 'bearer', token: new Secret(bad) },
      { kind: 'header', name: 'x-key', value: new Secret(bad) },
      { kind: 'query', name: 'k', value: new Secret(bad) },
      { kind: 'basic', user: 'u', password: new Secret(bad) },
      { kind: 'basic', user: `u${bad}:`, password: new Secret('p') },
    ] satisfies Credential[])
      assert.equal(ask({ run: null, credential }).code, 'inject.bad_value', JSON.stringify([bad, credential.kind]))
  const wiped = new Secret(real)
  wiped.wipe()
  for (const credential of [
    { kind: 'bearer', token: wiped },
    { kind: 'basic', user: 'u', password: wiped },
  ] satisfies Credential[])
    assert.equal(ask({ run: null, credential }).code, 'obtain.revoked')
})

test('what was injected does not change when the lease is wiped before the head is written', () => {
  for (const make of [
    (token: Secret): Credential => ({ kind: 'bearer', token }),
    (value: Secret): Credential => ({ kind: 'header', name: 'x-key', value }),
  ]) {
    const secret = new Secret(real)
    const bytes = Buffer.from('GET / HTTP/1.1\r\nHost: api.openai.com\r\n\r\n')
    const head = readRequestHead(bytes, 0, bytes.length)
    const call = { head, target: { path: '/', query: '', host: 'api.openai.com' }, service: openai } as unknown as Call
    const inject = createInject({
      clock: { now: () => 0 },
      placeholders: { marker, of: () => null },
      trip: () => {},
      shape: () => null,
      recognise: () => '',
    })
    const edits = inject(call, { run: null } as unknown as Identity, make(secret), { note: () => {} })
    secret.wipe()
    assert.ok(edits.set[0]?.[1].toString().endsWith(real))
  }
})

test('a service that takes no credential gets none', () => {
  const none: Credential = { kind: 'none' }
  const got = ask({ service: docs, fields: ['Accept: */*', 'Cookie: sid=1'], credential: none })
  assert.deepEqual(lines(got).slice(2), ['Accept: */*'])
  assert.equal(ask({ service: docs, credential: bearerReal() }).code, 'obtain.no_credential')
})

test('generated: outside a run nothing of an attacker reaches any credential slot, and no head grows a second one', () => {
  const name = fc.constantFrom(
    'Authorization',
    'authorization',
    'x-api-key',
    'X_API_KEY',
    'Api-Key',
    'X-Goog-Api-Key',
    'x_goog_api_key',
    'Cookie',
    'XI-API-KEY',
  )
  const other = 'of-an-attacker'
  const value = fc.constantFrom(other, `Bearer ${other}`, `a=${other}; key=${other}`, basicOf(other), `Basic`, '')
  const parameter = fc.constantFrom(`key=${other}`, `%6Bey=${other}`, `a=b`, `;access_token=${other}`, '', `API_KEY=${other}`)
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 6 }), fc.array(parameter, { maxLength: 4 }), (fields, parameters) => {
      const target = `/v1/x${parameters.length === 0 ? '' : `?${parameters.join('&')}`}`
      for (const service of [openai, gemini, crm]) {
        const got = ask({ run: null, service, target, fields: fields.map(([one, text]) => `${one}: ${text}`) })
        assert.equal(got.code, '')
        assert.ok(!got.head.includes('attacker'), got.head)
        assert.equal(lines(got).filter((line) => /key|authorization|cookie|token/i.test(line)).length, 1, got.head)
      }
    }),
    { numRuns: 200 },
  )
})

test('GitHub: a placeholder in any scheme becomes Bearer at the API and the password of Basic for git', () => {
  const at = (host: string): Service => ({ ...github, hosts: [host] })
  const own = minesOf['github'] as string
  const pair = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`
  const written = (host: string, field: string): Got => ask({ service: at(host), fields: [`Authorization: ${field}`] })
  for (const field of [`token ${own}`, `Bearer ${own}`, pair(`x-access-token:${own}`), pair(`anybody:${own}`), pair(`${own}:`)]) {
    assert.deepEqual(lines(written('api.github.com', field)).slice(2), [`Authorization: Bearer ${real}`], field)
    assert.deepEqual(lines(written('github.com', field)).slice(2), [`Authorization: ${pair(`x-access-token:${real}`)}`], field)
  }
  assert.equal(written('github.com', pair(`${own}:x-oauth-basic`)).code, 'inject.foreign_placeholder')
  assert.equal(written('github.com', pair('ann:ghp_herOwn')).code, 'inject.foreign_credential')
  // Outside a run nobody could show a placeholder: it is injected.
  assert.deepEqual(lines(ask({ service: at('github.com'), run: null })).slice(2), [`Authorization: ${pair(`x-access-token:${real}`)}`])
})

test('a key of any vendor of the catalog, outside a run too: refused, named by whose it looks, and known again by a keyed hash', () => {
  const keys: readonly (readonly [string, string])[] = [
    ['anthropic', `sk-ant-api03-${'b'.repeat(40)}`],
    ['openai', attackers],
    ['google', `AIza${'c'.repeat(35)}`],
    ['github', `ghp_${'d'.repeat(36)}`],
    ['aws', `ABSK${'e'.repeat(44)}`],
    ['jwt', `eyJ${'f'.repeat(20)}.eyJ${'f'.repeat(20)}.${'f'.repeat(43)}`],
  ]
  for (const [vendor, key] of keys)
    for (const run of [null, 'run-1'])
      for (const field of [`X-Api-Key: ${key}`, `Authorization: ${basicOf(`${key}:x`)}`, `Helicone-Auth: ${key}`, `X-Auth-Key: ${key}`]) {
        const got = ask({ run, fields: [field] })
        assert.equal(got.code, 'inject.foreign_credential', `${run} ${field}`)
        assert.ok(got.detail.endsWith(`: ${vendor} key hmac-sha256:${hash('sha256', `test ${key}`).slice(0, 32)}`), got.detail)
        assert.ok(!got.detail.includes(key.slice(4)) && got.trips.length === 0, got.detail)
      }
  // Many at once are one refusal that names the first few.
  assert.equal(
    ask({ fields: ['Api-Key', 'X-Auth-Key', 'Apikey', 'X-Token', 'X-Apikey', 'Access-Token'].map((name) => `${name}: x`) }).detail.split(
      '; ',
    ).length,
    4,
  )
})

test('a client that holds the very credential that it is given brings nothing foreign', () => {
  const held = `sk-proj-${'h'.repeat(40)}`
  const credential: Credential = { kind: 'bearer', token: new Secret(held) }
  const got = ask({ run: null, fields: [`Authorization: Bearer ${held}`], credential })
  assert.deepEqual([got.code, lines(got).slice(2), got.notes.length], ['', [`Authorization: Bearer ${held}`], 1])
  assert.equal(ask({ run: null, fields: [`Authorization: Bearer ${held}x`], credential }).code, 'inject.foreign_credential')
  assert.equal(ask({ fields: [`Authorization: Bearer ${held}`], credential }).code, 'inject.foreign_credential')
})

test('with a credential no part of an answer is asked for; without one a part is', () => {
  const range = ['range: bytes=0-3', 'RANGE: bytes=0-3', 'If_Range: "x"']
  for (const field of range) {
    const { code, head } = ask({ fields: [`Authorization: Bearer ${mine}`, field, 'Range: bytes=1-2'] })
    assert.equal(code, '')
    assert.doesNotMatch(head, /range/i)
  }
  assert.match(ask({ service: docs, credential: { kind: 'none' }, fields: ['Range: bytes=0-3'] }).head, /range: bytes=0-3/i)
})

test('outside a run a web page is refused, unless the service lists its origin; in a run the placeholder is what shows intent', () => {
  const page = ['Origin: https://app.test', 'Sec-Fetch-Site: cross-site']
  const listing = { ...openai, origins: ['https://app.test'] }
  for (const fields of [page, page.slice(0, 1), page.slice(1), ['ORIGIN: null'], ['Sec_Fetch_Site: none']]) {
    assert.equal(ask({ run: null, fields }).code, 'inject.web_page', fields.join())
    assert.equal(ask({ fields: [...fields, `Authorization: Bearer ${mine}`] }).code, '')
    assert.equal(ask({ run: null, service: docs, credential: { kind: 'none' }, fields }).code, '')
  }
  assert.equal(ask({ run: null, service: listing, fields: page }).code, '')
  assert.equal(ask({ run: null, service: listing, fields: ['Origin: https://app.test.evil'] }).code, 'inject.web_page')
})
