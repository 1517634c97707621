// The seventh step: what we injected never comes back, in any field, trailer or body, in any encoding that we know of.
// An answer that cannot be checked does not pass.
import { wholeFlow } from '../http/flow.ts'
import type { Call } from '../model/call.ts'
import type { Lease } from '../model/credential.ts'
import type { Limits } from '../model/limits.ts'
import { type Edits, type Flow, noEdits, type ResponseHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { GatheredFlow, MaskedFlow, type Tally } from './body.ts'
import { type Coding, codingOf, DecodedFlow, decodeWhole, type Opened } from './decode.ts'
import { createFrameScrub, type FrameScrub } from './frames.ts'
import { type HeadEdits, maskHead } from './head.ts'
import { Matcher } from './matcher.ts'
import { needlesOf } from './needles.ts'

export interface Scrubbed {
  readonly edits: Edits
  readonly body: Flow
  /** Matches masked so far. */
  found(): number
}

export interface Scrub {
  /** Throws Refusal scrub.encoding, scrub.short_secret, obtain.revoked; a body that turns out unreadable fails with scrub.broken. */
  (answer: { readonly head: ResponseHead; readonly body: Flow }, lease: Lease | null, call: Call): Scrubbed
  /** Computes the needles while the lease still has its secrets: a lease may be wiped before a slow answer comes. */
  prepare(lease: Lease): void
  /** For the messages of a WebSocket; null where nothing was injected. Throws Refusal scrub.short_secret, obtain.revoked. */
  frames(lease: Lease | null, tally: Tally): FrameScrub | null
}

export type ScrubLimits = Pick<
  Limits,
  'recognisedCharsMin' | 'shortSecretCharsMin' | 'bufferedAnswerBytesMax' | 'gatheredAnswerBytesMax' | 'inflateRatioMax' | 'inflateBytesMax'
>

const none = (): number => 0

export function createScrub(options: { readonly limits: ScrubLimits }): Scrub {
  const { limits } = options
  const matchers = new WeakMap<Lease, Matcher>()

  function matcherOf(lease: Lease): Matcher {
    const known = matchers.get(lease)
    if (known !== undefined) return known
    // A credential without a secret to look for is a mistake of its provider; an answer to it is not passed unsearched.
    if (lease.secrets.length === 0) throw new Refusal('scrub.short_secret', `${lease.credentialName} names no secret`)
    if (lease.revoked.aborted) throw new Refusal('obtain.revoked', lease.credentialName)
    let matcher: Matcher
    try {
      const { all, short } = needlesOf(lease.secrets, limits.recognisedCharsMin, limits.shortSecretCharsMin)
      matcher = new Matcher(all, short)
    } catch (error) {
      throw error instanceof RangeError ? new Refusal('scrub.short_secret', 'the lease was wiped before its answer came') : error
    }
    matchers.set(lease, matcher)
    lease.revoked.addEventListener('abort', () => matcher.wipe(), { once: true })
    return matcher
  }

  function body(source: Flow, matcher: Matcher, tally: Tally): Flow {
    const { whole } = source
    if (whole !== null) {
      const { bytes, found } = matcher.mask(whole)
      tally.found += found
      return bytes === whole ? source : wholeFlow(bytes)
    }
    return matcher.short ? new GatheredFlow(source, matcher, tally, limits.bufferedAnswerBytesMax) : new MaskedFlow(source, matcher, tally)
  }

  function scrub(answer: { readonly head: ResponseHead; readonly body: Flow }, lease: Lease | null, call: Call): Scrubbed {
    if (lease === null || lease.credential.kind === 'none') return { edits: noEdits, body: answer.body, found: none }
    const matcher = matcherOf(lease)
    const { head } = answer
    const edits: HeadEdits = { remove: new Set(), set: [] }
    const tally: Tally = { found: maskHead(head, matcher, call.service?.cookies ?? [], edits) }
    // RFC 9110 §6.4.1: these have no body, whatever their fields say.
    const bodiless = call.target.method === 'HEAD' || head.status === 204 || head.status === 304 || answer.body.length === 0
    if (bodiless) return { edits: done(edits), body: answer.body, found: () => tally.found }
    const coding = codingOf(head.get('content-encoding'))
    let source = answer.body
    if (coding !== null) {
      const opened = decodedAtOnce(source, coding, limits)
      if (opened !== null && isClean(source.whole as Buffer, opened, coding, matcher))
        return { edits: done(edits), body: source, found: () => tally.found }
      source = opened === null ? new DecodedFlow(source, coding, limits) : wholeFlow(opened.plain)
      edits.remove.add('content-encoding')
      edits.remove.add('content-length')
      // RFC 9530: digests of what is no longer sent.
      edits.remove.add('content-digest')
    }
    const clean = body(source, matcher, tally)
    return { edits: done(edits), body: clean, found: () => tally.found }
  }

  return Object.assign(scrub, {
    prepare(lease: Lease): void {
      if (lease.credential.kind !== 'none') matcherOf(lease)
    },
    frames(lease: Lease | null, tally: Tally): FrameScrub | null {
      if (lease === null || lease.credential.kind === 'none') return null
      const matcher = matcherOf(lease)
      // A socket has no end to wait for.
      if (matcher.short) throw new Refusal('scrub.short_secret', 'a WebSocket')
      return createFrameScrub(matcher, tally)
    },
  })
}

/** In this thread. */
function decodedAtOnce({ whole }: Flow, coding: Coding, { gatheredAnswerBytesMax }: ScrubLimits): Opened | null {
  return whole === null || whole.length > gatheredAnswerBytesMax ? null : decodeWhole(coding, whole)
}

/**
 * Read to its last byte, and nothing in it; nor in what is not content: names in the head of gzip, blocks that a decoder skips. Not
 * for `deflate`, which is zlib to one and raw to another.
 */
function isClean(came: Buffer, { plain, bytesRead }: Opened, coding: Coding, matcher: Matcher): boolean {
  return coding !== 'deflate' && bytesRead === came.length && matcher.find(plain) === null && matcher.find(came) === null
}

function done(edits: HeadEdits): Edits {
  return edits.remove.size === 0 && edits.set.length === 0 ? noEdits : { remove: edits.remove, set: edits.set, target: null }
}
