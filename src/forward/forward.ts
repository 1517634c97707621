// To the API: a LIFO pool of kept connections per host and credential, one request at a time on each. It follows no
// redirect and retries nothing that is not provably unsent (invariant 5).
import type { Socket } from 'node:net'
import tls from 'node:tls'
import type { Framing, RequestMessage, ResponseMessage } from '../http/read-head.ts'
import { writeRequestHead } from '../http/write-head.ts'
import type { Call, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Lease } from '../model/credential.ts'
import { limits as standard } from '../model/limits.ts'
import type { Edits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Dial } from '../net/dial.ts'
import { secure } from '../net/secure.ts'
import { type PoolLimits, Pools } from './pools.ts'
import { checkSwitch } from './upgrade.ts'
import { Upstream, type UpstreamAnswer } from './upstream.ts'

export interface ForwardOptions {
  readonly dial: Dial
  /** PEM roots that are trusted; another array where they changed. */
  readonly roots: () => readonly string[]
  readonly clock: Clock
  readonly limits?: PoolLimits
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
  const limits = options.limits ?? standard
  const now = (): number => options.clock.monotonic()
  const pools = new Pools(now, limits)
  const trust = createTrust(options.roots)
  const sweep = setInterval(() => {
    pools.sweep()
    if (closed && pools.open === 0) clearInterval(sweep)
  }, options.sweepMs ?? 1_000)
  sweep.unref()
  let closed = false

  async function connect(key: string, call: Call): Promise<Upstream> {
    const { host, port, scheme } = call.target
    const { socket } = await options.dial(host, port, { allowPrivate: call.service?.allowPrivateAddresses === true })
    const ready = scheme === 'https' ? await secure(socket, { host, timeoutMs: standard.handshakeMs, ...trust(key) }) : socket
    return new Upstream(key, ready, pools, now, limits)
  }

  return {
    async forward(call, edits, lease) {
      const { target } = call
      // A credential that a connection has seen is never met by another there: one pool each.
      const key = `${target.scheme} ${target.host} ${target.port} ${lease?.credentialName ?? ''}`
      const upstream = await pools.take(key, () => connect(key, call))
      try {
        if (call.gone) throw new Refusal('forward.reset', 'the agent left')
        if (lease?.revoked.aborted === true) throw new Refusal('obtain.revoked', lease.credentialName)
        return await send(upstream, call, edits)
      } catch (error) {
        // Where nothing was sent yet, the connection is as good as it was.
        upstream.release()
        throw error
      }
    },
    async dialTunnel(call) {
      return (await options.dial(call.target.host, call.target.port)).socket
    },
    close() {
      closed = true
      pools.close()
    },
    get open() {
      return pools.open
    },
  }
}

async function send(upstream: Upstream, call: Call, edits: Edits): Promise<UpstreamAnswer> {
  const { target, body } = call
  const head = call.head as RequestMessage
  const framing = framingOf(call)
  const bytes = writeRequestHead(head, edits, target, framing, call.upgrade !== undefined)
  const check = call.upgrade === undefined ? undefined : (answer: ResponseMessage) => checkSwitch(answer, head, edits)
  const answered = upstream.send(target.method, bytes, body, framing, check)
  const turn = upstream.used
  const stop = call.whenGone(() => upstream.endTurn(turn, new Refusal('forward.reset', 'the agent left')))
  try {
    const answer = await answered
    if (answer.body.whole !== null) stop()
    return answer
  } catch (error) {
    stop()
    throw error
  }
}

/** A request that had framing keeps some; one that had none gets none. */
function framingOf(call: Call): Framing {
  const { whole, length } = call.body
  if (whole === null) return length >= 0 ? { kind: 'length', length } : { kind: 'chunked' }
  const said = (call.head as RequestMessage).framing.kind !== 'none'
  return whole.length > 0 || said ? { kind: 'length', length: whole.length } : { kind: 'none' }
}

/** The roots as a context, and the tickets of earlier handshakes: of the same host, port and credential only. */
function createTrust(roots: () => readonly string[]) {
  const sessions = new Map<string, Buffer>()
  let known: readonly string[] | null = null
  let context = tls.createSecureContext({ ca: [] })
  return (key: string) => {
    const trusted = roots()
    if (trusted !== known) {
      known = trusted
      context = tls.createSecureContext({ ca: [...trusted] })
      sessions.clear()
    }
    const trustedThen = trusted
    return {
      context,
      session: sessions.get(key),
      onSession(ticket: Buffer): void {
        // A ticket says that the certificate was verified, so it counts only as long as the roots do.
        if (known === trustedThen && (sessions.size < standard.leafCacheMax || sessions.has(key))) sessions.set(key, ticket)
      },
    }
  }
}
