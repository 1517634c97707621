// The doors for agents: an explicit proxy (CONNECT with TLS interception, absolute form) and a base-URL reverse proxy. Every
// way in ends in the same Call with one Target; what is not understood is refused here and recorded.
import { createServer, type Server, type Socket } from 'node:net'
import tls from 'node:tls'
import type { RequestMessage } from '../http/read-head.ts'
import { plainResponse, problemDocument } from '../http/write-head.ts'
import type { Call, ConnectionMemory, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Evidence, PeerFacts } from '../model/evidence.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import type { Way } from '../model/target.ts'
import { aimAbsolute, aimBaseUrl, aimIntercepted, type Lookup } from './aim.ts'
import type { Leaves } from './authority.ts'
import { type Authority, parseAuthority } from './canonical.ts'
import { Connection, type ConnectionOwner } from './connection.ts'
import { createTunnel } from './tunnel.ts'

export interface RefusedEarly {
  readonly way: Way
  readonly peer: PeerFacts | null
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
  readonly gather: (socket: Socket) => Promise<{ readonly peer: PeerFacts; readonly unchanged: () => boolean }>
  /** Can only a token identify this peer? Then a request without one gets 407. */
  readonly tokenRequired: (peer: PeerFacts) => boolean
  readonly onCall: (call: Call) => void | Promise<void>
  readonly onTunnel: (call: TunnelCall) => void | Promise<void>
  readonly onRefused: (refusal: Refusal, about: RefusedEarly) => void
  readonly newId: () => string
}

export interface Accept {
  start(): Promise<{ readonly proxy: Authority; readonly baseUrl: Authority }>
  /** Stops listening, lets calls under way end up to drainMs, then cuts. */
  stop(): Promise<void>
  readonly connections: number
  readonly ports: readonly number[]
}

/** What the proxy URL's user info says: a run pointer, a token, or both. */
interface Presented {
  readonly pointer: string | null
  readonly token: Secret | null
}

const nothingPresented: Presented = { pointer: null, token: null }
const sweepMs = 1_000

