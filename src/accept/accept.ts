// The doors for agents: an explicit proxy (CONNECT with TLS interception, absolute form) and a base-URL reverse proxy. Every
// way in ends in the same Call with one Target; what is not understood is refused here and recorded.
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { RequestMessage } from '../http/read-head.ts'
import type { Call, ConnectionMemory, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Evidence, PeerFacts } from '../model/evidence.ts'
import type { Log } from '../model/kind.ts'
import { type Limits, limits as limitsInForce } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Way } from '../model/target.ts'
import type { Passed } from '../net/activation.ts'
import { aimAbsolute, aimBaseUrl, type Lookup } from './aim.ts'
import type { Leaves } from './authority.ts'
import type { Authority } from './canonical.ts'
import { type ConnectOptions, createConnect } from './connect.ts'
import { Connection, type ConnectionOwner, type Held } from './connection.ts'
import { H2Connection } from './h2-connection.ts'
import { insideDoor } from './inside.ts'
import { createListeners, type Listeners } from './listeners.ts'
import { nothingPresented, type Presented, presented, samePresented } from './presented.ts'
import { refusalBytes } from './refuse.ts'
import { createTransparent } from './transparent.ts'

export interface RefusedEarly {
  /** The id that the agent was told. */
  readonly id: string
  readonly way: Way
  /** Before evidence is gathered: only what the socket itself says. */
  readonly peer: PeerFacts
  readonly host?: string
  readonly port?: number
  readonly method?: string
  readonly path?: string
}

export interface AcceptOptions {
  readonly proxy: Authority
  readonly baseUrl: Authority
  readonly leaves: Leaves
  readonly clock: Clock
  readonly log: Log
  readonly lookup: Lookup
  readonly gather: (socket: Socket) => Promise<{ readonly peer: PeerFacts; readonly unchanged: Evidence['unchanged'] }>
  /** Listening sockets that a parent has opened already, by the name of the door. */
  readonly passed?: Passed
  /** Who the connections of a peer are counted for; its user or address where left out. */
  readonly sender?: (peer: PeerFacts) => string
  /** Can only a token identify this peer? Then a request without one gets 407. */
  readonly tokenRequired: (peer: PeerFacts) => boolean
  readonly onCall: (call: Call) => void | Promise<void>
  readonly onTunnel: (call: TunnelCall) => void | Promise<void>
  readonly onRefused: (refusal: Refusal, about: RefusedEarly) => void
  readonly newId: () => string
  /** Those in force where left out; tests give shorter ones. */
  readonly limits?: Limits
}

export interface Accept {
  start(): Promise<{ readonly proxy: Authority; readonly baseUrl: Authority }>
  /** The door for isolated runs, a Unix socket; returns the way to close it. Its connections end by themselves. */
  listenInside(path: string): Promise<() => void>
  /** Stops listening, lets calls under way end up to drainMs, then cuts. */
  stop(): Promise<void>
  stats(): { readonly connections: number; readonly calls: number }
  readonly connections: number
  readonly ports: readonly number[]
}

/** One accepted socket and what is known of who is behind it. */
export interface Caller {
  readonly socket: Socket
  readonly peer: () => PeerFacts
  readonly evidence: (presented: Presented) => Promise<Evidence>
}

/** What the doors share. */
interface House {
  readonly options: AcceptOptions
  readonly limits: Limits
  readonly listeners: Listeners
  readonly connections: Set<Held>
  draining: boolean
  baseUrlNames: ReadonlySet<string>
}

const closeMs = 1_000

