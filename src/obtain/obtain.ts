// Leases, in memory only: made once for all who wait, renewed before they end, worthless at once when revoked.
import { randomUUID } from 'node:crypto'
import type { Clock } from '../model/clock.ts'
import type { Lease, Need } from '../model/credential.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { CredentialProvider } from './credential-provider.ts'

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
  /** The vendor said 401: the next call gets another. The call under way is not repeated. */
  distrust(lease: Lease): void
  /** Cuts what uses them; returns how many leases ended. */
  revoke(what: RevokeWhat): number
  readonly size: number
  /** Another takes over: what calls under way still use ends by itself. */
  retire(): void
  close(): void
}

interface Kept {
  readonly lease: Lease
  readonly end: AbortController
  readonly renewAt: number
  renewing: boolean
}

/** A call that is writing its head just now still needs the bytes of a lease that ended this moment. */
const wipeGraceMs = 5_000

export function createObtain(credentials: readonly LeasedCredential[], clock: Clock, log: Log): Obtain {
  const byName = new Map(credentials.map((one) => [one.name, one]))
  const kept = new Map<string, Kept>()
  const flights = new Map<string, Promise<Lease>>()
  const closing = new AbortController()

  const keyOf = (need: Need, name: string): string => `${need.workload}\n${need.spiffeId}\n${need.host}\n${need.port}\n${name}`

  function drop(key: string, entry: Kept, revoke: boolean): void {
    if (kept.get(key) === entry) kept.delete(key)
    if (revoke) entry.end.abort()
    const wipe = setTimeout(
      () => {
        for (const secret of entry.lease.secrets) secret.wipe()
      },
      revoke ? 50 : Math.max(wipeGraceMs, 0),
    )
    wipe.unref()
  }

  function fetchLease(key: string, need: Need, name: string): Promise<Lease> {
    const flying = flights.get(key)
    if (flying !== undefined) return flying
    const flight = obtainLease(key, need, name).finally(() => flights.delete(key))
    flights.set(key, flight)
    return flight
  }

  async function obtainLease(key: string, need: Need, name: string): Promise<Lease> {
    const credential = byName.get(name)
    if (credential === undefined) throw new Refusal('obtain.no_credential', name)
    const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(limits.exchangeMs * 2)])
    const { credential: value, expiresAt, secrets } = await credential.provider.obtain(need, signal)
    const now = clock.now()
    const until = Math.min(expiresAt, now + credential.leaseMs)
    const end = new AbortController()
    const lease: Lease = {
      id: randomUUID(),
      credentialName: name,
      providerKind: credential.kind,
      credential: value,
      expiresAt: until,
      workload: need.workload,
      service: need.service,
      host: need.host,
      port: need.port,
      secrets,
      revoked: end.signal,
    }
    if (closing.signal.aborted) throw new Refusal('obtain.revoked', name)
    makeRoom()
    const old = kept.get(key)
    kept.set(key, { lease, end, renewAt: now + ((until - now) * 2) / 3, renewing: false })
    if (old !== undefined) drop(key, old, false)
    return lease
  }

  function makeRoom(): void {
    if (kept.size < limits.leasesMax) return
    const [key, entry] = kept.entries().next().value as [string, Kept]
    drop(key, entry, false)
  }

  const sweep = setInterval(() => {
    const now = clock.now()
    for (const [key, entry] of kept) if (entry.lease.expiresAt <= now) drop(key, entry, false)
  }, 10_000)
  sweep.unref()

  return {
    leaseFor(need, name) {
      const key = keyOf(need, name)
      const entry = kept.get(key)
      const now = clock.now()
      if (entry === undefined || entry.lease.expiresAt <= now) {
        if (entry !== undefined) drop(key, entry, false)
        return fetchLease(key, need, name)
      }
      if (now >= entry.renewAt && !entry.renewing) {
        // The one that is used lives on until its end, whatever becomes of the renewal.
        entry.renewing = true
        fetchLease(key, need, name).catch((error) => {
          entry.renewing = false
          log.warn('a lease could not be renewed early', { credential: name, error: error instanceof Refusal ? error.code : 'defect' })
        })
      }
      return entry.lease
    },
    distrust(lease) {
      for (const [key, entry] of kept) if (entry.lease === lease) drop(key, entry, false)
    },
    revoke(what) {
      let ended = 0
      for (const [key, entry] of [...kept]) {
        const hit =
          (what.credential !== undefined && entry.lease.credentialName === what.credential) ||
          (what.workload !== undefined && entry.lease.workload === what.workload)
        if (!hit) continue
        drop(key, entry, true)
        ended++
      }
      return ended
    },
    get size() {
      return kept.size
    },
    retire() {
      clearInterval(sweep)
      for (const [key, entry] of [...kept]) drop(key, entry, false)
    },
    close() {
      clearInterval(sweep)
      closing.abort()
      for (const [key, entry] of [...kept]) drop(key, entry, true)
    },
  }
}
