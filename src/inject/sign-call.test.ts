import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { wrongWith } from '../../test/fakes/aws.ts'
import { aws as catalogued } from '../catalog/aws.ts'
import { looksLikeKey } from '../catalog/leaks.ts'
import { wholeFlow } from '../http/flow.ts'
import { findHeadEnd, readRequestHead } from '../http/read-head.ts'
import { writeRequestHead } from '../http/write-head.ts'
import type { Call } from '../model/call.ts'
import type { Identity } from '../model/identity.ts'
import { Refusal } from '../model/refusal.ts'
import { scopeOf } from '../model/scope.ts'
import { Secret } from '../model/secret.ts'
import { createInject } from './inject.ts'

const marker = 'Ost1ary'
const mine = `AKIA${marker}0123456789abcdefghijklmnopqrstuvw`
const others = `AKIA${marker}anotherrun0000000000000000000000`
const key = { id: 'AKIAQZ7XWD4M2R8TYN5B', secret: 'canarykX5f2c9a0b7d1e4c3f8a6b9d0e1f2a3b4c' }
const token = 'canaryTOKEN/x+yz0123456789=='
const sts = 'sts.eu-central-1.amazonaws.com'
const bedrock = 'bedrock-runtime.us-east-1.amazonaws.com'
const s3 = 'bucket.s3.eu-central-1.amazonaws.com'
const aws = { ...catalogued, hosts: [sts, bedrock, s3] }
const now = Date.UTC(2026, 0, 2, 3, 4, 5)
const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

interface Asked {
  readonly host?: string
  readonly method?: string
  readonly target?: string
  readonly fields?: readonly string[]
  readonly body?: string
  readonly run?: string | null
  readonly token?: string
}

/** As an SDK writes it: the signature is of a key that is nobody's. */
function authorization(id = mine, scope = 'eu-central-1/sts', how = 'AWS4-HMAC-SHA256'): string {
  return `Authorization: ${how} Credential=${id}/20260102/${scope}/aws4_request, SignedHeaders=host;x-amz-date, Signature=${'0a'.repeat(32)}`
}

function ask({ host = sts, method = 'POST', target = '/', fields = [authorization()], body = '', run = 'run-1', token }: Asked) {
  const bytes = Buffer.from(
    `${method} ${target} HTTP/1.1\r\nHost: localhost\r\n${fields.map((one) => `${one}\r\n`).join('')}Content-Length: ${body.length}\r\n\r\n`,
    'latin1',
  )
  const head = readRequestHead(bytes, 0, findHeadEnd(bytes, 0))
  const cut = target.indexOf('?')
  const aim = {
    scheme: 'https',
    host,
    port: 443,
    method,
    path: cut < 0 ? target : target.slice(0, cut),
    query: cut < 0 ? '' : target.slice(cut),
    service: 'aws',
    action: 'call',
    way: 'connect',
  } as const
  const call = { head, target: aim, service: aws, body: wholeFlow(Buffer.from(body)) } as unknown as Call
  const trips: Identity[] = []
  const inject = createInject({
    clock: { now: () => now },
    placeholders: { marker, of: (id, name) => (id === 'run-1' && name === 'aws' ? mine : null) },
    trip: (one) => trips.push(one),
    shape: looksLikeKey,
    recognise: () => 'x',
  })
  const credential = {
    kind: 'sigv4',
    accessKeyId: key.id,
    secretKey: new Secret(key.secret),
    sessionToken: token === undefined ? null : new Secret(token),
  } as const
  try {
    const edits = inject(call, { workload: 'coder', run } as unknown as Identity, credential, { note: () => {} })
    const text = writeRequestHead(head, edits, aim, { kind: 'length', length: body.length }).toString('latin1')
    const [first = '', ...lines] = text.trimEnd().split('\r\n')
    const sent = lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)] as const)
    const scope = scopeOf(aws, host)
    const wrong = wrongWith(
      { method, target: first.split(' ')[1] ?? '', fields: sent, body: Buffer.from(body) },
      token === undefined ? key : { ...key, token },
      `${scope?.region}/${scope?.service}`,
      now,
    )
    return { code: wrong ?? '', detail: '', text, trips: trips.length }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { code: error.code, detail: error.detail, text: '', trips: trips.length }
  }
}

test('what AWS checks holds: of a form, of a path that was sent encoded, of S3, with a query, with repeated fields', () => {
  const form = 'Content-Type: application/x-www-form-urlencoded; charset=utf-8'
  assert.equal(ask({ fields: [authorization(), form], body: 'Action=GetCallerIdentity&Version=2011-06-15' }).code, '')
  assert.equal(ask({ method: 'GET', target: '/?Action=GetCallerIdentity&Version=2011-06-15&A=%20b%2F' }).code, '')
  const model = { host: bedrock, target: '/model/anthropic.claude-v1%3A0/converse', body: '{"messages":[]}' }
  assert.equal(ask({ ...model, fields: [authorization(mine, 'us-east-1/bedrock'), 'Content-Type: application/json'] }).code, '')
  const object = { host: s3, method: 'PUT', target: '/a%20b/c?partNumber=1&uploadId=x', body: 'some bytes' }
  const signed = authorization(mine, 'eu-central-1/s3')
  assert.equal(ask({ ...object, fields: [signed, 'X-Amz-Content-SHA256: UNSIGNED-PAYLOAD', 'x-amz-meta-a: b  c'] }).code, '')
  assert.equal(ask({ ...object, fields: [signed, 'x-amz-meta-a: 1', 'x-amz-meta-a: 2'] }).code, '')
  assert.equal(ask({ ...object, fields: [signed, `x-amz-content-sha256: ${empty}`], body: '' }).code, '')
})