export function createAccept(options: AcceptOptions): Accept {
  const connections = new Set<Connection>()
  const perPeer = new Map<string, number>()
  const servers: Server[] = []
  const ports: number[] = []
  let draining = false
  let baseUrlNames: ReadonlySet<string> = new Set()

  const admit = (socket: Socket): boolean => {
    const peer = socket.remoteAddress ?? ''
    const count = perPeer.get(peer) ?? 0
    if (draining || connections.size >= limits.connectionsMax || count >= limits.connectionsPerPeerMax) {
      socket.destroy()
      return false
    }
    perPeer.set(peer, count + 1)
    socket.once('close', () => {
      const left = (perPeer.get(peer) ?? 1) - 1
      if (left > 0) perPeer.set(peer, left)
      else perPeer.delete(peer)
    })
    socket.on('error', () => socket.destroy())
    socket.setNoDelay(true)
    return true
  }

  /** Evidence is gathered once a connection, while its first head is being read. */
  function evidenceOf(socket: Socket): (presented: Presented) => Promise<Evidence> {
    const gathered = options.gather(socket)
    gathered.catch(() => {})
    return async (presented) => {
      const { peer, unchanged } = await gathered
      const { pointer, token } = presented
      if (token !== null && !peer.loopback && !peer.secure && peer.transport !== 'unix') throw new Refusal('identify.transport')
      if (token === null && pointer === null && options.tokenRequired(peer)) throw new Refusal('identify.credentials_required')
      return { peer, pointer, token, unchanged }
    }
  }

  /** What every kind of connection shares. */
  function ownerFor(way: Way, socket: Socket, peer: () => PeerFacts | null): Omit<ConnectionOwner, 'aim'> {
    return {
      call: options.onCall,
      refused: (refusal, head) =>
        options.onRefused(refusal, {
          way,
          peer: peer(),
          ...(head === null
            ? {}
            : { method: head.method, host: head.host, path: head.kind === 'origin' ? (head.target.split('?')[0] as string) : '' }),
        }),
      closed: (connection) => connections.delete(connection),
      newId: options.newId,
      now: () => options.clock.now(),
      monotonic: () => options.clock.monotonic(),
      draining: () => draining || socket.destroyed,
    }
  }

  function proxyConnection(socket: Socket): void {
    if (!admit(socket)) return
    const evidence = evidenceOf(socket)
    let memory: ConnectionMemory | null = null
    const known = (): PeerFacts | null => memory?.evidence.peer ?? null
    const owner: ConnectionOwner = {
      ...ownerFor('absolute', socket, known),
      async aim(head) {
        const aimed = aimAbsolute(head, options.lookup)
        // Identity belongs to the connection; a pointer or token that changes on it begins another.
        memory ??= { evidence: await evidence(presented(head)), identity: null }
        return { ...aimed, memory }
      },
      connect: (head, taken, rest) => void connect(head, taken, rest, evidence),
    }
    connections.add(new Connection(socket, owner, null))
  }

  async function connect(
    head: RequestMessage,
    socket: Socket,
    rest: Buffer,
    evidence: (presented: Presented) => Promise<Evidence>,
  ): Promise<void> {
    let authority: Authority | null = null
    try {
      authority = parseAuthority(head.target, null)
      const host = parseAuthority(head.host, 443)
      if (host.host !== authority.host || host.port !== authority.port) throw new Refusal('accept.disagree', 'CONNECT and its Host')
      const memory: ConnectionMemory = { evidence: await evidence(presented(head)), identity: null }
      const service = options.lookup.find('https', authority.host, authority.port)
      if (service === null) return tunnel(authority, memory, socket, rest)
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      intercept(authority, memory, socket, rest)
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal('flow.defect', String(error), error)
      options.onRefused(refusal, { way: 'connect', peer: null, method: 'CONNECT', ...(authority === null ? {} : authority) })
      refuseConnect(socket, refusal, options.newId())
    }
  }

  function intercept(authority: Authority, memory: ConnectionMemory, socket: Socket, rest: Buffer): void {
    if (rest.length > 0) socket.unshift(rest)
    const secure = new tls.TLSSocket(socket, {
      isServer: true,
      secureContext: options.leaves.contextFor(authority.host),
      ALPNProtocols: ['http/1.1'],
      SNICallback: (name, done) => {
        if (name.toLowerCase() === authority.host) return done(null, options.leaves.contextFor(authority.host))
        options.onRefused(new Refusal('accept.disagree', 'CONNECT and SNI'), { way: 'connect', peer: memory.evidence.peer, ...authority })
        done(new Error('unrecognized name'))
      },
    })
    const late = setTimeout(() => socket.destroy(), limits.handshakeMs)
    late.unref()
    secure.once('error', () => socket.destroy())
    secure.once('secure', () => {
      clearTimeout(late)
      const owner: ConnectionOwner = {
        ...ownerFor('connect', socket, () => memory.evidence.peer),
        aim: (head) => ({ ...aimIntercepted(head, authority, options.lookup), memory }),
      }
      connections.add(new Connection(secure, owner, null))
    })
  }

  function tunnel(authority: Authority, memory: ConnectionMemory, socket: Socket, rest: Buffer): void {
    const call = createTunnel({ id: options.newId(), authority, memory, socket, rest, clock: options.clock, refuse: refuseConnect })
    void options.onTunnel(call)
  }

  function baseUrlConnection(socket: Socket): void {
    if (!admit(socket)) return
    const evidence = evidenceOf(socket)
    const memories = new Map<string | null, ConnectionMemory>()
    const owner: ConnectionOwner = {
      ...ownerFor('base-url', socket, () => memories.values().next().value?.evidence.peer ?? null),
      async aim(head) {
        const { pointer, ...aimed } = aimBaseUrl(head, baseUrlNames, options.lookup)
        let memory = memories.get(pointer)
        if (memory === undefined) {
          if (memories.size > 8) throw new Refusal('identify.not_in_run', 'too many pointers on one connection')
          memory = { evidence: await evidence({ ...presented(head), pointer: pointer ?? presented(head).pointer }), identity: null }
          memories.set(pointer, memory)
        }
        return { ...aimed, memory }
      },
    }
    connections.add(new Connection(socket, owner, null))
  }

  const listen = (address: Authority, take: (socket: Socket) => void): Promise<Authority> =>
    new Promise((resolve, reject) => {
      const server = createServer({ noDelay: true, allowHalfOpen: false }, take)
      servers.push(server)
      server.once('error', reject)
      server.listen(address.port, address.host, () => {
        const { port } = server.address() as { port: number }
        ports.push(port)
        resolve({ host: address.host, port })
      })
    })

  const sweep = setInterval(() => {
    const now = options.clock.monotonic()
    for (const connection of connections) connection.checkTime(now)
  }, sweepMs)
  sweep.unref()

  return {
    async start() {
      const proxy = await listen(options.proxy, proxyConnection)
      const baseUrl = await listen(options.baseUrl, baseUrlConnection)
      const loopback = ['127.0.0.1', '::1', 'localhost'].includes(baseUrl.host)
      baseUrlNames = new Set(
        [baseUrl.host, ...(loopback ? ['127.0.0.1', '::1', 'localhost'] : [])].map((host) => `${host}:${baseUrl.port}`),
      )
      return { proxy, baseUrl }
    },
    async stop() {
      draining = true
      clearInterval(sweep)
      for (const server of servers) server.close()
      const until = options.clock.monotonic() + limits.drainMs
      for (const connection of [...connections]) if (connection.idle) connection.close()
      while (connections.size > 0 && options.clock.monotonic() < until) await new Promise((resolve) => setTimeout(resolve, 20))
      for (const connection of [...connections]) connection.close()
    },
    get connections() {
      return connections.size
    },
    ports,
  }
}

/** A refused CONNECT ends the connection (RFC 9931); clients hide its body, so the code stands in the reason phrase too. */
function refuseConnect(socket: Socket, refusal: Refusal, id: string): void {
  const fields: [string, string][] = [['Content-Type', 'application/problem+json']]
  if (refusal.code === 'identify.credentials_required') fields.push(['Proxy-Authenticate', 'Basic realm="ostiary"'])
  socket.end(plainResponse(refusal.status, `Refused ostiary:${refusal.code}`, fields, problemDocument(refusal, id), false))
  socket.resume()
  setTimeout(() => socket.destroy(), 1_000).unref()
}

/** Proxy-Authorization: Bearer TOKEN, or Basic POINTER:TOKEN where either may be missing. Never an identity by itself. */
function presented(head: RequestMessage): Presented {
  const value = head.get('proxy-authorization')
  if (value === undefined) return nothingPresented
  const [scheme = '', credentials = ''] = value.split(/ +/, 2)
  if (scheme.toLowerCase() === 'bearer') return { pointer: null, token: new Secret(credentials) }
  if (scheme.toLowerCase() !== 'basic') return nothingPresented
  const text = Buffer.from(credentials, 'base64').toString('latin1')
  const colon = text.indexOf(':')
  const [user, password] = colon < 0 ? [text, ''] : [text.slice(0, colon), text.slice(colon + 1)]
  return { pointer: user.startsWith('run-') ? user : null, token: password.split('.').length === 3 ? new Secret(password) : null }
}
