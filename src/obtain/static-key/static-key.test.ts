import assert from 'node:assert/strict'
import { test } from 'node:test'
import { anthropic } from '../../catalog/anthropic.ts'
import { aws } from '../../catalog/aws.ts'
import { openai } from '../../catalog/openai.ts'
import type { CredentialHost, Purpose } from '../../model/kind.ts'
import { limits } from '../../model/limits.ts'
import type { Refusal } from '../../model/refusal.ts'
import { Secret } from '../../model/secret.ts'
import type { Service } from '../../model/service.ts'
import { staticKey } from './static-key.ts'

const asked: { name: string; purpose: Purpose }[] = []
const need = { workload: 'w', spiffeId: 's', groups: [], run: null, service: 'x', host: 'h', port: 443 }

function obtain(service: Service, config: Readonly<Record<string, unknown>>, value = 'sk-real') {
  const host = {
    clock: { now: () => 5, monotonic: () => 5 },
    secret: async (name: string, purpose: Purpose) => {
      asked.push({ name, purpose })
      return new Secret(value)
    },
  } as unknown as CredentialHost
  return staticKey
    .start(staticKey.schema.parse({ secret: 'k', ...config }), host, 'mine', service)
    .obtain(need, new AbortController().signal)
}

test("it fills the service's first slot, or the one that the configuration names, and asks for the secret of just that", async () => {
  const basic: Service = { ...openai, slots: [{ kind: 'basic' }] }
  for (const [service, config, kind, slot] of [
    [openai, {}, 'bearer', 'bearer'],
    [anthropic, {}, 'header', 'header x-api-key'],
    [anthropic, { slot: 'bearer' }, 'bearer', 'bearer'],
    [openai, { slot: { header: 'X-Custom' } }, 'header', 'header x-custom'],
    [openai, { slot: { query: 'sig' } }, 'query', 'query sig'],
    [basic, {}, 'basic', 'basic'],
  ] as const) {
    const got = await obtain(service, config, 'user:pass word').catch(() => obtain(service, config))
    assert.equal(got.credential.kind, kind)
    assert.equal(got.expiresAt, 5 + limits.leaseMs)
    assert.deepEqual(asked.at(-1), {
      name: 'k',
      purpose: { service: service.name, hosts: service.hosts, port: 443, slot, dangerouslyFixed: false },
    })
  }
})

test('basic: user and password, and the pair for scrub', async () => {
  const { credential, secrets } = await obtain({ ...openai, slots: [{ kind: 'basic' }] }, {}, 'me:a:b c')
  assert.ok(credential.kind === 'basic')
  assert.deepEqual([credential.user, credential.password.reveal().toString()], ['me', 'a:b c'])
  assert.deepEqual(
    secrets.map((one) => one.reveal().toString()),
    ['me:a:b c', 'a:b c'],
  )
})

test('what its slot cannot carry is never leased', async () => {
  for (const value of ['', 'a b', 'a\r\nX: y', 'a\nb', 'a\0', 'schlüssel', 'a\x7f', '\t'])
    await assert.rejects(
      obtain(openai, {}, value),
      (error: Refusal) => error.code === 'inject.bad_value' && !error.detail.includes('X: y'),
      value,
    )
  for (const value of ['no colon', 'user:', 'a\r\n:b'])
    await assert.rejects(
      obtain({ ...openai, slots: [{ kind: 'basic' }] }, {}, value),
      (error: Refusal) => error.code === 'inject.bad_value',
      value,
    )
  await assert.rejects(
    obtain({ ...openai, slots: [{ kind: 'cookie', name: 'c' }] }, {}),
    (error: Refusal) => error.code === 'inject.bad_value',
  )
})

test('fields that frame or route a message take no credential', () => {
  const check = (header: string): readonly string[] => staticKey.check?.({ secret: 'k', slot: { header } }) ?? []
  for (const header of [
    'Host',
    'content-length',
    'Transfer-Encoding',
    'Cookie',
    'X-Forwarded-For',
    'Proxy-Authorization',
    'Sec-Fetch-Site',
  ])
    assert.equal(check(header).length, 1, header)
  assert.deepEqual(check('X-Api-Key'), [])
  for (const slot of [{ header: 'a b' }, { header: 'a\r\n' }, { header: 'X_Key' }, { query: 'a&b' }, { query: '' }, 'cookie'])
    assert.equal(staticKey.schema.safeParse({ secret: 'k', slot }).success, false, JSON.stringify(slot))
  for (const secret of ['../x', 'a/b', '', 'a'.repeat(101)]) assert.equal(staticKey.schema.safeParse({ secret }).success, false, secret)
})

test('a pair of AWS: as one line or as its own tools print it, and it ends when AWS says', async () => {
  const id = 'AKIAQZ7XWD4M2R8TYN5B'
  const secret = 'canary/X5f2c9a0b7d1e4c3f8a6b9d0e1f2a3b+c'
  for (const [value, token, expiresAt] of [
    [`${id}:${secret}`, null, 5 + limits.leaseMs],
    [`${id}:${secret}:canaryTOKEN+/x==0123456789`, 'canaryTOKEN+/x==0123456789', 5 + limits.leaseMs],
    [JSON.stringify({ Version: 1, AccessKeyId: id, SecretAccessKey: secret }, null, 2), null, 5 + limits.leaseMs],
    [
      JSON.stringify({ AccessKeyId: id, SecretAccessKey: secret, SessionToken: 'canaryTOKEN0123456789', Expiration: new Date(77_000) }),
      'canaryTOKEN0123456789',
      77_000,
    ],
  ] as const) {
    const got = await obtain(aws, {}, value)
    assert.ok(got.credential.kind === 'sigv4')
    const { accessKeyId, secretKey, sessionToken } = got.credential
    const said = [accessKeyId, secretKey.reveal().toString(), sessionToken?.reveal().toString() ?? null, got.expiresAt]
    assert.deepEqual(said, [id, secret, token, expiresAt])
    assert.deepEqual(got.secrets, sessionToken === null ? [secretKey] : [secretKey, sessionToken])
    assert.equal(asked.at(-1)?.purpose.slot, 'sigv4')
  }
  for (const value of [
    id,
    `${id}:${secret}\n`,
    `${id}:${secret}\r\nX: y`,
    `${id}\n:${secret}`,
    `:${secret}`,
    `${id}:`,
    `${id}:${secret}:canaryTOKEN0123456789:x`,
    `{"AccessKeyId":"${id}"`,
    JSON.stringify({ AccessKeyId: id, SecretAccessKey: [secret] }),
    JSON.stringify({ AccessKeyId: id, SecretAccessKey: `${secret}\n` }),
    JSON.stringify({ AccessKeyId: id, SecretAccessKey: secret, Expiration: 'soon' }),
    'null',
  ])
    await assert.rejects(
      obtain(aws, {}, value),
      (error: Refusal) => error.code === 'inject.bad_value' && !error.detail.includes('canary') && !error.detail.includes(id),
      value,
    )
})
