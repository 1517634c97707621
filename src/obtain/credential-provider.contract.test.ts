// What every credential provider of the list has to keep.
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { z } from 'zod'
import { openai } from '../catalog/openai.ts'
import type { CredentialHost, PlainRequest } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal, refusals } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import { credentialKinds } from './credential-providers.ts'

const examples: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'static-key': { secret: 'openai' },
  'openai-federation': { provider: 'idp_1', serviceAccount: 'sa_1' },
  'anthropic-federation': { rule: 'fdrl_1', organization: 'org-1' },
}
const value = 'canary-5f2c9a0b7d1e4c3f8a6b'
const need = {
  workload: 'coder',
  spiffeId: 'spiffe://a.test/coder',
  groups: ['dev'],
  run: null,
  service: 'openai',
  host: 'api.openai.com',
  port: 443,
}
const now = 1_700_000_000_000

function hostOf(part: Partial<CredentialHost> = {}): { readonly host: CredentialHost; readonly touched: string[] } {
  const touched: string[] = []
  const log = (...said: unknown[]): void => void touched.push(`log ${inspect(said)}`)
  const host: CredentialHost = {
    clock: { now: () => now, monotonic: () => 0 },
    limits,
    log: { debug: log, info: log, warn: log, error: log },
    async fetch() {
      touched.push('fetch')
      const body = Buffer.from(JSON.stringify({ access_token: value, token_type: 'Bearer', expires_in: 3600 }))
      return { status: 200, headers: {}, body }
    },
    async secret() {
      touched.push('secret')
      return new Secret(value)
    },
    async sign() {
      touched.push('sign')
      return 'header.claims.signature'
    },
    ...part,
  }
  return { host, touched }
}

test('a folder and a line each, no name twice', () => {
  const folders = readdirSync(import.meta.dirname, { withFileTypes: true }).flatMap((one) => (one.isDirectory() ? [one.name] : []))
  assert.deepEqual(credentialKinds.map((kind) => kind.name).sort(), folders.sort())
  for (const name of folders) assert.ok(readdirSync(join(import.meta.dirname, name)).includes(`${name}.ts`))
  assert.deepEqual(Object.keys(examples).sort(), folders)
})

for (const kind of credentialKinds) {
  const example = examples[kind.name]
  const config = kind.schema.parse(example)
  const start = (host: CredentialHost) => kind.start(config, host, 'mine', openai)

  test(`${kind.name}: its schema knows its keys, says what they are, and is JSON Schema too`, () => {
    assert.equal(kind.schema.safeParse({ ...example, surprise: 1 }).success, false)
    assert.equal(kind.schema.safeParse({}).success, false)
    assert.equal(kind.schema.safeParse('text').success, false)
    assert.deepEqual(kind.check?.(config) ?? [], [])
    assert.equal(z.toJSONSchema(kind.schema, { io: 'input' }).type, 'object')
    assert.ok(kind.summary.length > 10)
  })

  test(`${kind.name}: start touches nothing`, () => {
    const { host, touched } = hostOf()
    start(host)
    assert.deepEqual(touched, [])
  })

  test(`${kind.name}: what it obtains ends in time and shows no secret`, async () => {
    const { host, touched } = hostOf()
    const got = await start(host).obtain(need, new AbortController().signal)
    assert.ok(got.expiresAt > now && got.expiresAt <= now + limits.federatedLeaseMs)
    assert.ok(got.secrets.length > 0 && got.secrets.every((secret) => secret.size > 0))
    for (const shown of [inspect(got, { depth: 9, showHidden: true }), JSON.stringify(got), touched.join()])
      assert.ok(!shown.includes('canary'), shown)
    assert.equal(touched.includes('sign'), kind.federated)
    assert.equal(touched.includes('secret'), kind.secretOf(config) !== null)
    assert.equal(
      touched.some((one) => one.startsWith('log')),
      false,
    )
  })

  test(`${kind.name}: its purpose is the service's own hosts, port and slot`, () => {
    const { service, hosts, port, slot } = kind.purposeOf(config, openai)
    assert.deepEqual({ service, hosts, port, slot }, { service: 'openai', hosts: openai.hosts, port: 443, slot: 'bearer' })
  })

  test(`${kind.name}: it hears its signal`, async () => {
    const asked: PlainRequest[] = []
    const { host } = hostOf({
      async fetch(request) {
        asked.push(request)
        throw request.signal?.aborted === true ? new Refusal('forward.timeout') : new Error('not aborted')
      },
    })
    await assert.rejects(start(host).obtain(need, AbortSignal.abort()), Refusal)
    for (const { signal } of asked) assert.equal(signal?.aborted, true)
  })

  test(`${kind.name}: whatever fails is a Refusal whose text says nothing of the secret`, async () => {
    const odd = new Refusal('obtain.secret_missing', 'x')
    for (const part of [
      { secret: () => Promise.reject(odd), fetch: () => Promise.reject(new Error(value)) },
      { secret: async () => new Secret(`${value}\r\n`), fetch: async () => ({ status: 401, headers: {}, body: Buffer.from(value) }) },
    ] satisfies Partial<CredentialHost>[]) {
      const error = await start(hostOf(part).host)
        .obtain(need, new AbortController().signal)
        .then(
          () => null,
          (one: unknown) => one,
        )
      assert.ok(error instanceof Refusal)
      assert.ok(error.code in refusals)
      assert.ok(!`${error.detail} ${error.message}`.includes('canary'), error.detail)
    }
  })
}
