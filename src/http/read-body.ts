// The strict scanner of bodies: gives out what is content, by length, by chunk or until the peer closes.
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { endsHere, framingNames, neverNamed, tokenByte, valueBytes } from './bytes.ts'
import type { Framing } from './read-head.ts'

export interface BodySink {
  /** A view into what was pushed, never empty. */
  data(chunk: Buffer): void
  /** Once; not at all for a body that is done before it begins (framing none, length 0). */
  end(trailers: readonly (readonly [string, string])[]): void
}

type Extension = '' | ';' | '=' | 'name' | 'value'
type State = 'content' | 'size' | 'size-end' | 'content-end' | 'trailers' | 'done'

type Trailers = readonly (readonly [string, string])[]

const noTrailers: Trailers = []

const bad = (side: 'request' | 'answer', detail: string): Refusal =>
  new Refusal(side === 'request' ? 'http.malformed' : 'forward.bad_answer', detail)

export class BodyReader {
  readonly #side: 'request' | 'answer'
  readonly #sink: BodySink
  readonly #framing: Framing
  #state: State
  /** Content bytes still to come, of the body or of the chunk. */
  #left = 0
  #sizeDigits = 0
  #lineBytes = 0
  #trailerText = ''
  #extension: Extension = ''

  constructor(framing: Framing, side: 'request' | 'answer', sink: BodySink) {
    this.#framing = framing
    this.#side = side
    this.#sink = sink
    this.#left = framing.kind === 'length' ? framing.length : framing.kind === 'until-close' ? Number.POSITIVE_INFINITY : 0
    this.#state = framing.kind === 'chunked' ? 'size' : this.#left === 0 ? 'done' : 'content'
  }

  get done(): boolean {
    return this.#state === 'done'
  }

