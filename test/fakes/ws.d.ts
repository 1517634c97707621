// As much of the `ws` package as the tests use: it carries no types of its own. Never more than what they call.
declare module 'ws' {
  import type { EventEmitter } from 'node:events'
  import type { IncomingMessage } from 'node:http'
  import type { Duplex, Writable } from 'node:stream'

  export class WebSocket extends EventEmitter {
    constructor(url: string, protocols?: readonly string[], options?: Readonly<Record<string, unknown>>)
    readonly protocol: string
    readonly extensions: string
    readonly _socket: import('node:net').Socket
    send(message: string | Uint8Array, options?: { readonly fin?: boolean; readonly binary?: boolean }): void
    ping(): void
    close(code?: number, reason?: string): void
    terminate(): void
  }

  export class WebSocketServer {
    constructor(options: Readonly<Record<string, unknown>>)
    handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, then: (ws: WebSocket) => void): void
  }

  export class Receiver extends Writable {
    constructor(options: Readonly<Record<string, unknown>>)
  }
}
