// The two vendors' requests, byte for byte, and what becomes of each answer.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { anthropic } from '../catalog/anthropic.ts'
import { openai } from '../catalog/openai.ts'
import type { Need } from '../model/credential.ts'
import type { CredentialHost, PlainAnswer } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { anthropicFederation } from './anthropic-federation/anthropic-federation.ts'
import type { AnyCredentialKind } from './credential-provider.ts'
import { openaiFederation } from './openai-federation/openai-federation.ts'

const now = 1_700_000_000_000
const assertion = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzcGlmZmUifQ.c2lnbmF0dXJl'
const token = 'sk-ant-oat01-Zx81QmWv70KpLr52NtHs64'
const need: Need = {
  workload: 'coder',
  spiffeId: 'spiffe://acme.test/coder',
  groups: ['dev', 'research'],
  run: 'run-1',
  service: 'any',
  host: 'any',
  port: 443,
}
const good = { access_token: token, issued_token_type: 'x', token_type: 'Bearer', expires_in: 600 }
const json = (body: unknown, status = 200): PlainAnswer => ({ status, headers: {}, body: Buffer.from(JSON.stringify(body)) })

interface Script {
  /** As sent: the body is copied before the exchange overwrites it. */
  readonly sent: { method: string; url: string; headers: unknown; body: string; bytesMax: number; timeoutMs: number }[]
  readonly lent: Buffer[]
  readonly signed: unknown[]
  obtain(kind: AnyCredentialKind, config: Readonly<Record<string, unknown>>): Promise<unknown>
}

function script(answer: PlainAnswer | Error): Script {
  const sent: Script['sent'] = []
  const lent: Buffer[] = []
  const signed: unknown[] = []
  const host: CredentialHost = {
    clock: { now: () => now, monotonic: () => 0 },
    limits,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    async fetch({ method, url, headers, body, bytesMax, timeoutMs }) {
      sent.push({ method, url, headers, body: String(body), bytesMax, timeoutMs })
      lent.push(body as Buffer)
      if (answer instanceof Error) throw answer
      return answer
    },
    secret: () => Promise.reject(new Error('no stored key')),
    async sign(...asked) {
      signed.push(asked)
      return assertion
    },
  }
  return {
    sent,
    lent,
    signed,
    obtain: (kind, config) =>
      kind
        .start(kind.schema.parse(config), host, 'mine', kind === openaiFederation ? openai : anthropic)
        .obtain(need, new AbortController().signal),
  }
}

const statement = { sub: 'spiffe://acme.test/coder', workload: 'coder', groups: 'dev research', run: 'run-1' }

test('OpenAI: the request of the reference, a bearer that ends with the token', async () => {
  const answer = json(good)
  const of = script(answer)
  const got = await of.obtain(openaiFederation, { provider: 'idp_1', serviceAccount: 'sa_1' })
  assert.deepEqual(of.signed, [['mine', statement, 'https://api.openai.com/v1']])
  assert.deepEqual(of.sent, [
    {
      method: 'POST',
      url: 'https://auth.openai.com/oauth/token',
      headers: { 'content-type': 'application/json' },
      body:
        '{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange",' +
        `"subject_token":"${assertion}",` +
        '"subject_token_type":"urn:ietf:params:oauth:token-type:jwt",' +
        '"identity_provider_id":"idp_1","service_account_id":"sa_1"}',
      bytesMax: limits.exchangeBytesMax,
      timeoutMs: limits.exchangeMs,
    },
  ])
  const { credential, expiresAt, secrets } = got as Awaited<ReturnType<ReturnType<AnyCredentialKind['start']>['obtain']>>
  assert.deepEqual([credential.kind, 'lists' in credential, expiresAt], ['bearer', false, now + 600_000])
  assert.equal(secrets[0]?.reveal().toString(), token)
  // Neither the statement nor the token stays in the buffers that carried them.
  assert.ok(of.lent[0]?.every((byte) => byte === 0) && answer.body.every((byte) => byte === 0))

  const withClient = script(json(good))
  await withClient.obtain(openaiFederation, { provider: 'idp_1', serviceAccount: 'sa_1', clientId: 'app', audience: 'https://a.test' })
  assert.match(withClient.sent[0]?.body ?? '', /"service_account_id":"sa_1","client_id":"app"}$/)
  assert.equal((withClient.signed[0] as unknown[])[2], 'https://a.test')
})

