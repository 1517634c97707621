// The record of one call: what is known is collected while the steps run, and becomes an intent, an outcome, or a counted refusal.
// It must never hold a body, a query or a credential's value: only names, kinds and expiries.
import type { Call, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Lease } from '../model/credential.ts'
import type { Decision } from '../model/decision.ts'
import type { Entry } from '../model/entry.ts'
import type { PeerFacts, ProcessFacts } from '../model/evidence.ts'
import type { Identity } from '../model/identity.ts'
import type { Refusal, RefusalCode } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'

const notesMax = 32

/** Fits flow/call.ts. */
export interface CallRecord {
  identified(identity: Identity): void
  decided(decision: Decision): void
  leased(lease: Lease | null): void
  note(note: string): void
  /** Durable when it resolves; rejects with Refusal audit.*. */
  intent(): Promise<void>
  /** Never throws. */
  outcome(status: number, bytesOut: number, scrubbed: number, talk?: { readonly messagesIn: number; readonly messagesOut: number }): void
  refused(refusal: Refusal): void
}

export interface TunnelRecord {
  identified(identity: Identity): void
  decided(decision: Decision): void
  note(note: string): void
  intent(): Promise<void>
  ended(bytesIn: number, bytesOut: number): void
  refused(refusal: Refusal): void
}

export interface AuditRecords {
  call(call: Call): CallRecord
  tunnel(call: TunnelCall): TunnelRecord
  /** Joins the next sync; equal ones of one sender within a second are counted. */
  alert(entry: Omit<Entry, 'kind' | 'time'>, sender: string): void
  /** A person did something: durable when it resolves. */
  administration(by: string, what: string, fields?: Partial<Entry>): Promise<void>
  /** A token request: durable when it resolves. */
  token(entry: Omit<Entry, 'kind' | 'time'>): Promise<void>
}

/** What records need of the log. */
interface Writer {
  append(entry: Entry): Promise<void>
  write(entry: Entry): void
  refusal(entry: Entry, sender: string): void
}

type Draft = { -readonly [Name in keyof Entry]: Entry[Name] }

/** Refusals that mean somebody tries something; the sender is named, never the owner of what was sent (DESIGN invariant 17). */
const alerting: ReadonlySet<RefusalCode> = new Set(['inject.foreign_placeholder', 'inject.foreign_credential', 'identify.token_replayed'])

interface RecordParts {
  readonly audit: Writer
  readonly clock: Clock
  /** Labels of a run, as its starter stated them. */
  readonly runLabels?: RunLabels
}

export function createRecords(parts: RecordParts): AuditRecords {
  const { audit, clock } = parts
  const runLabels = parts.runLabels ?? (() => ({}))
  return {
    call: (call) => callRecord(audit, clock, runLabels, call),
    tunnel: (call) => tunnelRecord(audit, clock, runLabels, call),
    alert: (entry, sender) => audit.refusal({ ...entry, kind: 'alert', time: clock.now() }, sender),
    administration: (by, what, fields) => audit.append({ ...fields, kind: 'administration', time: clock.now(), by, what }),
    token: (entry) => audit.append({ ...entry, kind: 'token', time: clock.now() }),
  }
}

function callRecord(audit: Writer, clock: Clock, runLabels: RunLabels, call: Call): CallRecord {
  const open = createDraft(audit, clock, runLabels, call, call.service?.name ?? call.target.service)
  return {
    ...open,
    leased(lease) {
      if (lease === null) return
      const { draft } = open
      draft.credential = lease.credentialName
      draft.credentialKind = lease.providerKind
      draft.lease = lease.id
      draft.expires = lease.expiresAt
    },
    outcome(status, bytesOut, scrubbed, talk) {
      const entry = open.outcome()
      entry.status = status
      entry.bytesIn = call.bytesIn
      entry.bytesOut = bytesOut
      entry.scrubbed = scrubbed
      if (talk !== undefined) {
        entry.messagesIn = talk.messagesIn
        entry.messagesOut = talk.messagesOut
      }
      audit.write(entry)
    },
    refused: (refusal) => open.refused(refusal, call.bytesIn),
  }
}

function tunnelRecord(audit: Writer, clock: Clock, runLabels: RunLabels, call: TunnelCall): TunnelRecord {
  const open = createDraft(audit, clock, runLabels, call, null)
  return {
    ...open,
    ended(bytesIn, bytesOut) {
      const entry = open.outcome()
      entry.bytesIn = bytesIn
      entry.bytesOut = bytesOut
      audit.write(entry)
    },
    refused: (refusal) => open.refused(refusal, 0),
  }
}

