// HTTP/2 connections by scheme, host, port and credential, and which hosts speak it: the first connection of a host is dialled
// once for all of a workload who wait for it, since only its handshake tells (RFC 7301). It knows no call.
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { type H2Limits, H2Upstream } from './h2-upstream.ts'

export type H2PoolLimits = H2Limits & Pick<Limits, 'h2ConnectionsPerHostMax' | 'poolIdleMs' | 'poolWaitMax' | 'poolWaitMs'>

interface Host {
  readonly upstreams: H2Upstream[]
  /** By sender: what holds up one's dial is no matter of another's. */
  readonly dialling: Map<string, Promise<unknown>>
  readonly waiting: { readonly since: number; readonly go: () => void; readonly fail: (error: Error) => void }[]
}

export class H2Pools {
  readonly #hosts = new Map<string, Host>()
  /** Keys whose host chose HTTP/1.1. */
  readonly #older = new Set<string>()
  readonly #now: () => number
  readonly #limits: H2PoolLimits
  readonly #olderMax: number
  #closing = false

  constructor(now: () => number, limits: H2PoolLimits, olderMax: number) {
    this.#now = now
    this.#limits = limits
    this.#olderMax = olderMax
  }

  get open(): number {
    let count = 0
    for (const { upstreams } of this.#hosts.values()) count += upstreams.length
    return count
  }

  /** Is the host known to speak HTTP/1.1 only? */
  isOlder(key: string): boolean {
    return this.#older.has(key)
  }

  /**
   * A place on a connection, which the caller asks on or releases. A socket: the host turned out to speak HTTP/1.1, and this is
   * its first connection. null: it is known to. Throws Refusal forward.busy, and what `dial` throws.
   */
  async take(key: string, sender: string, dial: () => Promise<TLSSocket>): Promise<H2Upstream | TLSSocket | null> {
    const since = this.#now()
    for (;;) {
      if (this.#older.has(key)) return null
      const host = this.#host(key)
      const free = host.upstreams.find((one) => one.hasRoom)
      if (free !== undefined) return free.lend()
      const dialling = host.dialling.get(sender)
      if (dialling !== undefined) await dialling
      else if (host.upstreams.length + host.dialling.size < this.#limits.h2ConnectionsPerHostMax) return this.#dial(key, sender, host, dial)
      else await this.#wait(host, since)
    }
  }

  #host(key: string): Host {
    const known = this.#hosts.get(key)
    if (known !== undefined) return known
    const host: Host = { upstreams: [], dialling: new Map(), waiting: [] }
    this.#hosts.set(key, host)
    return host
  }

  async #dial(key: string, sender: string, host: Host, dial: () => Promise<TLSSocket>): Promise<H2Upstream | TLSSocket> {
    const dialled = dial()
    host.dialling.set(sender, dialled)
    try {
      const socket = await dialled
      if (socket.destroyed) throw new Refusal('forward.connect', 'closed behind its handshake')
      if (socket.alpnProtocol === 'h2') return this.#add(key, host, socket).lend()
      if (this.#older.size >= this.#olderMax) this.#older.clear()
      this.#older.add(key)
      return socket
    } finally {
      host.dialling.delete(sender)
      for (const one of host.waiting.splice(0)) one.go()
      this.#tidy(key, host)
    }
  }

  #add(key: string, host: Host, socket: Socket): H2Upstream {
    const upstream = new H2Upstream(
      key,
      socket,
      {
        room: () => host.waiting.shift()?.go(),
        gone: (one) => {
          host.upstreams.splice(host.upstreams.indexOf(one), 1)
          host.waiting.shift()?.go()
          this.#tidy(key, host)
        },
      },
      this.#now,
      this.#limits,
    )
    host.upstreams.push(upstream)
    return upstream
  }

  #tidy(key: string, host: Host): void {
    if (host.upstreams.length === 0 && host.waiting.length === 0 && host.dialling.size === 0) this.#hosts.delete(key)
  }

  #wait(host: Host, since: number): Promise<void> {
    if (host.waiting.length >= this.#limits.poolWaitMax) throw new Refusal('forward.busy', 'poolWaitMax')
    return new Promise((go, fail) => host.waiting.push({ go, fail, since }))
  }

  /** Called by forward's one timer. */
  sweep(): void {
    const now = this.#now()
    for (const { upstreams, waiting } of this.#hosts.values()) {
      for (const upstream of [...upstreams]) {
        upstream.checkStall(now)
        if (upstream.idle && (this.#closing || now - upstream.freeSince > this.#limits.poolIdleMs)) upstream.close()
      }
      for (let first = waiting[0]; first !== undefined && now - first.since > this.#limits.poolWaitMs; first = waiting[0]) {
        waiting.shift()
        first.fail(new Refusal('forward.busy', 'poolWaitMs'))
      }
    }
  }

  /** What is idle closes; what is in use ends with its calls. */
  close(): void {
    this.#closing = true
    this.sweep()
  }
}