test('a temporary pair sends its token, and it is signed', () => {
  const got = ask({ token })
  assert.equal(got.code, '')
  assert.match(got.text, /X-Amz-Security-Token: canaryTOKEN/)
  assert.match(got.text, /SignedHeaders=[^,]*x-amz-security-token/)
})

test('of what the agent signed nothing goes on: neither its signature nor its date nor a part of the secret', () => {
  const { text } = ask({ fields: [authorization(), 'X-Amz-Date: 20200101T000000Z', 'x_amz_date: 20200101T000000Z'] })
  assert.ok(!text.includes('0a0a0a') && !text.includes(marker) && !text.includes('20200101'), text)
  assert.equal(text.match(/^authorization:/gim)?.length, 1)
  assert.match(text, /X-Amz-Date: 20260102T030405Z/)
  assert.ok(!text.includes(key.secret))
})

test('a placeholder of another run trips, wherever it stands', () => {
  for (const asked of [
    { fields: [authorization(others)] },
    { fields: [authorization(), authorization(others)] },
    { fields: [authorization(`${mine}x`)] },
    { fields: [`Authorization: Bearer ${mine}`] },
    { fields: [`${authorization()}${mine}`] },
    { fields: [authorization(), `X-Amz-Security-Token: ${mine}`] },
    { fields: [authorization(), `X-Amz-Meta-A: ${mine}`] },
    { fields: [authorization(), `X-Amz-S3session-Token: ${mine}`] },
    { fields: [], target: `/?X-Amz-Credential=${others}%2F20260102%2Feu-central-1%2Fsts%2Faws4_request` },
  ] satisfies Asked[]) {
    const got = ask(asked)
    assert.deepEqual([got.code, got.trips], ['inject.foreign_placeholder', 1], JSON.stringify(asked))
  }
})

test("a key of the agent's own is refused, and so is a token", () => {
  const own = ask({ fields: [authorization('AKIAABCDEFGHIJKLMNOP')] })
  assert.equal(own.code, 'inject.foreign_credential')
  assert.match(own.detail, /^authorization: aws key/)
  assert.equal(ask({ fields: [authorization('ASIAABCDEFGHIJKLMNOP')], run: null }).code, 'inject.foreign_credential')
  assert.equal(ask({ fields: [authorization(), 'X-Amz-Security-Token: FwoGZXIvYXdzEA'] }).code, 'inject.foreign_credential')
  assert.equal(ask({ fields: [authorization(), 'X_Amz_Security_Token: FwoGZXIvYXdzEA'] }).code, 'inject.foreign_credential')
  assert.equal(ask({ target: '/?X-Amz-Security-Token=FwoGZXIvYXdzEA' }).code, 'inject.foreign_credential')
  assert.equal(ask({ fields: [] }).code, 'inject.no_placeholder')
})

test('a signed URL is refused by its own code, and does not count as an attack', () => {
  const query = `?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${mine}%2F20260102%2Feu-central-1%2Fs3%2Faws4_request&X-Amz-Signature=${'0a'.repeat(32)}`
  const got = ask({ host: s3, method: 'GET', target: `/a${query}`, fields: [] })
  assert.deepEqual([got.code, got.detail, got.trips], ['inject.signature', 'a signed URL', 0])
  const both = ask({ host: s3, method: 'GET', target: `/a${query}`, fields: [authorization(mine, 'eu-central-1/s3')] })
  assert.equal(both.code, 'inject.signature')
})

