// Binds a one-time value to its first holder. When it is full it says no: a replay is never let through for want of room.
import type { Clock } from '../model/clock.ts'
import type { TrustHost } from '../model/kind.ts'

export interface OnceOptions {
  readonly clock: Clock
  /** Values remembered at most. */
  readonly max: number
}

const sweepMs = 1_000

export function createOnce({ clock, max }: OnceOptions): TrustHost['once'] {
  const bound = new Map<string, { readonly holder: string; readonly until: number }>()
  let sweptAt = Number.NEGATIVE_INFINITY

  function sweep(now: number): void {
    if (clock.monotonic() - sweptAt < sweepMs) return
    sweptAt = clock.monotonic()
    for (const [key, { until }] of bound) if (until <= now) bound.delete(key)
  }

  return (key, holder, until) => {
    const now = clock.now()
    const known = bound.get(key)
    if (known !== undefined && known.until > now) return known.holder === holder
    if (known === undefined && bound.size >= max) sweep(now)
    if (known === undefined && bound.size >= max) return false
    bound.set(key, { holder, until })
    return true
  }
}
