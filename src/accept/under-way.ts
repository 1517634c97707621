// What a call under way is, whatever it came by: who is told that its agent left, its body read whole, and a flow that is begun.
import { collect } from '../http/flow.ts'
import type { Call } from '../model/call.ts'
import type { Flow } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'

/** The agent's presence until its answer is complete. */
export class Presence {
  gone = false
  #told: (() => void)[] = []

  /** Call.whenGone. */
  whenGone(run: () => void): () => void {
    if (this.gone) run()
    else this.#told.push(run)
    return () => {
      const at = this.#told.indexOf(run)
      if (at >= 0) this.#told.splice(at, 1)
    }
  }

  leave(): void {
    this.gone = true
    for (const run of this.#told.splice(0)) run()
  }

  /** The answer is complete: nobody is told any more. */
  close(): void {
    this.#told = []
  }
}

/** For Call.readBody: what is longer is no mistake of ours. */
export function readWhole(body: Flow, bytesMax: number): Promise<Buffer> {
  return collect(body, bytesMax).catch((error) => {
    throw error instanceof RangeError ? new Refusal('decide.body_unreadable', 'the body is larger than policy reads') : error
  })
}

interface Beginner {
  call(call: Call): void | Promise<void>
  defect(error: unknown): void
}

/** A flow catches what goes wrong in it; what it did not is a defect of its own. */
export function begin(owner: Beginner, call: Call): void {
  try {
    const flow = owner.call(call)
    if (flow instanceof Promise) flow.catch((error) => defect(owner, call, error))
  } catch (error) {
    defect(owner, call, error)
  }
}

function defect(owner: Beginner, call: Call, error: unknown): void {
  owner.defect(error)
  call.refuse(new Refusal('flow.defect', '', error), call.id)
}
