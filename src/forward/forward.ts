// To the API: a LIFO pool of kept connections per host and credential, one request at a time on each. It follows no
// redirect and retries nothing that is not provably unsent (invariant 5).
import type { Socket } from 'node:net'
import tls from 'node:tls'
import type { Framing, RequestMessage } from '../http/read-head.ts'
import { writeRequestHead } from '../http/write-head.ts'
import type { Call, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Lease } from '../model/credential.ts'
import { limits } from '../model/limits.ts'
import type { Edits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Dial } from '../net/dial.ts'
import { Upstream, type UpstreamAnswer } from './upstream.ts'

export interface ForwardOptions {
  readonly dial: Dial
  /** PEM roots that are trusted. */
  readonly roots: () => readonly string[]
  readonly clock: Clock
}

export interface Forward {
  forward(call: Call, edits: Edits, lease: Lease | null): Promise<UpstreamAnswer>
  dialTunnel(call: TunnelCall): Promise<Socket>
  /** Closes kept connections; those under way end by themselves. */
  close(): void
  readonly open: number
}

interface Pool {
  readonly free: Upstream[]
  open: number
  readonly waiting: { readonly go: () => void; readonly since: number; readonly fail: (error: Error) => void }[]
}

const sweepMs = 1_000

export function createForward(options: ForwardOptions): Forward {
  const pools = new Map<string, Pool>()
  const sessions = new Map<string, Buffer>()
  const all = new Set<Upstream>()
  let roots: readonly string[] = []
  let secureContext: tls.SecureContext | null = null
  const now = (): number => options.clock.monotonic()

  const owner = {
    free(upstream: Upstream): void {
      const pool = pools.get(upstream.key) as Pool
      pool.free.push(upstream)
      pool.waiting.shift()?.go()
    },
    gone(upstream: Upstream): void {
      all.delete(upstream)
      const pool = pools.get(upstream.key)
      if (pool === undefined) return
      pool.open--
      const at = pool.free.indexOf(upstream)
      if (at >= 0) pool.free.splice(at, 1)
      pool.waiting.shift()?.go()
      if (pool.open === 0 && pool.waiting.length === 0) pools.delete(upstream.key)
    },
  }

  const sweep = setInterval(() => {
    const at = now()
    for (const upstream of all) upstream.checkStall(at)
    for (const pool of pools.values()) {
      for (const upstream of [...pool.free]) if (at - upstream.freeSince > limits.poolIdleMs) upstream.destroy()
      while (pool.waiting.length > 0 && at - (pool.waiting[0]?.since ?? at) > limits.poolWaitMs)
        pool.waiting.shift()?.fail(new Refusal('forward.busy', 'poolWaitMs'))
    }
  }, sweepMs)
  sweep.unref()

  /** A kept connection, the last one used first; else a new one, or a place in the queue. */
  async function take(key: string, call: Call): Promise<Upstream> {
    for (;;) {
      let pool = pools.get(key)
      if (pool === undefined) {
        pool = { free: [], open: 0, waiting: [] }
        pools.set(key, pool)
      }
      // Free is no promise: one that closed meanwhile is dropped here, before anything was written to it.
      for (let upstream = pool.free.pop(); upstream !== undefined; upstream = pool.free.pop()) {
        if (upstream.usable) return upstream
        upstream.destroy()
      }
      if (pool.open < limits.poolPerHostMax) return connect(key, pool, call)
      await queue(pool)
    }
  }

  function queue(pool: Pool): Promise<void> {
    if (pool.waiting.length >= limits.poolWaitMax) throw new Refusal('forward.busy', 'poolWaitMax')
    return new Promise((go, fail) => pool.waiting.push({ go, fail, since: now() }))
  }

  async function connect(key: string, pool: Pool, call: Call): Promise<Upstream> {
    pool.open++
    try {
      const { host, port, scheme } = call.target
      const { socket } = await options.dial(host, port, { allowPrivate: call.service?.allowPrivateAddresses === true })
      const ready = scheme === 'https' ? await secure(socket, host) : socket
      const upstream = new Upstream(key, ready, owner, now)
      all.add(upstream)
      return upstream
    } catch (error) {
      pool.open--
      pool.waiting.shift()?.go()
      throw error
    }
  }

  function secure(socket: Socket, host: string): Promise<tls.TLSSocket> {
    const trusted = options.roots()
    if (trusted !== roots || secureContext === null) {
      roots = trusted
      secureContext = tls.createSecureContext({ ca: [...trusted] })
      sessions.clear()
    }
    const session = sessions.get(host)
    return new Promise((resolve, reject) => {
      const wrapped = tls.connect({
        socket,
        servername: host,
        secureContext: secureContext as tls.SecureContext,
        ALPNProtocols: ['http/1.1'],
        ...(session === undefined ? {} : { session }),
      })
      const late = setTimeout(() => fail(new Error('handshake timeout')), limits.handshakeMs)
      const fail = (error: Error): void => {
        clearTimeout(late)
        wrapped.destroy()
        socket.destroy()
        const code = (error as NodeJS.ErrnoException).code ?? error.message
        reject(
          new Refusal(
            /CERT|SELF_SIGNED|ISSUER|ALTNAME|VERIFY|LEAF/.test(code) ? 'forward.certificate' : 'forward.connect',
            `${host}: ${code}`,
          ),
        )
      }
      wrapped.once('error', fail)
      wrapped.once('close', () => fail(new Error('closed during the handshake')))
      wrapped.on('session', (ticket: Buffer) => {
        if (sessions.size < limits.leafCacheMax || sessions.has(host)) sessions.set(host, ticket)
      })
      wrapped.once('secureConnect', () => {
        clearTimeout(late)
        wrapped.off('error', fail)
        wrapped.removeAllListeners('close')
        resolve(wrapped)
      })
    })
  }

  return {
    async forward(call, edits, lease) {
      const { target, head, body } = call
      const framing: Framing =
        body.whole !== null && (body.whole.length > 0 || (head as RequestMessage).framing.kind !== 'none')
          ? { kind: 'length', length: body.whole.length }
          : body.whole !== null
            ? { kind: 'none' }
            : body.length >= 0
              ? { kind: 'length', length: body.length }
              : { kind: 'chunked' }
      // A credential bound to a connection is never met by another: one pool each.
      const upstream = await take(`${target.scheme}:${target.host}:${target.port}:${lease?.credentialName ?? ''}`, call)
      if (call.gone || lease?.revoked.aborted === true) {
        owner.free(upstream)
        throw new Refusal(call.gone ? 'forward.reset' : 'obtain.revoked', call.gone ? 'the agent left' : '')
      }
      let bytes: Buffer
      try {
        bytes = writeRequestHead(head as RequestMessage, edits, target, framing)
      } catch (error) {
        owner.free(upstream)
        throw error
      }
      const answered = upstream.send(target.method, bytes, body, framing)
      const turn = upstream.used
      const stop = call.whenGone(() => upstream.endTurn(turn, new Refusal('forward.reset', 'the agent left')))
      const answer = await answered.catch((error) => {
        stop()
        throw error
      })
      if (answer.body.whole !== null) stop()
      return answer
    },
    async dialTunnel(call) {
      return (await options.dial(call.target.host, call.target.port)).socket
    },
    close() {
      clearInterval(sweep)
      for (const pool of pools.values()) for (const upstream of [...pool.free]) upstream.destroy()
    },
    get open() {
      return all.size
    },
  }
}
