// The transparent way in: a connection that its client believes to lead to the API itself. The first bytes say which host is
// meant (SNI of a TLS hello, else Host of an HTTP head); from there on the rules of CONNECT hold, none is looser. It never
// believes the address that was dialled: only the port, which the run's relay tells.
import type { Socket } from 'node:net'
import tls from 'node:tls'
import type { ConnectionMemory } from '../model/call.ts'
import type { Limits } from '../model/limits.ts'
import { agentLeft, Refusal } from '../model/refusal.ts'
import type { Caller } from './accept.ts'
import { aimTransparent, managed } from './aim.ts'
import { type Authority, canonicalHost } from './canonical.ts'
import { asRefusal, intercept, type ConnectOptions as Options, tunnel } from './connect.ts'
import { nothingPresented } from './presented.ts'
import { refusalBytes } from './refuse.ts'
import { readHello } from './tunnel.ts'

/** Fatal alert unrecognized_name (RFC 6066 §3): nothing else can be said to a client that names no host. */
const unrecognizedName = Buffer.from([21, 3, 1, 0, 2, 2, 112])

type ConnectOptions = Omit<Options, 'challenged'>

export function createTransparent(options: ConnectOptions): (caller: Caller, port: number) => Promise<void> {
  return async (caller, port) => {
    const { socket } = caller
    let authority: Authority | null = null
    let bytes: Buffer = Buffer.alloc(0)
    try {
      bytes = await firstBytes(socket, options.limits)
      if (bytes[0] !== 22) return plain(options, caller, port, bytes)
      const hello = await readHello(socket, bytes, options.limits)
      bytes = hello.bytes
      if (hello.serverName === null) throw new Refusal('accept.not_tls', 'no SNI')
      authority = { host: canonicalHost(hello.serverName), port }
      const service = options.lookup.find('https', authority.host, port)
      if (service === null && managed(options.lookup, authority.host))
        throw new Refusal('accept.host_unmanaged', 'a managed host at another port or scheme')
      const memory = await caller.evidence(nothingPresented).then((evidence): ConnectionMemory => ({ evidence, identity: null }), asRefusal)
      if (socket.destroyed) return
      if (service !== null) return intercept(options, authority, memory, caller, bytes, 'transparent')
      if (memory instanceof Refusal) throw memory
      const { host } = authority
      tunnel(options, authority, memory, caller, {
        rest: bytes,
        way: 'transparent',
        refuse: (_socket, refusal, id) => tellInside(options, host, caller, bytes, refusal, id),
      })
    } catch (error) {
      const refusal = asRefusal(error)
      if (refusal.code === 'forward.reset') return
      const id = options.newId()
      options.onRefused(refusal, { id, way: 'transparent', peer: caller.peer(), ...(authority ?? { port }) })
      if (authority !== null) tellInside(options, authority.host, caller, bytes, refusal, id)
      else if (bytes.length > 0) socket.end(unrecognizedName)
      else socket.destroy()
    }
  }
}

/** Rejects with forward.reset when the client leaves before it has said anything, and with accept.not_tls when it is silent. */
function firstBytes(socket: Socket, limits: Limits): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const over = (): void => {
      clearTimeout(late)
      socket.off('data', said)
      socket.off('close', closed)
      socket.pause()
    }
    const said = (chunk: Buffer): void => {
      over()
      resolve(chunk)
    }
    const closed = (): void => {
      over()
      reject(new Refusal('forward.reset', agentLeft))
    }
    const late = setTimeout(() => {
      over()
      reject(new Refusal('accept.not_tls', 'neither a TLS hello nor an HTTP head in time'))
    }, limits.handshakeMs)
    socket.on('data', said)
    socket.once('close', closed)
    socket.resume()
  })
}

/** HTTP in clear, in origin form: the host is the Host field's. */
function plain(options: ConnectOptions, caller: Caller, port: number, bytes: Buffer): void {
  const { socket } = caller
  let remembered: ConnectionMemory | null = null
  options.open(socket, {
    ...options.ownerFor('transparent', caller, { port }),
    aim(head) {
      const aimed = aimTransparent(head, port, options.lookup)
      if (remembered !== null) return { ...aimed, memory: remembered }
      return caller.evidence(nothingPresented).then((evidence) => {
        const memory: ConnectionMemory = { evidence, identity: null }
        remembered = memory
        return { ...aimed, memory }
      })
    },
  })
  socket.unshift(bytes)
  socket.resume()
}

/** A refusal for a host that is not intercepted: said inside TLS all the same, so that a no never looks like a broken network. */
function tellInside(options: ConnectOptions, host: string, { socket }: Caller, hello: Buffer, refusal: Refusal, id: string): void {
  if (socket.destroyed) return
  socket.unshift(hello)
  const secure = new tls.TLSSocket(socket, {
    isServer: true,
    secureContext: options.leaves.contextFor(host),
    ALPNProtocols: ['http/1.1'],
  })
  const late = setTimeout(() => socket.destroy(), options.limits.handshakeMs)
  socket.once('close', () => clearTimeout(late))
  secure.on('error', () => secure.destroy())
  secure.once('data', () => secure.end(refusalBytes(refusal, id, { head: false, keepAlive: false, reason: false })))
}