test('Anthropic: the request of the reference, and the beta that its tokens need', async () => {
  const of = script(json(good))
  const got = await of.obtain(anthropicFederation, {
    rule: 'fdrl_1',
    organization: 'org-1',
    serviceAccount: 'svac_1',
    workspace: 'default',
  })
  assert.deepEqual(of.signed, [['mine', statement, 'https://api.anthropic.com']])
  assert.deepEqual(of.sent, [
    {
      method: 'POST',
      url: 'https://api.anthropic.com/v1/oauth/token',
      headers: { 'content-type': 'application/json', 'anthropic-beta': 'oauth-2025-04-20,oidc-federation-2026-04-01' },
      body:
        '{"grant_type":"urn:ietf:params:oauth:grant-type:jwt-bearer",' +
        `"assertion":"${assertion}",` +
        '"federation_rule_id":"fdrl_1","organization_id":"org-1","service_account_id":"svac_1","workspace_id":"default"}',
      bytesMax: limits.exchangeBytesMax,
      timeoutMs: limits.exchangeMs,
    },
  ])
  assert.deepEqual((got as { credential: { lists?: unknown } }).credential.lists, { 'anthropic-beta': 'oauth-2025-04-20' })
  const least = script(json(good))
  await least.obtain(anthropicFederation, { rule: 'fdrl_1', organization: 'org-1' })
  assert.match(least.sent[0]?.body ?? '', /"organization_id":"org-1"}$/)
})

test('a lease never exceeds half an hour, whatever the vendor says', async () => {
  for (const [seconds, lifeMs] of [
    [1, 1_000],
    [1_800, 1_800_000],
    [86_400, 1_800_000],
    [1e300, 1_800_000],
  ] as const) {
    const got = await script(json({ ...good, expires_in: seconds })).obtain(openaiFederation, { provider: 'i', serviceAccount: 's' })
    assert.equal((got as { expiresAt: number }).expiresAt, now + lifeMs)
  }
})

test('each other answer is a refusal with the code at most, never with a text or body of the vendor', async () => {
  const echo = `${assertion} ${token}`
  const redirect = (status: number): PlainAnswer => ({
    status,
    headers: { location: 'https://evil.test/' },
    body: Buffer.from(JSON.stringify(good)),
  })
  const told = (error: unknown): PlainAnswer => json({ error, error_description: echo, message: echo }, 401)
  const cases: readonly (readonly [PlainAnswer | Error, string, RegExp?])[] = [
    [told('invalid_grant'), 'obtain.exchange_refused', /: 401 invalid_grant$/],
    [told(echo), 'obtain.exchange_refused', /: 401$/],
    [told({ message: echo }), 'obtain.exchange_refused', /: 401$/],
    [told('x'.repeat(65)), 'obtain.exchange_refused', /: 401$/],
    [json({ error: 'invalid_subject_token' }, 400), 'obtain.exchange_refused', /400 invalid_subject_token$/],
    [json(good, 403), 'obtain.exchange_refused'],
    [json(good, 429), 'obtain.exchange_failed'],
    [json(good, 500), 'obtain.exchange_failed'],
    [json(good, 201), 'obtain.exchange_failed'],
    ...[301, 302, 303, 307, 308].map((status) => [redirect(status), 'obtain.exchange_failed'] as const),
    [{ status: 200, headers: {}, body: Buffer.from(`<html>${echo}`) }, 'obtain.exchange_failed'],
    [{ status: 200, headers: {}, body: Buffer.alloc(0) }, 'obtain.exchange_failed'],
    [json(null), 'obtain.exchange_failed'],
    [json([good]), 'obtain.exchange_failed'],
    [json({ ...good, access_token: undefined }), 'obtain.exchange_failed'],
    [json({ ...good, access_token: 'short' }), 'obtain.exchange_failed'],
    [json({ ...good, access_token: `${token}\r\nX: y` }), 'obtain.exchange_failed'],
    [json({ ...good, access_token: `${token}ä` }), 'obtain.exchange_failed'],
    [json({ ...good, access_token: 'x'.repeat(16_385) }), 'obtain.exchange_failed'],
    [json({ ...good, token_type: 'DPoP' }), 'obtain.exchange_failed'],
    [json({ ...good, token_type: ['bearer'] }), 'obtain.exchange_failed'],
    [json({ ...good, expires_in: 0 }), 'obtain.exchange_failed'],
    [json({ ...good, expires_in: '3600' }), 'obtain.exchange_failed'],
    [json({ ...good, expires_in: undefined }), 'obtain.exchange_failed'],
    [new Error(echo), 'obtain.exchange_failed', /^no answer$/],
    [
      new Refusal('forward.certificate', 'auth.openai.com: CERT_HAS_EXPIRED'),
      'obtain.exchange_failed',
      /^forward\.certificate auth\.openai\.com/,
    ],
  ]
  for (const [answer, code, detail] of cases) {
    const of = script(answer)
    const shown = answer instanceof Error ? String(answer) : `${answer.status} ${answer.body.toString().slice(0, 60)}`
    await assert.rejects(of.obtain(openaiFederation, { provider: 'idp_1', serviceAccount: 'sa_1' }), (error: Refusal) => {
      assert.equal(error.code, code, shown)
      assert.match(error.detail, detail ?? /./, shown)
      assert.ok(!error.detail.includes('eyJ') && !error.detail.includes('sk-ant'), error.detail)
      return true
    })
    assert.equal(of.sent.length, 1, 'no retry, no redirect')
  }
})

test('an audience is an https URL', () => {
  for (const kind of [openaiFederation, anthropicFederation] as AnyCredentialKind[])
    for (const audience of ['http://x.test', 'x', 'https://']) assert.equal(kind.check?.({ audience }).length, 1, audience)
})
