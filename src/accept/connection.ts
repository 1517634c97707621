// One HTTP/1.1 connection of an agent: reads requests one after the other, makes each a Call, keeps what came ahead of its
// turn within a bound. It knows no policy: what a request means is the door's (its `aim`), what becomes of it is the flow's.
import type { Socket } from 'node:net'
import { findHeadEnd, type RequestMessage, readRequestHead } from '../http/read-head.ts'
import type { Call } from '../model/call.ts'
import type { Limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { hear } from '../net/arrivals.ts'
import { AgentCall, type Aimed } from './call.ts'
import { refusalBytes } from './refuse.ts'
import { begin } from './under-way.ts'
import { checkUpgrade } from './upgrade.ts'

export interface ConnectionOwner {
  /** What the request is aimed at; throws Refusal accept.*. Waits for evidence before the first request only. */
  aim(head: RequestMessage): Aimed | Promise<Aimed>
  call(call: Call): void | Promise<void>
  /** A request that never became a call. */
  refused(refusal: Refusal, head: RequestMessage | null, id: string): void
  /** A defect of the flow, which should have caught it itself. */
  defect(error: unknown): void
  /** Takes a CONNECT over; `rest` is what followed its head. */
  connect?(head: RequestMessage, socket: Socket, rest: Buffer): void
  /** Takes over a connection that begins with the preface of HTTP/2, which is unread again. */
  http2?(socket: Socket): void
  closed(connection: Held): void
  newId(): string
  now(): number
  monotonic(): number
  draining(): boolean
  readonly limits: Limits
}

/** A connection as its listener holds it, whatever is spoken on it. */
export interface Held {
  /** Calls under way. */
  readonly calls: number
  /** Called by the listener's one timer. */
  checkTime(now: number): void
  /** Ends it as soon as no call is under way, and takes no further one. */
  drain(): void
  /** At once. */
  close(): void
}

/** RFC 9113 §3.4, up to its first empty line. */
const http2Preface = 'PRI * HTTP/2.0\r\n\r\n'

type Phase = 'head' | 'aiming' | 'call' | 'ending' | 'closed'

const growBytesMin = 1_024

export class Connection implements Held {
  readonly socket: Socket
  readonly #owner: ConnectionOwner
  /** What was received and not yet read as a head or body. */
  #buffered: Buffer | null = null
  /** The memory behind #buffered where that has room left at its end. */
  #room: Buffer | null = null
  /** No end of a head begins before this index. */
  #scanned = 0
  #phase: Phase = 'head'
  #pumping = false
  #call: AgentCall | null = null
  #since: number
  #answered = 0
  readonly #listeners: readonly (readonly [string, (argument: never) => void])[]
  readonly #deafen: () => void

  constructor(socket: Socket, owner: ConnectionOwner) {
    this.socket = socket
    this.#owner = owner
    this.#since = owner.monotonic()
    this.#listeners = [
      ['error', () => this.close()],
      ['close', () => this.close()],
      // Half-closed counts as gone: who waits for an answer keeps its side open (RFC 9112 §9.6 allows it).
      ['end', () => this.#phase !== 'ending' && this.close()],
      ['drain', () => this.#call?.drained()],
    ]
    for (const [event, listener] of this.#listeners) socket.on(event, listener as () => void)
    this.#deafen = hear(socket, (chunk) => this.#received(chunk))
  }

  get calls(): number {
    return this.#phase === 'call' || this.#phase === 'aiming' ? 1 : 0
  }

  drain(): void {
    if (this.#phase === 'head' && this.#buffered === null) this.close()
  }

  checkTime(now: number): void {
    const { limits } = this.#owner
    const waited = now - this.#since
    if (this.#phase === 'head') {
      if (waited <= (this.#buffered === null && this.#answered > 0 ? limits.idleMs : limits.headMs)) return
      if (this.#buffered === null) this.close()
      else this.#refuse(new Refusal('http.timeout', 'headMs'), null)
    } else if (this.#phase === 'aiming') {
      if (waited > limits.headMs) this.#refuse(new Refusal('identify.process_unknown', 'headMs'), null)
    } else if (this.#phase === 'ending') {
      if (waited > limits.lingerMs) this.close()
    } else if (this.#call?.stalled(now) === true) this.close()
  }

  #received(chunk: Buffer): void {
    if (this.#phase === 'ending' || this.#phase === 'closed') return
    if (this.#phase === 'call' && this.#call?.wantsBody === true) {
      this.#call.bodyBytes(chunk)
      return
    }
    if (this.#buffered === null) this.#since = this.#owner.monotonic()
    this.#append(chunk)
    if (this.#phase === 'head') this.#pump()
    // A client that sends ahead waits: nothing more is taken than one head's worth.
    else if ((this.#buffered?.length ?? 0) > this.#owner.limits.headBytesMax) this.socket.pause()
  }

  /** The room is doubled, so that a head that drips in byte by byte costs no more than its length. */
  #append(chunk: Buffer): void {
    const have = this.#buffered
    if (have === null) {
      this.#buffered = chunk
      this.#room = null
      return
    }
    const size = have.length + chunk.length
    if (this.#room === null || size > this.#room.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(size * 2, growBytesMin))
      have.copy(grown)
      this.#room = grown
    }
    chunk.copy(this.#room, have.length)
    this.#buffered = this.#room.subarray(0, size)
  }

  #keepRest(rest: Buffer | null): void {
    this.#buffered = rest
    this.#room = null
    this.#scanned = 0
  }

  /** One request after the other, in a loop: many that came at once and are answered at once make no deep stack. */
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    while (this.#phase === 'head' && this.#buffered !== null && this.#readHead(this.#buffered));
    this.#pumping = false
  }

  /** False where bytes are missing. */
  #readHead(buffer: Buffer): boolean {
    const { headBytesMax } = this.#owner.limits
    const first = buffer[0] as number
    if (first <= 0x20 || first >= 0x7f) {
      this.#refuse(new Refusal('http.malformed', 'the first byte begins no request'), null)
      return false
    }
    const end = findHeadEnd(buffer, Math.max(0, this.#scanned - 3))
    this.#scanned = buffer.length
    if (end > headBytesMax || (end < 0 && buffer.length > headBytesMax)) {
      this.#refuse(new Refusal('http.head_too_large', 'headBytesMax'), null)
      return false
    }
    if (end < 0) return false
    if (this.#answered === 0 && this.#owner.http2 !== undefined && buffer.toString('latin1', 0, end) === http2Preface) {
      this.#leave()
      this.socket.unshift(buffer)
      this.#owner.http2(this.socket)
      return false
    }
    let head: RequestMessage
    try {
      head = readRequestHead(buffer, 0, end)
    } catch (error) {
      this.#refuse(asRefusal(error), null)
      return false
    }
    this.#keepRest(buffer.length > end ? buffer.subarray(end) : null)
    if (head.kind === 'authority') this.#takeOver(head)
    else this.#aim(head)
    return true
  }

  #takeOver(head: RequestMessage): void {
    if (this.#owner.connect === undefined) {
      this.#refuse(new Refusal('http.method_unknown', 'CONNECT is not for this listener'), head)
      return
    }
    this.#owner.connect(head, this.socket, this.giveAway())
  }

  /** Returns what already came; what comes from now on is not read here. */
  giveAway(): Buffer {
    const rest = this.#buffered ?? Buffer.alloc(0)
    this.#leave()
    return rest
  }

  /** Somebody else has the socket from here on. */
  #leave(): void {
    this.#phase = 'closed'
    this.socket.pause()
    for (const [event, listener] of this.#listeners) this.socket.off(event, listener as () => void)
    this.#deafen()
    this.#owner.closed(this)
  }

  #aim(head: RequestMessage): void {
    this.#phase = 'aiming'
    this.#since = this.#owner.monotonic()
    try {
      if (head.upgrade) checkUpgrade(head)
      if (this.#owner.draining()) throw new Refusal('flow.draining')
      const aimed = this.#owner.aim(head)
      if (aimed instanceof Promise)
        aimed.then(
          (done) => this.#begin(head, done),
          (error) => this.#refuse(asRefusal(error), head),
        )
      else this.#begin(head, aimed)
    } catch (error) {
      this.#refuse(asRefusal(error), head)
    }
  }

  #begin(head: RequestMessage, aimed: Aimed): void {
    if (this.#phase !== 'aiming') return
    this.#phase = 'call'
    this.#answered++
    const rest = this.#buffered
    this.#keepRest(null)
    const call = new AgentCall(this, this.#owner, head, aimed)
    this.#call = call
    if (rest !== null) call.bodyBytes(rest)
    begin(this.#owner, call)
  }

  /** From the call: its answer is complete; may another request follow? */
  callDone(keepAlive: boolean): void {
    this.#call = null
    if (this.#phase !== 'call') return
    if (!keepAlive) return this.#end(null)
    this.#phase = 'head'
    this.#since = this.#owner.monotonic()
    this.socket.resume()
    this.#pump()
  }

  /** Bytes that belong to what follows the call under way. */
  keep(rest: Buffer): void {
    this.#append(rest)
    if ((this.#buffered as Buffer).length > this.#owner.limits.headBytesMax) this.socket.pause()
  }

  #refuse(refusal: Refusal, head: RequestMessage | null): void {
    if (this.#phase === 'ending' || this.#phase === 'closed') return
    const id = this.#owner.newId()
    this.#owner.refused(refusal, head, id)
    this.#end(refusalBytes(refusal, id, { head: head?.method === 'HEAD', keepAlive: false, reason: false }))
  }

  /** RFC 9112 §9.6: our side ends, theirs is read and dropped for a while, or a reset would take the answer from them. */
  #end(last: Buffer | null): void {
    this.#phase = 'ending'
    this.#since = this.#owner.monotonic()
    this.#keepRest(null)
    if (last === null) this.socket.end()
    else this.socket.end(last)
    this.socket.resume()
  }

  close(): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#keepRest(null)
    const call = this.#call
    this.#call = null
    this.socket.destroy()
    this.#owner.closed(this)
    call?.left()
  }
}

function asRefusal(error: unknown): Refusal {
  return error instanceof Refusal ? error : new Refusal('flow.defect', error instanceof Error ? error.message : String(error), error)
}
