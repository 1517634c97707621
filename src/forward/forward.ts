// To the API: a pool of kept connections per host and credential: HTTP/2 where the host offers it, shared by many requests, else
// HTTP/1.1, one at a time on each. It follows no redirect and retries nothing that is not provably unsent (invariant 5).
import type { Socket } from 'node:net'
import tls, { TLSSocket } from 'node:tls'
import type { Framing, RequestMessage, ResponseMessage } from '../http/read-head.ts'
import { writeRequestHead } from '../http/write-head.ts'
import type { Call, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Lease } from '../model/credential.ts'
import { limits as standard } from '../model/limits.ts'
import type { Edits } from '../model/message.ts'
import { agentLeft, Refusal } from '../model/refusal.ts'
import type { Dial } from '../net/dial.ts'
import { type Route, type Via, viaName } from '../net/route.ts'
import { secure } from '../net/secure.ts'
import { type H2PoolLimits, H2Pools } from './h2-pools.ts'
import type { H2Request } from './h2-request.ts'
import type { H2Upstream } from './h2-upstream.ts'
import { type PoolLimits, Pools } from './pools.ts'
import { checkSwitch } from './upgrade.ts'
import { Upstream, type UpstreamAnswer } from './upstream.ts'

export interface ForwardOptions {
  readonly dial: Dial
  /** PEM roots that are trusted; another array where they changed. `publicOnly`: those alone that no operator added. */
  readonly roots: (publicOnly: boolean) => readonly string[]
  /** Through which proxy of this network `dial` reaches a host. */
  readonly route?: Route
  readonly clock: Clock
  readonly limits?: PoolLimits & H2PoolLimits
  /** How often time-outs are looked at. */
  readonly sweepMs?: number
}

export interface Forward {
  /** Throws Refusal forward.*, obtain.revoked, inject.bad_value. */
  forward(call: Call, edits: Edits, lease: Lease | null): Promise<UpstreamAnswer>
  dialTunnel(call: TunnelCall): Promise<Socket>
  /** Closes kept connections; those under way end with their calls. */
  close(): void
  readonly open: number
}

export function createForward(options: ForwardOptions): Forward {
  const { limits = standard, route = () => null } = options
  const now = (): number => options.clock.monotonic()
  const pools = new Pools(now, limits)
  const h2 = new H2Pools(now, limits, standard.leafCacheMax)
  const trust = createTrust(options.roots)
  const sweep = setInterval(() => {
    pools.sweep()
    h2.sweep()
    if (closed && pools.open + h2.open === 0) clearInterval(sweep)
  }, options.sweepMs ?? 1_000)
  sweep.unref()
  let closed = false

  async function secured({ text, guarded }: Key, call: Call, protocols: readonly string[]): Promise<TLSSocket> {
    const { host } = call.target
    return secure(await plain(options.dial, call), { host, timeoutMs: standard.handshakeMs, protocols, guarded, ...trust(text, guarded) })
  }

  function overHttp1(key: Key, call: Call, first: TLSSocket | null, edits: Edits, lease: Lease | null): Promise<UpstreamAnswer> {
    const kept = first === null ? pools.kept(key.text) : null
    return kept === null ? overAnother(key, call, first, edits, lease) : send(kept, call, edits, lease)
  }

  async function overAnother(key: Key, call: Call, first: TLSSocket | null, edits: Edits, lease: Lease | null): Promise<UpstreamAnswer> {
    const connect = (): Promise<Socket> => (call.target.scheme === 'https' ? secured(key, call, ['http/1.1']) : plain(options.dial, call))
    let unused = first
    const upstream = await pools.take(key.text, async () => {
      const socket = unused ?? (await connect())
      unused = null
      return new Upstream(key.text, socket, pools, now, limits)
    })
    unused?.destroy()
    return send(upstream, call, edits, lease)
  }

  async function overEither(key: Key, call: Call, edits: Edits, lease: Lease | null): Promise<UpstreamAnswer> {
    for (let again = false; ; again = true) {
      const taken = await h2.take(key.text, call.connection.identity?.workload ?? '', () => secured(key, call, ['h2', 'http/1.1']))
      if (taken === null || taken instanceof TLSSocket) return overHttp1(key, call, taken, edits, lease)
      const answer = await overHttp2(taken, call, edits, lease)
      if (answer !== null) return answer
      if (again) throw new Refusal('forward.reset', 'the host refused the stream twice')
    }
  }

  return {
    forward(call, edits, lease) {
      const { scheme, host } = call.target
      const via = route(host)
      const key = keyOf(call, lease, via)
      if (key.guarded && scheme === 'http')
        return Promise.reject(new Refusal('forward.inspected', `${host} is spoken to in clear, through ${viaName(via as Via)}`))
      // An upgrade is a word of HTTP/1.1; and in clear nobody says what he speaks.
      const older = scheme === 'http' || call.upgrade !== undefined || h2.isOlder(key.text)
      return older ? overHttp1(key, call, null, edits, lease) : overEither(key, call, edits, lease)
    },
    async dialTunnel(call) {
      return (await options.dial(call.target.host, call.target.port, { sender: call.connection.identity?.workload })).socket
    },
    close() {
      closed = true
      pools.close()
      h2.close()
    },
    get open() {
      return pools.open + h2.open
    },
  }
}

