// Leases, in memory only: made once for all who wait, renewed before they end, worthless at once when revoked. What is over
// is overwritten: at once when revoked, else once nobody who was given it can still be making a head of it.
import { randomUUID } from 'node:crypto'
import type { Clock } from '../model/clock.ts'
import type { Lease, Need } from '../model/credential.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Secret } from '../model/secret.ts'
import type { CredentialProvider, Obtained } from './credential-provider.ts'

export interface LeasedCredential {
  readonly name: string
  readonly kind: string
  readonly provider: CredentialProvider
  readonly leaseMs: number
}

export interface RevokeWhat {
  readonly credential?: string | undefined
  readonly workload?: string | undefined
}

export interface Obtain {
  /** A lease at once where one is warm; else a promise. Throws Refusal obtain.*. */
  leaseFor(need: Need, credentialName: string): Lease | Promise<Lease>
  /** Only one that is there; renewed early all the same. */
  warm(need: Need, credentialName: string): Lease | null
  /** The vendor said 401: the next call gets another. The call under way is not repeated. False: the lease stays, or is no more. */
  distrust(lease: Pick<Lease, 'id'>): boolean
  /** Cuts what uses them, also what is just being obtained; returns how many leases ended. */
  revoke(what: RevokeWhat): number
  /** Drops what has expired and overwrites what nobody needs any more. Runs by itself each second. */
  sweep(): void
  readonly size: number
  /** Another takes over: what calls under way still use ends by itself. */
  retire(): void
  close(): void
}

interface Kept {
  readonly lease: Lease
  readonly end: AbortController
  /** Milliseconds since the epoch; later after a renewal that failed. */
  renewAt: number
  /** Monotonic: a wall clock that is set back lengthens no life. */
  readonly endsAt: number
}

interface Flight {
  readonly promise: Promise<Lease>
  readonly need: Need
  readonly name: string
  readonly end: AbortController
}

const sweepMs = 1_000
/** A call that was just given a lease has still to make its head, and scrub its needles, of it; both happen at once. */
const wipeGraceMs = 5_000
/** An endpoint that just failed is not asked by each of an agent's attempts. */
const failedMs = 1_000
const renewAgainMs = 10_000
/** A second 401 this soon says nothing about the credential: an agent must not be able to make us exchange for each call. */
const distrustMs = 30_000

/** The functions are bound: they may be handed on one by one. */
export function createObtain(credentials: readonly LeasedCredential[], clock: Clock, log: Log): Obtain {
  const leases = new Leases(credentials, clock, log)
  return {
    leaseFor: (need, name) => leases.leaseFor(need, name),
    warm: (need, name) => leases.warm(need, name),
    distrust: (lease) => leases.distrust(lease),
    revoke: (what) => leases.revoke(what),
    sweep: () => leases.sweep(),
    get size() {
      return leases.size
    },
    retire: () => leases.retire(),
    close: () => leases.close(),
  }
}

/** Injective, and without the run: runs of one workload share its lease. */
function keyOf({ workload, spiffeId, service, host, port }: Need, name: string): string {
  return `${workload.length} ${spiffeId.length} ${service.length} ${host.length} ${workload}${spiffeId}${service}${host}${port} ${name}`
}

class Leases {
  readonly #byName: ReadonlyMap<string, LeasedCredential>
  readonly #clock: Clock
  readonly #log: Log
  readonly #kept = new Map<string, Kept>()
  readonly #flights = new Map<string, Flight>()
  readonly #failed = new Map<string, { readonly refusal: Refusal; readonly until: number }>()
  /** When a key's lease was distrusted last. */
  readonly #distrusted = new Map<string, number>()
  /** Leases that are over, and when their bytes may go. */
  readonly #over = new Map<Lease, { readonly wipeAt: number; readonly end: AbortController }>()
  readonly #timer: NodeJS.Timeout
  #open = true

