// Reads the log: entries in order, the last ones, and the records that people ask for. Offline, bounded, and it changes nothing.
// It verifies nothing: what is read here is what the files say, and verify.ts says whether they can be believed.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Entry } from '../model/entry.ts'
import { limits } from '../model/limits.ts'
import { listSegments, readSegment } from './journal-read.ts'
import { firstBundle } from './prune.ts'
import { readCheckpointText } from './recover.ts'
import { readTile, splitBundle, tilePath, tileWidth } from './tiles.ts'

const followMs = 200

export interface Read {
  readonly index: number
  /** The bytes of the leaf. */
  readonly bytes: Buffer
}

export type Numbered = Entry & { readonly index: number }

/** What `audit export --json` prints, a line a record. `outcome` says how it ended: answered, refused, or unknown (no outcome is there). */
export interface CallRecordLine {
  readonly kind: Entry['kind'] | 'call'
  readonly index: number
  readonly time: string
  readonly call: string | null
  readonly workload: string | null
  readonly spiffeId: string | null
  readonly provider: string | null
  readonly run: string | null
  readonly runLabels: Readonly<Record<string, string>>
  readonly custody: string | null
  readonly process: Readonly<Record<string, string | number>> | null
  readonly address: string | null
  readonly way: string | null
  readonly service: string | null
  readonly host: string | null
  readonly port: number | null
  /** The proxy of this network through which it went. */
  readonly via: string | null
  readonly method: string | null
  readonly path: string | null
  readonly action: string | null
  readonly model: string | null
  readonly decision: 'permit' | 'refuse' | null
  readonly code: string | null
  readonly detail: string | null
  /** Code of the refusal that there would have been: the workload was only observed. */
  readonly observed: string | null
  readonly policies: readonly string[]
  readonly facts: Readonly<Record<string, unknown>>
  readonly policyVersion: string | null
  readonly credential: string | null
  readonly credentialKind: string | null
  /** Id of the credential that was used: the lease. */
  readonly lease: string | null
  readonly expiry: string | null
  readonly outcome: 'answered' | 'refused' | 'unknown' | null
  readonly status: number | null
  readonly bytesIn: number | null
  readonly bytesOut: number | null
  /** Of a WebSocket: whole messages of the agent that went on, and of the host. */
  readonly messagesIn: number | null
  readonly messagesOut: number | null
  readonly durationMs: number | null
  readonly scrubbed: number | null
  /** Who broke the answer off after its head had gone. */
  readonly ended: string | null
  readonly count: number | null
  readonly notes: readonly string[]
  readonly alert: string | null
  readonly by: string | null
  readonly what: string | null
}

/** Leaves from `from` on: those of the bundles that the journal no longer has, then the journal's. */
export async function* leaves(dir: string, from = 0): AsyncGenerator<Read> {
  const journalDir = join(dir, 'journal')
  let next = from
  for (let passes = 0; passes < 1_000; passes += 1) {
    const segments = await listSegments(journalDir)
    const begin = segments[0]?.first ?? Number.POSITIVE_INFINITY
    if (next < begin) next = Math.max(next, await behindPruned(dir, begin))
    while (next < begin) {
      const entries = await bundleAt(dir, Math.floor(next / tileWidth))
      const at = next % tileWidth
      if (entries.length <= at) break
      for (const bytes of entries.slice(at)) {
        yield { index: next, bytes }
        next += 1
      }
    }
    // A segment that went while it was to be read has its entries in bundles now: look again.
    let gone = false
    for (const segment of segments) {
      const read = await readSegment(segment, limits.entryBytesMax)
      gone = read === null
      if (read === null || segment.first > next) break
      for (const bytes of read.entries.slice(next - segment.first)) {
        yield { index: next, bytes }
        next += 1
      }
    }
    if (!gone) return
  }
}

/** Where what is kept begins, below the journal; without one, below what the checkpoint says. */
async function behindPruned(dir: string, begin: number): Promise<number> {
  // The journal goes only where full bundles have what it had: the one around its beginning is full.
  const end = Number.isFinite(begin)
    ? Math.ceil(begin / tileWidth)
    : Math.floor(Number((await readCheckpointText(dir))?.split('\n')[1] ?? 0) / tileWidth)
  return Math.min(begin, (await firstBundle(dir, end)) * tileWidth)
}

/** Entries of a bundle, full or the widest partial. */
async function bundleAt(dir: string, index: number): Promise<Buffer[]> {
  const full = await readTile(dir, 'entries', index, tileWidth)
  if (full !== null) return splitBundle(full).entries
  const partials = await readdir(join(dir, `${tilePath('entries', index, tileWidth)}.p`)).catch(() => [])
  const width = Math.max(0, ...partials.map(Number).filter(Number.isInteger))
  const bytes = width === 0 ? null : await readTile(dir, 'entries', index, width)
  return bytes === null ? [] : splitBundle(bytes).entries
}

export async function* entries(dir: string, from = 0): AsyncGenerator<Numbered> {
  for await (const { index, bytes } of leaves(dir, from)) yield parse(bytes, index)
}

function parse(bytes: Buffer, index: number): Numbered {
  try {
    return { ...(JSON.parse(bytes.toString('latin1')) as Entry), index }
  } catch {
    // Damaged bytes are verify's to judge; a reader shows that something stands there.
    return { kind: 'alert', time: 0, alert: 'unreadable', what: `entry ${index} is not readable`, index }
  }
}

