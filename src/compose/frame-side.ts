// One end of a WebSocket on a connection: fits the strict frames of http/ to a socket. It answers pings and sends its own, passes
// back-pressure on, and ends a peer that breaks the protocol or says nothing. It knows no policy.
import { randomFillSync } from 'node:crypto'
import type { Socket } from 'node:net'
import {
  closePayload,
  FrameBroken,
  type FrameEvent,
  type FrameLimits,
  FrameReader,
  mayBeSent,
  opcodes,
  writeFrame,
} from '../http/websocket.ts'
import type { Limits } from '../model/limits.ts'
import type { Opened, Piece, Side, SideSink } from '../model/socket.ts'

export type SideLimits = FrameLimits & {
  readonly [Name in keyof Pick<Limits, 'socketPingMs' | 'socketSilentPingsMax' | 'socketCloseMs'>]: number
}

const nothing = Buffer.alloc(0)

/** `peer` is who sits at the other end: an agent is the client of its connection, a host the server. */
export class FrameSide implements Side {
  readonly #socket: Socket
  readonly #reader: FrameReader
  readonly #limits: SideLimits
  /** Four fresh bytes a frame where we are the client (RFC 6455 §5.3). */
  readonly #mask: Buffer | null
  readonly #timer: NodeJS.Timeout
  #rest: Buffer
  #sink: SideSink | null = null
  #paused = false
  #pumping = false
  #over = false
  #closing = false
  #heard = true
  #silent = 0

  constructor(opened: Opened, peer: 'agent' | 'host', limits: SideLimits) {
    this.#socket = opened.socket
    this.#rest = opened.rest
    this.#limits = limits
    this.#reader = new FrameReader(peer === 'agent' ? 'client' : 'server', limits)
    this.#mask = peer === 'agent' ? null : Buffer.alloc(4)
    this.#timer = setInterval(() => this.#tick(), limits.socketPingMs)
    this.#timer.unref()
    this.#socket.on('error', () => this.#socket.destroy())
    this.#socket.on('close', () => this.#gone())
    this.#socket.on('end', () => this.#gone())
  }

  start(sink: SideSink): void {
    this.#sink = sink
    this.#socket.on('data', (chunk: Buffer) => this.#received(chunk))
    this.#socket.on('drain', () => sink.drained())
    if (this.#rest.length > 0) this.#received(this.#rest)
    this.#rest = nothing
    if (this.#socket.destroyed) this.#gone()
    else if (!this.#paused) this.#socket.resume()
  }

  #received(chunk: Buffer): void {
    this.#heard = true
    if (this.#over) return
    this.#reader.push(chunk)
    this.#pump()
  }

  /** One event after the other, as long as whoever takes them wants more. */
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    try {
      while (!this.#paused && !this.#over) {
        const event = this.#reader.next()
        if (event === null) break
        this.#event(event)
      }
    } catch (error) {
      if (!(error instanceof FrameBroken)) throw error
      this.#end(error.code, nothing, error.message)
    } finally {
      this.#pumping = false
    }
  }

  #event(event: FrameEvent): void {
    if (event.kind === 'piece') this.#sink?.piece(event)
    else if (event.kind === 'close') this.#end(event.code, event.reason, null)
    // RFC 6455 §5.5.3: who is asked faster than it can answer need not answer each.
    else if (event.kind === 'ping' && !this.#socket.writableNeedDrain) this.#write(opcodes.pong, true, event.bytes)
  }

  #end(code: number, reason: Buffer, broken: string | null): void {
    if (this.#over) return
    this.#over = true
    this.#sink?.ended(code, reason, broken)
  }

  #gone(): void {
    clearInterval(this.#timer)
    this.#end(1006, nothing, null)
    this.#socket.destroySoon()
  }

  #tick(): void {
    // Who is made to wait, or is waited for, is not silent.
    this.#silent = this.#heard || this.#paused ? 0 : this.#silent + 1
    this.#heard = false
    if (this.#silent >= this.#limits.socketSilentPingsMax) this.#socket.destroy()
    else if (!this.#closing && !this.#socket.writableNeedDrain) this.#write(opcodes.ping, true, nothing)
  }

  #write(opcode: number, last: boolean, payload: Buffer): boolean {
    if (this.#closing || !this.#socket.writable) return true
    if (this.#mask !== null) randomFillSync(this.#mask)
    return this.#socket.write(writeFrame(opcode, last, payload, this.#mask))
  }

  send({ text, bytes, first, last }: Piece): boolean {
    return this.#write(first ? (text ? opcodes.text : opcodes.binary) : opcodes.continuation, last, bytes)
  }

  pause(): void {
    if (this.#paused) return
    this.#paused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#pump()
    if (!this.#paused) this.#socket.resume()
  }

  close(code: number, reason: string | Buffer): void {
    if (this.#closing) return
    this.#over = true
    const said = code === 1005 || mayBeSent(code) ? code : 1000
    this.#write(opcodes.close, true, closePayload(said, Buffer.from(reason)))
    this.#closing = true
    clearInterval(this.#timer)
    // What still comes is read and dropped for a while, or a reset would take our last word from them.
    this.#paused = false
    this.#socket.resume()
    this.#socket.end()
    setTimeout(() => this.#socket.destroy(), this.#limits.socketCloseMs).unref()
  }
}
