// One stream of an agent as the flow sees it: what call.ts is over HTTP/1.1. It knows no policy; its answer is that of the API
// or a problem document, never both, and a cut ends this stream alone, never its neighbours on the connection.
import { constants, type ServerHttp2Stream } from 'node:http2'
import { FlowSource, wholeFlow } from '../http/flow.ts'
import { answerToList } from '../http/h2-head.ts'
import { type Framing, noBody, type RequestMessage } from '../http/read-head.ts'
import type { Call, ConnectionMemory } from '../model/call.ts'
import type { Edits, Flow, ResponseHead, Sink } from '../model/message.ts'
import { agentLeft, Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { Target } from '../model/target.ts'
import type { Aimed } from './call.ts'
import type { ConnectionOwner } from './connection.ts'
import { type LeadBack, leadBack } from './lead-back.ts'
import { refuseStream, respond } from './refuse.ts'
import { Presence, readWhole } from './under-way.ts'

type Trailers = readonly (readonly [string, string])[]

const nothing = Buffer.alloc(0)
const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = constants

export interface H2CallOwner extends ConnectionOwner {
  /** The answer is complete, or will never be. */
  callDone(call: H2Call): void
  /** No further call on this connection; those under way end by themselves. */
  lastCall(): void
}

export class H2Call implements Call {
  readonly id: string
  readonly startedAt: number
  readonly head: RequestMessage
  readonly target: Target
  readonly service: Service | null
  readonly connection: ConnectionMemory
  body: Flow
  bytesIn = 0
  bytesOut = -1
  readonly #stream: ServerHttp2Stream
  readonly #owner: H2CallOwner
  readonly #leadBack: LeadBack | undefined
  /** The body of the request while more of it is awaited. */
  #source: FlowSource | null = null
  readonly #presence = new Presence()
  /** `body` is null once all of the answer is in the stream and only the agent's window is awaited. */
  #answering: { readonly body: Flow | null; readonly reject: (error: Error) => void } | null = null
  #whenSent: (() => void) | null = null
  #answerBegun = false
  #done = false
  #moved: number
  readonly #began: number

  constructor(stream: ServerHttp2Stream, owner: H2CallOwner, head: RequestMessage, aimed: Aimed) {
    this.#stream = stream
    this.#owner = owner
    this.id = owner.newId()
    this.startedAt = owner.now()
    this.#began = owner.monotonic()
    this.#moved = this.#began
    this.head = head
    this.target = aimed.target
    this.service = aimed.service
    this.connection = aimed.memory
    this.#leadBack = aimed.leadBack
    this.body = this.#bodyOf(head.framing)
    stream.on('drain', () => this.#drained())
    stream.once('aborted', () => this.#left())
    stream.once('close', () => this.#closed())
  }

  #bodyOf(framing: Framing): Flow {
    const stream = this.#stream
    if (framing.kind === 'none') return wholeFlow(nothing)
    const length = framing.kind === 'length' ? framing.length : -1
    // One without content may have ended while its evidence was gathered; Node says so once, whoever listens by then.
    if (length === 0 || (length < 0 && stream.readableEnded)) return wholeFlow(nothing)
    // All of it came with its head, and nghttp2 lets no more come than was said: it leaves in one write.
    if (length > 0 && stream.readableLength === length) {
      const whole = stream.read(length) as Buffer
      this.bytesIn = length
      return wholeFlow(whole)
    }
    const source = new FlowSource(length, {
      started: () => this.#readBody(source, length),
      paused: () => stream.pause(),
      resumed: () => stream.resume(),
      // What nobody wants is read and dropped until the answer ends the stream.
      cancelled: () => stream.resume(),
    })
    this.#source = source
    return source
  }

  /** Nothing is read, and so no window opened, before somebody wants the body (RFC 9113 §5.2). */
  #readBody(source: FlowSource, length: number): void {
    const stream = this.#stream
    // RFC 9110 §10.1.1: after the decision, and only to a client that still waits.
    const waits = this.head.expectContinue && stream.readableLength === 0 && !stream.headersSent
    if (waits && !stream.destroyed && !stream.closed) stream.additionalHeaders({ ':status': 100 })
    stream.on('data', (chunk: Buffer) => {
      this.bytesIn += chunk.length
      this.#moved = this.#owner.monotonic()
      source.data(chunk)
    })
    // Trailers of a request are dropped, as over HTTP/1.1: they could stand in a slot that only the service knows.
    const ended = (): void => {
      // A reset ends the reading side too: what was cut short is not complete.
      const complete = !stream.aborted && !this.gone && (length < 0 || length === this.bytesIn)
      if (this.#source === source) this.#source = null
      if (complete) source.end([])
      else source.fail(new Refusal('forward.reset', agentLeft))
    }
    if (stream.readableEnded) ended()
    else stream.once('end', ended)
  }

  get gone(): boolean {
    return this.#presence.gone
  }

  async readBody(bytesMax: number): Promise<Buffer> {
    const whole = await readWhole(this.body, bytesMax)
    this.body = wholeFlow(whole)
    return whole
  }

  whenGone(run: () => void): () => void {
    return this.#presence.whenGone(run)
  }

  answer(head: ResponseHead, edits: Edits, body: Flow): Promise<void> {
    const stream = this.#stream
    if (this.gone || this.#done || this.#answerBegun || stream.destroyed || stream.closed) {
      body.cancel()
      return Promise.reject(new Refusal('forward.reset', agentLeft))
    }
    // RFC 9110 §15.3.6: a 205 has no content, and Node sends none.
    const bodiless = this.head.method === 'HEAD' || head.status === 204 || head.status === 205 || head.status === 304
    const length = head.status === 205 ? 0 : bodiless ? -1 : body.length
    const framing: Framing = length < 0 ? noBody : { kind: 'length', length }
    let list: string[]
    try {
      list = answerToList(head, leadBack(this.#leadBack, head, edits), framing)
    } catch (error) {
      body.cancel()
      return Promise.reject(error)
    }
    this.#answerBegun = true
    this.bytesOut = 0
    const { whole } = body
    if (bodiless || whole?.length === 0) {
      if (whole === null) body.cancel()
      respond(stream, list, { endStream: true })
      this.#finish()
      return Promise.resolve()
    }
    if (whole === null) {
      respond(stream, list, { waitForTrailers: true })
      return this.#flow(body)
    }
    respond(stream, list, {})
    return this.#end(whole)
  }

  /** Complete is an answer when its last byte has gone through the agent's window, so that a revocation still finds it. */
  #end(whole: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.bytesOut = whole.length
      this.#sent({ resolve, reject })
      this.#stream.once('finish', () => this.#whenSent?.())
      this.#stream.end(whole)
    })
  }

  #flow(body: Flow): Promise<void> {
    const stream = this.#stream
    return new Promise((resolve, reject) => {
      let trailers: Trailers = []
      this.#answering = { body, reject }
      stream.once('wantTrailers', () => {
        // A throw here would be nobody's: the stream may have been reset in the same turn.
        if (stream.destroyed || stream.closed) return
        stream.sendTrailers(fieldsOf(trailers))
        this.#whenSent?.()
      })
      body.start(
        this.#sink(body, (all) => {
          trailers = all
          this.#sent({ resolve, reject })
          stream.end()
        }),
      )
    })
  }

  #sent(of: { resolve: () => void; reject: (error: Error) => void }): void {
    this.#answering = { body: null, reject: of.reject }
    this.#whenSent = () => {
      if (this.#answering === null) return
      this.#answering = null
      this.#finish()
      of.resolve()
    }
  }

  #sink(body: Flow, ended: (trailers: Trailers) => void): Sink {
    return {
      data: (chunk) => {
        if (this.#answering === null) return false
        if (body.length >= 0 && this.bytesOut + chunk.length > body.length) {
          body.cancel()
          this.#broken(new Refusal('forward.bad_answer', 'the body is longer than it said'))
          return false
        }
        this.#moved = this.#owner.monotonic()
        this.bytesOut += chunk.length
        // False: the agent's window or its socket is full.
        return chunk.length === 0 || this.#stream.write(chunk)
      },
      end: (trailers) => {
        if (this.#answering === null) return
        if (body.length >= 0 && this.bytesOut !== body.length)
          return this.#broken(new Refusal('forward.reset', 'the body is shorter than it said'))
        ended(trailers)
      },
      fail: (error) => this.#broken(error),
    }
  }

  /** The head is gone: only a reset tells the agent that its answer is not complete. */
  #broken(error: Error): void {
    const answering = this.#answering
    if (answering === null) return
    this.#answering = null
    this.cut()
    answering.reject(error)
  }

  #drained(): void {
    this.#moved = this.#owner.monotonic()
    this.#answering?.body?.resume()
  }

  #finish(): void {
    if (this.#done) return
    this.#done = true
    this.#presence.close()
    const source = this.#source
    this.#source = null
    source?.cancel()
    const stream = this.#stream
    // RFC 9113 §8.1: a complete answer to an incomplete request asks for no more of it.
    if (source !== null) endEarly(stream)
    else stream.resume()
    this.#owner.callDone(this)
  }

  refuse(refusal: Refusal, id: string): void {
    if (this.#done || this.gone) return
    if (this.#answerBegun) return this.cut()
    this.#answerBegun = true
    refuseStream(this.#stream, refusal, id)
    // An identity that does not hold ends its connection, so that the next one proves itself anew.
    if (refusal.code.startsWith('identify.')) this.#owner.lastCall()
    this.#finish()
  }

  cut(): void {
    if (!this.#done && !this.#stream.closed) this.#stream.close(NGHTTP2_INTERNAL_ERROR)
  }

  /** Nothing has moved for too long while the agent was to send or to take something (a window that never opens). */
  stalled(now: number): boolean {
    if (now - this.#began > this.#owner.limits.callMs) return true
    const waitsForAgent = this.#source?.started === true || this.#answering?.body === null || this.#stream.writableNeedDrain
    return waitsForAgent && now - this.#moved > this.#owner.limits.bodyStallMs
  }

  /** Node closes a stream that both sides have ended before it says that it finished. */
  #closed(): void {
    if (this.#stream.rstCode === NGHTTP2_NO_ERROR && !this.#stream.aborted) this.#whenSent?.()
    this.#left()
  }

  /** The agent reset the stream, or its connection ended. */
  #left(): void {
    if (this.#done || this.gone) return
    const reset = new Refusal('forward.reset', agentLeft)
    const answering = this.#answering
    const source = this.#source
    this.#answering = null
    this.#source = null
    this.#presence.leave()
    source?.fail(reset)
    answering?.body?.cancel()
    answering?.reject(reset)
    this.#owner.callDone(this)
  }
}

function endEarly(stream: ServerHttp2Stream): void {
  if (stream.writableFinished) stream.close(NGHTTP2_NO_ERROR)
  else stream.once('finish', () => stream.close(NGHTTP2_NO_ERROR))
}

function fieldsOf(trailers: Trailers): Record<string, string[]> {
  const fields: Record<string, string[]> = Object.create(null)
  for (const [name, value] of trailers) {
    const values = fields[name]
    if (values === undefined) fields[name] = [value]
    else values.push(value)
  }
  return fields
}
