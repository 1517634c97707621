// One HTTP/1.1 connection of an agent: reads requests one after the other, makes each a Call, writes its answer. It knows
// no policy: what a request means is the door's (its `aim`), what becomes of it is the flow's.
import type { Socket } from 'node:net'
import { collect, FlowSource, wholeFlow } from '../http/flow.ts'
import { BodyReader } from '../http/read-body.ts'
import { type Framing, findHeadEnd, noBody, type RequestMessage, readRequestHead } from '../http/read-head.ts'
import { chunkEnd, chunkStart, lastChunk, wholeChunk } from '../http/write-body.ts'
import { plainResponse, problemDocument, writeResponseHead } from '../http/write-head.ts'
import type { Answered, Call, ConnectionMemory } from '../model/call.ts'
import { limits } from '../model/limits.ts'
import type { Edits, Flow, ResponseHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { Target } from '../model/target.ts'

export interface Aimed {
  readonly target: Target
  readonly service: Service | null
  readonly memory: ConnectionMemory
}

export interface ConnectionOwner {
  /** What the request is aimed at; throws Refusal accept.*. May wait for evidence. */
  aim(head: RequestMessage): Aimed | Promise<Aimed>
  call(call: Call): void | Promise<void>
  /** A request that never became a call. */
  refused(refusal: Refusal, head: RequestMessage | null): void
  /** Takes a CONNECT over; `rest` is what followed its head. */
  connect?(head: RequestMessage, socket: Socket, rest: Buffer): void
  closed(connection: Connection): void
  newId(): string
  now(): number
  monotonic(): number
  draining(): boolean
}

const continueLine = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n')
const smallChunkBytes = 16 * 1024

type Phase = 'head' | 'aiming' | 'call'

export class Connection {
  readonly socket: Socket
  readonly #owner: ConnectionOwner
  #buffered: Buffer | null = null
  #phase: Phase = 'head'
  #call: AgentCall | null = null
  #since: number
  #closed = false
  #calls = 0

  constructor(socket: Socket, owner: ConnectionOwner, first: Buffer | null) {
    this.socket = socket
    this.#owner = owner
    this.#since = owner.monotonic()
    socket.on('data', (chunk: Buffer) => this.#received(chunk))
    socket.on('error', () => this.close())
    socket.on('close', () => this.close())
    socket.on('end', () => this.#ended())
    socket.on('drain', () => this.#call?.drained())
    if (first !== null && first.length > 0) this.#received(first)
  }

  get idle(): boolean {
    return this.#phase === 'head' && this.#buffered === null
  }

  /** Called by the listener's one timer. */
  checkTime(now: number): void {
    if (this.#phase === 'head') {
      const limit = this.#buffered === null ? (this.#calls === 0 ? limits.headMs : limits.idleMs) : limits.headMs
      if (now - this.#since > limit) this.#late()
    } else if (this.#call?.stalled(now) === true) this.close()
  }

  #late(): void {
    if (this.#buffered !== null) {
      const refusal = new Refusal('http.timeout')
      this.#owner.refused(refusal, null)
      this.#say(refusal, this.#owner.newId())
    } else this.close()
  }

  #received(chunk: Buffer): void {
    if (this.#phase === 'call' && this.#call?.wantsBody === true) {
      this.#call.bodyBytes(chunk)
      return
    }
    if (this.#buffered === null) this.#since = this.#owner.monotonic()
    this.#buffered = this.#buffered === null ? chunk : Buffer.concat([this.#buffered, chunk])
    if (this.#phase === 'head') this.#next()
    // A client that sends ahead while its call is under way waits: nothing more is read than one head's worth.
    else if (this.#buffered.length > limits.headBytesMax) this.socket.pause()
  }

  #ended(): void {
    // Half-closed: nothing more will be asked. A call under way may still be answered only if its body is complete.
    if (this.#phase === 'head' || this.#call?.wantsBody === true) this.close()
  }

  #next(): void {
    const buffer = this.#buffered
    if (buffer === null || this.#closed) return
    const end = findHeadEnd(buffer, 0)
    if (end < 0 || end > limits.headBytesMax) {
      if (buffer.length > limits.headBytesMax) this.#refuseHead(new Refusal('http.head_too_large'), null)
      else if (buffer[0] === 0x0d || buffer[0] === 0x0a)
        this.#refuseHead(new Refusal('http.malformed', 'an empty line before the request line'), null)
      return
    }
    let head: RequestMessage
    try {
      head = readRequestHead(buffer, 0, end)
    } catch (error) {
      this.#refuseHead(error as Refusal, null)
      return
    }
    this.#buffered = buffer.length > end ? buffer.subarray(end) : null
    if (head.kind === 'authority') this.#takeOver(head)
    else this.#aim(head)
  }

  #takeOver(head: RequestMessage): void {
    if (this.#owner.connect === undefined || this.#calls > 0) {
      this.#refuseHead(new Refusal('http.method_unknown', 'CONNECT is not for this listener'), head)
      return
    }
    const rest = this.#buffered ?? Buffer.alloc(0)
    this.socket.pause()
    this.#closed = true
    for (const event of ['data', 'error', 'close', 'end', 'drain']) this.socket.removeAllListeners(event)
    this.socket.on('error', () => this.socket.destroy())
    this.#owner.connect(head, this.socket, rest)
    this.#owner.closed(this)
  }

  #aim(head: RequestMessage): void {
    this.#phase = 'aiming'
    try {
      if (head.upgrade) throw new Refusal('accept.upgrade')
      if (this.#owner.draining()) throw new Refusal('flow.draining')
      const aimed = this.#owner.aim(head)
      if (aimed instanceof Promise)
        aimed.then(
          (done) => this.#begin(head, done),
          (error) => this.#refuseHead(error, head),
        )
      else this.#begin(head, aimed)
    } catch (error) {
      this.#refuseHead(error as Error, head)
    }
  }

  #begin(head: RequestMessage, aimed: Aimed): void {
    if (this.#closed) return
    this.#phase = 'call'
    this.#calls++
    const rest = this.#buffered
    this.#buffered = null
    const call = new AgentCall(this, this.#owner, head, aimed)
    this.#call = call
    if (rest !== null) call.bodyBytes(rest)
    void this.#owner.call(call)
  }

  /** From the call: what came behind its body, and whether another may follow. */
  callDone(rest: Buffer | null, keepAlive: boolean): void {
    this.#call = null
    if (this.#closed) return
    if (!keepAlive || this.#owner.draining()) {
      this.socket.end()
      // A peer that does not close its side does not keep ours.
      setTimeout(() => this.close(), 1_000).unref()
      return
    }
    this.#phase = 'head'
    this.#since = this.#owner.monotonic()
    if (rest !== null) this.#buffered = this.#buffered === null ? rest : Buffer.concat([rest, this.#buffered])
    this.socket.resume()
    if (this.#buffered !== null) this.#next()
  }

  /** Bytes that belong to what follows the call under way. */
  keep(rest: Buffer): void {
    this.#buffered = this.#buffered === null ? Buffer.from(rest) : Buffer.concat([this.#buffered, rest])
  }

  #refuseHead(error: Error, head: RequestMessage | null): void {
    const refusal = error instanceof Refusal ? error : new Refusal('flow.defect', error.message, error)
    this.#owner.refused(refusal, head)
    this.#say(refusal, this.#owner.newId())
  }

  #say(refusal: Refusal, id: string): void {
    if (this.#closed) return
    this.#closed = true
    const fields: [string, string][] = [['Content-Type', 'application/problem+json']]
    if (refusal.code === 'identify.credentials_required') fields.push(['Proxy-Authenticate', 'Basic realm="ostiary"'])
    this.socket.end(plainResponse(refusal.status, '', fields, problemDocument(refusal, id), false))
    setTimeout(() => this.socket.destroy(), 1_000).unref()
    this.#owner.closed(this)
  }

  close(): void {
    const call = this.#call
    this.#call = null
    this.socket.destroy()
    call?.left()
    if (this.#closed) return
    this.#closed = true
    this.#owner.closed(this)
  }
}

/** One request and its answer, as the flow sees it. */
class AgentCall implements Call {
  readonly id: string
  readonly startedAt: number
  readonly head: RequestMessage
  readonly target: Target
  readonly service: Service | null
  readonly connection: ConnectionMemory
  body: Flow
  bytesIn = 0
  gone = false
  readonly #to: Connection
  readonly #owner: ConnectionOwner
  #reader: BodyReader | null = null
  #source: FlowSource | null = null
  #continueOwed: boolean
  #whenGone: (() => void)[] = []
  #answering: { readonly body: Flow; readonly reject: (error: Error) => void } | null = null
  #answerBegun = false
  #done = false
  #moved: number

  constructor(to: Connection, owner: ConnectionOwner, head: RequestMessage, aimed: Aimed) {
    this.#to = to
    this.#owner = owner
    this.id = owner.newId()
    this.startedAt = owner.now()
    this.#moved = owner.monotonic()
    this.head = head
    this.target = aimed.target
    this.service = aimed.service
    this.connection = aimed.memory
    this.#continueOwed = head.expectContinue
    const { framing } = head
    if (framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0)) this.body = wholeFlow(Buffer.alloc(0))
    else {
      this.#reader = new BodyReader(framing, 'request', {
        data: (chunk) => this.#bodyData(chunk),
        end: (trailers) => this.#bodyEnd(trailers),
      })
      this.#source = new FlowSource(framing.kind === 'length' ? framing.length : -1, {
        started: () => this.#oweNoMore(),
        paused: () => to.socket.pause(),
        resumed: () => to.socket.resume(),
        cancelled: () => to.socket.resume(),
      })
      this.body = this.#source
    }
  }

  get wantsBody(): boolean {
    return this.#reader !== null
  }

  bodyBytes(chunk: Buffer): void {
    this.#moved = this.#owner.monotonic()
    const reader = this.#reader
    if (reader === null) return this.#to.keep(chunk)
    const { framing } = this.head
    // The whole body came with its head: it is one piece, and leaves in one write with the head.
    if (framing.kind === 'length' && this.bytesIn === 0 && chunk.length >= framing.length && this.#source?.started === false) {
      this.#reader = null
      this.bytesIn = framing.length
      this.body = wholeFlow(chunk.subarray(0, framing.length))
      if (chunk.length > framing.length) this.#to.keep(chunk.subarray(framing.length))
      return
    }
    try {
      const end = reader.push(chunk, 0)
      if (end < chunk.length) this.#to.keep(chunk.subarray(end))
    } catch (error) {
      this.#reader = null
      this.#source?.fail(error as Error)
    }
    // Nobody reads yet: the socket waits, so that no more than this is held.
    if (this.#source?.started === false) this.#to.socket.pause()
  }

  #bodyData(chunk: Buffer): void {
    this.bytesIn += chunk.length
    if (!this.#done) this.#source?.data(chunk)
  }

  #bodyEnd(trailers: readonly (readonly [string, string])[]): void {
    this.#reader = null
    this.#source?.end(trailers)
  }

  /** 100-continue is ours to answer, and only once somebody wants the body: after the decision. */
  #oweNoMore(): void {
    if (!this.#continueOwed || this.bytesIn > 0 || this.#reader === null) return
    this.#continueOwed = false
    this.#to.socket.write(continueLine)
  }

  async readBody(bytesMax: number): Promise<Buffer> {
    const whole = await collect(this.body, bytesMax).catch((error) => {
      throw error instanceof RangeError ? new Refusal('decide.body_unreadable', 'the body is larger than policy reads') : error
    })
    this.body = wholeFlow(whole)
    return whole
  }

  whenGone(run: () => void): () => void {
    if (this.gone) run()
    else this.#whenGone.push(run)
    return () => {
      const at = this.#whenGone.indexOf(run)
      if (at >= 0) this.#whenGone.splice(at, 1)
    }
  }

  answer(head: ResponseHead, edits: Edits, body: Flow): Promise<Answered> {
    const { socket } = this.#to
    const keepAlive = this.head.keepAlive && this.#bodyIsRead()
    this.#answerBegun = true
    const bodiless = this.head.method === 'HEAD' || head.status === 204 || head.status === 304
    const framing: Framing = bodiless ? noBody : body.length >= 0 ? { kind: 'length', length: body.length } : { kind: 'chunked' }
    const bytes = writeResponseHead(head, edits, framing, keepAlive)
    if (body.whole !== null) {
      const { whole } = body
      if (whole.length === 0 || bodiless) socket.write(bytes)
      else if (whole.length <= smallChunkBytes) socket.write(Buffer.concat([bytes, whole]))
      else {
        socket.cork()
        socket.write(bytes)
        socket.write(whole)
        socket.uncork()
      }
      this.#finish(keepAlive)
      return Promise.resolve({ bytes: whole.length })
    }
    socket.write(bytes)
    return this.#stream(body, framing.kind === 'chunked', keepAlive)
  }

  #stream(body: Flow, chunked: boolean, keepAlive: boolean): Promise<Answered> {
    const { socket } = this.#to
    return new Promise((resolve, reject) => {
      let bytes = 0
      this.#answering = { body, reject }
      body.start({
        data: (chunk) => {
          bytes += chunk.length
          this.#moved = this.#owner.monotonic()
          if (!chunked) return socket.write(Buffer.from(chunk))
          if (chunk.length <= smallChunkBytes) return socket.write(wholeChunk(chunk))
          socket.cork()
          socket.write(chunkStart(chunk.length))
          socket.write(Buffer.from(chunk))
          const more = socket.write(chunkEnd)
          socket.uncork()
          return more
        },
        end: (trailers) => {
          if (chunked) socket.write(lastChunk(trailers))
          this.#answering = null
          this.#finish(keepAlive)
          resolve({ bytes })
        },
        fail: (error) => {
          this.#answering = null
          reject(error)
        },
      })
    })
  }

  /** A request body that nobody read makes the rest of the connection unreadable. */
  #bodyIsRead(): boolean {
    return this.#reader === null
  }

  drained(): void {
    this.#answering?.body.resume()
  }

  #finish(keepAlive: boolean): void {
    if (this.#done) return
    this.#done = true
    this.#whenGone = []
    this.#to.callDone(null, keepAlive && this.#bodyIsRead())
  }

  refuse(refusal: Refusal, id: string): void {
    if (this.#done || this.gone) return
    if (this.#answerBegun) return this.cut()
    this.#answerBegun = true
    const keepAlive = this.head.keepAlive && this.#bodyIsRead() && refusal.status < 500 && !refusal.code.startsWith('identify.')
    const body = this.head.method === 'HEAD' ? Buffer.alloc(0) : problemDocument(refusal, id)
    this.#to.socket.write(plainResponse(refusal.status, '', [['Content-Type', 'application/problem+json']], body, keepAlive))
    this.#finish(keepAlive)
  }

  cut(): void {
    this.#to.close()
  }

  /** Nothing has moved for too long while the agent was to send or to take something. */
  stalled(now: number): boolean {
    if (now - this.#moved > limits.callMs) return true
    const waitsForAgent = (this.#reader !== null && this.#source?.started === true) || this.#to.socket.writableNeedDrain
    return waitsForAgent && now - this.#moved > limits.bodyStallMs
  }

  /** The agent is gone. */
  left(): void {
    if (this.#done || this.gone) return
    this.gone = true
    const run = this.#whenGone
    this.#whenGone = []
    for (const one of run) one()
    this.#source?.fail(new Refusal('forward.reset', 'the agent left'))
    this.#answering?.body.cancel()
    this.#answering?.reject(new Refusal('forward.reset', 'the agent left'))
    this.#answering = null
  }
}
