// One connection to an API, kept between calls: writes a request, reads its answer, knows whether it can be used again.
import type { Socket } from 'node:net'
import { emptyFlow, FlowSource, wholeFlow } from '../http/flow.ts'
import { BodyReader } from '../http/read-body.ts'
import { type Framing, findHeadEnd, type ResponseMessage, readResponseHead } from '../http/read-head.ts'
import { lastChunk, writePiece, writeWhole } from '../http/write-body.ts'
import type { Limits } from '../model/limits.ts'
import type { Flow, Sink } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Opened } from '../model/socket.ts'
import { hear } from '../net/arrivals.ts'

export interface UpstreamAnswer {
  readonly head: ResponseMessage
  readonly body: Flow
  /** Of a 101: the connection, which is not of the pool any more. */
  readonly opened?: Opened
  cut(): void
}

export interface UpstreamOwner {
  /** The answer and the request are complete and the connection can carry another. */
  free(upstream: Upstream): void
  /** It is closed for good. */
  gone(upstream: Upstream): void
}

export type UpstreamLimits = Pick<Limits, 'answerHeadMs' | 'answerStallMs' | 'headBytesMax' | 'earlyAnswersMax' | 'gatheredAnswerBytesMax'>

/** A short answer, until all of it is there. */
interface Gathered {
  readonly head: ResponseMessage
  readonly body: Buffer
  have: number
}

type Trailers = readonly (readonly [string, string])[]

const nothing = Buffer.alloc(0)

export class Upstream {
  readonly key: string
  readonly socket: Socket
  readonly #owner: UpstreamOwner
  readonly #now: () => number
  readonly #limits: UpstreamLimits
  readonly #deafen: () => void
  /** A head that has begun, and how far its end was looked for. */
  #buffered: Buffer | null = null
  #scanned = 0
  #earlyAnswers = 0
  #method = ''
  #checkSwitch: ((head: ResponseMessage) => void) | null = null
  #resolve: ((answer: UpstreamAnswer) => void) | null = null
  #reject: ((error: Error) => void) | null = null
  #reader: BodyReader | null = null
  #source: FlowSource | null = null
  #gathered: Gathered | null = null
  #keepAlive = false
  #requestDone = true
  #requestBody: Flow | null = null
  #closed = false
  /** From the first byte of a request to the last of its answer. */
  #busy = false
  /** When something last moved while an answer was awaited. */
  #movedAt = 0
  #headSeen = false
  #paused = false
  freeSince = 0
  /** Calls that this connection has carried. */
  used = 0

