// One request and its response through the proxy, as accept hands it to the flow.
import type { Evidence } from './evidence.ts'
import type { Identity } from './identity.ts'
import type { Edits, Flow, RequestHead, ResponseHead } from './message.ts'
import type { Refusal } from './refusal.ts'
import type { Service } from './service.ts'
import type { AgentUpgrade } from './socket.ts'
import type { Target } from './target.ts'

/** What is remembered for the life of one connection of an agent. */
export interface ConnectionMemory {
  readonly evidence: Evidence
  identity: Identity | null
}

export interface Call {
  /** Unique, sortable by time. */
  readonly id: string
  readonly startedAt: number
  readonly head: RequestHead
  readonly target: Target
  /** null for a host that no service manages. */
  readonly service: Service | null
  readonly connection: ConnectionMemory
  /** Where the request asks to become a WebSocket, soundly (RFC 6455 §4.2.1). */
  readonly upgrade?: AgentUpgrade
  /** Body of the request. After readBody() it is whole. */
  readonly body: Flow
  /** Body bytes received so far. */
  readonly bytesIn: number
  /** Body bytes of the answer that were handed to the agent; -1 while its head has not been. */
  readonly bytesOut: number
  readonly gone: boolean
  /** Reads the whole body, at most bytesMax; throws Refusal decide.body_unreadable over it. */
  readBody(bytesMax: number): Promise<Buffer>
  /** Runs once when the agent leaves before its answer is complete. Returns the way to take it back. */
  whenGone(run: () => void): () => void
  /** Sends the answer; resolves when its last byte was handed to the socket. Rejects when agent or source fail. */
  answer(head: ResponseHead, edits: Edits, body: Flow): Promise<void>
  /** Sends a problem document (RFC 9457), or cuts the stream when the answer has begun. */
  refuse(refusal: Refusal, id: string): void
  /** Cuts the connection at once (revocation in mid-stream). */
  cut(): void
}

/** A CONNECT to a host that no service manages, to be passed unread if policy says so. */
export interface TunnelCall {
  readonly id: string
  readonly startedAt: number
  readonly target: Target
  readonly connection: ConnectionMemory
  readonly gone: boolean
  whenGone(run: () => void): () => void
  /** Answers 200, waits for the TLS hello, checks its SNI against the target (no ECH), then relays. Resolves at the end. */
  relay(dial: () => Promise<import('node:net').Socket>): Promise<{ bytesIn: number; bytesOut: number }>
  refuse(refusal: Refusal, id: string): void
  cut(): void
}