/** The last `count` entries, then with `signal` each new one until it aborts. */
export async function* tail(dir: string, count: number, signal?: AbortSignal): AsyncGenerator<Numbered> {
  let next = Math.max(0, (await end(dir)) - count)
  do {
    for await (const entry of entries(dir, next)) {
      next = entry.index + 1
      yield entry
    }
    if (signal !== undefined && !signal.aborted) await sleep(followMs, undefined, { signal }).catch(() => {})
  } while (signal !== undefined && !signal.aborted)
}

/** Entries from a time on, found without reading the whole of a long log: entries stand in the order of their time, but for a little. */
export async function* since(dir: string, time: number): AsyncGenerator<Numbered> {
  const size = await end(dir)
  let from = Math.max(0, size - 1_024)
  while (from > 0) {
    const [first] = await Array.fromAsync(take(entries(dir, from), 1))
    if (first === undefined || first.time < time) break
    from = Math.max(0, size - (size - from) * 4)
  }
  for await (const entry of entries(dir, from)) if (entry.time >= time) yield entry
}

async function* take<T>(from: AsyncGenerator<T>, count: number): AsyncGenerator<T> {
  let taken = 0
  for await (const one of from) {
    yield one
    taken += 1
    if (taken >= count) return
  }
}

async function end(dir: string): Promise<number> {
  const last = (await listSegments(join(dir, 'journal'))).at(-1)
  const read = last === undefined ? null : await readSegment(last, limits.entryBytesMax)
  if (last !== undefined && read !== null) return last.first + read.entries.length
  let size = 0
  for await (const { index } of leaves(dir)) size = index + 1
  return size
}

/** Every entry of one call, and the record they make; null where the log has none. */
export async function show(
  dir: string,
  call: string,
): Promise<{ readonly record: CallRecordLine; readonly entries: readonly Numbered[] } | null> {
  const found: Numbered[] = []
  const mark = Buffer.from(`"call":${JSON.stringify(call)}`)
  for await (const { index, bytes } of leaves(dir)) if (bytes.includes(mark)) found.push(parse(bytes, index))
  const intent = found.find((entry) => entry.kind === 'intent')
  const outcome = found.find((entry) => entry.kind === 'outcome')
  const first = intent ?? outcome ?? found[0]
  return first === undefined ? null : { record: intent === undefined ? line(first) : joined(intent, outcome ?? null), entries: found }
}

/** Records in the order in which they end; calls without an outcome come last. */
export async function* records(dir: string, from = 0): AsyncGenerator<CallRecordLine> {
  const open = new Map<string, Numbered>()
  for await (const entry of entries(dir, from)) {
    if (entry.kind === 'intent' && entry.call !== undefined) {
      if (open.size >= limits.openRecordsMax) {
        const [oldest, intent] = open.entries().next().value as [string, Numbered]
        open.delete(oldest)
        yield joined(intent, null)
      }
      open.set(entry.call, entry)
      continue
    }
    const intent = entry.kind === 'outcome' && entry.call !== undefined ? open.get(entry.call) : undefined
    if (intent === undefined) {
      yield line(entry)
    } else {
      open.delete(entry.call as string)
      yield joined(intent, entry)
    }
  }
  for (const intent of open.values()) yield joined(intent, null)
}

function joined(intent: Numbered, outcome: Numbered | null): CallRecordLine {
  const notes = [...(intent.notes ?? []), ...(outcome?.notes ?? [])]
  const whole: Numbered = outcome === null ? intent : { ...intent, ...outcome, time: intent.time, index: intent.index, notes }
  return { ...line(whole), kind: 'call', outcome: outcome === null ? 'unknown' : outcome.decision === 'refuse' ? 'refused' : 'answered' }
}

function line(entry: Numbered): CallRecordLine {
  return {
    kind: entry.kind === 'outcome' ? 'call' : entry.kind,
    index: entry.index,
    time: iso(entry.time),
    call: entry.call ?? null,
    workload: entry.workload ?? null,
    spiffeId: entry.spiffeId ?? null,
    provider: entry.provider ?? null,
    run: entry.run ?? null,
    runLabels: entry.runLabels ?? {},
    custody: entry.custody ?? null,
    process: entry.process ?? null,
    address: entry.address ?? null,
    way: entry.way ?? null,
    service: entry.service ?? null,
    host: entry.host ?? null,
    port: entry.port ?? null,
    via: entry.via ?? null,
    method: entry.method ?? null,
    path: entry.path ?? null,
    action: entry.action ?? null,
    model: entry.model ?? null,
    decision: entry.decision ?? null,
    code: entry.code ?? null,
    detail: entry.detail ?? null,
    observed: entry.observed ?? null,
    policies: entry.policies ?? [],
    facts: entry.facts ?? {},
    policyVersion: entry.policyVersion ?? null,
    credential: entry.credential ?? null,
    credentialKind: entry.credentialKind ?? null,
    lease: entry.lease ?? null,
    expiry: entry.expires === undefined ? null : iso(entry.expires),
    outcome: entry.kind === 'outcome' ? (entry.decision === 'refuse' ? 'refused' : 'answered') : null,
    status: entry.status ?? null,
    bytesIn: entry.bytesIn ?? null,
    bytesOut: entry.bytesOut ?? null,
    messagesIn: entry.messagesIn ?? null,
    messagesOut: entry.messagesOut ?? null,
    durationMs: entry.durationMs ?? null,
    scrubbed: entry.scrubbed ?? null,
    ended: entry.ended ?? null,
    count: entry.count ?? null,
    notes: entry.notes ?? [],
    alert: entry.alert ?? null,
    by: entry.by ?? null,
    what: entry.what ?? null,
  }
}

function iso(time: number): string {
  return Math.abs(time) <= 8.64e15 ? new Date(time).toISOString() : String(time)
}
