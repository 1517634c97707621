// What becomes of a call that was answered 101: every message of the agent that starts a call is identified, decided and durably
// on record before it goes on, and nothing of the API reaches the agent unscrubbed. When one side goes, so does the other.
import type { Lease } from '../model/credential.ts'
import type { Decision } from '../model/decision.ts'
import type { Identity } from '../model/identity.ts'
import { Refusal } from '../model/refusal.ts'
import type { Piece, Side, SideSink } from '../model/socket.ts'
import type { CallRecord, Talk } from './call.ts'

/** One call that a message starts. */
export interface Ask {
  readonly model: string | null
  readonly tools: readonly string[]
  /** It asks for work that goes on after its answer. */
  readonly deferred?: boolean
}

type Read = (message: Buffer) => readonly Ask[]

export interface SocketSteps {
  /** Remembers what was agreed on for this socket; null where the service's messages are not read. */
  readonly read: Read | null
  /** A record of its own for every call that a message starts. */
  record(messageBytes: number): CallRecord
  identify(): Identity | Promise<Identity>
  decide(identity: Identity, ask: Ask): Decision | Promise<Decision>
  /** null: nothing of it may leave yet. */
  scrub(piece: Piece): Piece
  scrubReason(reason: Buffer): Buffer
  received(bytes: number): void
  note(text: string): void
  defect(error: unknown): Refusal
}

export interface Conversation {
  /** Resolves when both sides are closed or closing. */
  readonly ended: Promise<Omit<Talk, 'scrubbed'>>
  /** Ends it from outside: revocation, or time. */
  end(code: number, reason: string): void
}

/** What both directions share. */
interface Both {
  readonly steps: SocketSteps
  readonly lease: Lease | null
  readonly agent: Side
  readonly upstream: Side
  readonly talk: { bytes: number; messagesIn: number; messagesOut: number }
  /** A message is being asked about: the agent waits, whoever drains. */
  asking: boolean
  readonly refuse: (error: unknown) => void
  readonly over: () => void
}

export function websocket(steps: SocketSteps, lease: Lease | null, agent: Side, upstream: Side): Conversation {
  const talk = { bytes: 0, messagesIn: 0, messagesOut: 0 }
  let over = (): void => {}
  const ended = new Promise<typeof talk>((resolve) => {
    over = () => resolve(talk)
  })
  const end = (code: number, reason: string): void => {
    steps.note(`closed: ${reason}`)
    upstream.close(1001, '')
    agent.close(code, reason)
    over()
  }
  const refuse = (error: unknown): void => {
    const refusal = error instanceof Refusal ? error : steps.defect(error)
    end(refusal.status >= 500 ? 1011 : 1008, refusal.code)
  }
  const both: Both = { steps, lease, agent, upstream, talk, asking: false, refuse, over }
  agent.start(fromAgent(both))
  upstream.start(fromHost(both))
  return { ended, end }
}

function fromAgent(both: Both): SideSink {
  const { steps, lease, agent, upstream, talk } = both
  const gathered: Buffer[] = []
  /** False: upstream takes it slower than it comes. */
  const pass = (piece: Piece): boolean => {
    if (piece.last) talk.messagesIn++
    return upstream.send(piece)
  }
  const ask = (piece: Piece, read: Read): void => {
    gathered.push(piece.bytes)
    if (!piece.last) return
    const message = gathered.length === 1 ? piece.bytes : Buffer.concat(gathered)
    gathered.length = 0
    // In their order: the next message is not read before this one is on record.
    both.asking = true
    agent.pause()
    asked(steps, lease, message, read).then(() => {
      both.asking = false
      if (pass({ text: piece.text, bytes: message, first: true, last: true })) agent.resume()
    }, both.refuse)
  }
  return {
    piece(piece) {
      steps.received(piece.bytes.length)
      if (steps.read !== null) ask(piece, steps.read)
      else if (!pass(piece)) agent.pause()
    },
    drained: () => upstream.resume(),
    ended(code, reason, broken) {
      if (broken !== null) steps.note(`the agent broke RFC 6455: ${broken}`)
      const lost = code === 1006 || broken !== null
      upstream.close(lost ? 1001 : code, lost ? '' : reason)
      agent.close(code, broken ?? reason)
      both.over()
    },
  }
}

function fromHost(both: Both): SideSink {
  const { steps, agent, upstream, talk } = both
  return {
    piece(piece) {
      try {
        const clean = steps.scrub(piece)
        talk.bytes += clean.bytes.length
        if (clean.last) talk.messagesOut++
        if (!agent.send(clean)) upstream.pause()
      } catch (error) {
        both.refuse(error)
      }
    },
    drained: () => both.asking || agent.resume(),
    ended(code, reason, broken) {
      if (broken !== null) steps.note(`the host broke RFC 6455: ${broken}`)
      const lost = code === 1006 || broken !== null
      try {
        agent.close(lost ? 1011 : code, lost ? 'forward.reset' : steps.scrubReason(reason))
        upstream.close(code, broken ?? reason)
        both.over()
      } catch (error) {
        both.refuse(error)
      }
    },
  }
}

async function asked(steps: SocketSteps, lease: Lease | null, message: Buffer, read: Read): Promise<void> {
  let asks: readonly Ask[]
  try {
    asks = read(message)
  } catch (error) {
    if (error instanceof Refusal) steps.record(message.length).refused(error)
    throw error
  }
  const records: CallRecord[] = []
  try {
    // Each of them must be permitted, or the message goes nowhere.
    for (const one of asks) records.push(await decided(steps, lease, message.length, one))
    for (const record of records) record.outcome(101, 0, 0)
  } catch (error) {
    for (const record of records) record.refused(error as Refusal)
    throw error
  }
}

async function decided(steps: SocketSteps, lease: Lease | null, messageBytes: number, ask: Ask): Promise<CallRecord> {
  const record = steps.record(messageBytes)
  try {
    const identity = await steps.identify()
    record.identified(identity)
    record.decided(await steps.decide(identity, ask))
    record.leased(lease)
    await record.intent()
    return record
  } catch (error) {
    const refusal = error instanceof Refusal ? error : steps.defect(error)
    record.refused(refusal)
    throw refusal
  }
}
