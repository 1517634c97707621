// A server at rest gives back what its start or a burst of calls took: V8 and glibc would keep it for good. Measured: 217 MB after
// the start become 135. It must never do so while calls are under way, since everything waits for 50 ms meanwhile.
import { trimMemory } from '../net/kernel.ts'

const firstMs = 200
const lookMs = 30_000

export interface RestParts {
  /** Calls under way. */
  live(): number
  /** Grows with whatever happens. */
  happened(): number
  /** Absent where Node was not started by bin/ostiary.mjs. */
  readonly giveBack: (() => void) | undefined
}

/** Gives back soon after the start, and once after whatever happened, when nothing has for as long as one look to the next. */
export function watchRest({ live, happened, giveBack }: RestParts): void {
  if (giveBack === undefined) return
  let seen = happened()
  let given = -1
  const look = (): void => {
    const now = happened()
    const still = now === seen && now !== given && live() === 0
    seen = now
    if (!still) return
    given = now
    giveBack()
  }
  setTimeout(look, firstMs).unref()
  setInterval(look, lookMs).unref()
}

const { gc } = globalThis

/** Free pages of V8 leave only with a collection of the last resort, those of glibc only when asked for. */
export const giveBackMemory =
  gc === undefined
    ? undefined
    : (): void => {
        gc({ type: 'major', execution: 'sync', flavor: 'last-resort' })
        trimMemory()
      }
