// Messages of an API on their way to the agent. All of them are one stream of bytes: a secret in fragments, or cut over messages,
// is masked where it goes on. Nothing waits.
import type { Piece } from '../model/socket.ts'
import type { Tally } from './body.ts'
import { MaskStream, type Matcher } from './matcher.ts'

export interface FrameScrub {
  /** Throws Refusal obtain.revoked. */
  piece(piece: Piece): Piece
  /** The reason of a close frame. */
  reason(bytes: Buffer): Buffer
}

export function createFrameScrub(matcher: Matcher, tally: Tally): FrameScrub {
  const stream = new MaskStream(matcher)

  function through(bytes: Buffer): Buffer {
    const before = stream.found
    const leaving = stream.push(bytes)
    tally.found += stream.found - before
    return leaving
  }

  return {
    piece: (piece) => ({ ...piece, bytes: through(piece.bytes) }),
    reason: through,
  }
}
