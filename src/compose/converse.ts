// Fits a call that was answered 101 to flow/websocket: both connections become sides, messages are read by the service's rule.
import { type MessageRead, readMessage, readOpening, socketRuleOf } from '../decide/socket.ts'
import type { CallRecord, Steps } from '../flow/call.ts'
import { type Ask, type Conversation, websocket } from '../flow/websocket.ts'
import { wholeFlow } from '../http/flow.ts'
import type { Call, ConnectionMemory } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Decision } from '../model/decision.ts'
import type { Identity } from '../model/identity.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Piece } from '../model/socket.ts'
import type { Scrub } from '../scrub/scrub.ts'
import { FrameSide } from './frame-side.ts'

export interface ConverseParts {
  readonly clock: Clock
  readonly log: Log
  readonly scrub: Scrub
  readonly identify: (memory: ConnectionMemory) => Identity | Promise<Identity>
  readonly decideMessage: (call: Call, identity: Identity, read: MessageRead['setTo']) => Decision | Promise<Decision>
  readonly record: (call: Call) => CallRecord
  /** Stands in every placeholder. */
  readonly marker: string
}

export function createConverse(parts: ConverseParts): Steps['converse'] {
  const open = new Map<string, number>()
  return async (incoming, answer, edits, lease, record) => {
    const { upgrade } = incoming
    if (answer.opened === undefined || upgrade === undefined) throw new Refusal('forward.bad_answer', 'status 101')
    const workload = incoming.connection.identity?.workload ?? ''
    const count = open.get(workload) ?? 0
    if (count >= limits.socketsPerWorkloadMax) throw new Refusal('accept.too_many', 'socketsPerWorkloadMax')
    const tally = { found: 0 }
    const frames = parts.scrub.frames(lease, tally)
    const read = reader(incoming, parts, record)
    let end: Conversation['end'] = () => {}
    // In this order: where the agent has left, nothing of ours listens to the host yet.
    const opened = upgrade.open(answer.head, edits, () => end(1008, 'flow.revoked'))
    const steps = {
      ...messageSteps(incoming, parts),
      read,
      scrub: (piece: Piece) => (frames === null ? piece : frames.piece(piece)),
      scrubReason: (reason: Buffer) => (frames === null ? reason : frames.reason(reason)),
      received: upgrade.received,
      note: (text: string) => record.note(text),
    }
    const talk = websocket(steps, lease, new FrameSide(opened, 'agent', limits), new FrameSide(answer.opened, 'host', limits))
    end = talk.end
    open.set(workload, count + 1)
    const late = setTimeout(() => end(1001, 'callMs'), limits.callMs)
    late.unref()
    try {
      return { ...(await talk.ended), scrubbed: tally.found }
    } finally {
      clearTimeout(late)
      const left = (open.get(workload) ?? 1) - 1
      if (left === 0) open.delete(workload)
      else open.set(workload, left)
    }
  }
}

function reader(incoming: Call, parts: ConverseParts, record: CallRecord): ((message: Buffer) => readonly Ask[]) | null {
  const { service, target } = incoming
  const rule = service === null ? null : socketRuleOf(service, target)
  if (service === null || rule === null) return null
  let setTo = readOpening(rule, service, target)
  let noted = false
  return (message) => {
    // In a message a placeholder is text: it goes on as it is, and nothing is put in its place.
    if (!noted && message.includes(parts.marker)) record.note('a message holds a placeholder')
    noted ||= message.includes(parts.marker)
    const read = readMessage(rule, service, message, limits.jsonDepthMax, setTo)
    setTo = read.setTo
    return read.asks.map(({ model, tools, deferred }) => ({ model: model ?? null, tools: tools ?? [], deferred: deferred === true }))
  }
}

/** A message is asked about as the call that it starts: the same Target, an id of its own behind that of the socket. */
function messageSteps(incoming: Call, parts: ConverseParts) {
  let asked = 0
  let current: Call = incoming
  const { connection, head, target, service } = incoming
  return {
    record: (messageBytes: number): CallRecord => {
      asked++
      current = {
        id: `${incoming.id}.${asked}`,
        startedAt: parts.clock.now(),
        head,
        target,
        service,
        connection,
        body: wholeFlow(Buffer.alloc(0)),
        bytesIn: messageBytes,
        bytesOut: -1,
        gone: false,
        readBody: () => Promise.resolve(Buffer.alloc(0)),
        whenGone: () => () => {},
        answer: () => Promise.reject(new Refusal('flow.defect', 'a message has no answer of its own')),
        refuse() {},
        cut: () => incoming.cut(),
      }
      return parts.record(current)
    },
    identify: () => parts.identify(connection),
    decide: (identity: Identity, { model, tools, deferred }: Ask) =>
      parts.decideMessage(current, identity, { model: model ?? undefined, tools, deferred: deferred === true }),
    defect(error: unknown): Refusal {
      parts.log.error('defect', { call: current.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
      return new Refusal('flow.defect', error instanceof Error ? error.message : String(error), error)
    },
  }
}
