import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { canonicalRequest, sha256, signature, signingDate, stringToSign, type ToSign } from './sigv4.ts'

const suite = JSON.parse(readFileSync(new URL('../../test/vectors/sigv4.json', import.meta.url), 'utf8'))

interface Case {
  readonly name: string
  readonly request: string
  readonly token?: string
  readonly tokenUnsigned?: boolean
  readonly normalize?: boolean
  readonly signBody?: boolean
  readonly canonical: string
  readonly toSign: string
  readonly signature: string
}

function toSign(one: Case): ToSign {
  const latin1 = Buffer.from(one.request, 'utf8').toString('latin1')
  const [head = '', body = ''] = latin1.split('\n\n')
  // A line that begins with a blank goes on with the one before (no reader of ours would take it).
  const [first = '', ...lines] = head.trimEnd().replace(/\n +/g, ' ').split('\n')
  const [method = '', target = ''] = /^(\S+) (.*) HTTP/.exec(first)?.slice(1) ?? []
  const cut = target.indexOf('?')
  const fields = lines.map((line) => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1)] as const
  })
  const payload = sha256(Buffer.from(body, 'latin1'))
  const token = one.token === undefined || one.tokenUnsigned === true ? [] : [['x-amz-security-token', one.token] as const]
  const hashed = one.signBody === true ? [['x-amz-content-sha256', payload] as const] : []
  return {
    method,
    path: cut < 0 ? target : target.slice(0, cut),
    query: cut < 0 ? '' : target.slice(cut),
    fields: [...fields, ...token, ...hashed, ['x-amz-date', suite.date]],
    payload,
    date: suite.date,
    scope: { region: suite.region, service: suite.service },
    encodedOnce: one.normalize !== true,
  }
}

test('the published suite has its 38 cases', () => assert.equal(suite.cases.length, 38))

for (const one of suite.cases as readonly Case[])
  test(`AWS's own case: ${one.name}`, () => {
    const asked = toSign(one)
    const { text } = canonicalRequest(asked)
    assert.equal(text, one.canonical)
    assert.equal(stringToSign(text, asked.date, `20150830/${suite.region}/${suite.service}/aws4_request`), one.toSign)
    const value = signature(asked, suite.accessKeyId, Buffer.from(suite.secretAccessKey))
    assert.equal(/Signature=(\w+)$/.exec(value)?.[1], one.signature)
  })

test('a path that was sent encoded is encoded once more, but for S3', () => {
  const asked = toSign(suite.cases[0])
  const path = '/model/a%3Ab/invoke'
  const canonical = (encodedOnce: boolean) => canonicalRequest({ ...asked, path, encodedOnce }).text.split('\n')[1]
  assert.equal(canonical(false), '/model/a%253Ab/invoke')
  assert.equal(canonical(true), path)
})

test('a date is that of the clock, without its punctuation', () => {
  assert.equal(signingDate(Date.UTC(2015, 7, 30, 12, 36, 0, 7)), '20150830T123600Z')
})

test('the key itself is left as it was', () => {
  const key = Buffer.from('secret')
  signature(toSign(suite.cases[0]), 'AKID', key)
  assert.equal(key.toString(), 'secret')
})

test('an encoded slash of a key of S3 stays one', () => {
  const asked = { ...toSign(suite.cases[0]), encodedOnce: true }
  for (const [path, same] of [
    ['/a%2Fb/c%2bd', '/a%2Fb/c%2Bd'],
    ["/a'b(c)", '/a%27b%28c%29'],
    ['/a%zz', '/a%25zz'],
    ['/a//b/../c', '/a//b/../c'],
  ] as const)
    assert.equal(canonicalRequest({ ...asked, path }).text.split('\n')[1], same)
})