  constructor(credentials: readonly LeasedCredential[], clock: Clock, log: Log) {
    this.#byName = new Map(credentials.map((one) => [one.name, one]))
    this.#clock = clock
    this.#log = log
    this.#timer = setInterval(() => this.sweep(), sweepMs)
    this.#timer.unref()
  }

  get size(): number {
    return this.#kept.size
  }

  warm(need: Need, name: string): Lease | null {
    const key = keyOf(need, name)
    const entry = this.#kept.get(key)
    const now = this.#clock.now()
    if (entry === undefined || entry.lease.expiresAt <= now || entry.endsAt <= this.#clock.monotonic()) return null
    if (now >= entry.renewAt && !this.#flights.has(key)) this.#renew(key, entry, need, name)
    return entry.lease
  }

  leaseFor(need: Need, name: string): Lease | Promise<Lease> {
    const warm = this.warm(need, name)
    if (warm !== null) return warm
    const key = keyOf(need, name)
    const now = this.#clock.now()
    const entry = this.#kept.get(key)
    if (entry !== undefined) this.#drop(key, entry)
    const failure = this.#failed.get(key)
    if (failure !== undefined && failure.until > now) throw failure.refusal
    return this.#fly(key, need, name)
  }

  /** The one that is used lives on until its end, whatever becomes of the renewal. */
  #renew(key: string, entry: Kept, need: Need, name: string): void {
    this.#fly(key, need, name).catch((error) => {
      entry.renewAt = this.#clock.now() + renewAgainMs
      this.#log.warn('a lease could not be renewed early', { credential: name, error: error instanceof Refusal ? error.code : 'defect' })
    })
  }

  /** One for all who wait. */
  #fly(key: string, need: Need, name: string): Promise<Lease> {
    const flying = this.#flights.get(key)
    if (flying !== undefined) return flying.promise
    const end = new AbortController()
    const promise = this.#obtain(key, need, name, end)
      .catch((error) => {
        if (error instanceof Refusal && error.code.startsWith('obtain.exchange_'))
          remember(this.#failed, key, { refusal: error, until: this.#clock.now() + failedMs })
        throw error
      })
      .finally(() => {
        if (this.#flights.get(key)?.end === end) this.#flights.delete(key)
      })
    // Who waits hears of it; that nobody waits any more is no defect.
    promise.catch(() => {})
    this.#flights.set(key, { promise, need, name, end })
    return promise
  }

  async #obtain(key: string, need: Need, name: string, end: AbortController): Promise<Lease> {
    const credential = this.#byName.get(name)
    if (credential === undefined) throw new Refusal('obtain.no_credential', name)
    if (!this.#open) throw new Refusal('obtain.revoked', `${name}: its configuration is over`)
    const signal = AbortSignal.any([end.signal, AbortSignal.timeout(limits.exchangeMs * 2)])
    const obtained = await inTime(credential.provider.obtain(need, signal), signal, () =>
      end.signal.aborted ? new Refusal('obtain.revoked', name) : new Refusal('obtain.exchange_failed', `${name}: no answer in time`),
    )
    const now = this.#clock.now()
    const lease: Lease = {
      id: obtained.leaseId ?? randomUUID(),
      credentialName: name,
      providerKind: credential.kind,
      credential: obtained.credential,
      expiresAt: Math.min(obtained.expiresAt, now + credential.leaseMs),
      workload: need.workload,
      service: need.service,
      host: need.host,
      port: need.port,
      secrets: obtained.secrets,
      revoked: end.signal,
    }
    if (!(lease.expiresAt > now)) {
      wipe(lease.secrets)
      throw new Refusal('obtain.exchange_failed', `${name}: expired already`)
    }
    this.#keep(key, {
      lease,
      end,
      endsAt: this.#clock.monotonic() + lease.expiresAt - now,
      renewAt: now + ((lease.expiresAt - now) * 2) / 3,
    })
    return lease
  }

  #keep(key: string, entry: Kept): void {
    const old = this.#kept.get(key)
    if (old === undefined && this.#kept.size >= limits.leasesMax) {
      const [oldest, first] = this.#kept.entries().next().value as [string, Kept]
      this.#drop(oldest, first)
    }
    this.#kept.set(key, entry)
    if (old !== undefined) this.#drop(key, old)
    if (!this.#open) this.#drop(key, entry)
  }

  /** Nobody gets it any more; who has it may use it to the end. */
  #drop(key: string, { lease, end }: Kept): void {
    if (this.#kept.get(key)?.lease === lease) this.#kept.delete(key)
    this.#over.set(lease, { wipeAt: this.#clock.now() + wipeGraceMs, end })
  }

  distrust({ id }: Pick<Lease, 'id'>): boolean {
    const now = this.#clock.now()
    for (const [key, entry] of this.#kept) {
      if (entry.lease.id !== id) continue
      const before = this.#distrusted.get(key)
      if (before !== undefined && now - before < distrustMs) return false
      remember(this.#distrusted, key, now)
      this.#drop(key, entry)
      return true
    }
    return false
  }

  revoke(what: RevokeWhat): number {
    const hit = (name: string, workload: string): boolean =>
      (what.credential !== undefined && name === what.credential) || (what.workload !== undefined && workload === what.workload)
    // What is in the air was asked for before the revocation: it must not land.
    for (const [key, { name, need, end }] of this.#flights) {
      if (!hit(name, need.workload)) continue
      this.#flights.delete(key)
      end.abort()
    }
    this.#failed.clear()
    let count = 0
    for (const [key, { lease, end }] of this.#kept) {
      if (!hit(lease.credentialName, lease.workload)) continue
      this.#kept.delete(key)
      end.abort()
      wipe(lease.secrets)
      count++
    }
    // One that was renewed or has expired may still be on the wire.
    for (const [lease, { end }] of this.#over) if (hit(lease.credentialName, lease.workload)) this.#end(lease, end)
    return count
  }

  #end(lease: Lease, end: AbortController): void {
    this.#over.delete(lease)
    end.abort()
    wipe(lease.secrets)
  }

  sweep(): void {
    const now = this.#clock.now()
    const monotonic = this.#clock.monotonic()
    for (const [key, entry] of this.#kept) if (entry.lease.expiresAt <= now || entry.endsAt <= monotonic) this.#drop(key, entry)
    for (const [key, { until }] of this.#failed) if (until <= now) this.#failed.delete(key)
    for (const [key, at] of this.#distrusted) if (now - at >= distrustMs) this.#distrusted.delete(key)
    for (const [lease, { wipeAt }] of this.#over) {
      if (wipeAt > now) continue
      this.#over.delete(lease)
      wipe(lease.secrets)
    }
    if (!this.#open && this.#over.size === 0 && this.#flights.size === 0) clearInterval(this.#timer)
  }

  retire(): void {
    this.#open = false
    for (const [key, entry] of this.#kept) this.#drop(key, entry)
  }

  close(): void {
    this.#open = false
    clearInterval(this.#timer)
    for (const { end } of this.#flights.values()) end.abort()
    for (const { lease, end } of this.#kept.values()) this.#end(lease, end)
    this.#kept.clear()
    for (const [lease, { end }] of this.#over) this.#end(lease, end)
  }
}

/** A provider that does not listen to its signal holds nobody up; what it brings too late is overwritten. */
function inTime(obtained: Promise<Obtained>, signal: AbortSignal, late: () => Refusal): Promise<Obtained> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(late())
    signal.addEventListener('abort', stop, { once: true })
    obtained.then(
      (one) => {
        signal.removeEventListener('abort', stop)
        if (!signal.aborted) return resolve(one)
        wipe(one.secrets)
        reject(late())
      },
      (error) => {
        signal.removeEventListener('abort', stop)
        reject(signal.aborted ? late() : error)
      },
    )
  })
}

function wipe(secrets: readonly Secret[]): void {
  for (const secret of secrets) secret.wipe()
}

function remember<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key)
  if (map.size >= limits.leasesMax) map.delete(map.keys().next().value as string)
  map.set(key, value)
}
