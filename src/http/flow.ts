// Bodies that flow: whole ones, and the push side of those that come bit by bit.
import { limits } from '../model/limits.ts'
import type { Flow, Sink } from '../model/message.ts'

const nothing = Buffer.alloc(0)

export const emptyFlow: Flow = wholeFlow(nothing)

export function wholeFlow(whole: Buffer): Flow {
  return {
    length: whole.length,
    whole,
    start(sink) {
      if (whole.length > 0) sink.data(whole)
      sink.end([])
    },
    pause() {},
    resume() {},
    cancel() {},
  }
}

/** What the owner of a source wants to hear of its flow. */
export interface FlowOwner {
  started?(): void
  paused(): void
  resumed(): void
  cancelled(): void
}

/** The push side. What comes before start() is queued; its owner reads no more than it queues, since the flow begins paused. */
export class FlowSource implements Flow {
  readonly length: number
  readonly whole = null
  readonly #owner: FlowOwner
  #sink: Sink | null = null
  #queued: Buffer[] = []
  #queuedBytes = 0
  #ended: readonly (readonly [string, string])[] | null = null
  #failed: Error | null = null
  #paused = false
  #draining = false
  #over = false

  constructor(length: number, owner: FlowOwner) {
    this.length = length
    this.#owner = owner
  }

  get started(): boolean {
    return this.#sink !== null
  }

  /** From the owner, who does not write into the chunk again. */
  data(chunk: Buffer): void {
    if (this.#over || this.#failed !== null) return
    if (this.#sink === null || this.#paused || this.#draining || this.#queued.length > 0) {
      this.#queuedBytes += chunk.length
      if (this.#queuedBytes > limits.queuedBodyBytesMax) return this.#overflow()
      this.#queued.push(chunk)
      return
    }
    if (!this.#sink.data(chunk)) this.pause()
  }

  end(trailers: readonly (readonly [string, string])[]): void {
    this.#ended = trailers
    this.#settle()
  }

  fail(error: Error): void {
    if (this.#ended !== null && this.#queued.length === 0) return
    this.#failed = error
    this.#queued = []
    this.#settle()
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.#owner.started?.()
    this.#drain()
    if (!this.#paused && !this.#over) this.#owner.resumed()
  }

  pause(): void {
    if (this.#paused || this.#over) return
    this.#paused = true
    this.#owner.paused()
  }

  resume(): void {
    if (!this.#paused || this.#over) return
    this.#paused = false
    // From within the sink's data: the loop that called it goes on, so that no chunk is given out inside another.
    if (this.#draining) return
    this.#drain()
    if (!this.#paused && !this.#over) this.#owner.resumed()
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#queued = []
    this.#owner.cancelled()
  }

  /** An owner that was paused and did not stop. */
  #overflow(): void {
    this.fail(new RangeError('more was sent than waits'))
    this.#owner.cancelled()
  }

  #drain(): void {
    this.#draining = true
    try {
      while (this.#queued.length > 0 && !this.#paused && this.#sink !== null) {
        const chunk = this.#queued.shift() as Buffer
        this.#queuedBytes -= chunk.length
        if (!this.#sink.data(chunk)) this.pause()
      }
    } finally {
      this.#draining = false
    }
    this.#settle()
  }

  #settle(): void {
    if (this.#over || this.#draining || this.#sink === null || (this.#queued.length > 0 && this.#failed === null)) return
    if (this.#failed !== null) {
      this.#over = true
      this.#sink.fail(this.#failed)
    } else if (this.#ended !== null) {
      this.#over = true
      this.#sink.end(this.#ended)
    }
  }
}

/** The whole body, at most bytesMax; rejects with RangeError over it. */
export function collect(flow: Flow, bytesMax: number): Promise<Buffer> {
  if (flow.whole !== null)
    return flow.whole.length > bytesMax ? Promise.reject(new RangeError('body too large')) : Promise.resolve(flow.whole)
  if (flow.length > bytesMax) return Promise.reject(new RangeError('body too large'))
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    flow.start({
      data(chunk) {
        size += chunk.length
        if (size > bytesMax) {
          reject(new RangeError('body too large'))
          flow.cancel()
          return false
        }
        chunks.push(chunk)
        return true
      },
      end: () => resolve(Buffer.concat(chunks, size)),
      fail: reject,
    })
  })
}
