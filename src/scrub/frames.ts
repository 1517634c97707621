// Messages of an API on their way to the agent. All of them are one stream of bytes: a secret in fragments, or cut over messages,
// is masked where it goes on. What a stream would hold back cannot wait behind the end of a message, so there it is masked.
import type { Piece } from '../model/socket.ts'
import type { Tally } from './body.ts'
import { MaskStream, type Matcher } from './matcher.ts'

export interface FrameScrub {
  /** null: nothing of it may leave yet. Throws Refusal obtain.revoked. */
  piece(piece: Piece): Piece | null
  /** The reason of a close frame. */
  reason(bytes: Buffer): Buffer
}

export function createFrameScrub(matcher: Matcher, tally: Tally): FrameScrub {
  const stream = new MaskStream(matcher)
  let firstOwed = false

  function through(bytes: Buffer, last: boolean): Buffer {
    const before = stream.found
    const leaving = stream.push(bytes)
    const rest = last ? stream.cover() : null
    tally.found += stream.found - before
    return rest === null || rest.length === 0 ? leaving : Buffer.concat([leaving, rest])
  }

  return {
    piece({ text, bytes, first, last }) {
      if (first) firstOwed = true
      const clean = through(bytes, last)
      if (clean.length === 0 && !last) return null
      const piece = { text, bytes: clean, first: firstOwed, last }
      firstOwed = false
      return piece
    },
    reason: (bytes) => through(bytes, true),
  }
}
