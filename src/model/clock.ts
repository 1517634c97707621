// The one source of time: nothing else calls Date.now() (tidy greps), so tests can move it.

export interface Clock {
  /** Wall time, milliseconds since the epoch. */
  now(): number
  /** Milliseconds that only grow; for durations and time-outs, never for records. */
  monotonic(): number
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
}
