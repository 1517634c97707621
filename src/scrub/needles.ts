// The spellings of a secret that an answer may hold. They are secrets themselves: they live as long as their lease is used,
// are never printed, and are overwritten when the lease is revoked.
import type { Secret } from '../model/secret.ts'

export interface Needle {
  readonly bytes: Buffer
  /** Where this many bytes of the needle stand, it is the needle: more of them are no accident. */
  readonly certainFrom: number
}

export interface Needles {
  readonly all: readonly Needle[]
  /** Some secret has so few unknown characters that a stream would give too many of them away. */
  readonly short: boolean
}

const publicPrefixMax = 20

/** Every spelling of every secret, without duplicates. Throws RangeError for an empty secret: it was wiped, or never was one. */
export function needlesOf(secrets: readonly Secret[], recognisedCharsMin: number, shortSecretCharsMin: number): Needles {
  const found = new Map<string, Needle>()
  let short = false
  for (const secret of secrets) {
    const bytes = secret.reveal()
    if (bytes.length === 0) throw new RangeError('a secret is empty')
    const known = publicPrefix(bytes)
    // Of a short one only the whole is recognised: what is then still unknown could be tried out.
    const isShort = bytes.length - known < shortSecretCharsMin
    if (isShort) short = true
    for (const needle of spellings(bytes, isShort ? bytes.length : known + recognisedCharsMin)) {
      const key = needle.bytes.toString('latin1')
      const same = found.get(key)
      if (same === undefined || same.certainFrom > needle.certainFrom) found.set(key, needle)
    }
  }
  return { all: [...found.values()], short }
}

/** What everybody knows of a secret of this shape: the vendor's `sk-proj-`, or all of a JWT but its signature. */
export function publicPrefix(bytes: Buffer): number {
  const text = bytes.toString('latin1')
  const jwt = /^eyJ[\w-]+\.[\w-]*\.(?=[\w-]{43,}$)/.exec(text)
  if (jwt !== null) return jwt[0].length
  const vendor = /^(?:AIza|AQ\.|(?:[A-Za-z]{1,10}\d{0,2}[-_]){1,3})/.exec(text)
  return vendor === null || vendor[0].length > publicPrefixMax ? 0 : vendor[0].length
}

type Spell = (bytes: Buffer) => Buffer

/** `certain` counts bytes of the secret; each spelling translates it to its own length, so that none tells more than another. */
function spellings(bytes: Buffer, certain: number): readonly Needle[] {
  const head = bytes.subarray(0, certain)
  const simple = byteSpellings.map((spell): Needle => ({ bytes: spell(bytes), certainFrom: spell(head).length }))
  const aligned = [0, 1, 2].flatMap((shift) => base64At(bytes, shift, certain))
  return [...simple, ...aligned].filter((needle) => needle.bytes.length > 0)
}

/** The characters of the secret that do not depend on what stands before and behind it, `shift` bytes into a group of three. */
function base64At(bytes: Buffer, shift: number, certain: number): readonly Needle[] {
  const padded = Buffer.alloc(shift + bytes.length)
  bytes.copy(padded, shift)
  const from = Math.ceil((shift * 8) / 6)
  const to = Math.floor((padded.length * 8) / 6)
  const certainFrom = Math.max(1, Math.floor(((shift + certain) * 8) / 6) - from)
  const spelled = (['base64', 'base64url'] as const).map((kind) => Buffer.from(padded.toString(kind).slice(from, to), 'latin1'))
  padded.fill(0)
  return spelled.map((needle) => ({ bytes: needle, certainFrom }))
}

const digits = (byte: number, upper: boolean): string => {
  const text = byte.toString(16).padStart(2, '0')
  return upper ? text.toUpperCase() : text
}

function each(spell: (character: string, byte: number) => string): Spell {
  return (bytes) => {
    let out = ''
    for (const byte of bytes) out += spell(String.fromCharCode(byte), byte)
    return Buffer.from(out, 'latin1')
  }
}

/** RFC 3986 §2.1; what stays differs by who encodes. */
function percent(stays: RegExp, upper: boolean, space: string): Spell {
  return each((character, byte) => (character === ' ' ? space : stays.test(character) ? character : `%${digits(byte, upper)}`))
}

const shortEscapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\t': '\\t',
  '\n': '\\n',
  '\r': '\\r',
  '\b': '\\b',
  '\f': '\\f',
}

/** RFC 8259 §7, plus what an encoder escapes of its own will. */
function json(escaped: RegExp, upper: boolean, slash: boolean): Spell {
  return each((character, byte) => {
    if (escaped.test(character)) return `\\u00${digits(byte, upper)}`
    if (character === '/' && slash) return '\\/'
    return shortEscapes[character] ?? (byte < 0x20 ? `\\u00${digits(byte, upper)}` : character)
  })
}

const named: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

/** HTML §13.5: which characters become references differs by who escapes, and so does their form. */
function html(escaped: RegExp, reference: (byte: number) => string, byName: boolean): Spell {
  return each((character, byte) => (escaped.test(character) ? ((byName ? named[character] : undefined) ?? reference(byte)) : character))
}

const references: readonly ((byte: number) => string)[] = [
  (byte) => `&#${byte};`,
  (byte) => `&#x${byte.toString(16)};`,
  (byte) => `&#x${byte.toString(16).toUpperCase()};`,
]

/** In either order of bytes: without the zero that stands before the first or behind the last character. */
function utf16(bytes: Buffer): Buffer {
  return Buffer.from(bytes.toString('latin1'), 'utf16le').subarray(0, -1)
}

const bothCases = [false, true]
/** The last one: an encoder that escapes all. */
const percentStays = [/[\w.~-]/, /[\w.~!'()*-]/, /[\w.~!'()*;/?:@&=+$,#-]/, /[\w.*-]/, /(?!)/]
/** What HTML demands; Go's templates; Mustache; an escaper that escapes all. */
const htmlEscapes = [/[&<>"']/, /[&<>"'+]/, /[&<>"'`=/]/, /[^\u0080-\u00ff]/]
/** JSON.stringify; Go; Gson; .NET; an encoder that escapes all. */
const jsonEscapes = [/(?!)/, /[<>&]/, /[<>&='\u007f]/, /[<>&'"+`\u007f]/, /[^\u0080-\u00ff]/]

const byteSpellings: readonly Spell[] = [
  (bytes) => Buffer.from(bytes),
  (bytes) => Buffer.from(bytes.toString('hex'), 'latin1'),
  (bytes) => Buffer.from(bytes.toString('hex').toUpperCase(), 'latin1'),
  ...bothCases.flatMap((upper) => percentStays.flatMap((stays) => ['%20', '+'].map((space) => percent(stays, upper, space)))),
  ...htmlEscapes.flatMap((escaped) => references.flatMap((reference) => bothCases.map((byName) => html(escaped, reference, byName)))),
  utf16,
  ...bothCases.flatMap((upper) => jsonEscapes.flatMap((escaped) => bothCases.map((slash) => json(escaped, upper, slash)))),
]
