// One HTTP/2 connection of an agent: each stream becomes a Call of its own, aimed by the same door as a request over HTTP/1.1.
// It knows no policy. What one connection abuses ends that connection by GOAWAY, never the process.
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { requestFromList } from '../http/h2-head.ts'
import type { RequestMessage } from '../http/read-head.ts'
import type { Limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Aimed } from './call.ts'
import type { ConnectionOwner, Held } from './connection.ts'
import { H2Call, type H2CallOwner } from './h2-call.ts'
import { refuseStream } from './refuse.ts'
import { begin } from './under-way.ts'

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_FLAG_END_STREAM } = constants

export class H2Connection implements Held {
  readonly #session: ServerHttp2Session
  readonly #owner: ConnectionOwner
  readonly #callOwner: H2CallOwner
  readonly #scheme: 'https' | 'http'
  readonly #under = new Set<H2Call>()
  /** Streams whose aim is awaited. */
  #aiming = 0
  #begun = 0
  #since: number
  #endingSince = -1
  #controlFrames = 0
  #controlSince: number

  constructor(socket: Socket, owner: ConnectionOwner, scheme: 'https' | 'http') {
    this.#owner = owner
    this.#scheme = scheme
    this.#since = owner.monotonic()
    this.#controlSince = this.#since
    this.#callOwner = { ...owner, callDone: (call) => this.#callDone(call), lastCall: () => this.drain() }
    const session = performServerHandshake(socket, sessionOptions(owner.limits))
    this.#session = session
    session.on('stream', (stream, _fields, flags, list) => this.#stream(stream, flags, list as unknown as string[]))
    session.on('ping', () => this.#control())
    session.on('remoteSettings', () => this.#control())
    session.on('error', () => this.close())
    session.once('close', () => owner.closed(this))
    // A TLS socket that no server of Node's made never says that it is connected, and the session waits for that.
    if (scheme === 'https') socket.emit('secureConnect')
  }

  get calls(): number {
    return this.#under.size + this.#aiming
  }

  checkTime(now: number): void {
    const { limits } = this.#owner
    for (const call of this.#under) if (call.stalled(now)) call.cut()
    if (this.calls > 0) return
    if (
      this.#endingSince >= 0
        ? now - this.#endingSince > limits.lingerMs
        : now - this.#since > (this.#begun > 0 ? limits.idleMs : limits.headMs)
    )
      this.close()
  }

  /** RFC 9113 §6.8: GOAWAY; streams under way end by themselves, and with the last one the connection. */
  drain(): void {
    if (this.#endingSince >= 0) return
    this.#endingSince = this.#owner.monotonic()
    if (!this.#session.closed) this.#session.close()
  }

  close(): void {
    if (!this.#session.destroyed) this.#session.destroy()
  }

  #stream(stream: ServerHttp2Stream, flags: number, list: readonly string[]): void {
    stream.on('error', () => {})
    // Reset before anybody looked at it: there is nobody to answer.
    if (stream.destroyed || stream.closed) return
    this.#begun++
    let head: RequestMessage
    try {
      head = requestFromList(list, this.#scheme, (flags & NGHTTP2_FLAG_END_STREAM) !== 0)
    } catch (error) {
      return this.#refuse(stream, asRefusal(error), null)
    }
    try {
      if (this.#owner.draining()) throw new Refusal('flow.draining')
      const aimed = this.#owner.aim(head)
      if (aimed instanceof Promise) this.#await(stream, head, aimed)
      else this.#begin(stream, head, aimed)
    } catch (error) {
      this.#refuse(stream, asRefusal(error), head)
    }
  }

  #await(stream: ServerHttp2Stream, head: RequestMessage, aimed: Promise<Aimed>): void {
    this.#aiming++
    aimed.then(
      (done) => {
        this.#aiming--
        this.#begin(stream, head, done)
      },
      (error) => {
        this.#aiming--
        this.#refuse(stream, asRefusal(error), head)
      },
    )
  }

  #begin(stream: ServerHttp2Stream, head: RequestMessage, aimed: Aimed): void {
    if (stream.destroyed || stream.closed) return
    const call = new H2Call(stream, this.#callOwner, head, aimed)
    this.#under.add(call)
    begin(this.#owner, call)
  }

  #callDone(call: H2Call): void {
    this.#under.delete(call)
    this.#since = this.#owner.monotonic()
  }

  #refuse(stream: ServerHttp2Stream, refusal: Refusal, head: RequestMessage | null): void {
    const id = this.#owner.newId()
    this.#owner.refused(refusal, head, id)
    refuseStream(stream, refusal, id)
    stream.resume()
    this.#since = this.#owner.monotonic()
    if (refusal.code.startsWith('identify.')) this.drain()
  }

  /** PING and SETTINGS must be answered, and cost the peer nothing (CVE-2019-9512, CVE-2019-9515). */
  #control(): void {
    const now = this.#owner.monotonic()
    if (now - this.#controlSince > 1_000) {
      this.#controlSince = now
      this.#controlFrames = 0
    }
    if (++this.#controlFrames <= this.#owner.limits.h2ControlFramesPerSecondMax) return
    this.#session.goaway(NGHTTP2_ENHANCE_YOUR_CALM)
    this.close()
  }
}

function sessionOptions(limits: Limits) {
  return {
    // Further ones are reset by nghttp2; up to here our reader says why.
    maxHeaderListPairs: limits.headFieldsMax + limits.h2CookieCrumbsMax,
    maxSessionInvalidFrames: limits.h2InvalidFramesMax,
    maxSessionRejectedStreams: limits.h2RejectedStreamsMax,
    streamResetBurst: limits.h2ResetsMax,
    streamResetRate: limits.h2ResetsPerSecondMax,
    // Two lines of one field pass as they came; what they mean is the API's.
    strictSingleValueFields: false,
    settings: {
      maxConcurrentStreams: limits.h2StreamsMax,
      maxHeaderListSize: limits.headBytesMax,
      initialWindowSize: limits.h2WindowBytes,
      enablePush: false,
    },
  }
}

function asRefusal(error: unknown): Refusal {
  return error instanceof Refusal ? error : new Refusal('flow.defect', error instanceof Error ? error.message : String(error), error)
}
