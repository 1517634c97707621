// One request of an agent and its answer, as the flow sees it. It knows no policy; what it says to the agent is either the
// answer of the API or a problem document, never both: once an answer has begun, it can only be completed or cut.
import { FlowSource, wholeFlow } from '../http/flow.ts'
import { BodyReader } from '../http/read-body.ts'
import { type Framing, noBody, type RequestMessage } from '../http/read-head.ts'
import { lastChunk, writePiece, writeWhole } from '../http/write-body.ts'
import { writeResponseHead } from '../http/write-head.ts'
import type { Call, ConnectionMemory } from '../model/call.ts'
import type { Edits, Flow, ResponseHead, Sink } from '../model/message.ts'
import { agentLeft, Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { AgentUpgrade, Opened } from '../model/socket.ts'
import type { Target } from '../model/target.ts'
import type { Connection, ConnectionOwner } from './connection.ts'
import { type LeadBack, leadBack } from './lead-back.ts'
import { refusalBytes } from './refuse.ts'
import { Presence, readWhole } from './under-way.ts'

export interface Aimed {
  readonly target: Target
  readonly service: Service | null
  readonly memory: ConnectionMemory
  readonly leadBack?: LeadBack | undefined
}

const continueLine = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n')
const nothing = Buffer.alloc(0)

/** A body that may turn out to have come whole with its head: the same Flow before and after, so that nobody holds a dead one. */
class RequestBody implements Flow {
  readonly length: number
  readonly source: FlowSource
  whole: Buffer | null = null

  constructor(length: number, source: FlowSource) {
    this.length = length
    this.source = source
  }

  start(sink: Sink): void {
    if (this.whole !== null) wholeFlow(this.whole).start(sink)
    else this.source.start(sink)
  }

  pause(): void {
    this.source.pause()
  }

  resume(): void {
    this.source.resume()
  }

  cancel(): void {
    this.source.cancel()
  }
}

export class AgentCall implements Call {
  readonly id: string
  readonly startedAt: number
  readonly head: RequestMessage
  readonly target: Target
  readonly service: Service | null
  readonly connection: ConnectionMemory
  readonly upgrade?: AgentUpgrade
  body: Flow
  bytesIn = 0
  bytesOut = -1
  readonly #to: Connection
  readonly #owner: ConnectionOwner
  #reader: BodyReader | null = null
  #incoming: RequestBody | null = null
  #broken = false
  #continueOwed: boolean
  readonly #leadBack: LeadBack | undefined
  readonly #presence = new Presence()
  #answering: { readonly body: Flow; readonly reject: (error: Error) => void } | null = null
  #answerBegun = false
  #done = false
  /** Cuts what this call became once it was given away. */
  #cutOpened: (() => void) | null = null
  #moved: number
  readonly #began: number

  constructor(to: Connection, owner: ConnectionOwner, head: RequestMessage, aimed: Aimed) {
    this.#to = to
    this.#owner = owner
    this.id = owner.newId()
    this.startedAt = owner.now()
    this.#moved = owner.monotonic()
    this.#began = this.#moved
    this.head = head
    this.target = aimed.target
    this.service = aimed.service
    this.connection = aimed.memory
    this.#continueOwed = head.expectContinue
    this.#leadBack = aimed.leadBack
    const { framing } = head
    if (head.upgrade)
      this.upgrade = {
        open: (answer, edits, cut) => this.#open(answer, edits, cut),
        received: (bytes) => {
          this.bytesIn += bytes
        },
      }
    if (framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0)) {
      this.body = wholeFlow(nothing)
      return
    }
    this.#reader = new BodyReader(framing, 'request', {
      data: (chunk) => this.#bodyData(chunk),
      end: (trailers) => this.#bodyEnd(trailers),
    })
    const length = framing.kind === 'length' ? framing.length : -1
    this.#incoming = new RequestBody(
      length,
      new FlowSource(length, {
        started: () => this.#continue(),
        paused: () => this.#reader !== null && to.socket.pause(),
        resumed: () => to.socket.resume(),
        // What nobody wants is read and dropped, so that the answer can be read by a client that is still sending.
        cancelled: () => to.socket.resume(),
      }),
    )
    this.body = this.#incoming
  }

  get wantsBody(): boolean {
    return this.#reader !== null
  }

  /** Bytes of the connection; what lies behind this body is given back. */
  bodyBytes(chunk: Buffer): void {
    const reader = this.#reader
    const incoming = this.#incoming
    if (reader === null || incoming === null) return this.#to.keep(chunk)
    this.#moved = this.#owner.monotonic()
    const { framing } = this.head
    // The whole body in one piece, and nobody reads yet: it leaves in one write with the head.
    if (framing.kind === 'length' && this.bytesIn === 0 && chunk.length >= framing.length && !incoming.source.started) {
      this.#reader = null
      this.bytesIn = framing.length
      incoming.whole = chunk.subarray(0, framing.length)
      if (chunk.length > framing.length) this.#to.keep(chunk.subarray(framing.length))
      return
    }
    try {
      const end = reader.push(chunk, 0)
      if (end < chunk.length) this.#to.keep(chunk.subarray(end))
    } catch (error) {
      // Where this body ends, nobody knows any more: what follows is never read as a request (RFC 9112 §11.2).
      this.#reader = null
      this.#broken = true
      incoming.source.fail(error as Error)
      return
    }
    // Nobody reads yet: the socket waits, so that no more than this is held. A complete body waits for nothing: from
    // then on the socket tells when the agent leaves.
    if (this.#reader !== null && !incoming.source.started && !this.#done) this.#to.socket.pause()
  }

  #bodyData(chunk: Buffer): void {
    this.bytesIn += chunk.length
    this.#incoming?.source.data(chunk)
  }

  #bodyEnd(trailers: readonly (readonly [string, string])[]): void {
    this.#reader = null
    this.#incoming?.source.end(trailers)
    this.#to.socket.resume()
  }

  /** 100-continue is ours to answer, and only once somebody wants the body: after the decision (RFC 9110 §10.1.1). */
  #continue(): void {
    if (!this.#continueOwed || this.bytesIn > 0 || this.#reader === null || this.#answerBegun) return
    this.#continueOwed = false
    this.#to.socket.write(continueLine)
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
    if (this.gone || this.#done || this.#answerBegun) {
      body.cancel()
      return Promise.reject(new Refusal('forward.reset', agentLeft))
    }
    const { socket } = this.#to
    const keepAlive = this.#mayKeep()
    const bodiless = this.head.method === 'HEAD' || head.status === 204 || head.status === 304
    const framing: Framing = bodiless ? noBody : body.length >= 0 ? { kind: 'length', length: body.length } : { kind: 'chunked' }
    let bytes: Buffer
    try {
      bytes = writeResponseHead(head, leadBack(this.#leadBack, head, edits), framing, keepAlive)
    } catch (error) {
      body.cancel()
      return Promise.reject(error)
    }
    this.#answerBegun = true
    this.bytesOut = 0
    const { whole } = body
    if (whole === null && !bodiless) {
      socket.write(bytes)
      return this.#stream(body, keepAlive)
    }
    if (whole === null) body.cancel()
    writeWhole(socket, bytes, bodiless ? nothing : (whole ?? nothing))
    if (!bodiless) this.bytesOut = whole?.length ?? 0
    this.#finish(keepAlive)
    return Promise.resolve()
  }

  #open(head: ResponseHead, edits: Edits, cut: () => void): Opened {
    if (this.gone || this.#done || this.#answerBegun) throw new Refusal('forward.reset', agentLeft)
    const bytes = writeResponseHead(head, edits, noBody, true)
    this.#answerBegun = true
    this.#done = true
    this.#presence.close()
    this.#cutOpened = cut
    const { socket } = this.#to
    const rest = this.#to.giveAway()
    socket.write(bytes)
    return { socket, rest }
  }

  #stream(body: Flow, keepAlive: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const broken = (error: Error): void => {
        this.#answering = null
        // The head is gone: only a cut tells the agent that its answer is not complete.
        this.cut()
        reject(error)
      }
      this.#answering = { body, reject }
      body.start({
        data: (chunk) => {
          if (this.#answering === null) return false
          if (body.length >= 0 && this.bytesOut + chunk.length > body.length) {
            body.cancel()
            broken(new Refusal('forward.bad_answer', 'the body is longer than it said'))
            return false
          }
          this.#moved = this.#owner.monotonic()
          this.bytesOut += chunk.length
          return writePiece(this.#to.socket, chunk, body.length < 0)
        },
        end: (trailers) => {
          if (this.#answering === null) return
          if (body.length >= 0 && this.bytesOut !== body.length)
            return broken(new Refusal('forward.reset', 'the body is shorter than it said'))
          this.#answering = null
          if (body.length < 0) this.#to.socket.write(lastChunk(trailers))
          this.#finish(keepAlive)
          resolve()
        },
        fail: (error) => {
          if (this.#answering !== null) broken(error)
        },
      })
    })
  }

  /** A request body that nobody read to its end makes the rest of the connection unreadable. */
  #mayKeep(): boolean {
    return this.head.keepAlive && this.#reader === null && !this.#broken && !this.#owner.draining()
  }

  drained(): void {
    this.#moved = this.#owner.monotonic()
    this.#answering?.body.resume()
  }

  #finish(keepAlive: boolean): void {
    if (this.#done) return
    this.#done = true
    this.#presence.close()
    this.#incoming?.source.cancel()
    this.#to.callDone(keepAlive)
  }

  refuse(refusal: Refusal, id: string): void {
    if (this.#done || this.gone) return
    if (this.#answerBegun) return this.cut()
    this.#answerBegun = true
    // An identity that does not hold ends its connection, so that the next one proves itself anew.
    const keepAlive = this.#mayKeep() && refusal.status < 500 && !refusal.code.startsWith('identify.')
    this.#to.socket.write(refusalBytes(refusal, id, { head: this.head.method === 'HEAD', keepAlive, reason: false }))
    this.#finish(keepAlive)
  }

  cut(): void {
    if (this.#cutOpened !== null) return this.#cutOpened()
    // One whose answer is complete is not of this connection any more: another call may be under way on it.
    if (!this.#done) this.#to.close()
  }

  /** Nothing has moved for too long while the agent was to send or to take something. */
  stalled(now: number): boolean {
    if (now - this.#began > this.#owner.limits.callMs) return true
    const waitsForAgent = (this.#reader !== null && this.#incoming?.source.started === true) || this.#to.socket.writableNeedDrain
    return waitsForAgent && now - this.#moved > this.#owner.limits.bodyStallMs
  }

  /** The agent is gone. */
  left(): void {
    if (this.#done || this.gone) return
    const reset = new Refusal('forward.reset', agentLeft)
    const answering = this.#answering
    this.#answering = null
    this.#presence.leave()
    if (this.#reader !== null) this.#incoming?.source.fail(reset)
    answering?.body.cancel()
    answering?.reject(reset)
  }
}
