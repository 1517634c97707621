import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import { MaskStream, Matcher } from './matcher.ts'
import { needlesOf, publicPrefix } from './needles.ts'

const key = 'sk-proj-A/b+C=d9Zx81QmWv70KpLr52NtHs64JyGe33UoFi'
const plainKey = 'sk-ant-api03-Zx81QmWv70KpLr52NtHs64JyGe33UoFiAq_-9'

function matcherOf(...secrets: readonly string[]): Matcher {
  const { all, short } = needlesOf(
    secrets.map((text) => new Secret(text)),
    16,
    32,
  )
  return new Matcher(all, short)
}

/** What leaves at each push, and at the end. */
function steps(matcher: Matcher, chunks: readonly (string | Buffer)[]): readonly string[] {
  const stream = new MaskStream(matcher)
  const out = chunks.map((chunk) => stream.push(Buffer.from(chunk as string, 'latin1')).toString('latin1'))
  return [...out, stream.end().toString('latin1')]
}

const run = (matcher: Matcher, ...chunks: readonly (string | Buffer)[]): string => steps(matcher, chunks).join('')

/** How others spell it: written here again, by other means than needles.ts. */
function spelledByOthers(text: string): ReadonlyMap<string, string> {
  const bytes = Buffer.from(text)
  const out = new Map<string, string>([
    ['plain', text],
    ['hex', bytes.toString('hex')],
    ['HEX', bytes.toString('hex').toUpperCase()],
    ['encodeURIComponent', encodeURIComponent(text)],
    ['encodeURIComponent, lower', encodeURIComponent(text).replaceAll(/%../g, (code) => code.toLowerCase())],
    ['encodeURI', encodeURI(text)],
    ['form', new URLSearchParams({ k: text }).toString().slice(2)],
    ['JSON', JSON.stringify(text).slice(1, -1)],
    ['JSON with \\/', JSON.stringify(text).slice(1, -1).replaceAll('/', '\\/')],
    ['JSON of .NET', text.replaceAll('+', '\\u002B')],
    ['JSON of Gson', text.replaceAll('=', '\\u003d')],
    ['JSON, all', [...text].map((one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')],
  ])
  for (const lead of ['', 'x', 'xy', 'user:', 'Bearer ']) {
    out.set(`base64 after "${lead}"`, Buffer.from(`${lead}${text}`).toString('base64'))
    out.set(`base64 after "${lead}", more`, Buffer.from(`${lead}${text}!"}`).toString('base64'))
    out.set(`base64url after "${lead}"`, Buffer.from(`${lead}${text}`).toString('base64url'))
  }
  return out
}

/** The longest run of characters of `spelled` that `seen` still shows, in one piece. */
function shown(seen: string, spelled: string): number {
  let longest = 0
  for (let from = 0; from < spelled.length; from++)
    while (from + longest < spelled.length && seen.includes(spelled.slice(from, from + longest + 1))) longest++
  return longest
}

for (const secret of [key, plainKey])
  for (const [name, spelled] of spelledByOthers(secret))
    test(`masked, split at every byte: ${name} of ${secret.slice(0, 8)}`, () => {
      const matcher = matcherOf(secret)
      const text = `data: {"echo":"${spelled}"}\n\n`
      const whole = run(matcher, text)
      assert.equal(whole.length, text.length)
      assert.ok(shown(whole, spelled) <= 10, whole)
      assert.ok(whole.startsWith('data: {"echo":"') && whole.endsWith('"}\n\n'))
      const [most = 0] = [spelled.length * 0.75]
      for (let at = 1; at < text.length; at++) {
        const split = run(matcher, text.slice(0, at), text.slice(at))
        assert.equal(split.length, text.length, `at ${at}`)
        assert.ok(shown(split, spelled) < most, `at ${at}: ${split}`)
        assert.ok(split.endsWith('"}\n\n'))
      }
    })

test('a stream in single bytes shows the public prefix and fifteen characters, never one more', () => {
  for (const secret of [plainKey, key]) {
    const known = publicPrefix(Buffer.from(secret))
    const text = `a${secret}b`
    const out = run(matcherOf(secret), ...text)
    const shows = known + 15
    assert.equal(out, `a${secret.slice(0, shows)}${'*'.repeat(secret.length - shows)}b`)
  }
})

test('in one piece nothing of it is shown, twice and beside itself too', () => {
  const matcher = matcherOf(plainKey)
  const stars = '*'.repeat(plainKey.length)
  assert.equal(run(matcher, `${plainKey}${plainKey} ${plainKey}`), `${stars}${stars} ${stars}`)
  assert.equal(run(matcher, plainKey.slice(0, -1)), plainKey.slice(0, -1))
})

test('a held tail leaves when what follows shows that it was none', () => {
  const matcher = matcherOf(plainKey)
  const begun = plainKey.slice(0, publicPrefix(Buffer.from(plainKey)) + 16)
  assert.deepEqual(steps(matcher, [`x${begun}`, '?', 'y']), ['x', `${begun}?`, 'y', ''])
  assert.deepEqual(steps(matcher, [`x${begun}`]), ['x', begun])
})

test('no guess can be extended: right and wrong look alike, in bytes and in time, until sixteen characters are known', () => {
  const matcher = matcherOf(plainKey)
  const known = publicPrefix(Buffer.from(plainKey))
  for (const lead of ['', 'x', 'xy'])
    for (const spell of [(text: string) => text, (text: string) => Buffer.from(text).toString('hex'), base64, base64url])
      for (let length = known; length < known + 15; length++) {
        const right = `${lead}${plainKey.slice(0, length + 1)}`
        const wrong = `${lead}${plainKey.slice(0, length)}${plainKey[length] === 'A' ? 'B' : 'A'}`
        for (const guess of [right, wrong]) {
          const sent = spell(guess)
          const [first, second] = steps(matcher, [sent, '\n\n'])
          assert.equal(first, sent, 'it leaves at once, untouched')
          assert.equal(second, '\n\n')
        }
      }
})

function base64(text: string): string {
  return Buffer.from(text).toString('base64').replace(/=+$/, '')
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url')
}

test('what everybody knows of a key is not counted as secret', () => {
  for (const [text, known] of [
    ['sk-proj-0123456789', 8],
    ['sk-ant-api03-0123456789', 13],
    ['AIzaSyD0123456789', 4],
    ['0123456789abcdef', 0],
    [`eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.${'s'.repeat(86)}`, 37],
  ] as const)
    assert.equal(publicPrefix(Buffer.from(text)), known, text)
  assert.equal(matcherOf('sk-proj-0123456789012345678901234567890').short, true)
  assert.equal(matcherOf('sk-proj-01234567890123456789012345678901').short, false)
})

test('a wiped matcher lets nothing pass', () => {
  const matcher = matcherOf(plainKey)
  const stream = new MaskStream(matcher)
  stream.push(Buffer.from('abc'))
  matcher.wipe()
  assert.throws(() => stream.push(Buffer.from(plainKey)), Refusal)
  assert.throws(() => needlesOf([new Secret('')], 16, 32), RangeError)
})

const alphabet = fc.constantFrom(...'abAB')
const word = (minLength: number, maxLength: number) => fc.array(alphabet, { minLength, maxLength }).map((letters) => letters.join(''))

test('finds exactly what a naive search finds', () => {
  fc.assert(
    fc.property(fc.array(word(1, 9), { minLength: 1, maxLength: 5 }), word(0, 200), (needles, text) => {
      const bytes = needles.map((needle) => Buffer.from(needle))
      const matcher = new Matcher(
        bytes.map((one) => ({ bytes: one, holdFrom: 1 })),
        false,
      )
      assert.equal(matcher.mask(Buffer.from(text)).bytes.toString(), naive(text, needles))
    }),
    { numRuns: 1_000 },
  )
})

test('held from the first character, every way to cut a stream gives what the naive search gives of the whole', () => {
  fc.assert(
    fc.property(fc.array(word(1, 12), { minLength: 1, maxLength: 4 }), fc.array(word(0, 20), { maxLength: 12 }), (needles, chunks) => {
      const matcher = new Matcher(
        needles.map((needle) => ({ bytes: Buffer.from(needle), holdFrom: 1 })),
        false,
      )
      assert.equal(run(matcher, ...chunks), naive(chunks.join(''), needles))
    }),
    { numRuns: 1_000 },
  )
})

test('with a threshold, what leaves differs from the whole only in what had to leave before', () => {
  fc.assert(
    fc.property(word(8, 12), fc.integer({ min: 1, max: 8 }), fc.array(word(0, 20), { maxLength: 12 }), (needle, holdFrom, chunks) => {
      const matcher = new Matcher([{ bytes: Buffer.from(needle), holdFrom }], false)
      const text = chunks.join('')
      const out = run(matcher, ...chunks)
      const expected = naive(text, [needle])
      assert.equal(out.length, text.length)
      for (let at = 0; at < out.length; at++) assert.ok(out[at] === text[at] || out[at] === '*')
      // Of each match that stands alone at least what lies behind the threshold is masked.
      for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1))
        assert.equal(out.slice(at + holdFrom - 1, at + needle.length), '*'.repeat(needle.length - holdFrom + 1), `${out} ${expected}`)
    }),
    { numRuns: 1_000 },
  )
})

function naive(text: string, needles: readonly string[]): string {
  const out = [...text]
  for (const needle of needles)
    for (let at = 0; at + needle.length <= text.length; at++) if (text.startsWith(needle, at)) out.fill('*', at, at + needle.length)
  return out.join('')
}
