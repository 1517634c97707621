// A WebSocket as the flow sees it (RFC 6455): messages in pieces, both ways, on two connections of which each is strict.
import type { Socket } from 'node:net'
import type { Edits, ResponseHead } from './message.ts'

/** A connection that is HTTP no more, and what already came behind the last head. */
export interface Opened {
  readonly socket: Socket
  readonly rest: Buffer
}

/** The agent's half of a request that asks to become a WebSocket. */
export interface AgentUpgrade {
  /** Sends the 101 and gives the connection away; from then on `cut` is what cuts it. Throws Refusal forward.reset. */
  open(head: ResponseHead, edits: Edits, cut: () => void): Opened
  /** Payload bytes that came from the agent. */
  received(bytes: number): void
}

export interface Piece {
  readonly text: boolean
  readonly bytes: Buffer
  /** First and last piece of its message. */
  readonly first: boolean
  readonly last: boolean
}

export interface SideSink {
  piece(piece: Piece): void
  /** Once. Code 1005: closed without one; 1006: gone without a word; `broken` says which rule the peer broke. */
  ended(code: number, reason: Buffer, broken: string | null): void
  drained(): void
}

/** One end. Pings are answered and sent here: no control frame crosses. */
export interface Side {
  start(sink: SideSink): void
  /** False: no more until drained. */
  send(piece: Piece): boolean
  pause(): void
  resume(): void
  /** Says goodbye and ends; a second time does nothing. */
  close(code: number, reason: string | Buffer): void
}
