// One connection to an API, kept between calls: writes a request, reads its answer, knows whether it can be used again.
import type { Socket } from 'node:net'
import { FlowSource, wholeFlow } from '../http/flow.ts'
import { BodyReader } from '../http/read-body.ts'
import { type Framing, findHeadEnd, type ResponseMessage, readResponseHead } from '../http/read-head.ts'
import { chunkEnd, chunkStart, lastChunk, wholeChunk } from '../http/write-body.ts'
import { limits } from '../model/limits.ts'
import type { Flow, Sink } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'

export interface UpstreamAnswer {
  readonly head: ResponseMessage
  readonly body: Flow
  cut(): void
}

export interface UpstreamOwner {
  /** The answer and the request are complete and the connection can carry another. */
  free(upstream: Upstream): void
  /** It is closed for good. */
  gone(upstream: Upstream): void
}

const smallChunkBytes = 16 * 1024

export class Upstream {
  readonly key: string
  readonly socket: Socket
  readonly #owner: UpstreamOwner
  readonly #now: () => number
  #buffered: Buffer | null = null
  #method = ''
  #resolve: ((answer: UpstreamAnswer) => void) | null = null
  #reject: ((error: Error) => void) | null = null
  #reader: BodyReader | null = null
  #source: FlowSource | null = null
  #keepAlive = false
  #requestDone = true
  #requestBody: Flow | null = null
  #closed = false
  /** When something last moved while an answer was awaited; 0 while idle. */
  #waitingSince = 0
  #headSeen = false
  #paused = false
  freeSince = 0
  /** Calls that this connection has carried. */
  used = 0

