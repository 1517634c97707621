import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { generateKeyPair, SignJWT } from 'jose'
import { createFakeIssuer } from '../../../test/fakes/issuer.ts'
import type { Evidence, PeerFacts } from '../../model/evidence.ts'
import { limits } from '../../model/limits.ts'
import { Refusal, type RefusalCode } from '../../model/refusal.ts'
import { Secret } from '../../model/secret.ts'
import { createOnce } from '../once.ts'
import { attributesOf } from './claims.ts'
import { oidcKind } from './oidc.ts'
import { judgeClaims, judgeHeader, readToken } from './token.ts'

const start = Date.UTC(2026, 10, 24)
const seconds = start / 1000
const audience = 'https://ostiary.acme.example'
const url = 'https://issuer.example'
const remote: PeerFacts = {
  transport: 'tcp',
  address: '10.0.0.9',
  port: 1,
  loopback: false,
  secure: true,
  uid: null,
  process: null,
  why: 'another host',
}

async function world(config: Record<string, unknown> = {}, alg = 'ES256') {
  const time = { now: start, monotonic: 1_000_000 }
  const clock = { now: () => time.now, monotonic: () => time.monotonic }
  const issuer = await createFakeIssuer({ url, audience, now: clock.now, alg })
  const warned: string[] = []
  const log = { debug() {}, info() {}, warn: (what: string) => void warned.push(what), error() {} }
  const host = { clock, fetch: issuer.fetch, log, limits, once: createOnce({ clock, max: 100 }), audience }
  const begin = (more: Record<string, unknown> = {}) =>
    oidcKind.start(oidcKind.schema.parse({ issuer: url, ...config, ...more }), host, 'prod')
  let provider = begin()
  const present = (text: string, more: Partial<Evidence> = {}) =>
    provider.verify({ peer: remote, pointer: null, token: new Secret(text), unchanged: () => true, ...more }, AbortSignal.timeout(5_000))
  const restart = (more: Record<string, unknown>): void => {
    provider = begin(more)
  }
  return { time, issuer, present, warned, restart }
}

const code =
  (wanted: RefusalCode) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof Refusal, String(error))
    assert.equal(error.code, wanted, error.detail)
    return true
  }

test('a good token becomes attributes that end with it', async () => {
  const { issuer, present } = await world()
  const attested = await present(await issuer.token({ exp: seconds + 60, admin: true, kubernetes: { pod: 'a' } }))
  assert.deepEqual(attested?.attributes, { iss: url, sub: 'agent-7', admin: 'true', 'kubernetes.pod': 'a' })
  assert.equal(attested?.expiresAt, start + 60_000)
})

const bad: readonly (readonly [string, RefusalCode, Record<string, unknown>, Record<string, unknown>?])[] = [
  ['another issuer', 'identify.token_issuer', { iss: 'https://issuer.example/' }],
  ['no audience', 'identify.token_audience', { aud: undefined }],
  ['a second audience', 'identify.token_audience', { aud: [audience, 'https://api.openai.com/v1'] }],
  ['an empty list of audiences', 'identify.token_audience', { aud: [] }],
  ['no subject', 'identify.token_malformed', { sub: undefined }],
  ['no exp', 'identify.token_malformed', { exp: undefined }],
  ['no iat', 'identify.token_malformed', { iat: undefined }],
  ['exp as text', 'identify.token_malformed', { exp: String(seconds + 600) }],
  ['expired', 'identify.token_expired', { iat: seconds - 600, exp: seconds - 60 }],
  ['from the future', 'identify.token_expired', { iat: seconds + 61 }],
  ['not before', 'identify.token_expired', { nbf: seconds + 61 }],
  ['valid for too long', 'identify.token_expired', { exp: seconds + 86_401 }],
  ['exp before iat', 'identify.token_expired', { iat: seconds + 50, exp: seconds + 10 }],
  ['typ is fine, jku is not', 'identify.token_malformed', {}, { jku: 'https://evil.example/keys' }],
  ['x5u', 'identify.token_malformed', {}, { x5u: 'https://evil.example/cert' }],
  ['jwk', 'identify.token_malformed', {}, { jwk: { kty: 'EC' } }],
]
for (const [name, wanted, claims, header] of bad) {
  test(`refused: ${name}`, async () => {
    const { issuer, present } = await world()
    await assert.rejects(present(await issuer.token(claims, header)), code(wanted))
  })
}

