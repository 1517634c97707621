// A message's head and a body that flows. http/ makes them; steps read them and never see a socket.

/** Fields by lower-case name; `_` in a received name counts as `-`. Values are latin1 text. */
export interface Head {
  /** The single value; undefined when absent. A repeated field is joined by ", " (set-cookie is not asked for by get). */
  get(name: string): string | undefined
  /** Every field in order, name lower-case with `_` as `-`. */
  each(visit: (name: string, value: string) => void): void
}

export interface RequestHead extends Head {
  readonly method: string
  /** As received. */
  readonly target: string
}

export interface ResponseHead extends Head {
  readonly status: number
  readonly reason: string
}

/** What the writer does to a head that passes: lines that are not named go on byte for byte. */
export interface Edits {
  /** Lower-case names whose every line (in any case or `_` alias) is dropped. */
  readonly remove: ReadonlySet<string>
  /** Lines added at the end: name as written on the wire, value as bytes without CR, LF or NUL. */
  readonly set: readonly (readonly [string, Buffer])[]
  /** New request target (origin form), or null to write `path + query` of the Target. */
  readonly target: Buffer | null
  /** The call goes on without the credential that was obtained for it. */
  readonly bare?: boolean
}

export const noEdits: Edits = { remove: new Set(), set: [], target: null }

/** Where a body goes. One sink a flow. */
export interface Sink {
  /**
   * The chunk may be kept: whoever gave it writes into it no more, and neither does the sink, for others may look at the same
   * bytes. A copy of each would cost more than all else that is done with a long body. False: pause until resume is called.
   */
  data(chunk: Buffer): boolean
  /** Trailers are `name: value` pairs, lower-case names; mostly empty. */
  end(trailers: readonly (readonly [string, string])[]): void
  fail(error: Error): void
}

/** A body that flows, decoded of its transfer coding. Nothing moves before start(). */
export interface Flow {
  /** Bytes where the framing says so (0 for no body), -1 when it does not (chunked, until close). */
  readonly length: number
  /** The whole body where it came with its head; start() is then not called. */
  readonly whole: Buffer | null
  start(sink: Sink): void
  pause(): void
  resume(): void
  /** The reader lost interest: the source is closed or drained, as its owner sees fit. */
  cancel(): void
}
