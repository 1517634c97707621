import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findHeadEnd, readRequestHead } from '../http/read-head.ts'
import { Refusal } from '../model/refusal.ts'
import { checkUpgrade } from './upgrade.ts'

const sound = {
  Connection: 'keep-alive, Upgrade',
  Upgrade: 'WebSocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
}

/** null: sound; otherwise what is wrong. */
function wrong(change: Readonly<Record<string, string | null>>, method = 'GET', more = ''): string | null {
  const fields = Object.entries({ ...sound, ...change }).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}\r\n`]))
  const bytes = Buffer.from(`${method} /v1/realtime HTTP/1.1\r\nHost: api.openai.com\r\n${fields.join('')}${more}\r\n`)
  try {
    checkUpgrade(readRequestHead(bytes, 0, findHeadEnd(bytes, 0)))
    return null
  } catch (error) {
    assert.ok(error instanceof Refusal)
    return `${error.code}: ${error.detail}`
  }
}

test('a sound opening, as clients write it', () => {
  assert.equal(wrong({}), null)
  assert.equal(
    wrong({ Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Protocol': 'realtime, openai-insecure-api-key.sk-x' }),
    null,
  )
})

test('RFC 6455 §4.2.1: every other one is refused', () => {
  for (const [name, change, method, more] of [
    ['another protocol', { Upgrade: 'h2c' }],
    ['one of two', { Upgrade: 'websocket, h2c' }],
    ['a version behind it', { Upgrade: 'websocket/13' }],
    ['twice', {}, 'GET', 'Upgrade: websocket\r\n'],
    ['not named by Connection', { Connection: 'keep-alive' }],
    ['no Connection', { Connection: null }],
    ['closing', { Connection: 'upgrade, close' }],
    ['by POST', {}, 'POST'],
    ['by HEAD', {}, 'HEAD'],
    ['with a body', {}, 'GET', 'Content-Length: 1\r\n'],
    ['with an empty body', {}, 'GET', 'Content-Length: 0\r\n'],
    ['in chunks', {}, 'GET', 'Transfer-Encoding: chunked\r\n'],
    ['expecting', {}, 'GET', 'Expect: 100-continue\r\n'],
    ['no version', { 'Sec-WebSocket-Version': null }],
    ['an old version', { 'Sec-WebSocket-Version': '8' }],
    ['two versions', { 'Sec-WebSocket-Version': '13, 8' }],
    ['the version twice', {}, 'GET', 'Sec-WebSocket-Version: 13\r\n'],
    ['no key', { 'Sec-WebSocket-Key': null }],
    ['a short key', { 'Sec-WebSocket-Key': 'c2hvcnQ=' }],
    ['a long key', { 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZSBpcyB0b28gbG9uZw==' }],
    ['a key in other base64', { 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZR==' }],
    ['base64url', { 'Sec-WebSocket-Key': '_-hlIHNhbXBsZSBub25jZQ==' }],
    ['the key twice', {}, 'GET', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'],
    ['an empty entry', { 'Sec-WebSocket-Protocol': 'realtime,,x' }],
    ['an entry that is no token', { 'Sec-WebSocket-Protocol': 'real time' }],
  ] as readonly [string, Record<string, string | null>, string?, string?][])
    assert.match(wrong(change, method, more) ?? 'sound', /^accept\.upgrade: /, name)
})
