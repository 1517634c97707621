// CONNECT: a managed host is intercepted, any other becomes a tunnel call that policy must permit. One authority is made
// here, and SNI and every Host inside must be it (invariant 3).
import { isIP, type Socket } from 'node:net'
import tls from 'node:tls'
import type { RequestMessage } from '../http/read-head.ts'
import type { ConnectionMemory } from '../model/call.ts'
import type { Limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Way } from '../model/target.ts'
import { protocolList } from '../net/alpn.ts'
import type { AcceptOptions, Caller } from './accept.ts'
import { aimIntercepted, managed } from './aim.ts'
import { type Authority, parseAuthority } from './canonical.ts'
import type { ConnectionOwner } from './connection.ts'
import { type Presented, presented } from './presented.ts'
import { refusalBytes } from './refuse.ts'
import { createTunnel, type TunnelOptions } from './tunnel.ts'

export interface ConnectOptions extends Omit<AcceptOptions, 'limits'> {
  readonly limits: Limits
  /** Throws Refusal identify.credentials_required or identify.transport. */
  readonly challenged: (caller: Caller, said: Presented) => Promise<ConnectionMemory>
  readonly ownerFor: (way: Way, caller: Caller, authority?: Partial<Authority>) => Omit<ConnectionOwner, 'aim'>
  readonly open: (socket: Socket, owner: ConnectionOwner) => void
  readonly draining: () => boolean
}

export type Connect = (head: RequestMessage, caller: Caller, rest: Buffer) => Promise<void>

const protocols = protocolList(['h2', 'http/1.1'])
const established = 'HTTP/1.1 200 Connection Established\r\n\r\n'
const lingerMs = 1_000

export function createConnect(options: ConnectOptions): Connect {
  return async (head, caller, rest) => {
    const { socket } = caller
    let authority: Authority | null = null
    try {
      if (options.draining()) throw new Refusal('flow.draining')
      authority = parseAuthority(head.target, null)
      const host = parseAuthority(head.host, 443)
      if (host.host !== authority.host || host.port !== authority.port) throw new Refusal('accept.disagree', 'CONNECT and its Host')
      const service = options.lookup.find('https', authority.host, authority.port)
      // A managed host is never tunnelled (invariant 14), on no other port and not in clear.
      if (service === null && managed(options.lookup, authority.host))
        throw new Refusal('accept.host_unmanaged', 'a managed host at another port or scheme')
      const memory = await memoryOf(options, head, caller, service !== null)
      if (socket.destroyed) return
      if (service !== null) intercept(options, authority, memory, caller, rest, 'connect')
      else if (memory instanceof Refusal) throw memory
      else tunnel(options, authority, memory, caller, { rest, way: 'tunnel', refuse: refuseConnect })
    } catch (error) {
      const refusal = asRefusal(error)
      const id = options.newId()
      options.onRefused(refusal, { id, way: 'connect', peer: caller.peer(), method: 'CONNECT', ...(authority ?? { host: head.host }) })
      refuseConnect(socket, refusal, id)
    }
  }
}

/** A refusal that is no challenge is said inside TLS, where its document arrives: clients hide the body of a refused CONNECT. */
async function memoryOf(
  options: ConnectOptions,
  head: RequestMessage,
  caller: Caller,
  later: boolean,
): Promise<ConnectionMemory | Refusal> {
  try {
    return await options.challenged(caller, presented(head))
  } catch (error) {
    const refusal = asRefusal(error)
    if (!later || refusal.code === 'identify.credentials_required') throw refusal
    return refusal
  }
}

/** `rest`: what is known of the TLS hello already. */
export function intercept(
  options: Omit<ConnectOptions, 'challenged'>,
  authority: Authority,
  memory: ConnectionMemory | Refusal,
  caller: Caller,
  rest: Buffer,
  way: 'connect' | 'transparent',
): void {
  const { socket } = caller
  const { host } = authority
  let asked: string | null = null
  let refused: Refusal | null = memory instanceof Refusal ? memory : null
  let told = false
  const disagree = (detail: string): void => {
    refused ??= new Refusal('accept.disagree', detail)
  }
  const secureContext = options.leaves.contextFor(host)
  if (way === 'connect') socket.write(established)
  // What came right behind the CONNECT head is the begin of TLS.
  if (rest.length > 0) socket.unshift(rest)
  const secure = new tls.TLSSocket(socket, {
    isServer: true,
    secureContext,
    ALPNProtocols: protocols,
    SNICallback(name, done) {
      asked = name.toLowerCase()
      if (asked !== host) disagree('CONNECT and SNI')
      // Only ever the leaf of the CONNECT host; who asked for another is told so inside, if it listens at all.
      done(null, secureContext)
    },
  })
  // A loop that was busy may find both: the rest of a handshake that lies here already is read first.
  const late = setTimeout(() => setImmediate(() => secured || overdue()), options.limits.handshakeMs)
  let secured = false
  const overdue = (): void => {
    if (!socket.destroyed) refused ??= new Refusal('accept.not_tls', 'no end of the handshake in time')
    socket.destroy()
  }
  secure.on('error', () => secure.destroy())
  socket.once('close', () => {
    clearTimeout(late)
    if (refused !== null && !told) {
      const id = options.newId()
      options.onRefused(refused, { id, way, peer: caller.peer(), method: 'CONNECT', ...authority })
    }
  })
  secure.once('secure', () => {
    secured = true
    clearTimeout(late)
    secure.disableRenegotiation()
    // RFC 6066 §3: no SNI for an IP literal; a name without one could be meant for anybody.
    if (asked === null && isIP(host) === 0) disagree('no SNI')
    options.open(secure, {
      ...options.ownerFor(way, caller, authority),
      aim(head) {
        told = true
        if (refused !== null || memory instanceof Refusal) throw refused ?? memory
        return { ...aimIntercepted(head, authority, options.lookup, way), memory }
      },
    })
  })
}

type TunnelForm = Pick<TunnelOptions, 'rest' | 'way' | 'refuse'>

export function tunnel(
  options: Omit<ConnectOptions, 'challenged'>,
  authority: Authority,
  memory: ConnectionMemory,
  caller: Caller,
  form: TunnelForm,
): void {
  const { socket } = caller
  const { clock, limits } = options
  const call = createTunnel({ id: options.newId(), authority, memory, socket, clock, limits, ...form })
  const failed = (error: unknown): void => {
    options.ownerFor('tunnel', caller).defect(error)
    call.refuse(new Refusal('flow.defect', '', error), call.id)
  }
  try {
    const flow = options.onTunnel(call)
    if (flow instanceof Promise) flow.catch(failed)
  } catch (error) {
    failed(error)
  }
}

/** A refused CONNECT ends the connection: what follows it may be meant for the host, never for us (RFC 9931). */
function refuseConnect(socket: Socket, refusal: Refusal, id: string): void {
  if (socket.destroyed) return
  socket.end(refusalBytes(refusal, id, { head: false, keepAlive: false, reason: true }))
  socket.resume()
  setTimeout(() => socket.destroy(), lingerMs).unref()
}

export function asRefusal(error: unknown): Refusal {
  return error instanceof Refusal ? error : new Refusal('flow.defect', error instanceof Error ? error.message : String(error), error)
}
