// Bodies on their way back, masked: in a stream, or all at once where the secret is too short for a stream.
import type { Flow, Sink } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { MaskStream, type Matcher } from './matcher.ts'

export type Trailers = readonly (readonly [string, string])[]

/** What was masked in one answer. */
export interface Tally {
  found: number
}

/** A trailer whose name holds a secret is dropped; in a value it is masked. */
export function maskTrailers(trailers: Trailers, matcher: Matcher, tally: Tally): Trailers {
  if (trailers.length === 0) return trailers
  const out: (readonly [string, string])[] = []
  for (const [name, value] of trailers) {
    const inValue = matcher.mask(Buffer.from(value, 'latin1'))
    const inName = matcher.mask(Buffer.from(name, 'latin1'))
    tally.found += inValue.found + inName.found
    if (inName.found === 0) out.push([name, inValue.found === 0 ? value : inValue.bytes.toString('latin1')])
  }
  return out
}

/** A match is replaced by as many bytes, so that the length stays true. */
export class MaskedFlow implements Flow, Sink {
  readonly length: number
  readonly whole = null
  readonly #source: Flow
  readonly #matcher: Matcher
  readonly #stream: MaskStream
  readonly #tally: Tally
  #sink: Sink | null = null
  #over = false

  constructor(source: Flow, matcher: Matcher, tally: Tally) {
    this.length = source.length
    this.#source = source
    this.#matcher = matcher
    this.#stream = new MaskStream(matcher)
    this.#tally = tally
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.#source.start(this)
  }

  data(chunk: Buffer): boolean {
    if (this.#over) return false
    const { found } = this.#stream
    let out: Buffer
    try {
      out = this.#stream.push(chunk)
    } catch (error) {
      this.cancel()
      this.#sink?.fail(error as Error)
      return false
    }
    this.#tally.found += this.#stream.found - found
    return (this.#sink as Sink).data(out)
  }

  end(trailers: Trailers): void {
    if (this.#over) return
    this.#over = true
    let clean: Trailers
    try {
      clean = maskTrailers(trailers, this.#matcher, this.#tally)
    } catch (error) {
      this.#sink?.fail(error as Error)
      return
    }
    this.#sink?.end(clean)
  }

  fail(error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#sink?.fail(error)
  }

  pause(): void {
    this.#source.pause()
  }

  resume(): void {
    this.#source.resume()
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#source.cancel()
  }
}

/** Nothing leaves before all has come: a short secret would be given away by what a stream has to let pass. */
export class GatheredFlow implements Flow, Sink {
  readonly length: number
  readonly whole = null
  readonly #source: Flow
  readonly #matcher: Matcher
  readonly #bytesMax: number
  readonly #tally: Tally
  #chunks: Buffer[] = []
  #size = 0
  #sink: Sink | null = null
  #over = false

  constructor(source: Flow, matcher: Matcher, tally: Tally, bytesMax: number) {
    if (source.length > bytesMax) throw tooLarge()
    this.length = source.length
    this.#source = source
    this.#matcher = matcher
    this.#tally = tally
    this.#bytesMax = bytesMax
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.#source.start(this)
  }

  data(chunk: Buffer): boolean {
    if (this.#over) return false
    this.#size += chunk.length
    if (this.#size > this.#bytesMax) {
      this.cancel()
      this.#sink?.fail(tooLarge())
      return false
    }
    this.#chunks.push(chunk)
    return true
  }

  end(trailers: Trailers): void {
    if (this.#over) return
    this.#over = true
    const sink = this.#sink as Sink
    try {
      const { bytes, found } = this.#matcher.mask(Buffer.concat(this.#chunks, this.#size))
      const clean = maskTrailers(trailers, this.#matcher, this.#tally)
      this.#chunks = []
      this.#tally.found += found
      if (bytes.length > 0) sink.data(bytes)
      sink.end(clean)
    } catch (error) {
      sink.fail(error as Error)
    }
  }

  fail(error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#chunks = []
    this.#sink?.fail(error)
  }

  /** Its source is read to the end; what leaves, leaves in one piece. */
  pause(): void {}

  resume(): void {}

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#chunks = []
    this.#source.cancel()
  }
}

function tooLarge(): Refusal {
  return new Refusal('scrub.short_secret', 'the answer is larger than bufferedAnswerBytesMax')
}