export function createAccept(options: AcceptOptions): Accept {
  const limits = options.limits ?? limitsInForce
  const listeners = createListeners(limits, options.log)
  const house: House = { options, limits, listeners, connections: new Set(), draining: false, baseUrlNames: new Set() }
  const { connections } = house
  const toProxy = proxyDoor(house)
  const toBaseUrl = baseUrlDoor(house)

  // The one timer: every connection is looked at once in a while, none has a timer of its own per request.
  const sweepMs = Math.max(10, Math.min(1_000, limits.headMs / 4))
  const sweep = setInterval(() => {
    const now = options.clock.monotonic()
    for (const connection of connections) connection.checkTime(now)
  }, sweepMs)
  sweep.unref()

  return {
    async start() {
      const proxy = await listeners.listen(options.proxy, toProxy, options.passed?.get('proxy'))
      const baseUrl = await listeners.listen(options.baseUrl, toBaseUrl, options.passed?.get('base-url'))
      house.baseUrlNames = namesOfListener(baseUrl)
      return { proxy, baseUrl }
    },
    listenInside: (path) =>
      listeners.listenUnix(path, insideDoor({ proxy: toProxy, baseUrl: toBaseUrl, transparent: transparentDoor(house) }, limits)),
    async stop() {
      house.draining = true
      listeners.close()
      for (const connection of [...connections]) connection.drain()
      await listeners.emptied(limits.drainMs)
      clearInterval(sweep)
      for (const connection of [...connections]) connection.close()
      for (const socket of [...listeners.sockets]) socket.destroy()
      await listeners.emptied(closeMs)
    },
    stats() {
      let calls = 0
      for (const connection of connections) calls += connection.calls
      return { connections: listeners.sockets.size, calls }
    },
    get connections() {
      return listeners.sockets.size
    },
    ports: listeners.ports,
  }
}

/** null where there is no room for another connection. */
function callerOf({ options, listeners, draining }: House, socket: Socket, way: Way): Caller | null {
  let known = bareFacts(socket)
  const full = (refusal: Refusal): void => {
    const id = options.newId()
    options.onRefused(refusal, { id, way, peer: known })
    socket.end(refusalBytes(refusal, id, { head: false, keepAlive: false, reason: true }), () => socket.destroy())
  }
  if (draining || !listeners.admit(socket)) {
    full(draining ? new Refusal('flow.draining') : new Refusal('accept.too_many', 'connectionsMax'))
    return null
  }
  // Evidence is gathered once a connection, while its first head is being read.
  const gathered = options.gather(socket).then((facts) => {
    known = facts.peer
    if (listeners.claim(socket, (options.sender ?? senderOf)(known))) return facts
    const refusal = new Refusal('accept.too_many', 'connectionsPerSenderMax')
    full(refusal)
    throw refusal
  })
  gathered.catch(() => {})
  return {
    socket,
    peer: () => known,
    async evidence({ pointer, token }) {
      const { peer, unchanged } = await gathered
      if (token !== null && !peer.loopback && !peer.secure && peer.transport !== 'unix') throw new Refusal('identify.transport')
      return { peer, pointer, token, unchanged }
    },
  }
}

/** What every kind of connection shares. */
function ownerFor(house: House, way: Way, caller: Caller, authority?: Partial<Authority>): Omit<ConnectionOwner, 'aim'> {
  const { options, limits, connections } = house
  return {
    limits,
    call: options.onCall,
    refused: (refusal, head, id) => options.onRefused(refusal, { id, way, peer: caller.peer(), ...namesOf(head), ...authority }),
    defect: (error) => options.log.error('defect of a flow', { error: error instanceof Error ? (error.stack ?? '') : String(error) }),
    closed: (connection) => connections.delete(connection),
    newId: options.newId,
    now: () => options.clock.now(),
    monotonic: () => options.clock.monotonic(),
    draining: () => house.draining,
  }
}

