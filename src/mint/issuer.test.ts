import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from 'jose'
import { limits } from '../model/limits.ts'
import { createIssuer, type IssuerKeys } from './issuer.ts'

const now = 1_700_000_000_500
const clock = { now: () => now, monotonic: () => 0 }
const url = 'https://ostiary.acme.test'
const claims = { sub: 'spiffe://acme.test/coder', workload: 'coder' }

function memory(): IssuerKeys & { readonly kept: Map<string, string>; failNext: boolean } {
  const kept = new Map<string, string>()
  const keys = {
    kept,
    failNext: false,
    get: async (credential: string, which: string) => kept.get(`${which} ${credential}`) ?? null,
    async put(credential: string, which: string, pem: string) {
      if (keys.failNext && which === 'next') throw new Error('the disk is full')
      kept.set(`${which} ${credential}`, pem)
    },
  }
  return keys
}

const verify = (token: string, jwks: unknown, audience: string) =>
  jwtVerify(token, createLocalJWKSet(jwks as JSONWebKeySet), { issuer: url, audience, algorithms: ['ES256'], currentDate: new Date(now) })

test('a statement: one audience, minutes of life, an id of its own, the key of its credential', async () => {
  const issuer = createIssuer(memory(), url, clock)
  const token = await issuer.sign('openai', claims, 'https://api.openai.com/v1')
  const jwks = await issuer.jwks('openai')
  const { payload } = await verify(token, jwks, 'https://api.openai.com/v1')
  const seconds = Math.floor(now / 1000)
  const { jti, ...rest } = payload
  assert.deepEqual(rest, { ...claims, iss: url, aud: 'https://api.openai.com/v1', iat: seconds, exp: seconds + limits.assertionMs / 1000 })
  assert.match(String(jti), /^[0-9a-f-]{36}$/)
  assert.notEqual((await verify(await issuer.sign('openai', claims, 'a'), jwks, 'a')).payload.jti, jti)
  assert.deepEqual(decodeProtectedHeader(token), { alg: 'ES256', kid: jwks.keys[0]?.kid, typ: 'JWT' })
  await assert.rejects(verify(token, jwks, 'https://api.anthropic.com'))
  await assert.rejects(verify(token, await issuer.jwks('anthropic'), 'https://api.openai.com/v1'))
})

test('claims of a caller cannot take the place of ours, and a statement without a subject is none', async () => {
  const issuer = createIssuer(memory(), url, clock)
  const token = await issuer.sign('c', { ...claims, iss: 'https://evil.test', aud: 'evil', exp: '9999999999', jti: '1', iat: '1' }, 'a')
  const { payload } = await verify(token, await issuer.jwks('c'), 'a')
  assert.equal(payload.iss, url)
  assert.ok((payload.exp as number) < now / 1000 + 301)
  await assert.rejects(issuer.sign('c', {}, 'a'), /sub/)
})

test('the key set for upload is public, holds the present and the next key, and stays the same over a restart', async () => {
  const keys = memory()
  const jwks = await createIssuer(keys, url, clock).jwks('c')
  assert.equal(jwks.keys.length, 2)
  assert.notEqual(jwks.keys[0]?.kid, jwks.keys[1]?.kid)
  for (const jwk of jwks.keys) assert.deepEqual(Object.keys(jwk).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
  assert.deepEqual(await createIssuer(keys, url, clock).jwks('c'), jwks)
})

test('a key is made once, however many ask at once', async () => {
  const issuer = createIssuer(memory(), url, clock)
  const tokens = await Promise.all([1, 2, 3, 4].map(() => issuer.sign('c', claims, 'a')))
  assert.equal(new Set(tokens.map((token) => decodeProtectedHeader(token).kid)).size, 1)
})

test('a rotation signs with what was uploaded as the next key, and makes a new next one', async () => {
  const issuer = createIssuer(memory(), url, clock)
  const before = await issuer.jwks('c')
  await issuer.rotate('c')
  await verify(await issuer.sign('c', claims, 'a'), before, 'a')
  const after = await issuer.jwks('c')
  assert.equal(after.keys[0]?.kid, before.keys[1]?.kid)
  assert.ok(!before.keys.some((key) => key.kid === after.keys[1]?.kid))
  // Two at once are two, one after the other.
  await Promise.all([issuer.rotate('c'), issuer.rotate('c')])
  const last = await issuer.jwks('c')
  assert.ok(!after.keys.some((key) => key.kid === last.keys[0]?.kid))
  assert.notEqual(last.keys[0]?.kid, last.keys[1]?.kid)
})

test('a rotation that was cut short leaves a key that the vendor knows, and the next start makes a next one', async () => {
  const keys = memory()
  const issuer = createIssuer(keys, url, clock)
  const before = await issuer.jwks('c')
  keys.failNext = true
  await assert.rejects(issuer.rotate('c'), /disk is full/)
  keys.failNext = false
  for (const one of [issuer, createIssuer(keys, url, clock)]) {
    await verify(await one.sign('c', claims, 'a'), before, 'a')
    const jwks = await one.jwks('c')
    assert.equal(jwks.keys[0]?.kid, before.keys[1]?.kid)
    assert.notEqual(jwks.keys[0]?.kid, jwks.keys[1]?.kid)
  }
})