async function plain(dial: Dial, { target, service, connection }: Call): Promise<Socket> {
  const asked = { allowPrivate: service?.allowPrivateAddresses === true, sender: connection.identity?.workload }
  return (await dial(target.host, target.port, asked)).socket
}

/** Whose connections carry a call, and whether somebody might read a credential on them. */
interface Key {
  readonly text: string
  readonly guarded: boolean
}

/** A credential that a connection has seen is never met by another there: one pool each, and one for each way there. */
function keyOf({ target: { scheme, host, port } }: Call, lease: Lease | null, via: Via | null): Key {
  const way = via === null ? '' : ` via ${viaName(via)}${via.inspects ? ' inspects' : ''}`
  const guarded = via !== null && !via.inspects && lease !== null
  return { text: `${scheme} ${host} ${port} ${lease?.credentialName ?? ''}${way}`, guarded }
}

function checkStill(call: Call, lease: Lease | null): void {
  if (call.gone) throw new Refusal('forward.reset', agentLeft)
  if (lease?.revoked.aborted === true) throw new Refusal('obtain.revoked', lease.credentialName)
}

/** null: provably nothing was done with it, and it can be sent again (RFC 9113 §8.7). */
async function overHttp2(upstream: H2Upstream, call: Call, edits: Edits, lease: Lease | null): Promise<UpstreamAnswer | null> {
  let request: H2Request
  try {
    checkStill(call, lease)
    request = upstream.ask(call, edits, framingOf(call))
  } catch (error) {
    upstream.release()
    if (error instanceof Refusal) throw error
    // Node's, where the connection has just ended: it was not asked.
    return null
  }
  const stop = call.whenGone(() => request.fail(new Refusal('forward.reset', agentLeft)))
  try {
    const answer = await request.answered
    if (answer.body.whole !== null) stop()
    return answer
  } catch (error) {
    stop()
    // A body that has begun to flow cannot flow again.
    if (request.unsent && call.body.whole !== null && !call.gone) return null
    throw error
  }
}

async function send(upstream: Upstream, call: Call, edits: Edits, lease: Lease | null): Promise<UpstreamAnswer> {
  const { target, body } = call
  let stop = (): void => {}
  try {
    checkStill(call, lease)
    const head = call.head as RequestMessage
    const framing = framingOf(call)
    const bytes = writeRequestHead(head, edits, target, framing, call.upgrade !== undefined)
    const check = call.upgrade === undefined ? undefined : switchCheck(head, edits)
    const answered = upstream.send(target.method, bytes, body, framing, check)
    const turn = upstream.used
    stop = call.whenGone(() => upstream.endTurn(turn, new Refusal('forward.reset', agentLeft)))
    const answer = await answered
    if (answer.body.whole !== null) stop()
    return answer
  } catch (error) {
    stop()
    // Where nothing was sent yet, the connection is as good as it was.
    upstream.release()
    throw error
  }
}

/** A function of its own: what `stop` of an ordinary call holds, for as long as its answer lasts, has no edits in it. */
function switchCheck(head: RequestMessage, edits: Edits): (answer: ResponseMessage) => void {
  return (answer) => checkSwitch(answer, head, edits)
}

/** A request that had framing keeps some; one that had none gets none. */
function framingOf(call: Call): Framing {
  const { whole, length } = call.body
  if (whole === null) return length >= 0 ? { kind: 'length', length } : { kind: 'chunked' }
  const said = (call.head as RequestMessage).framing.kind !== 'none'
  return whole.length > 0 || said ? { kind: 'length', length: whole.length } : { kind: 'none' }
}

/** The roots as contexts, and the tickets of earlier handshakes: of the same host, port, credential and way only. */
function createTrust(roots: ForwardOptions['roots']) {
  const sessions = new Map<string, Buffer>()
  const contexts = { all: contextOf([]), publicOnly: contextOf([]) }
  return (key: string, publicOnly: boolean) => {
    const which = publicOnly ? 'publicOnly' : 'all'
    const trusted = roots(publicOnly)
    if (trusted !== contexts[which].roots) {
      contexts[which] = contextOf(trusted)
      sessions.clear()
    }
    return {
      context: contexts[which].context,
      session: sessions.get(key),
      onSession(ticket: Buffer): void {
        // A ticket says that the certificate was verified, so it counts only as long as the roots do.
        if (contexts[which].roots === trusted && (sessions.size < standard.leafCacheMax || sessions.has(key))) sessions.set(key, ticket)
      },
    }
  }
}

function contextOf(roots: readonly string[]) {
  return { roots, context: tls.createSecureContext({ ca: [...roots] }) }
}
