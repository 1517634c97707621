// What a fault is: a harm, the behaviour that is documented for it (docs/guide/faults.md), and a way to make it that looks.
import type { Stage } from '../../examples/story/stage.ts'

export interface Ground {
  /** Clear: without a server. Each fault leaves it so. */
  readonly stage: Stage
  readonly rounds: number
  readonly seed: number
  /** Says how far a long one is. */
  readonly tell: (text: string) => void
}

export interface Fault {
  readonly name: string
  readonly fault: string
  /** The documented behaviour, in short. */
  readonly happens: string
  /** What was seen, or why this machine cannot make it; throws where something else happened. */
  run(ground: Ground): Promise<string | { readonly skipped: string }>
}