  /** Returns the index of the first byte that is not of this body. Throws Refusal http.malformed or forward.bad_answer. */
  push(buffer: Buffer, from: number): number {
    let at = from
    while (at < buffer.length && this.#state !== 'done') {
      if (this.#state === 'content') at = this.#content(buffer, at)
      else if (this.#state === 'trailers') at = this.#trailers(buffer, at)
      else at = this.#line(buffer, at)
    }
    return at
  }

  /** The peer closed: the end of an until-close body, an error for any other that is not complete. */
  close(): void {
    if (this.#state === 'done') return
    if (this.#framing.kind !== 'until-close')
      throw this.#side === 'request' ? this.#bad('the body is cut short') : new Refusal('forward.reset', 'the body is cut short')
    this.#finish(noTrailers)
  }

  #bad(detail: string): Refusal {
    return bad(this.#side, detail)
  }

  #finish(trailers: readonly (readonly [string, string])[]): void {
    this.#state = 'done'
    this.#sink.end(trailers)
  }

  #content(buffer: Buffer, at: number): number {
    const end = Math.min(buffer.length, at + this.#left)
    this.#left -= end - at
    const last = this.#left === 0
    if (last && this.#framing.kind === 'chunked') this.#state = 'content-end'
    if (end > at) this.#sink.data(at === 0 && end === buffer.length ? buffer : buffer.subarray(at, end))
    if (last && this.#framing.kind !== 'chunked') this.#finish(noTrailers)
    return end
  }

  /** RFC 9112 §7.1: one byte at a time; these lines are short. */
  #line(buffer: Buffer, at: number): number {
    const byte = buffer[at] as number
    if (this.#state === 'content-end') {
      if (byte !== (this.#lineBytes === 0 ? 0x0d : 0x0a)) throw this.#bad('chunk: no CRLF behind its content')
      this.#lineBytes = this.#lineBytes === 0 ? 1 : 0
      if (this.#lineBytes === 0) this.#startSize()
      return at + 1
    }
    if (++this.#lineBytes > limits.chunkLineBytesMax) throw this.#bad('chunk: its line is too long')
    if (this.#state === 'size') {
      const digit = hexDigit(byte)
      if (digit >= 0) {
        if (++this.#sizeDigits > 12) throw this.#bad('chunk: its size is too large')
        this.#left = this.#left * 16 + digit
        return at + 1
      }
      if (this.#sizeDigits === 0) throw this.#bad('chunk: no size')
      this.#state = 'size-end'
    }
    return this.#sizeEnd(byte, at)
  }

  #sizeEnd(byte: number, at: number): number {
    if (this.#sizeDigits < 0) {
      if (byte !== 0x0a) throw this.#bad('chunk: CR without LF')
      this.#lineBytes = 0
      this.#state = this.#left === 0 ? 'trailers' : 'content'
      return at + 1
    }
    if (byte === 0x0d) {
      if (this.#extension === ';' || this.#extension === '=') throw this.#bad('chunk: an extension')
      this.#sizeDigits = -1
      return at + 1
    }
    // Only CR or an extension ends a size: `5g` and `5 ` are nobody's 5. Extensions of an answer are dropped within the limit
    // of the line; in a request they are how smuggling begins.
    const next = this.#side === 'answer' ? afterByte(this.#extension, byte) : null
    if (next === null) throw this.#bad('chunk: an extension')
    this.#extension = next
    return at + 1
  }

  #startSize(): void {
    this.#state = 'size'
    this.#left = 0
    this.#sizeDigits = 0
    this.#lineBytes = 0
    this.#extension = ''
  }

  #trailers(buffer: Buffer, from: number): number {
    const lineEnd = buffer.indexOf(0x0a, from)
    const end = lineEnd < 0 ? buffer.length : lineEnd + 1
    if (this.#trailerText.length + end - from > limits.trailerBytesMax) throw this.#bad('trailers: too large')
    this.#trailerText += buffer.toString('latin1', from, end)
    if (lineEnd < 0) return end
    if (this.#trailerText === '\r\n') this.#finish(noTrailers)
    else if (this.#trailerText.endsWith('\r\n\r\n')) this.#finish(this.#readTrailers(this.#trailerText.slice(0, -4)))
    else if (!this.#trailerText.endsWith('\r\n')) throw this.#bad('trailers: LF without CR')
    return end
  }

  #readTrailers(text: string): Trailers {
    const lines = text.split('\r\n')
    const pairs = lines.map((line): [string, string] => {
      const colon = Math.max(0, line.indexOf(':'))
      return [line.slice(0, colon), withoutBlanks(line, colon + 1)]
    })
    return checkTrailers(pairs, this.#side)
  }
}

/** Those that may pass. Throws Refusal http.malformed or forward.bad_answer. */
export function checkTrailers(pairs: readonly (readonly [string, string])[], side: 'request' | 'answer'): Trailers {
  if (pairs.length > limits.trailerFieldsMax) throw bad(side, 'trailers: too many')
  const trailers = pairs.map(([name, value]) => checkTrailer(name, value, side))
  // RFC 9110 §6.5.1 lets us discard trailers. Those of a request could stand in a slot that only the service knows.
  return side === 'request' ? noTrailers : trailers.filter(([name]) => !neverTrails(name))
}

function checkTrailer(name: string, value: string, side: 'request' | 'answer'): readonly [string, string] {
  if (name === '' || !every(name, tokenByte) || !every(value, valueBytes[side])) throw bad(side, 'trailers: not a field')
  const lower = name.toLowerCase().replaceAll('_', '-')
  if (side === 'request' && (neverTrails(lower) || /auth|key|token|secret|password/.test(lower)))
    throw bad(side, 'trailers: a field that may not stand there')
  return [lower, value]
}

/** RFC 9110 §6.5.1: framing, routing and credentials never come as trailers, nor what ends with this connection. */
function neverTrails(name: string): boolean {
  return neverNamed.has(name) || framingNames.has(name) || endsHere(name)
}

/** `;name` or `;name=value`, again and again: less than RFC 9112 §7.1.1, which has quoted values and blanks. Null: not so. */
function afterByte(before: Extension, byte: number): Extension | null {
  const inside = before === 'name' || before === 'value'
  if (byte === 0x3b) return inside || before === '' ? ';' : null
  if (byte === 0x3d) return before === 'name' ? '=' : null
  if (tokenByte[byte] !== 1 || before === '') return null
  return before === ';' || before === 'name' ? 'name' : 'value'
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48
  const lower = byte | 32
  return lower >= 97 && lower <= 102 ? lower - 87 : -1
}

/** OWS of RFC 9110 §5.6.3 only: what else `trim` takes away is refused where it stands. */
function withoutBlanks(line: string, from: number): string {
  let start = from
  let end = line.length
  while (start < end && (line[start] === ' ' || line[start] === '\t')) start++
  while (end > start && (line[end - 1] === ' ' || line[end - 1] === '\t')) end--
  return line.slice(start, end)
}

function every(text: string, table: Uint8Array): boolean {
  for (let at = 0; at < text.length; at++) if (table[text.charCodeAt(at)] !== 1) return false
  return true
}
