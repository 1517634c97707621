// The page to read first: one request, accept to audit, in eight steps. accept made the Call; the rest stands here.
import type { Call } from '../model/call.ts'
import type { Credential, Lease } from '../model/credential.ts'
import type { Decision } from '../model/decision.ts'
import type { Identity } from '../model/identity.ts'
import { type Edits, type Flow, noEdits, type ResponseHead } from '../model/message.ts'
import { agentLeft, Refusal } from '../model/refusal.ts'
import type { Opened } from '../model/socket.ts'

/** What forward brings back. */
export interface Answer {
  readonly head: ResponseHead
  readonly body: Flow
  /** Of a 101: the host is ready to talk. */
  readonly opened?: Opened
  /** Closes the upstream connection at once. */
  cut(): void
}

/** What was said on a WebSocket; `bytes` went to the agent. */
export interface Talk {
  readonly bytes: number
  readonly messagesIn: number
  readonly messagesOut: number
  readonly scrubbed: number
}

/** What an outcome says where there is more than an answer that came whole. */
export interface Beside {
  readonly messagesIn?: number
  readonly messagesOut?: number
  /** Who broke it off after its head had gone. */
  readonly ended?: string
}

/** The open record of one call. */
export interface CallRecord {
  identified(identity: Identity): void
  decided(decision: Decision): void
  leased(lease: Lease | null): void
  note(note: string): void
  /** Durable when it resolves; rejects with Refusal audit.*. */
  intent(): Promise<void>
  /** Never rejects. */
  outcome(status: number, bytesOut: number, scrubbed: number, beside?: Beside): void
  refused(refusal: Refusal): void
}

export interface Scrubbed {
  readonly edits: Edits
  readonly body: Flow
  found(): number
}

/** The steps as functions; compose fits them. */
export interface Steps {
  record(call: Call): CallRecord
  identify(call: Call): Identity | Promise<Identity>
  decide(call: Call, identity: Identity): Decision | Promise<Decision>
  obtain(call: Call, identity: Identity, decision: Decision): Lease | null | Promise<Lease | null>
  /** Throws Refusal inject.*; may note what it saw. */
  inject(call: Call, identity: Identity, credential: Credential, record: CallRecord): Edits
  forward(call: Call, edits: Edits, lease: Lease | null): Promise<Answer>
  scrub(answer: Answer, lease: Lease | null, call: Call): Scrubbed
  /** After a 101: answers it, and passes what both sides say (flow/websocket.ts). Resolves at the end. */
  converse(incoming: Call, answer: Answer, edits: Edits, lease: Lease | null, record: CallRecord): Promise<Talk>
  /** Cuts the call when its run, workload, credential or policy is revoked. Returns the way to stop watching. */
  watch(call: Call, identity: Identity, lease: Lease | null, cut: () => void): () => void
  /** A vendor that says 401 to what we injected makes the lease worthless. */
  distrust(lease: Lease): void
  defect(error: unknown, call: Call): Refusal
}

const nothing: Credential = { kind: 'none' }

export async function call(steps: Steps, incoming: Call): Promise<void> {
  const record = steps.record(incoming)
  let unwatch = (): void => {}
  let answer: Answer | null = null
  try {
    const identity = await steps.identify(incoming)
    record.identified(identity)
    const decision = await steps.decide(incoming, identity)
    record.decided(decision)
    const lease = await steps.obtain(incoming, identity, decision)
    record.leased(lease)
    let edits = steps.inject(incoming, identity, lease?.credential ?? nothing, record)
    await record.intent()
    let revoked = false
    unwatch = steps.watch(incoming, identity, lease, () => {
      revoked = true
      answer?.cut()
      incoming.cut()
    })
    answer = await steps.forward(incoming, edits, lease)
    const { bare } = edits
    // An answer may last for hours: what was injected is held no longer than it takes to send it.
    edits = noEdits
    if (revoked) throw new Refusal('flow.revoked')
    if (answer.head.status === 401 && lease !== null && bare !== true) steps.distrust(lease)
    const clean = steps.scrub(answer, lease, incoming)
    if (answer.opened === undefined) {
      let ended: string | null = null
      try {
        await incoming.answer(answer.head, clean.edits, clean.body)
      } catch (error) {
        if (revoked) throw new Refusal('flow.revoked')
        ended = endOf(error, incoming)
        answer.cut()
        incoming.cut()
      }
      record.outcome(answer.head.status, incoming.bytesOut, clean.found(), ended === null ? undefined : { ended })
    } else {
      const talk = await steps.converse(incoming, answer, clean.edits, lease, record)
      record.outcome(answer.head.status, talk.bytes, clean.found() + talk.scrubbed, talk)
    }
  } catch (error) {
    answer?.cut()
    const refusal = error instanceof Refusal ? error : steps.defect(error, incoming)
    record.refused(refusal)
    incoming.refuse(refusal, incoming.id)
  } finally {
    unwatch()
  }
}

/** What was permitted and has begun is no refusal when a side breaks it off; throws what is one. */
function endOf(error: unknown, { bytesOut }: Call): string {
  if (bytesOut < 0 || !(error instanceof Refusal) || !error.code.startsWith('forward.')) throw error
  if (error.detail === agentLeft) return agentLeft
  return `the host broke off: ${error.detail === '' ? error.says : error.detail}`
}