function proxyDoor(house: House): (socket: Socket) => void {
  const { options, connections } = house
  const challenged = async (caller: Caller, said: Presented): Promise<ConnectionMemory> => {
    const evidence = await caller.evidence(said)
    // The one exception to 403: only proxy credentials could identify this caller, so it is asked for them.
    if (said.token === null && said.pointer === null && options.tokenRequired(evidence.peer))
      throw new Refusal('identify.credentials_required')
    return { evidence, identity: null }
  }
  const connect = createConnect({ ...connectOptions(house), challenged })
  return (socket) => {
    const caller = callerOf(house, socket, 'absolute')
    if (caller === null) return
    // Whoever presents something else on the same connection (a proxy before us pools its clients) is somebody else.
    let remembered: { readonly said: Presented; readonly memory: ConnectionMemory } | null = null
    const owner: ConnectionOwner = {
      ...ownerFor(house, 'absolute', caller),
      aim(head) {
        const aimed = aimAbsolute(head, options.lookup)
        const said = presented(head)
        if (remembered !== null && samePresented(remembered.said, said)) {
          said.token?.wipe()
          return { ...aimed, memory: remembered.memory }
        }
        return challenged(caller, said).then((memory) => {
          remembered = { said, memory }
          return { ...aimed, memory }
        })
      },
      connect: (head, _socket, rest) => void connect(head, caller, rest),
    }
    connections.add(new Connection(socket, owner))
  }
}

function connectOptions(house: House): Omit<ConnectOptions, 'challenged'> {
  const { options, limits, connections } = house
  return {
    ...options,
    limits,
    ownerFor: (way, caller, authority) => ownerFor(house, way, caller, authority),
    open(socket, owner) {
      if (socket.destroyed) return
      const h2 = socket instanceof TLSSocket && socket.alpnProtocol === 'h2'
      connections.add(h2 ? new H2Connection(socket, owner, 'https') : new Connection(socket, owner))
    },
    draining: () => house.draining,
  }
}

function transparentDoor(house: House): (socket: Socket, port: number) => void {
  const take = createTransparent(connectOptions(house))
  return (socket, port) => {
    const caller = callerOf(house, socket, 'transparent')
    if (caller !== null) void take(caller, port)
  }
}

function baseUrlDoor(house: House): (socket: Socket) => void {
  return (socket) => {
    const caller = callerOf(house, socket, 'base-url')
    if (caller === null) return
    // A pointer selects another run; the last one used is remembered, and a change proves itself anew.
    let remembered: ConnectionMemory | null = null
    const owner: ConnectionOwner = {
      ...ownerFor(house, 'base-url', caller),
      aim(head) {
        const { pointer, ...aimed } = aimBaseUrl(head, house.baseUrlNames, house.options.lookup)
        if (remembered !== null && remembered.evidence.pointer === pointer) return { ...aimed, memory: remembered }
        // No challenge here: 407 is a proxy's word, and this door is an origin.
        return caller.evidence({ ...nothingPresented, pointer }).then((evidence) => {
          const memory: ConnectionMemory = { evidence, identity: null }
          remembered = memory
          return { ...aimed, memory }
        })
      },
      // RFC 9113 §3.3: with prior knowledge, in clear.
      http2: (same) => void house.connections.add(new H2Connection(same, owner, 'http')),
    }
    house.connections.add(new Connection(socket, owner))
  }
}

/** A listener on loopback answers to every name of loopback, any other to its own only (against DNS rebinding). */
function namesOfListener({ host, port }: Authority): ReadonlySet<string> {
  const loopback = ['127.0.0.1', '::1', 'localhost']
  return new Set([host, ...(loopback.includes(host) ? loopback : [])].map((name) => `${name}:${port}`))
}

/** What a head says of its aim, for the record of a refusal; the query is never recorded. */
function namesOf(head: RequestMessage | null): { method?: string; host?: string; path?: string } {
  if (head === null) return {}
  const { method, host, kind, target } = head
  return kind === 'origin' ? { method, host, path: target.split('?', 1)[0] as string } : { method, host }
}

function senderOf({ address, uid }: PeerFacts): string {
  return uid === null ? address : `uid ${uid}`
}

function bareFacts(socket: Socket): PeerFacts {
  const address = socket.remoteAddress ?? 'unix'
  return {
    transport: address === 'unix' ? 'unix' : 'tcp',
    address,
    port: socket.remotePort ?? 0,
    loopback: address.startsWith('127.') || address === '::1' || address.startsWith('::ffff:127.'),
    secure: false,
    uid: null,
    process: null,
    why: 'not looked at',
  }
}
