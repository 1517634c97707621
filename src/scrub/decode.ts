// Content codings (RFC 9110 §8.4.1), undone so that an answer can be searched. Bounded in ratio and size: a bomb ends the
// body. What cannot be decoded whole and sound does not pass.
import type { Transform } from 'node:stream'
import zlib from 'node:zlib'
import type { Limits } from '../model/limits.ts'
import type { Flow, Sink } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'

export type Coding = 'gzip' | 'br' | 'deflate' | 'zstd'

export type DecodeLimits = Pick<Limits, 'inflateRatioMax' | 'inflateBytesMax'>

/** Below this no ratio counts: a short body may be very regular. */
const freeBytes = 1024 * 1024

/** Each is a turn in another thread, and a piece to be searched and written. */
const chunkSize = 64 * 1024
/** JSON and events open out to less, so that a short body is one piece. */
const usualRatio = 8

/** null: nothing to undo. Throws Refusal scrub.encoding for one that is unknown, or for more than one. */
export function codingOf(value: string | undefined): Coding | null {
  switch (value?.trim().toLowerCase() ?? '') {
    case '':
    case 'identity':
      return null
    case 'gzip':
    case 'x-gzip':
      return 'gzip'
    case 'br':
      return 'br'
    case 'deflate':
      return 'deflate'
    case 'zstd':
      return 'zstd'
    default:
      throw new Refusal('scrub.encoding', 'an unknown content coding, or several')
  }
}

/** RFC 9110 §8.4.1.2 says zlib; some send raw deflate all the same. */
function isZlib(first: number): boolean {
  return (first & 0x0f) === 8 && first >> 4 <= 7
}

function decoderOf(coding: Coding, first: number): Transform {
  switch (coding) {
    case 'gzip':
      return zlib.createGunzip({ chunkSize, flush: zlib.constants.Z_SYNC_FLUSH })
    case 'br':
      return zlib.createBrotliDecompress({ chunkSize, flush: zlib.constants.BROTLI_OPERATION_FLUSH })
    case 'zstd':
      return zlib.createZstdDecompress({ chunkSize, flush: zlib.constants.ZSTD_e_flush })
    case 'deflate':
      return isZlib(first)
        ? zlib.createInflate({ chunkSize, flush: zlib.constants.Z_SYNC_FLUSH })
        : zlib.createInflateRaw({ chunkSize, flush: zlib.constants.Z_SYNC_FLUSH })
  }
}

export interface Opened {
  readonly plain: Buffer
  /** Of what came, to the end of its last member: what stands behind it is nobody's. */
  readonly bytesRead: number
}

/** A small whole body at once; null where it opens out to more than is free, and must be streamed. Throws Refusal scrub.broken. */
export function decodeWhole(coding: Coding, whole: Buffer): Opened | null {
  try {
    // With `info` the result is what @types/node does not know.
    const options = { chunkSize: Math.min(chunkSize, Math.max(1_024, whole.length * usualRatio)), maxOutputLength: freeBytes, info: true }
    const { buffer, engine } = openerOf(coding, whole)(whole, options) as unknown as Told
    return { plain: buffer, bytesRead: engine.bytesWritten }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return null
    throw broken(error)
  }
}

interface Told {
  readonly buffer: Buffer
  readonly engine: { readonly bytesWritten: number }
}

function openerOf(coding: Coding, whole: Buffer) {
  switch (coding) {
    case 'gzip':
      return zlib.gunzipSync
    case 'br':
      return zlib.brotliDecompressSync
    case 'zstd':
      return zlib.zstdDecompressSync
    case 'deflate':
      return isZlib(whole[0] as number) ? zlib.inflateSync : zlib.inflateRawSync
  }
}

function broken(error: unknown): Refusal {
  return new Refusal('scrub.broken', (error as NodeJS.ErrnoException).code ?? 'not decodable', error)
}

/** The decoded body; its length is not known. */
export class DecodedFlow implements Flow {
  readonly length = -1
  readonly whole = null
  readonly #source: Flow
  readonly #coding: Coding
  readonly #limits: DecodeLimits
  #decoder: Transform | null = null
  #sink: Sink | null = null
  #bytesIn = 0
  #bytesOut = 0
  #paused = false
  #over = false
  #trailers: readonly (readonly [string, string])[] = []

  constructor(source: Flow, coding: Coding, limits: DecodeLimits) {
    this.#source = source
    this.#coding = coding
    this.#limits = limits
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.#source.start({
      data: (chunk) => this.#encoded(chunk),
      end: (trailers) => {
        this.#trailers = trailers
        // No byte at all: an empty body, whatever its coding.
        if (this.#decoder === null) this.#finish()
        else this.#decoder.end()
      },
      fail: (error) => this.#fail(error),
    })
  }

  #encoded(chunk: Buffer): boolean {
    if (this.#over || chunk.length === 0) return !this.#over
    this.#bytesIn += chunk.length
    this.#decoder ??= this.#open(chunk[0] as number)
    return this.#decoder.write(chunk)
  }

  #open(first: number): Transform {
    const decoder = decoderOf(this.#coding, first)
    decoder.on('data', (chunk: Buffer) => this.#decoded(chunk))
    decoder.on('drain', () => this.#over || this.#source.resume())
    decoder.on('end', () => this.#finish())
    decoder.on('error', (error) => {
      if (this.#over) return
      this.#source.cancel()
      this.#fail(broken(error))
    })
    if (this.#paused) decoder.pause()
    return decoder
  }

  #decoded(chunk: Buffer): void {
    if (this.#over) return
    this.#bytesOut += chunk.length
    const { inflateBytesMax, inflateRatioMax } = this.#limits
    if (this.#bytesOut > inflateBytesMax || (this.#bytesOut > freeBytes && this.#bytesOut > this.#bytesIn * inflateRatioMax)) {
      this.#source.cancel()
      this.#fail(new Refusal('scrub.broken', 'it opens out to more than inflateRatioMax or inflateBytesMax allow'))
      return
    }
    if (this.#sink?.data(chunk) === false) this.pause()
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    this.#sink?.end(this.#trailers)
  }

  #fail(error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#decoder?.destroy()
    this.#sink?.fail(error)
  }

  pause(): void {
    this.#paused = true
    this.#decoder?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#decoder?.resume()
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#decoder?.destroy()
    this.#source.cancel()
  }
}