test('a scope of another host, and other ways to sign, are refused', () => {
  for (const scope of ['us-east-1/sts', 'eu-central-1/s3', 'eu-central-1', 'eu-central-1/sts/x']) {
    const got = ask({ fields: [authorization(mine, scope)] })
    assert.deepEqual([got.code, got.detail, got.trips], ['inject.scope', 'the host is of eu-central-1/sts', 0])
  }
  assert.equal(ask({ fields: [authorization(), authorization(mine, 'us-east-1/sts')] }).code, 'inject.scope')
  assert.equal(ask({ fields: [authorization(mine, 'sts', 'AWS4-ECDSA-P256-SHA256')] }).code, 'inject.signature')
  for (const how of ['STREAMING-AWS4-HMAC-SHA256-PAYLOAD', 'STREAMING-AWS4-HMAC-SHA256-EVENTS', '', 'abc', `${empty}, ${empty}`])
    assert.equal(ask({ fields: [authorization(), `X-Amz-Content-Sha256: ${how}`] }).code, 'inject.signature', how)
  const trailer = ['X-Amz-Content-Sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'x-amz-trailer: x-amz-checksum-crc32']
  assert.equal(ask({ host: s3, method: 'PUT', fields: [authorization(mine, 'eu-central-1/s3'), ...trailer] }).code, '')
})

test('outside a run an unsigned call, or one that is signed with a text that is no key, is signed all the same', () => {
  assert.equal(ask({ run: null, fields: [] }).code, '')
  assert.equal(ask({ run: null, fields: [authorization('none')] }).code, '')
  assert.equal(ask({ run: null, fields: [], host: s3, method: 'GET', target: '/a' }).code, '')
  assert.equal(ask({ run: null, fields: [authorization('none', 'us-west-2/ec2')] }).code, 'inject.scope')
})

test('region and service of a host', () => {
  for (const [host, scope] of [
    ['sts.amazonaws.com', 'us-east-1 sts'],
    ['sts-fips.us-gov-west-1.amazonaws.com', 'us-gov-west-1 sts'],
    ['bedrock-runtime.eu-west-3.amazonaws.com', 'eu-west-3 bedrock'],
    ['bedrock-mantle.us-east-1.api.aws', 'us-east-1 bedrock-mantle'],
    ['s3.us-west-2.amazonaws.com', 'us-west-2 s3'],
    ['a-bucket.s3.amazonaws.com', 'us-east-1 s3'],
    ['my.bucket.s3.dualstack.ap-southeast-2.amazonaws.com', 'ap-southeast-2 s3'],
    ['email.eu-central-1.amazonaws.com', 'eu-central-1 ses'],
    ['runtime.sagemaker.us-east-2.amazonaws.com', 'us-east-2 sagemaker'],
    ['a1b2.execute-api.us-east-1.amazonaws.com', 'us-east-1 execute-api'],
    ['dynamodb.cn-north-1.amazonaws.com.cn', 'cn-north-1 dynamodb'],
    ['search-x-1.eu-west-1.es.amazonaws.com', 'eu-west-1 es'],
  ] as const) {
    const found = scopeOf(aws, host)
    assert.equal(`${found?.region} ${found?.service}`, scope, host)
  }
  for (const host of ['amazonaws.com', 'example.com', 'sts.us-east-1.amazonaws.com.evil.test', 'x.y.us-east-1.amazonaws.com'])
    assert.equal(scopeOf(aws, host), null, host)
})

test('a lease that has ended signs nothing', () => {
  const credential = { kind: 'sigv4', accessKeyId: key.id, secretKey: new Secret(''), sessionToken: null } as const
  const bytes = Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  const head = readRequestHead(bytes, 0, findHeadEnd(bytes, 0))
  const target = { scheme: 'https', host: sts, port: 443, method: 'GET', path: '/', query: '', service: 'aws', action: 'x', way: 'connect' }
  const call = { head, target, service: aws, body: wholeFlow(Buffer.alloc(0)) } as unknown as Call
  const options = {
    clock: { now: () => now },
    placeholders: { marker, of: () => null },
    trip: () => {},
    shape: () => null,
    recognise: () => '',
  }
  assert.throws(
    () => createInject(options)(call, { run: null } as unknown as Identity, credential, { note: () => {} }),
    (error) => error instanceof Refusal && error.code === 'obtain.revoked',
  )
})

test('a part of an object is asked for as the client asks; where an answer could show a token it is not', () => {
  const range = 'Range: bytes=0-9'
  const s3Signed = authorization(mine, 'eu-central-1/s3')
  assert.match(ask({ host: s3, method: 'GET', target: '/a', fields: [s3Signed, range], token }).text, /^Range: bytes=0-9$/m)
  assert.match(ask({ fields: [authorization(), range] }).text, /^Range: bytes=0-9$/m)
  assert.doesNotMatch(ask({ fields: [authorization(), range], token }).text, /^Range/m)
})

test('whatever path, query, fields and body are sent, AWS finds them signed', () => {
  const word = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }).map((text) => encodeURIComponent(text.toWellFormed()))
  const path = fc.array(word, { maxLength: 4 }).map((words) => `/${words.map((one) => one.replace(/^\.+$/, 'dots')).join('/')}`)
  const query = fc.array(fc.tuple(word, fc.option(word)), { maxLength: 4 })
  const value = fc.string({ unit: fc.constantFrom(...'ab 0,;="/'), maxLength: 12 })
  fc.assert(
    fc.property(path, query, value, fc.string({ maxLength: 40 }), fc.boolean(), (at, pairs, meta, body, temporary) => {
      const written = pairs.map(([name, one]) => `x${name}${one === null ? '' : `=${one}`}`).join('&')
      const got = ask({
        target: `${at}${written === '' ? '' : `?${written}`}`,
        fields: [authorization(), `x-amz-meta-a: ${meta}`, `X-Amz-Meta-B: ${meta}b`, 'X-Amz-Meta-b: c'],
        body: Buffer.from(body)
          .toString('latin1')
          .replace(/[^\x20-\x7e]/g, '?'),
        ...(temporary ? { token } : {}),
      })
      assert.equal(got.code, '')
    }),
  )
})
