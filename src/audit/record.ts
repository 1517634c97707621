// The record of one call: what is known is collected while the steps run, and becomes an intent, an outcome, or a counted refusal.
// It must never hold a body, a query or a credential's value: only names, kinds and expiries.

import type { Call, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Lease } from '../model/credential.ts'
import type { Decision } from '../model/decision.ts'
import type { Entry } from '../model/entry.ts'
import type { PeerFacts, ProcessFacts } from '../model/evidence.ts'
import type { Identity } from '../model/identity.ts'
import { limits } from '../model/limits.ts'
import { Refusal, type RefusalCode } from '../model/refusal.ts'

/** Fits flow/call.ts. */
export interface CallRecord {
  identified(identity: Identity): void
  decided(decision: Decision): void
  leased(lease: Lease | null): void
  note(note: string): void
  /** Durable when it resolves; rejects with Refusal audit.*. */
  intent(): Promise<void>
  /** Never throws. */
  outcome(status: number, bytesOut: number, scrubbed: number, beside?: Beside): void
  refused(refusal: Refusal): void
}

interface Beside {
  readonly messagesIn?: number
  readonly messagesOut?: number
  readonly ended?: string
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

/** How a call or a tunnel ended. */
export interface Ended {
  readonly service: string | null
  readonly run: string | null
  readonly host: string
  readonly action: string
  /** null for a tunnel and where it was refused. */
  readonly status: number | null
  readonly code: RefusalCode | null
  readonly seconds: number
}

interface Parts {
  readonly audit: Writer
  readonly clock: Clock
  /** Labels of a run, as its starter stated them. */
  readonly runLabels?: (run: string) => Readonly<Record<string, string>>
  /** Through which proxy of this network a host is reached. */
  readonly via?: (host: string) => string | undefined
  readonly count?: (ended: Ended) => void
}

type Draft = { -readonly [Name in keyof Entry]: Entry[Name] }

/** Refusals that mean somebody tries something; the sender is named, never the owner of what was sent (DESIGN invariant 17). */
const alerting: ReadonlySet<RefusalCode> = new Set(['inject.foreign_placeholder', 'inject.foreign_credential', 'identify.token_replayed'])

export function createRecords(parts: Parts): AuditRecords {
  const { audit, clock } = parts
  return {
    call: (call) => new OpenRecord(parts, call, call.service?.name ?? call.target.service, call),
    tunnel: (call) => new OpenRecord(parts, call, null, noBytes),
    alert: (entry, sender) => audit.refusal({ ...entry, kind: 'alert', time: clock.now() }, sender),
    administration: (by, what, fields) => audit.append({ ...fields, kind: 'administration', time: clock.now(), by, what }),
    token: (entry) => audit.append({ ...entry, kind: 'token', time: clock.now() }),
  }
}

const noBytes = { bytesIn: 0 }

/** Closed by an outcome, the end of a tunnel, or a refusal. One object a call and one an entry: this is on the way of every call. */
class OpenRecord implements CallRecord, TunnelRecord {
  readonly #parts: Parts
  readonly #call: Pick<Call, 'id' | 'startedAt' | 'target' | 'connection'>
  readonly #service: string | null
  readonly #body: { readonly bytesIn: number }
  #identity: Identity | null = null
  #decision: Decision | null = null
  #lease: Lease | null = null
  #notes: string[] | null = null
  /** Notes that stand in the intent already. */
  #noted = 0
  #durable = false

  constructor(
    parts: Parts,
    call: Pick<Call, 'id' | 'startedAt' | 'target' | 'connection'>,
    service: string | null,
    body: { bytesIn: number },
  ) {
    this.#parts = parts
    this.#call = call
    this.#service = service
    this.#body = body
  }

  identified(identity: Identity): void {
    this.#identity = identity
  }

  decided(decision: Decision): void {
    this.#decision = decision
  }

  leased(lease: Lease | null): void {
    this.#lease = lease
  }