  constructor(key: string, socket: Socket, owner: UpstreamOwner, now: () => number) {
    this.key = key
    this.socket = socket
    this.#owner = owner
    this.#now = now
    socket.on('data', (chunk: Buffer) => this.#received(chunk))
    socket.on('drain', () => this.#requestBody?.resume())
    socket.on('error', (error) => this.#lost(error))
    socket.on('end', () => this.#ended())
    socket.on('close', () => this.#lost(null))
  }

  /** Can a request be written that is provably the first thing this connection sees? */
  get usable(): boolean {
    return !this.#closed && !this.socket.destroyed && this.socket.writable && !this.socket.readableEnded
  }

  /** Called by the pool's one timer. */
  checkStall(now: number): void {
    if (this.#waitingSince === 0 || this.#paused) return
    const limit = this.#headSeen ? limits.answerStallMs : limits.answerHeadMs
    if (now - this.#waitingSince > limit) this.#fail(new Refusal('forward.timeout'))
  }

  send(method: string, head: Buffer, body: Flow, framing: Framing): Promise<UpstreamAnswer> {
    this.#method = method
    this.#headSeen = false
    this.used++
    this.#waitingSince = this.#now()
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      const { whole } = body
      if (whole !== null) {
        this.#requestDone = true
        if (whole.length === 0) this.socket.write(head)
        else if (whole.length <= smallChunkBytes) this.socket.write(Buffer.concat([head, whole]))
        else {
          this.socket.cork()
          this.socket.write(head)
          this.socket.write(whole)
          this.socket.uncork()
        }
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
    return {
      data: (chunk) => {
        if (this.#closed) return true
        this.#waitingSince = this.#now()
        // The chunk is lent, and TLS keeps what it cannot write at once: so it is copied.
        if (framing.kind !== 'chunked') return socket.write(Buffer.from(chunk))
        if (chunk.length <= smallChunkBytes) return socket.write(wholeChunk(chunk))
        socket.cork()
        socket.write(chunkStart(chunk.length))
        socket.write(Buffer.from(chunk))
        const more = socket.write(chunkEnd)
        socket.uncork()
        return more
      },
      end: (trailers) => {
        if (framing.kind === 'chunked' && !this.#closed) socket.write(lastChunk(trailers))
        this.#requestDone = true
        this.#requestBody = null
        this.#maybeFree()
      },
      fail: (error) => this.#fail(error),
    }
  }

  /** Ends the call of this turn, and with it the connection; nothing happens where it already carries another. */
  endTurn(turn: number, why: Error): void {
    if (this.used === turn && this.#waitingSince !== 0) this.#fail(why)
  }

  #received(chunk: Buffer): void {
    if (this.#waitingSince === 0) return this.destroy() // bytes that nobody asked for
    this.#waitingSince = this.#now()
    try {
      if (this.#reader !== null) this.#body(chunk, 0)
      else this.#head(this.#buffered === null ? chunk : Buffer.concat([this.#buffered, chunk]))
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  #head(buffer: Buffer): void {
    let at = 0
    for (let early = 0; ; early++) {
      const end = findHeadEnd(buffer, at)
      if (end < 0 || end - at > limits.headBytesMax) {
        if (end >= 0 || buffer.length - at > limits.headBytesMax) throw new Refusal('forward.bad_answer', 'headBytesMax')
        this.#buffered = at === 0 ? buffer : buffer.subarray(at)
        return
      }
      const head = readResponseHead(buffer, at, end, this.#method)
      at = end
      if (head.status >= 200) return this.#answer(head, buffer, at)
      if (head.status === 101 || early >= limits.earlyAnswersMax) throw new Refusal('forward.bad_answer', `status ${head.status}`)
    }
  }

  #answer(head: ResponseMessage, buffer: Buffer, at: number): void {
    this.#buffered = null
    this.#headSeen = true
    this.#keepAlive = head.keepAlive
    const { framing } = head
    const rest = buffer.length - at
    const resolve = this.#resolve as (answer: UpstreamAnswer) => void
    this.#resolve = null
    this.#reject = null
    const wholeLength = framing.kind === 'none' ? 0 : framing.kind === 'length' && framing.length <= rest ? framing.length : -1
    if (wholeLength >= 0) {
      const body = wholeFlow(wholeLength === 0 ? Buffer.alloc(0) : buffer.subarray(at, at + wholeLength))
      if (rest > wholeLength) this.#keepAlive = false
      this.#answerDone()
      resolve({ head, body, cut: () => {} })
      return
    }
    const source = new FlowSource(framing.kind === 'length' ? framing.length : -1, {
      paused: () => {
        this.#paused = true
        this.socket.pause()
      },
      resumed: () => {
        this.#paused = false
        this.#waitingSince = this.#now()
        this.socket.resume()
      },
      cancelled: () => this.destroy(),
    })
    this.#source = source
    this.#reader = new BodyReader(framing, 'answer', {
      data: (chunk) => source.data(chunk),
      end: (trailers) => {
        this.#source = null
        this.#answerDone()
        source.end(trailers)
      },
    })
    // Until the answer is taken nothing more is read: what is queued stays bounded.
    this.#paused = true
    this.socket.pause()
    if (rest > 0) this.#body(buffer, at)
    const turn = this.used
    resolve({ head, body: source, cut: () => this.endTurn(turn, new Refusal('flow.revoked')) })
  }

  #body(buffer: Buffer, at: number): void {
    const end = (this.#reader as BodyReader).push(buffer, at)
    if (end < buffer.length) this.destroy() // bytes behind the answer
  }

  #answerDone(): void {
    this.#reader = null
    this.#waitingSince = 0
    if (this.#paused) {
      this.#paused = false
      this.socket.resume()
    }
    if (!this.#requestDone) {
      // The answer came before the request had ended: the rest of it is not sent, and nothing follows on this connection.
      this.#keepAlive = false
      this.#requestBody?.cancel()
      this.#requestBody = null
    }
    this.#maybeFree()
  }

  #maybeFree(): void {
    if (this.#waitingSince !== 0 || this.#closed) return
    if (!this.#keepAlive || !this.usable) return this.destroy()
    this.freeSince = this.#now()
    this.#owner.free(this)
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
    this.#reject = null
    this.#resolve = null
    this.#source = null
    this.#requestBody?.cancel()
    this.#requestBody = null
    this.destroy()
    reject?.(error)
    source?.fail(error)
  }

  destroy(): void {
    if (this.#closed) return
    this.#closed = true
    this.#waitingSince = 0
    this.socket.destroy()
    this.#owner.gone(this)
  }
}