test('sixty seconds of skew are borne, both ways', async () => {
  const { issuer, present } = await world()
  assert.ok(await present(await issuer.token({ iat: seconds + 59 })))
  assert.ok(await present(await issuer.token({ iat: seconds - 600, exp: seconds - 59 })))
})

test('none and shared-secret algorithms are refused, also with the public key as secret', async () => {
  const { issuer, present } = await world()
  const payload = (await issuer.token()).split('.')[1] as string
  const none = Buffer.from('{"alg":"none"}').toString('base64url')
  await assert.rejects(present(`${none}.${payload}.AA`), code('identify.token_malformed'))
  await assert.rejects(present(`${none}.${payload}.`), code('identify.token_malformed'))
  const pem = createPublicKey({ key: issuer.jwks().keys[0] as never, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  const confused = await new SignJWT({ iss: url, aud: audience, sub: 'x', iat: seconds, exp: seconds + 60 })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(Buffer.from(pem))
  await assert.rejects(present(confused), code('identify.token_malformed'))
})

test('a signature by another key, or over other claims, is refused', async () => {
  const { issuer, present } = await world()
  const [header, payload, signature] = (await issuer.token()).split('.') as [string, string, string]
  const other = await generateKeyPair('ES256')
  const forged = await new SignJWT({ iss: url, aud: audience, sub: 'x', iat: seconds, exp: seconds + 60 })
    .setProtectedHeader({ alg: 'ES256', kid: 'key-1' })
    .sign(other.privateKey)
  await assert.rejects(present(forged), code('identify.token_signature'))
  const claims = Buffer.from(payload, 'base64url').toString().replace('agent-7', 'agent-8')
  await assert.rejects(present(`${header}.${Buffer.from(claims).toString('base64url')}.${signature}`), code('identify.token_signature'))
})

test('one token has one spelling', async () => {
  const { issuer, present } = await world()
  const text = await issuer.token()
  const [header, payload, signature] = text.split('.') as [string, string, string]
  // 64 bytes leave four unused bits in the last character.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet[alphabet.indexOf(signature.at(-1) as string) ^ 1]
  for (const other of [
    `${header}.${payload}.${signature.slice(0, -1)}${last}`,
    `${text}=`,
    ` ${text}`,
    `${text}\n`,
    `${header}.${payload} .${signature}`,
    `${header}..${signature}`,
    `${text}.`,
    text.replaceAll('-', '+'),
    `${text}\u00e9`,
  ]) {
    if (other !== text) await assert.rejects(present(other), code('identify.token_malformed'), JSON.stringify(other))
  }
  assert.ok(await present(text))
})

test('the same holder may present a token again, any other is a replay', async () => {
  const { issuer, present, time } = await world()
  const text = await issuer.token()
  assert.ok(await present(text))
  assert.ok(await present(text))
  await assert.rejects(present(text, { peer: { ...remote, address: '10.0.0.10' } }), code('identify.token_replayed'))
  await assert.rejects(present(text, { pointer: 'run-1' }), code('identify.token_replayed'))
  time.now += 300_000
  assert.ok(await present(text))
})

test('a mauled ECDSA signature does not make a new token', async () => {
  const { issuer, present } = await world()
  const text = await issuer.token({ jti: undefined })
  const [header, payload, signature] = text.split('.') as [string, string, string]
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const raw = Buffer.from(signature, 'base64url')
  const flipped = (order - BigInt(`0x${raw.subarray(32).toString('hex')}`)).toString(16).padStart(64, '0')
  const mauled = `${header}.${payload}.${Buffer.concat([raw.subarray(0, 32), Buffer.from(flipped, 'hex')]).toString('base64url')}`
  assert.ok(await present(text))
  await assert.rejects(present(mauled, { peer: { ...remote, address: '10.0.0.10' } }), code('identify.token_replayed'))
})

test('a forged token binds nothing: the true holder comes after it', async () => {
  const { issuer, present } = await world()
  const text = await issuer.token()
  const forged = `${text.slice(0, -20)}${'A'.repeat(19)}${text.at(-1)}`
  await assert.rejects(present(forged, { peer: { ...remote, address: '10.6.6.6' } }))
  assert.ok(await present(text))
})

test('on loopback without a process and a uid there is nobody to bind a token to', async () => {
  const { issuer, present } = await world()
  const peer = { ...remote, address: '127.0.0.1', loopback: true, why: 'two processes hold the socket' }
  await assert.rejects(present(await issuer.token(), { peer }), code('identify.process_unknown'))
})

test('singleUse demands a jti', async () => {
  const { issuer, present } = await world({ singleUse: true })
  await assert.rejects(present(await issuer.token({ jti: undefined })), code('identify.token_malformed'))
  assert.ok(await present(await issuer.token()))
})

test('keys: fetched once for many, again for an unknown kid but not within the cooldown, and a failure evicts nothing', async () => {
  const { issuer, present, time, warned } = await world()
  await Promise.all(Array.from({ length: 10 }, async () => present(await issuer.token())))
  assert.equal(issuer.fetched.length, 2)
  const old = await issuer.token()
  await issuer.rotate()
  await assert.rejects(present(await issuer.token()), code('identify.token_signature'))
  assert.equal(issuer.fetched.length, 2)
  time.monotonic += limits.jwksCooldownMs
  issuer.down = true
  await assert.rejects(present(await issuer.token()), code('identify.token_signature'))
  assert.ok(await present(old))
  assert.equal(warned.length, 1)
  issuer.down = false
  await assert.rejects(present(await issuer.token()), code('identify.token_signature')) // the cooldown was claimed by the failure
  time.monotonic += limits.jwksCooldownMs
  assert.ok(await present(await issuer.token()))
  await assert.rejects(present(old), code('identify.token_signature'))
})

test('keys that are not fresh are asked for again', async () => {
  const { issuer, present, time } = await world()
  await present(await issuer.token())
  time.monotonic += limits.jwksFreshMs
  await present(await issuer.token())
  assert.equal(issuer.fetched.length, 4)
})

test('discovery of another issuer, plain http, a set too large or of shared keys: no keys', async () => {
  for (const [path, text] of [
    ['/.well-known/openid-configuration', JSON.stringify({ issuer: 'https://evil.example', jwks_uri: `${url}/keys` })],
    ['/.well-known/openid-configuration', JSON.stringify({ issuer: url, jwks_uri: 'http://issuer.example/keys' })],
    ['/.well-known/openid-configuration', 'not json'],
    ['/keys', JSON.stringify({ keys: [{ kty: 'oct', k: 'AAAA' }] })],
    ['/keys', JSON.stringify({ keys: Array.from({ length: limits.jwksKeysMax + 1 }, () => ({ kty: 'EC' })) })],
  ] as const) {
    const { issuer, present } = await world()
    issuer.instead.set(path, text)
    await assert.rejects(present(await issuer.token()), code('identify.keys_unavailable'), text)
  }
})

test('uploaded keys need no network', async () => {
  const { issuer, present, restart } = await world()
  restart({ jwks: issuer.jwks() })
  assert.ok(await present(await issuer.token()))
  assert.deepEqual(issuer.fetched, [])
  restart({ jwks: 'keys.json' })
  await assert.rejects(present(await issuer.token()), code('identify.keys_unavailable'))
})

test('RS256 works; an algorithm that is not listed does not', async () => {
  const { issuer, present, restart } = await world({}, 'RS256')
  assert.ok(await present(await issuer.token()))
  restart({ algorithms: ['ES256'] })
  await assert.rejects(present(await issuer.token()), code('identify.token_malformed'))
})

test('check: an issuer that is no https URL, a foreign audience, private keys', () => {
  const mistakes = (config: Record<string, unknown>) => oidcKind.check?.(oidcKind.schema.parse({ issuer: url, ...config })).length
  assert.equal(mistakes({}), 0)
  assert.equal(mistakes({ audience }), 0)
  for (const issuer of ['http://issuer.example', 'https://u:p@issuer.example', 'https://issuer.example?a', 'issuer'])
    assert.equal(mistakes({ issuer }), 1, issuer)
  for (const foreign of [
    'https://kubernetes.default.svc',
    'https://kubernetes.default.svc.cluster.local',
    'https://api.openai.com/v1',
    'https://auth.openai.com',
    'https://api.anthropic.com',
    'sts.amazonaws.com',
    'https://github.com/acme',
    'api://AzureADTokenExchange',
    '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x',
  ])
    assert.equal(mistakes({ audience: foreign }), 1, foreign)
  assert.equal(mistakes({ jwks: { keys: [{ kty: 'EC', d: 'x' }] } }), 1)
})

test('rules: subject, prefix and claims; what every token has identifies nobody', () => {
  const attributes = { sub: 'system:serviceaccount:agents:a', repository_id: '77' }
  const fits = (rule: object) => oidcKind.fits(oidcKind.rule.parse(rule), attributes)
  assert.equal(fits({ subject: { prefix: 'system:serviceaccount:agents:' } }), true)
  assert.equal(fits({ subject: 'system:serviceaccount:agents' }), false)
  assert.equal(fits({ claims: { repository_id: 77 } }), true)
  assert.equal(fits({ claims: { repository_id: '77', missing: 'x' } }), false)
  assert.equal(fits({ claims: { toString: 'x' } }), false)
  assert.equal(oidcKind.checkRule({ claims: { iss: url, aud: audience } }).length, 1)
})

test('claims: Kubernetes by short names too; a name with two values means neither', () => {
  const claims = {
    sub: 'a',
    exp: 1,
    'kubernetes.io': { namespace: 'agents', serviceaccount: { name: 'pod-agent' }, pod: { name: 'p-1' } },
    list: ['x'],
    'a.b': '1',
    a: { b: '2' },
  }
  const attributes = attributesOf(claims)
  assert.equal(attributes.namespace, 'agents')
  assert.equal(attributes.serviceAccount, 'pod-agent')
  assert.equal(attributes['kubernetes.io.pod.name'], 'p-1')
  assert.equal('a.b' in attributes, false)
  assert.equal('exp' in attributes || 'list' in attributes, false)
  assert.equal(attributesOf({ namespace: 'other', 'kubernetes.io': { namespace: 'agents' } }).namespace, undefined)
})

test('whatever bytes come, reading ends in a value or a refusal', () => {
  const part = fc.oneof(
    fc.base64String().map((text) => text.replace(/=/g, '').replaceAll('+', '-').replaceAll('/', '_')),
    fc.string(),
  )
  const json = fc.json().map((text) => Buffer.from(text).toString('base64url'))
  fc.assert(
    fc.property(fc.array(fc.oneof(part, json), { minLength: 1, maxLength: 4 }), (parts) => {
      try {
        const { header, claims } = readToken(parts.join('.'), 1_000)
        judgeHeader(header, ['ES256'])
        judgeClaims(claims, { issuer: url, audience, lifetimeMs: 1, skewMs: 1, now: start, jtiRequired: false })
      } catch (error) {
        assert.ok(error instanceof Refusal, String(error))
      }
      attributesOf({ parts })
    }),
  )
})