  note(note: string): void {
    this.#notes ??= []
    if (this.#notes.length < limits.notesMax) this.#notes.push(note)
  }

  async intent(): Promise<void> {
    const entry = this.#known('intent', this.#parts.clock.now())
    if (this.#notes !== null) {
      entry.notes = this.#notes.slice()
      this.#noted = this.#notes.length
    }
    try {
      await this.#parts.audit.append(entry)
      this.#durable = true
    } catch (error) {
      // It is written still, so an end of its own is due.
      this.#durable = error instanceof Refusal && error.code === 'audit.timeout'
      throw error
    }
  }

  outcome(status: number, bytesOut: number, scrubbed: number, beside?: Beside): void {
    const entry = this.#ended()
    entry.status = status
    entry.bytesIn = this.#body.bytesIn
    entry.bytesOut = bytesOut
    entry.scrubbed = scrubbed
    entry.messagesIn = beside?.messagesIn
    entry.messagesOut = beside?.messagesOut
    entry.ended = beside?.ended
    this.#parts.audit.write(entry)
    this.#count(status, null)
  }

  ended(bytesIn: number, bytesOut: number): void {
    this.#parts.audit.write({ ...this.#ended(), bytesIn, bytesOut })
    this.#count(null, null)
  }

  refused(refusal: Refusal): void {
    const { audit } = this.#parts
    this.#count(null, refusal.code)
    const known = this.#known('outcome', this.#parts.clock.now())
    const sender = senderOf(this.#identity, this.#call.connection.evidence.peer)
    const entry: Draft = this.#durable ? { ...this.#ended(), action: known.action } : { ...known, ...this.#ended() }
    entry.decision = 'refuse'
    entry.code = refusal.code
    entry.status = refusal.status
    entry.bytesIn = this.#body.bytesIn
    if (refusal.detail !== '') entry.detail = refusal.detail
    if (this.#durable) audit.write(entry)
    else audit.refusal(entry, sender)
    if (!alerting.has(refusal.code)) return
    const { status: _status, bytesIn: _bytesIn, durationMs: _durationMs, decision: _decision, ...alert } = { ...known, ...entry }
    audit.refusal({ ...alert, kind: 'alert', alert: refusal.code }, sender)
  }

  #count(status: number | null, code: RefusalCode | null): void {
    const { clock, count } = this.#parts
    const { target, startedAt } = this.#call
    const seconds = (clock.now() - startedAt) / 1000
    count?.({ service: this.#service, run: this.#identity?.run ?? null, host: target.host, action: target.action, status, code, seconds })
  }

  #ended(): Draft {
    const { id, startedAt, target } = this.#call
    const time = this.#parts.clock.now()
    const notes = this.#notes !== null && this.#notes.length > this.#noted ? this.#notes.slice(this.#noted) : undefined
    return {
      kind: 'outcome',
      time,
      call: id,
      workload: this.#identity?.workload,
      service: this.#service ?? undefined,
      // Read alone, as `audit tail` shows it, it says where: its intent may stand far before it.
      host: target.host,
      method: target.method,
      path: target.path,
      durationMs: Math.max(0, time - startedAt),
      status: undefined,
      bytesIn: undefined,
      bytesOut: undefined,
      scrubbed: undefined,
      messagesIn: undefined,
      messagesOut: undefined,
      ended: undefined,
      notes,
    }
  }

  #known(kind: Entry['kind'], time: number): Draft {
    const { id, target, connection } = this.#call
    const { peer } = connection.evidence
    const identity = this.#identity
    const decision = this.#decision
    const lease = this.#lease
    const labels = identity?.run == null ? undefined : this.#parts.runLabels?.(identity.run)
    const tools = decision === null || decision.tools.length === 0 ? null : decision.tools
    return {
      kind,
      time,
      call: id,
      workload: identity?.workload,
      spiffeId: identity?.spiffeId,
      provider: identity?.provider,
      run: identity?.run ?? undefined,
      runLabels: labels !== undefined && Object.keys(labels).length > 0 ? labels : undefined,
      custody: identity?.custody,
      process: processOf(peer),
      address: peer.address,
      way: target.way,
      service: this.#service ?? undefined,
      host: target.host,
      port: target.port,
      // Whoever was refused before was not on any way out.
      via: decision === null ? undefined : this.#parts.via?.(target.host),
      method: target.method,
      path: target.path,
      action: target.action,
      model: decision?.model ?? undefined,
      decision: decision === null ? undefined : 'permit',
      observed: decision?.observed?.code,
      detail: decision?.observed?.detail,
      policies: decision?.policies,
      facts: tools === null ? decision?.facts : { ...decision?.facts, tools },
      policyVersion: decision?.policyVersion,
      credential: lease?.credentialName ?? decision?.credential ?? undefined,
      credentialKind: lease?.providerKind,
      lease: lease?.id,
      expires: lease?.expiresAt,
    }
  }
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
function senderOf(identity: Identity | null, peer: PeerFacts): string {
  if (identity !== null) return identity.run === null ? identity.spiffeId : `${identity.spiffeId} ${identity.run}`
  return `${peer.address} ${peer.process?.pid ?? ''} ${peer.uid ?? ''}`
}
