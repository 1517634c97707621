import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { answerQuestion } from './isolate-dns.ts'

const question = (name: string, type: number, flags = 1): Buffer =>
  Buffer.concat([
    Buffer.from([0xab, 0xcd, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ...name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0, 0, type, 0, 1]),
  ])
const addressOf = (name: string): string => (name === 'db.internal' ? '198.18.1.1' : '198.18.0.1')

test('an A question has the address of its name, whatever its case', () => {
  const asked = question('DB.Internal', 1)
  const answer = answerQuestion(asked, addressOf) as Buffer
  assert.deepEqual([...answer.subarray(0, 12)], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])
  assert.deepEqual(answer.subarray(12, asked.length), asked.subarray(12))
  assert.deepEqual([...answer.subarray(-4)], [198, 18, 1, 1])
})

test('AAAA, SVCB, HTTPS and any other type are empty answers', () => {
  for (const type of [28, 64, 65, 16, 255]) {
    const answer = answerQuestion(question('api.openai.com', type), addressOf) as Buffer
    assert.deepEqual([(answer[3] as number) & 15, answer.readUInt16BE(6)], [0, 0])
  }
})

test('what is no single standard question is not answered', () => {
  const asked = question('a.example', 1)
  for (const wrong of [
    asked.subarray(0, 16),
    question('a.example', 1, 0x80),
    question('a.example', 1, 0x28),
    Buffer.concat([asked.subarray(0, 12), Buffer.from([0xc0, 12, 0, 1, 0, 1])]),
    Buffer.concat([asked.subarray(0, 5), Buffer.from([2]), asked.subarray(6)]),
  ])
    assert.equal(answerQuestion(wrong, addressOf), null)
})

test('no bytes break it', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const answer = answerQuestion(Buffer.from(bytes), addressOf)
      assert.ok(answer === null || answer.length <= bytes.length + 16)
    }),
  )
})
