// A permitted connection that Ostiary cannot read: relayed only once its TLS hello asks for the CONNECT host, without ECH.
import type { Socket } from 'node:net'
import type { ConnectionMemory, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'
import type { Authority } from './canonical.ts'
import { readClientHello } from './client-hello.ts'

export interface TunnelOptions {
  readonly id: string
  readonly authority: Authority
  readonly memory: ConnectionMemory
  readonly socket: Socket
  /** What came behind the CONNECT head. */
  readonly rest: Buffer
  readonly clock: Clock
  readonly refuse: (socket: Socket, refusal: Refusal, id: string) => void
}

export function createTunnel(options: TunnelOptions): TunnelCall {
  const { socket, authority, id } = options
  const target: Target = {
    scheme: 'https',
    host: authority.host,
    port: authority.port,
    method: 'CONNECT',
    path: '',
    query: '',
    service: null,
    action: 'tunnel',
    way: 'tunnel',
  }
  const whenGone: (() => void)[] = []
  let gone = false
  let established = false
  socket.once('close', () => {
    gone = true
    for (const run of whenGone.splice(0)) run()
  })
  return {
    id,
    startedAt: options.clock.now(),
    target,
    connection: options.memory,
    get gone() {
      return gone
    },
    whenGone(run) {
      if (gone) run()
      else whenGone.push(run)
      return () => {
        const at = whenGone.indexOf(run)
        if (at >= 0) whenGone.splice(at, 1)
      }
    },
    async relay(dial) {
      established = true
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      const hello = await firstHello(socket, options.rest, authority.host)
      return relayBytes(socket, await dial(), hello)
    },
    refuse(refusal) {
      if (established || gone) socket.destroy()
      else options.refuse(socket, refusal, id)
    },
    cut: () => void socket.destroy(),
  }
}

/** Reads until the hello is complete and asks for `host`. Nothing is dialled before. */
function firstHello(socket: Socket, rest: Buffer, host: string): Promise<Buffer> {
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
    const closed = (): void => fail(new Refusal('forward.reset', 'the agent left'))
    const look = (): void => {
      try {
        const hello = readClientHello(bytes)
        if (hello === null) {
          if (bytes.length > limits.helloBytesMax) fail(new Refusal('accept.not_tls', 'helloBytesMax'))
          return
        }
        if (hello.encrypted) return fail(new Refusal('accept.not_tls', 'ECH'))
        if (hello.serverName !== host) return fail(new Refusal('accept.not_tls', 'SNI is not the CONNECT host'))
        stop()
        resolve(bytes)
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

function relayBytes(agent: Socket, upstream: Socket, first: Buffer): Promise<{ bytesIn: number; bytesOut: number }> {
  return new Promise((resolve) => {
    let bytesIn = first.length
    let bytesOut = 0
    const end = (): void => {
      agent.destroy()
      upstream.destroy()
      resolve({ bytesIn, bytesOut })
    }
    for (const socket of [agent, upstream]) {
      socket.setTimeout(limits.tunnelIdleMs, end)
      socket.on('error', end)
      socket.on('close', end)
    }
    agent.on('data', (chunk: Buffer) => {
      bytesIn += chunk.length
      if (!upstream.write(chunk)) agent.pause()
    })
    upstream.on('data', (chunk: Buffer) => {
      bytesOut += chunk.length
      if (!agent.write(chunk)) upstream.pause()
    })
    upstream.on('drain', () => agent.resume())
    agent.on('drain', () => upstream.resume())
    upstream.write(first)
    agent.resume()
  })
}