  constructor(key: string, socket: Socket, owner: UpstreamOwner, now: () => number, limits: UpstreamLimits) {
    this.key = key
    this.socket = socket
    this.#owner = owner
    this.#now = now
    this.#limits = limits
    this.#deafen = hear(socket, (chunk) => this.#received(chunk))
    socket.on('drain', () => this.#requestBody?.resume())
    socket.on('error', (error) => this.#lost(error))
    socket.on('end', () => this.#ended())
    socket.on('close', () => this.#lost(null))
  }

  /** Can a request be written that is provably the first thing this connection sees? */
  get usable(): boolean {
    return !this.#closed && !this.socket.destroyed && this.socket.writable && !this.socket.readableEnded
  }

  /** Gives back what carried nothing after all. */
  release(): void {
    if (this.#closed || this.#busy) return
    if (!this.usable) return this.destroy()
    this.freeSince = this.#now()
    this.#owner.free(this)
  }

  /** Called by the pool's one timer. While the agent takes its time nothing is late here. */
  checkStall(now: number): void {
    if (!this.#busy || this.#paused) return
    const limit = this.#headSeen ? this.#limits.answerStallMs : this.#limits.answerHeadMs
    if (now - this.#movedAt > limit) this.#fail(new Refusal('forward.timeout', this.#headSeen ? 'answerStallMs' : 'answerHeadMs'))
  }

  /** `check` judges a 101 where an upgrade is asked for. */
  send(method: string, head: Buffer, body: Flow, framing: Framing, check?: (head: ResponseMessage) => void): Promise<UpstreamAnswer> {
    this.#method = method
    this.#checkSwitch = check ?? null
    this.#headSeen = false
    this.#earlyAnswers = 0
    this.used++
    this.#busy = true
    this.#movedAt = this.#now()
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      const { whole } = body
      if (whole !== null) {
        this.#requestDone = true
        writeWhole(this.socket, head, whole)
        return
      }
      this.#requestDone = false
      this.#requestBody = body
      this.socket.write(head)
      body.start(this.#requestSink(framing))
    })
  }

  #requestSink(framing: Framing): Sink {
    const { socket } = this
    const turn = this.used
    const mine = (): boolean => !this.#closed && this.used === turn && !this.#requestDone
    return {
      data: (chunk) => {
        if (!mine()) return true
        this.#movedAt = this.#now()
        return writePiece(socket, chunk, framing.kind === 'chunked')
      },
      end: (trailers) => {
        if (!mine()) return
        if (framing.kind === 'chunked') socket.write(lastChunk(trailers))
        this.#movedAt = this.#now()
        this.#requestDone = true
        this.#requestBody = null
      },
      fail: (error) => {
        if (mine()) this.#fail(error)
      },
    }
  }

  /** Ends the call of this turn, and with it the connection; nothing happens where it already carries another. */
  endTurn(turn: number, why: Error): void {
    if (this.used === turn && this.#busy) this.#fail(why)
  }

  #received(chunk: Buffer): void {
    // Bytes that nobody asked for: whatever they are, they will not be taken for the answer of the next call.
    if (!this.#busy) return this.destroy()
    this.#movedAt = this.#now()
    try {
      if (this.#reader !== null) this.#body(chunk, 0)
      else if (this.#gathered !== null) this.#gather(chunk, 0)
      else this.#head(this.#buffered === null ? chunk : Buffer.concat([this.#buffered, chunk]))
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  #head(buffer: Buffer): void {
    const { headBytesMax, earlyAnswersMax } = this.#limits
    let at = 0
    for (;;) {
      const end = findHeadEnd(buffer, Math.max(at, this.#scanned - 3))
      if ((end < 0 ? buffer.length : end) - at > headBytesMax) throw new Refusal('forward.bad_answer', 'headBytesMax')
      if (end < 0) {
        this.#buffered = at === 0 ? buffer : buffer.subarray(at)
        this.#scanned = this.#buffered.length
        return
      }
      this.#scanned = 0
      const head = readResponseHead(buffer, at, end, this.#method)
      at = end
      if (head.status >= 200) return this.#answer(head, buffer, at)
      if (head.status === 101) return this.#switched(head, buffer.subarray(at))
      if (++this.#earlyAnswers > earlyAnswersMax) throw new Refusal('forward.bad_answer', 'earlyAnswersMax')
    }
  }

  /** RFC 9110 §15.2.2: 101 answers an Upgrade. From here on the connection is somebody else's. */
  #switched(head: ResponseMessage, rest: Buffer): void {
    if (this.#checkSwitch === null) throw new Refusal('forward.bad_answer', 'status 101')
    this.#checkSwitch(head)
    const { socket } = this
    const resolve = this.#resolve as (answer: UpstreamAnswer) => void
    this.#resolve = null
    this.#reject = null
    this.#buffered = null
    this.#busy = false
    this.#closed = true
    socket.pause()
    this.#deafen()
    this.#owner.gone(this)
    resolve({ head, body: emptyFlow, opened: { socket, rest }, cut: () => socket.destroy() })
  }

  #answer(head: ResponseMessage, buffer: Buffer, at: number): void {
    this.#buffered = null
    this.#headSeen = true
    this.#keepAlive = head.keepAlive
    // Where this throws, the call itself is refused: nobody has the head yet.
    const whole = this.#wholeBody(head.framing, buffer, at)
    if (whole !== null) return this.#answerWhole(head, whole)
    if (this.#isGathered(head)) {
      this.#gathered = { head, body: Buffer.allocUnsafeSlow(head.framing.length), have: 0 }
      return this.#gather(buffer, at)
    }
    const resolve = this.#resolve as (answer: UpstreamAnswer) => void
    this.#resolve = null
    this.#reject = null
    const turn = this.used
    const source = this.#open(head.framing)
    // Until the answer is taken nothing more is read: what is queued stays bounded.
    this.#paused = true
    this.socket.pause()
    // First, since what comes with the head may be broken: then the body fails.
    resolve({ head, body: source, cut: () => this.endTurn(turn, new Refusal('flow.revoked')) })
    if (buffer.length > at) this.#body(buffer, at)
  }

  /** What is compressed must be undone to be searched: all at once it costs a third of what it costs piece by piece. */
  #isGathered(head: ResponseMessage): head is ResponseMessage & { readonly framing: { readonly kind: 'length'; readonly length: number } } {
    const { framing } = head
    return framing.kind === 'length' && framing.length <= this.#limits.gatheredAnswerBytesMax && head.get('content-encoding') !== undefined
  }

  #gather(chunk: Buffer, from: number): void {
    const gathered = this.#gathered as Gathered
    const { head, body } = gathered
    const copied = chunk.copy(body, gathered.have, from)
    gathered.have += copied
    if (from + copied < chunk.length) this.#keepAlive = false
    if (gathered.have < body.length) return
    this.#gathered = null
    this.#answerWhole(head, body)
  }

  #answerWhole(head: ResponseMessage, whole: Buffer): void {
    const resolve = this.#resolve as (answer: UpstreamAnswer) => void
    this.#resolve = null
    this.#reject = null
    this.#answerDone()
    resolve({ head, body: wholeFlow(whole), cut: () => {} })
  }

  /** The body where all of it came with the head. */
  #wholeBody(framing: Framing, buffer: Buffer, at: number): Buffer | null {
    const rest = buffer.length - at
    if (framing.kind === 'chunked') return this.#wholeChunks(framing, buffer, at)
    if (framing.kind === 'until-close' || (framing.kind === 'length' && framing.length > rest)) return null
    const length = framing.kind === 'length' ? framing.length : 0
    if (rest > length) this.#keepAlive = false
    return length === 0 ? nothing : buffer.subarray(at, at + length)
  }

  #wholeChunks(framing: Framing, buffer: Buffer, at: number): Buffer | null {
    // A last chunk without trailers ends so (RFC 9112 §7.1); in the rare case that content does, the reader says it is not done.
    if (buffer.length - at < 5 || buffer.toString('latin1', buffer.length - 5) !== '0\r\n\r\n') return null
    const chunks: Buffer[] = []
    const reader = new BodyReader(framing, 'answer', { data: (chunk) => chunks.push(chunk), end() {} })
    const end = reader.push(buffer, at)
    if (!reader.done) return null
    if (end < buffer.length) this.#keepAlive = false
    return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
  }

  #open(framing: Framing): FlowSource {
    // The flow can outlive its turn here: what is queued in it may wait for the agent while another call is under way.
    const mine = (): boolean => this.#source === source
    const source: FlowSource = new FlowSource(framing.kind === 'length' ? framing.length : -1, {
      paused: () => {
        if (!mine()) return
        this.#paused = true
        this.socket.pause()
      },
      resumed: () => {
        if (!mine()) return
        this.#paused = false
        this.#movedAt = this.#now()
        this.socket.resume()
      },
      cancelled: () => {
        if (mine()) this.destroy()
      },
    })
    this.#source = source
    this.#reader = new BodyReader(framing, 'answer', {
      data: (chunk) => source.data(chunk),
      end: (trailers) => this.#bodyEnd(source, trailers),
    })
    return source
  }

  #bodyEnd(source: FlowSource, trailers: Trailers): void {
    this.#source = null
    this.#answerDone()
    source.end(trailers)
  }

  #body(buffer: Buffer, at: number): void {
    const end = (this.#reader as BodyReader).push(buffer, at)
    if (end < buffer.length) this.destroy()
  }

  #answerDone(): void {
    this.#reader = null
    this.#busy = false
    if (this.#paused) {
      this.#paused = false
      this.socket.resume()
    }
    if (!this.#requestDone) {
      // The answer came before the request had ended: the rest of it is not sent, and nothing follows on this connection.
      this.#requestDone = true
      this.#keepAlive = false
      this.#requestBody?.cancel()
      this.#requestBody = null
    }
    if (this.#keepAlive) this.release()
    else this.destroy()
  }

  #ended(): void {
    if (this.#reader === null) return this.#lost(null)
    try {
      this.#reader.close()
      this.destroy()
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  #lost(error: Error | null): void {
    this.#fail(new Refusal('forward.reset', (error as NodeJS.ErrnoException | null)?.code ?? 'closed'))
  }

  #fail(error: Error): void {
    const reject = this.#reject
    const source = this.#source
    const requestBody = this.#requestBody
    this.#reject = null
    this.#resolve = null
    this.#source = null
    this.#requestBody = null
    this.destroy()
    requestBody?.cancel()
    reject?.(error)
    source?.fail(error)
  }

  destroy(): void {
    if (this.#closed) return
    this.#closed = true
    this.#busy = false
    this.#reader = null
    this.#buffered = null
    this.#gathered = null
    this.socket.destroy()
    this.#owner.gone(this)
  }
}
