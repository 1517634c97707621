// A permitted connection that Ostiary cannot read: relayed only once its TLS hello asks for the CONNECT host, without ECH
// (invariant 14). Nothing is dialled before.
import type { Socket } from 'node:net'
import type { ConnectionMemory, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Limits } from '../model/limits.ts'
import { agentLeft, Refusal } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'
import type { Authority } from './canonical.ts'
import { type Hello, readClientHello } from './client-hello.ts'
import { Presence } from './under-way.ts'

export interface TunnelOptions {
  readonly id: string
  readonly authority: Authority
  readonly memory: ConnectionMemory
  readonly socket: Socket
  /** What came behind the CONNECT head. */
  readonly rest: Buffer
  readonly clock: Clock
  readonly limits: Limits
  /** Without CONNECT there is nothing to answer 200 to. */
  readonly way: 'tunnel' | 'transparent'
  readonly refuse: (socket: Socket, refusal: Refusal, id: string) => void
}

const left = (): Refusal => new Refusal('forward.reset', agentLeft)

export function createTunnel(options: TunnelOptions): TunnelCall {
  const { socket, authority, id, limits } = options
  const target: Target = {
    scheme: 'https',
    host: authority.host,
    port: authority.port,
    method: 'CONNECT',
    path: '',
    query: '',
    service: null,
    action: 'tunnel',
    way: options.way,
  }
  const presence = new Presence()
  if (socket.destroyed) presence.leave()
  let established = false
  socket.once('close', () => presence.leave())
  return {
    id,
    startedAt: options.clock.now(),
    target,
    connection: options.memory,
    get gone() {
      return presence.gone
    },
    whenGone: (run) => presence.whenGone(run),
    async relay(dial) {
      if (presence.gone) throw left()
      established = true
      if (options.way === 'tunnel') socket.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      const { bytes, serverName, encrypted } = await readHello(socket, options.rest, limits)
      if (encrypted) throw new Refusal('accept.not_tls', 'ECH')
      if (serverName !== authority.host) throw new Refusal('accept.not_tls', 'SNI is not the CONNECT host')
      const upstream = await dial()
      if (presence.gone) {
        upstream.destroy()
        throw left()
      }
      return relayBytes(socket, upstream, bytes, limits.tunnelIdleMs)
    },
    refuse(refusal) {
      if (established || presence.gone) socket.destroy()
      else options.refuse(socket, refusal, id)
    },
    cut: () => void socket.destroy(),
  }
}

/** Reads until the hello is complete; rejects with Refusal accept.not_tls, or forward.reset when the agent leaves. */
export function readHello(socket: Socket, rest: Buffer, limits: Limits): Promise<Hello & { readonly bytes: Buffer }> {
  return new Promise((resolve, reject) => {
    let bytes = rest
    const late = setTimeout(() => fail(new Refusal('accept.not_tls', 'no hello in time')), limits.handshakeMs)
    const stop = (): void => {
      clearTimeout(late)
      socket.off('data', more)
      socket.off('close', closed)
      socket.pause()
    }
    const fail = (refusal: Refusal): void => {
      stop()
      reject(refusal)
    }
    const closed = (): void => fail(left())
    const look = (): void => {
      try {
        const hello = readClientHello(bytes)
        if (hello === null) {
          if (bytes.length > limits.helloBytesMax) fail(new Refusal('accept.not_tls', 'helloBytesMax'))
          return
        }
        stop()
        resolve({ ...hello, bytes })
      } catch (error) {
        fail(error as Refusal)
      }
    }
    const more = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk])
      look()
    }
    socket.on('data', more)
    socket.once('close', closed)
    socket.resume()
    look()
  })
}

/** Resolves when both sides are closed. An end on one side is passed on once what came before it was written. */
function relayBytes(agent: Socket, upstream: Socket, first: Buffer, idleMs: number): Promise<{ bytesIn: number; bytesOut: number }> {
  return new Promise((resolve) => {
    let bytesIn = first.length
    let bytesOut = 0
    let open = 2
    const closed = (): void => {
      if (--open === 0) resolve({ bytesIn, bytesOut })
    }
    const join = (from: Socket, to: Socket, count: (bytes: number) => void): void => {
      const over = (): void => {
        // Closed without an end: a reset, passed on as a cut.
        if (from.readableEnded) to.end()
        else to.destroy()
        closed()
      }
      // A socket that closed while the other was dialled has told so already.
      if (from.destroyed) return over()
      from.setTimeout(idleMs, () => {
        from.destroy()
        to.destroy()
      })
      from.on('data', (chunk: Buffer) => {
        count(chunk.length)
        if (!to.write(chunk)) from.pause()
      })
      to.on('drain', () => from.resume())
      from.on('error', () => to.destroy())
      from.once('end', () => to.end())
      from.once('close', over)
    }
    join(agent, upstream, (bytes) => {
      bytesIn += bytes
    })
    join(upstream, agent, (bytes) => {
      bytesOut += bytes
    })
    upstream.write(first)
    agent.resume()
    upstream.resume()
  })
}
