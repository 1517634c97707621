import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findHeadEnd, readRequestHead, readResponseHead } from '../http/read-head.ts'
import { type Edits, noEdits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { checkSwitch } from './upgrade.ts'

const asked = Buffer.from('GET / HTTP/1.1\r\nHost: a.test\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
const request = readRequestHead(asked, 0, asked.length)
const offering: Edits = { ...noEdits, set: [['Sec-WebSocket-Protocol', Buffer.from('realtime, other')]] }
// RFC 6455 §1.3 has this pair.
const good = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=']

function wrong(lines: readonly string[], edits = noEdits): string | null {
  const bytes = Buffer.from(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`)
  try {
    checkSwitch(readResponseHead(bytes, 0, findHeadEnd(bytes, 0), 'GET'), request, edits)
    return null
  } catch (error) {
    assert.ok(error instanceof Refusal)
    return error.code
  }
}

test('the answer that was asked for', () => {
  assert.equal(wrong(good), null)
  assert.equal(wrong([...good, 'Sec-WebSocket-Protocol: realtime'], offering), null)
})

test('RFC 6455 §4.1: any other 101 is refused', () => {
  for (const lines of [
    good.slice(1),
    ['Upgrade: h2c', ...good.slice(1)],
    ['Upgrade: websocket', ...good],
    [good[0] as string, good[2] as string],
    [good[0] as string, 'Connection: keep-alive', good[2] as string],
    good.slice(0, 2),
    [...good.slice(0, 2), 'Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo='],
    [...good, 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo='],
    [...good, 'Sec-WebSocket-Extensions: permessage-deflate'],
    [...good, 'Sec-WebSocket-Protocol: never-offered'],
    [...good, 'Sec-WebSocket-Protocol: realtime, other'],
  ])
    assert.equal(wrong(lines, offering), 'forward.bad_answer', lines.join())
  assert.equal(wrong([...good, 'Sec-WebSocket-Protocol: realtime']), 'forward.bad_answer')
})
