// One request and its answer as a stream of HTTP/2 towards an API: what a turn of upstream.ts is over HTTP/1.1.
import { type ClientHttp2Stream, constants } from 'node:http2'
import { FlowSource, wholeFlow } from '../http/flow.ts'
import { answerFromList } from '../http/h2-head.ts'
import { checkTrailers } from '../http/read-body.ts'
import type { ResponseMessage } from '../http/read-head.ts'
import type { Limits } from '../model/limits.ts'
import type { Flow } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { UpstreamAnswer } from './upstream.ts'

type Trailers = readonly (readonly [string, string])[]

const nothing = Buffer.alloc(0)
const { NGHTTP2_CANCEL, NGHTTP2_FLAG_END_STREAM, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants

export interface H2RequestOwner {
  readonly limits: Pick<Limits, 'answerHeadMs' | 'answerStallMs' | 'earlyAnswersMax'>
  now(): number
  heard(): void
  done(): void
}

export class H2Request {
  readonly answered: Promise<UpstreamAnswer>
  readonly #stream: ClientHttp2Stream
  readonly #method: string
  readonly #owner: H2RequestOwner
  #resolve: (answer: UpstreamAnswer) => void = () => {}
  #reject: ((error: Error) => void) | null = null
  #requestBody: Flow | null = null
  #source: FlowSource | null = null
  #trailers: Trailers = []
  #earlyAnswers = 0
  #bytes = 0
  #movedAt: number
  #paused = false
  #over = false
  /** Provably: the API refused the stream before it did anything (RFC 9113 §8.7). */
  unsent = false

  constructor(stream: ClientHttp2Stream, method: string, body: Flow, owner: H2RequestOwner) {
    this.#stream = stream
    this.#method = method
    this.#owner = owner
    this.#movedAt = owner.now()
    this.answered = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    stream.on('headers', () => this.#early())
    stream.on('response', (_fields, flags, list) => this.#response(list as unknown as string[], flags))
    stream.on('trailers', (_fields, _flags, list) => this.#takeTrailers(list as unknown as string[]))
    stream.on('drain', () => {
      this.#moved()
      this.#requestBody?.resume()
    })
    stream.on('error', () => {})
    stream.once('close', () => this.#closed())
    this.#send(body)
  }

  #moved(): void {
    this.#movedAt = this.#owner.now()
  }

  #send(body: Flow): void {
    const stream = this.#stream
    const { whole } = body
    if (whole !== null) {
      if (whole.length > 0) stream.end(whole)
      return
    }
    this.#requestBody = body
    const mine = (): boolean => this.#requestBody !== null && !stream.destroyed && !stream.closed
    body.start({
      data: (chunk) => {
        if (!mine()) return true
        this.#moved()
        // The chunk is lent. False: the API's window or the socket is full.
        return chunk.length === 0 || stream.write(chunk)
      },
      end: () => {
        if (!mine()) return
        this.#moved()
        this.#requestBody = null
        stream.end()
      },
      fail: (error) => {
        if (mine()) this.fail(error)
      },
    })
  }

  #early(): void {
    this.#owner.heard()
    this.#moved()
    if (++this.#earlyAnswers > this.#owner.limits.earlyAnswersMax) this.fail(new Refusal('forward.bad_answer', 'earlyAnswersMax'))
  }

  #response(list: readonly string[], flags: number): void {
    if (this.#over) return
    this.#owner.heard()
    this.#moved()
    const ended = (flags & NGHTTP2_FLAG_END_STREAM) !== 0
    let head: ResponseMessage
    try {
      head = answerFromList(list, this.#method, ended)
    } catch (error) {
      return this.fail(error as Error)
    }
    this.#reject = null
    const cut = (): void => this.fail(new Refusal('flow.revoked'))
    if (!ended) return this.#resolve({ head, body: this.#open(head), cut })
    this.#stream.resume()
    this.#finish()
    this.#resolve({ head, body: wholeFlow(nothing), cut: () => {} })
  }

  #open(head: ResponseMessage): Flow {
    const stream = this.#stream
    const length = head.framing.kind === 'length' ? head.framing.length : -1
    // Until the answer is taken nothing is read, and no window opened: what is queued stays bounded.
    this.#paused = true
    const source = new FlowSource(length, {
      started: () => {
        stream.on('data', (chunk: Buffer) => {
          this.#bytes += chunk.length
          this.#owner.heard()
          this.#moved()
          source.data(chunk)
        })
        stream.once('end', () => this.#ended(length))
      },
      paused: () => {
        this.#paused = true
        stream.pause()
      },
      resumed: () => {
        this.#paused = false
        this.#moved()
        stream.resume()
      },
      cancelled: () => this.fail(new Refusal('forward.reset', 'the answer is not wanted')),
    })
    this.#source = source
    return source
  }

  #takeTrailers(list: readonly string[]): void {
    try {
      const pairs = Array.from({ length: list.length / 2 }, (_, at): [string, string] => [
        list[at * 2] as string,
        list[at * 2 + 1] as string,
      ])
      this.#trailers = checkTrailers(pairs, 'answer')
    } catch (error) {
      this.fail(error as Error)
    }
  }

  #ended(length: number): void {
    const source = this.#source
    if (source === null) return
    // A reset ends the reading side too: what was cut short is not complete.
    if (this.#stream.aborted || this.#stream.rstCode > NGHTTP2_NO_ERROR || (length >= 0 && this.#bytes !== length))
      return this.fail(new Refusal('forward.reset', 'the body is cut short'))
    this.#finish()
    source.end(this.#trailers)
  }

  /** The answer is complete. Where the request is not, the rest of it is not sent. */
  #finish(): void {
    const requestBody = this.#requestBody
    this.#end()
    if (requestBody === null) return
    requestBody.cancel()
    this.#stream.close(NGHTTP2_CANCEL)
  }

  #end(): void {
    this.#over = true
    this.#source = null
    this.#requestBody = null
    this.#owner.done()
  }

  /** The stream is no more, whoever ended it. */
  #closed(): void {
    if (this.#over) return
    const { rstCode } = this.#stream
    // Also what a GOAWAY says it never looked at is closed so by nghttp2 (RFC 9113 §6.8).
    this.unsent = rstCode === NGHTTP2_REFUSED_STREAM
    this.fail(new Refusal('forward.reset', `stream closed, code ${rstCode}`))
  }

  /** While the agent takes its time nothing is late here. */
  checkStall(now: number): void {
    if (this.#paused) return
    const { answerHeadMs, answerStallMs } = this.#owner.limits
    const waitsForHead = this.#reject !== null
    if (now - this.#movedAt > (waitsForHead ? answerHeadMs : answerStallMs))
      this.fail(new Refusal('forward.timeout', waitsForHead ? 'answerHeadMs' : 'answerStallMs'))
  }

  /** Ends this stream at once; nothing happens where the answer is complete. */
  fail(error: Error): void {
    if (this.#over) return
    const source = this.#source
    const requestBody = this.#requestBody
    const reject = this.#reject
    this.#reject = null
    this.#end()
    if (!this.#stream.closed) this.#stream.close(NGHTTP2_CANCEL)
    requestBody?.cancel()
    reject?.(error)
    source?.fail(error)
  }
}
