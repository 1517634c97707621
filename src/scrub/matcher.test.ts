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
  return out
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
    ['HTML, decimal', [...text].map((one) => `&#${one.charCodeAt(0)};`).join('')],
    ['HTML, hex', [...text].map((one) => `&#x${one.charCodeAt(0).toString(16)};`).join('')],
    ['HTML of Go', text.replaceAll('+', '&#43;')],
    ['HTML of Mustache', text.replaceAll('/', '&#x2F;').replaceAll('=', '&#x3D;')],
    ['percent, all', [...text].map((one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`).join('')],
    ['UTF-16LE', Buffer.from(text, 'utf16le').toString('latin1')],
    ['UTF-16BE', Buffer.from(text, 'utf16le').swap16().toString('latin1')],
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
  assert.equal(run(matcher, plainKey.slice(0, 28)), plainKey.slice(0, 28))
})

test('nothing waits: as much leaves at each push as came, whatever it begins', () => {
  const matcher = matcherOf(plainKey)
  const known = publicPrefix(Buffer.from(plainKey))
  for (let size = 1; size < plainKey.length; size++) {
    const chunks = [`data: x${plainKey.slice(0, size)}`, '\n\n', 'data: y\n\n']
    const out = steps(matcher, chunks)
    assert.deepEqual(
      out.map((one) => one.length),
      chunks.map((one) => one.length),
    )
    // Below sixteen characters it is anybody's text, and passes as it is.
    if (size < known + 16) assert.deepEqual(out, chunks)
  }
})

test('cut short by whoever echoes it, a secret is masked from its sixteenth character on', () => {
  const matcher = matcherOf(plainKey)
  const known = publicPrefix(Buffer.from(plainKey))
  for (let size = known + 16; size < plainKey.length; size++) {
    const out = run(matcher, `{"key":"${plainKey.slice(0, size)}..."}${' '.repeat(60)}`)
    assert.ok(out.startsWith(`{"key":"${'*'.repeat(plainKey.length)}`), out)
  }
})

/**
 * An agent that can have its own text echoed, cut into chunks as it likes, and sees what comes out and when. It knows what everybody
 * knows and fifteen characters (a stream may give it those), and tries to tell the right next character from a wrong one.
 */
function guess(matcher: Matcher, secret: string, spell: (text: string) => string): number {
  const seen = (text: string, cut: (text: string) => readonly string[]): string =>
    JSON.stringify(steps(matcher, [...cut(spell(text)), '\n\n', 'data: more\n\n', ' '.repeat(200)]))
  const cuts: readonly ((text: string) => readonly string[])[] = [
    (text) => [text],
    (text) => [`${text}${' '.repeat(200)}`],
    (text) => [...text],
    (text) => [text.slice(0, -1), text.slice(-1)],
    (text) => [text.slice(0, 20), text.slice(20)],
    (text) => [`data: ${text}`, `data: ${text}`],
  ]
  const known = publicPrefix(Buffer.from(secret)) + 15
  for (let length = known; length < secret.length - 1; length++) {
    const right = secret[length] as string
    const others = [...'AbZ07_-'].filter((one) => one !== right)
    // What was sent is in the answer where it was not masked: the attacker compares what it did not send itself.
    const shape = (char: string, cut: (typeof cuts)[number]): string =>
      seen(`${secret.slice(0, length)}${char}`, cut).replaceAll(/[^*",[\]]/g, '.')
    if (!cuts.some((cut) => others.every((other) => shape(other, cut) !== shape(right, cut)))) return length
  }
  return secret.length
}

test('no guess can be extended: who knows fifteen characters can test the sixteenth, and nothing beyond it', () => {
  for (const secret of [plainKey, 'sk-proj-Zx81QmWv70KpLr52NtHs64JyGe33UoFiAq29BdTr4'])
    for (const spell of [
      (text: string) => text,
      (text: string) => Buffer.from(text).toString('hex'),
      (text: string) => Buffer.from(text, 'utf16le').toString('latin1'),
      (text: string) => [...text].map((one) => `&#${one.charCodeAt(0)};`).join(''),
      base64,
      base64url,
      (text: string) => base64(`x${text}`),
      (text: string) => base64(`xy${text}`),
    ]) {
      const known = publicPrefix(Buffer.from(secret))
      assert.ok(guess(matcherOf(secret), secret, spell) <= known + 16, spell(secret))
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
        bytes.map((one) => ({ bytes: one, certainFrom: 99 })),
        false,
      )
      assert.equal(matcher.mask(Buffer.from(text)).bytes.toString(), naive(text, needles))
    }),
    { numRuns: 1_000 },
  )
})

test('whole needles: every way to cut a stream masks what is still to come of what the naive search finds', () => {
  fc.assert(
    fc.property(word(8, 12), fc.integer({ min: 1, max: 8 }), fc.array(word(0, 20), { maxLength: 12 }), (needle, certainFrom, chunks) => {
      const matcher = new Matcher([{ bytes: Buffer.from(needle), certainFrom }], false)
      const text = chunks.join('')
      const out = run(matcher, ...chunks)
      assert.equal(out.length, text.length)
      const whole = certain(text, needle, certainFrom)
      for (let at = 0; at < out.length; at++) {
        assert.ok(out[at] === text[at] || out[at] === '*')
        // Nothing but what one search of the whole would mask is masked.
        if (out[at] === '*' && text[at] !== '*') assert.equal(whole[at], '*', `${out} ${whole}`)
      }
      for (let at = text.indexOf(needle.slice(0, certainFrom)); at >= 0; at = text.indexOf(needle.slice(0, certainFrom), at + 1)) {
        const end = Math.min(text.length, at + needle.length)
        assert.equal(out.slice(at + certainFrom - 1, end), '*'.repeat(end - at - certainFrom + 1), `${out} ${whole}`)
      }
    }),
    { numRuns: 1_000 },
  )
})

/** From each head on as much as the needle is long. */
function certain(text: string, needle: string, certainFrom: number): string {
  const out = [...text]
  for (let at = 0; at < text.length; at++)
    if (text.startsWith(needle.slice(0, certainFrom), at)) out.fill('*', at, Math.min(text.length, at + needle.length))
  return out.join('')
}

test('of several spellings that begin alike, the one that is there is masked and nothing behind it', () => {
  const secret = 'sk-proj-Zx81QmWv70KpLr52NtHs64JyGe33Uo+/iAq29Bd'
  const matcher = matcherOf(secret)
  for (const spelled of [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1).replaceAll('/', '\\/')])
    for (let at = 0; at <= spelled.length; at++) {
      const out = run(matcher, `"${spelled.slice(0, at)}`, `${spelled.slice(at)}","next":"value"}${' '.repeat(9)}`)
      assert.ok(out.endsWith(`","next":"value"}${' '.repeat(9)}`), `${at}: ${out}`)
    }
})

function naive(text: string, needles: readonly string[]): string {
  const out = [...text]
  for (const needle of needles)
    for (let at = 0; at + needle.length <= text.length; at++) if (text.startsWith(needle, at)) out.fill('*', at, at + needle.length)
  return out.join('')
}
