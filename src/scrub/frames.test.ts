import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import type { Piece } from '../model/socket.ts'
import { createFrameScrub } from './frames.ts'
import { Matcher } from './matcher.ts'
import { needlesOf } from './needles.ts'

const secret = 'sk-proj-A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8'
const make = () => {
  const { all, short } = needlesOf([new Secret(secret)], 16, 32)
  const matcher = new Matcher(all, short)
  const tally = { found: 0 }
  return { scrub: createFrameScrub(matcher, tally), tally, matcher }
}

/** Pieces of one message, cut at the places given. */
function pieces(bytes: Buffer, cuts: readonly number[]): Piece[] {
  const ends = [...cuts, bytes.length]
  return ends.map((end, at) => ({
    text: true,
    bytes: bytes.subarray(at === 0 ? 0 : ends[at - 1], end),
    first: at === 0,
    last: at === ends.length - 1,
  }))
}

function through(all: readonly Piece[]): { messages: string[]; tally: { found: number } } {
  const { scrub, tally } = make()
  const messages: string[] = []
  let open: string | null = null
  for (const one of all) {
    const clean = scrub.piece(one)
    assert.equal(clean.first, open === null)
    open = (open ?? '') + clean.bytes.toString()
    if (!clean.last) continue
    messages.push(open)
    open = null
  }
  assert.equal(open, null)
  return { messages, tally }
}

const words = `before ${secret} after`
const clean = `before ${'*'.repeat(secret.length)} after`

test('in one message, cut into two or three pieces anywhere: masked, and as long as it was', () => {
  const bytes = Buffer.from(words)
  for (let one = 0; one <= bytes.length; one++)
    for (let other = one; other <= bytes.length; other += 7) {
      const { messages, tally } = through(pieces(bytes, [one, other]))
      assert.equal(messages.length, 1)
      assert.equal(messages[0]?.length, words.length)
      // What a stream lets pass at once stays below the public prefix and sixteen characters.
      assert.match(messages[0] as string, /^before [^*]{0,23}\*{21,} after$/)
      if (other === bytes.length && one < 8) assert.equal(messages[0], clean)
      assert.equal(tally.found, 1)
    }
})

test('cut over two messages anywhere: what could be held is masked, and the rest with it', () => {
  for (let cut = 1; cut < secret.length; cut++) {
    const { messages } = through([...pieces(Buffer.from(secret.slice(0, cut)), []), ...pieces(Buffer.from(secret.slice(cut)), [])])
    const joined = messages.join('')
    assert.equal(joined.length, secret.length)
    // The public prefix and fifteen characters are what a stream may let pass; nothing behind them ever does.
    assert.ok(joined.startsWith(secret.slice(0, 1)) || joined.startsWith('*'))
    assert.ok(!joined.includes(secret.slice(24)), `${cut}: ${joined}`)
    assert.match(joined, /\*{20}$/)
  }
})

test('a message of its own for every character', () => {
  const { messages } = through([...secret].flatMap((char) => pieces(Buffer.from(char), [])))
  assert.match(messages.join(''), /^[^*]{1,23}\*{21,}$/)
})

test('an innocent message is the same object all through, and never waits', () => {
  const { scrub } = make()
  const bytes = Buffer.from('nothing of it sk-proj-A1b2')
  const out = scrub.piece({ text: true, bytes, first: true, last: false })
  assert.equal(out?.bytes.length, bytes.length)
  assert.equal(scrub.piece({ text: true, bytes: Buffer.alloc(0), first: false, last: true })?.bytes.length, 0)
})

test('a close reason goes on from the last message', () => {
  const { scrub } = make()
  scrub.piece({ text: false, bytes: Buffer.from(secret.slice(0, 20)), first: true, last: true })
  assert.equal(scrub.reason(Buffer.from(secret.slice(20))).toString(), '*'.repeat(secret.length - 20))
  assert.equal(make().scrub.reason(Buffer.from(secret)).toString(), '*'.repeat(secret.length))
})

test('once the needles are wiped nothing passes', () => {
  const { scrub, matcher } = make()
  matcher.wipe()
  assert.throws(
    () => scrub.piece({ text: true, bytes: Buffer.from('x'), first: true, last: true }),
    (error) => error instanceof Refusal && error.code === 'obtain.revoked',
  )
})
