// Kept connections, by scheme, host, port and credential: the one used last is taken first, so that the others can grow old.
// A connection is lent to one call at a time; who finds none and may open none waits in a bounded queue.
import { type Limits, limits as standard } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Upstream, UpstreamLimits } from './upstream.ts'

export type PoolLimits = Pick<Limits, 'poolPerHostMax' | 'poolIdleMs' | 'poolWaitMax' | 'poolWaitMs'> & UpstreamLimits

interface Waiting {
  readonly since: number
  readonly go: () => void
  readonly fail: (error: Error) => void
}

interface Pool {
  readonly free: Upstream[]
  open: number
  readonly waiting: Waiting[]
}

export class Pools {
  readonly #pools = new Map<string, Pool>()
  readonly #all = new Set<Upstream>()
  readonly #limits: PoolLimits
  readonly #now: () => number
  #closing = false

  constructor(now: () => number, limits: PoolLimits = standard) {
    this.#now = now
    this.#limits = limits
  }

  /** Connections that are open, in use or not. */
  get open(): number {
    return this.#all.size
  }

  /**
   * Free is no promise: one that closed meanwhile is dropped here, before anything was written to it. This is the only retry
   * there is (RFC 9110 §9.2.2 would allow more; invariant 5 does not).
   */
  kept(key: string): Upstream | null {
    const free = this.#pools.get(key)?.free
    for (let upstream = free?.pop(); upstream !== undefined; upstream = free?.pop()) {
      if (upstream.usable) return upstream
      upstream.destroy()
    }
    return null
  }

  /** A kept connection, or one that `connect` makes. Throws Refusal forward.busy, and what `connect` throws. */
  async take(key: string, connect: () => Promise<Upstream>): Promise<Upstream> {
    const since = this.#now()
    for (;;) {
      const pool = this.#pool(key)
      const kept = this.kept(key)
      if (kept !== null) return kept
      if (pool.open < this.#limits.poolPerHostMax) return this.#connect(key, pool, connect)
      await this.#wait(pool, since)
    }
  }

  #pool(key: string): Pool {
    const known = this.#pools.get(key)
    if (known !== undefined) return known
    const pool: Pool = { free: [], open: 0, waiting: [] }
    this.#pools.set(key, pool)
    return pool
  }

  #wait(pool: Pool, since: number): Promise<void> {
    if (pool.waiting.length >= this.#limits.poolWaitMax) throw new Refusal('forward.busy', 'poolWaitMax')
    return new Promise((go, fail) => pool.waiting.push({ go, fail, since }))
  }

  async #connect(key: string, pool: Pool, connect: () => Promise<Upstream>): Promise<Upstream> {
    pool.open++
    try {
      const upstream = await connect()
      this.#all.add(upstream)
      return upstream
    } catch (error) {
      this.#room(key, pool)
      throw error
    }
  }

  #room(key: string, pool: Pool): void {
    pool.open--
    pool.waiting.shift()?.go()
    if (pool.open === 0 && pool.waiting.length === 0 && this.#pools.get(key) === pool) this.#pools.delete(key)
  }

  /** From the connection: it can carry another call. */
  free(upstream: Upstream): void {
    const pool = this.#pools.get(upstream.key)
    if (this.#closing || pool === undefined) return upstream.destroy()
    pool.free.push(upstream)
    pool.waiting.shift()?.go()
  }

  /** From the connection: it is closed for good. */
  gone(upstream: Upstream): void {
    const pool = this.#pools.get(upstream.key)
    if (!this.#all.delete(upstream) || pool === undefined) return
    const at = pool.free.indexOf(upstream)
    if (at >= 0) pool.free.splice(at, 1)
    this.#room(upstream.key, pool)
  }

  /** Ends what has waited for too long: calls in the queue, answers that stand still, connections that nobody uses. */
  sweep(): void {
    const now = this.#now()
    const { poolIdleMs, poolWaitMs } = this.#limits
    for (const upstream of this.#all) upstream.checkStall(now)
    for (const pool of this.#pools.values()) {
      for (const upstream of [...pool.free]) if (now - upstream.freeSince > poolIdleMs) upstream.destroy()
      for (let first = pool.waiting[0]; first !== undefined && now - first.since > poolWaitMs; first = pool.waiting[0]) {
        pool.waiting.shift()
        first.fail(new Refusal('forward.busy', 'poolWaitMs'))
      }
    }
  }

  /** Closes what is free; what is in use ends with its call. */
  close(): void {
    this.#closing = true
    for (const pool of [...this.#pools.values()]) for (const upstream of [...pool.free]) upstream.destroy()
  }
}
