// One HTTP/2 connection to an API, shared by the calls of one credential. It never sends twice what may have been sent, and what
// ends one stream leaves its neighbours alone.
import http2, { type ClientHttp2Session, sensitiveHeaders } from 'node:http2'
import type { Socket } from 'node:net'
import { requestToList } from '../http/h2-head.ts'
import type { Framing, RequestMessage } from '../http/read-head.ts'
import type { Call } from '../model/call.ts'
import type { Limits } from '../model/limits.ts'
import type { Edits } from '../model/message.ts'
import { H2Request } from './h2-request.ts'

export type H2Limits = Pick<
  Limits,
  | 'answerHeadMs'
  | 'answerStallMs'
  | 'earlyAnswersMax'
  | 'headFieldsMax'
  | 'headBytesMax'
  | 'h2StreamsMax'
  | 'h2AnswerWindowBytes'
  | 'h2ConnectionWindowBytes'
  | 'h2SilenceMs'
>

export interface H2Owner {
  /** A stream has ended: there is room for another. */
  room(upstream: H2Upstream): void
  gone(upstream: H2Upstream): void
}

export class H2Upstream {
  readonly key: string
  readonly #session: ClientHttp2Session
  readonly #owner: H2Owner
  readonly #now: () => number
  readonly #limits: H2Limits
  readonly #under = new Set<H2Request>()
  /** Lent, and not yet asked. */
  #lent = 0
  #heardAt: number
  #pingedAt = -1
  freeSince: number

  constructor(key: string, socket: Socket, owner: H2Owner, now: () => number, limits: H2Limits) {
    this.key = key
    this.#owner = owner
    this.#now = now
    this.#limits = limits
    this.#heardAt = now()
    this.freeSince = this.#heardAt
    // The authority is never used: every request names its own.
    const session = http2.connect('https://unused.invalid', sessionOptions(socket, limits))
    this.#session = session
    session.once('connect', () => session.setLocalWindowSize(limits.h2ConnectionWindowBytes))
    session.on('error', () => this.destroy())
    session.once('close', () => owner.gone(this))
  }

  get usable(): boolean {
    return !this.#session.closed && !this.#session.destroyed
  }

  get hasRoom(): boolean {
    const theirs = this.#session.remoteSettings?.maxConcurrentStreams ?? this.#limits.h2StreamsMax
    return this.usable && this.#under.size + this.#lent < Math.min(this.#limits.h2StreamsMax, theirs)
  }

  get idle(): boolean {
    return this.#under.size + this.#lent === 0
  }

  /** Holds a place until ask or release. */
  lend(): this {
    this.#lent++
    return this
  }

  /** Gives back what carried nothing after all. */
  release(): void {
    this.#lent--
    this.#left()
  }

  /** Uses the place that was lent. Throws Refusal inject.bad_value, or an error of Node's where the session has just ended. */
  ask(call: Call, edits: Edits, framing: Framing): H2Request {
    const { list, sensitive } = requestToList(call.head as RequestMessage, edits, call.target, framing)
    const empty = call.body.whole?.length === 0
    const stream = this.#session.request(Object.assign(list, { [sensitiveHeaders]: sensitive }), { endStream: empty })
    this.#lent--
    const request: H2Request = new H2Request(stream, call.target.method, call.body, {
      now: this.#now,
      limits: this.#limits,
      heard: () => {
        this.#heardAt = this.#now()
      },
      done: () => {
        this.#under.delete(request)
        this.#left()
      },
    })
    this.#under.add(request)
    return request
  }

  #left(): void {
    if (this.idle) this.freeSince = this.#now()
    this.#owner.room(this)
  }

  /** Called by the pool's one timer. */
  checkStall(now: number): void {
    for (const request of this.#under) request.checkStall(now)
    const { h2SilenceMs } = this.#limits
    if (this.#pingedAt >= 0 && now - this.#pingedAt > h2SilenceMs) return this.destroy()
    // A line that has gone dead swallows what is sent, and one connection carries many calls: so it is asked.
    if (this.#under.size === 0 || this.#pingedAt >= 0 || now - this.#heardAt <= h2SilenceMs || !this.usable) return
    this.#pingedAt = now
    this.#session.ping(() => {
      this.#pingedAt = -1
      this.#heardAt = this.#now()
    })
  }

  /** No further stream; those under way end by themselves. */
  close(): void {
    if (this.usable) this.#session.close()
  }

  destroy(): void {
    if (!this.#session.destroyed) this.#session.destroy()
  }
}

function sessionOptions(socket: Socket, limits: H2Limits) {
  return {
    createConnection: () => socket,
    maxHeaderListPairs: limits.headFieldsMax + 1,
    // Two lines of one field pass as they came; what they mean is the API's.
    strictSingleValueFields: false,
    settings: { enablePush: false, initialWindowSize: limits.h2AnswerWindowBytes, maxHeaderListSize: limits.headBytesMax },
  }
}