type RunLabels = (run: string) => Readonly<Record<string, string>>

function createDraft(
  audit: Writer,
  clock: Clock,
  runLabels: RunLabels,
  call: Pick<Call, 'id' | 'startedAt' | 'target' | 'connection'>,
  service: string | null,
) {
  const draft = known(call.id, call.startedAt, call.target, service, call.connection.evidence.peer)
  const notes: string[] = []
  let durable = false
  let noted = 0

  function outcome(): Draft {
    const now = clock.now()
    const entry: Draft = { kind: 'outcome', time: now, call: call.id }
    if (draft.workload !== undefined) entry.workload = draft.workload
    if (service !== null) entry.service = service
    entry.durationMs = Math.max(0, now - call.startedAt)
    if (notes.length > noted) entry.notes = notes.slice(noted)
    return entry
  }

  return {
    draft,
    outcome,
    identified(identity: Identity): void {
      draft.workload = identity.workload
      draft.spiffeId = identity.spiffeId
      draft.provider = identity.provider
      draft.custody = identity.custody
      if (identity.run === null) return
      draft.run = identity.run
      const labels = runLabels(identity.run)
      if (Object.keys(labels).length > 0) draft.runLabels = labels
    },
    decided(decision: Decision): void {
      draft.decision = 'permit'
      draft.policies = decision.policies
      draft.facts = decision.facts
      draft.policyVersion = decision.policyVersion
      if (decision.observed !== undefined) {
        draft.observed = decision.observed.code
        draft.detail = decision.observed.detail
      }
      if (decision.model !== null) draft.model = decision.model
      if (decision.credential !== null) draft.credential = decision.credential
      if (decision.tools.length > 0) draft.facts = { ...decision.facts, tools: decision.tools }
    },
    note(note: string): void {
      if (notes.length < notesMax) notes.push(note)
    },
    async intent(): Promise<void> {
      draft.time = clock.now()
      if (notes.length > 0) draft.notes = notes.slice()
      noted = notes.length
      await audit.append(draft)
      durable = true
    },
    refused(refusal: Refusal, bytesIn: number): void {
      const sender = senderOf(draft, call.connection.evidence.peer)
      const entry: Draft = durable ? outcome() : { ...draft, ...outcome() }
      entry.decision = 'refuse'
      entry.code = refusal.code
      entry.status = refusal.status
      entry.bytesIn = bytesIn
      if (refusal.detail !== '') entry.detail = refusal.detail
      if (!durable && notes.length > 0) entry.notes = notes
      if (durable) audit.write(entry)
      else audit.refusal(entry, sender)
      if (!alerting.has(refusal.code)) return
      const { status: _status, bytesIn: _bytesIn, durationMs: _durationMs, decision: _decision, ...alert } = { ...draft, ...entry }
      audit.refusal({ ...alert, kind: 'alert', alert: refusal.code }, sender)
    },
  }
}

function known(id: string, startedAt: number, target: Target, service: string | null, peer: PeerFacts): Draft {
  const draft: Draft = {
    kind: 'intent',
    time: startedAt,
    call: id,
    process: processOf(peer),
    address: peer.address,
    way: target.way,
    host: target.host,
    port: target.port,
    method: target.method,
    path: target.path,
    action: target.action,
  }
  if (service !== null) draft.service = service
  return draft
}

const processes = new WeakMap<ProcessFacts, Readonly<Record<string, string | number>>>()

function processOf(peer: PeerFacts): Readonly<Record<string, string | number>> {
  const { process } = peer
  if (process === null) return peer.uid === null ? { why: peer.why } : { uid: peer.uid, why: peer.why }
  const remembered = processes.get(process)
  if (remembered !== undefined) return remembered
  const made: Record<string, string | number> = { pid: process.pid, uid: process.uid, user: process.user, executable: process.executable }
  if (process.executableSha256 !== '') made['sha256'] = process.executableSha256
  if (process.systemUnit !== '') made['systemUnit'] = process.systemUnit
  if (process.containerId !== '') made['containerId'] = process.containerId
  processes.set(process, made)
  return made
}

/** The attested sender, or what the kernel says of the peer. */
function senderOf(draft: Draft, peer: PeerFacts): string {
  if (draft.spiffeId !== undefined) return draft.run === undefined ? draft.spiffeId : `${draft.spiffeId} ${draft.run}`
  return `${peer.address} ${peer.process?.pid ?? ''} ${peer.uid ?? ''}`
}
