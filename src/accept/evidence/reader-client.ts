// The broker's end of the reader: asks it about processes of other users, which the broker itself may not look at. It never
// waits for ever and never guesses: a reader that is away, slow or cannot see is said so, and then only uids count.
import { fstatSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import type { Log } from '../../model/kind.ts'
import { limits } from '../../model/limits.ts'
import { descriptorOf } from '../../net/kernel.ts'
import type { Found } from './owner.ts'
import { nobody } from './owner.ts'
import type { Question } from './reader.ts'

/** `blind`: it answers and may not read other users' processes: a capability is missing. */
export type ReaderState = 'there' | 'away' | 'blind'

export interface Reader {
  readonly state: ReaderState
  /** null: there is no reader that could say. */
  ask(question: Question): Promise<Found | null>
  close(): void
}

export function createReader(path: string, log: Log, answerMs: number = limits.readerMs): Reader {
  const questions = createQuestions(answerMs)
  let state: ReaderState = 'away'
  let socket: Socket | null = null
  let again: NodeJS.Timeout | null = null
  let closed = false

  function become(next: ReaderState, why: string): void {
    if (next !== state && !closed) log[next === 'there' ? 'info' : 'warn']('reader of process facts', { state: next, why })
    state = next
  }

  /** Who holds this very connection? Only who can see other users' processes knows that it is we. */
  async function greet(to: Socket): Promise<void> {
    const inode = fstatSync(descriptorOf(to)).ino
    const found = await questions.send(to, { uid: process.geteuid?.() ?? -1, inode, roots: [process.pid] })
    if (to !== socket || found === null) return
    const sees = found.process?.pid === process.pid && found.process.executable !== ''
    if (sees) become('there', '')
    else become('blind', found.why === '' ? 'it sees no executable' : found.why)
  }

  function open(): void {
    const opened = connect(path)
    socket = opened
    let buffered = ''
    opened.unref()
    opened.setEncoding('latin1')
    opened.on('connect', () => void greet(opened).catch((error: Error) => opened.destroy(error)))
    opened.on('data', (text: string) => {
      buffered += text
      for (let at = buffered.indexOf('\n'); at >= 0; at = buffered.indexOf('\n')) {
        const answer = parseAnswer(buffered.slice(0, at))
        buffered = buffered.slice(at + 1)
        if (answer === null) return void opened.destroy(new Error('what answers is no reader'))
        questions.answered(answer.id, answer.found)
      }
      if (buffered.length > limits.readerAnswerBytesMax) opened.destroy(new Error('an answer is too long'))
    })
    let why = 'it went away'
    opened.on('error', (error: NodeJS.ErrnoException) => {
      why = error.code ?? error.message
    })
    opened.on('close', () => {
      socket = null
      become('away', why)
      questions.unanswered()
      if (!closed) again = setTimeout(open, limits.readerAgainMs).unref()
    })
  }

  open()
  return {
    get state() {
      return state
    },
    ask: (question) => (state === 'there' && socket !== null ? questions.send(socket, question) : Promise.resolve(null)),
    close() {
      closed = true
      if (again !== null) clearTimeout(again)
      socket?.destroy()
    },
  }
}

/** What was asked and not yet answered; null is the answer once the connection is gone. */
function createQuestions(answerMs: number) {
  const waiting = new Map<number, (found: Found | null) => void>()
  let nextId = 1
  return {
    send(to: Socket, question: Question): Promise<Found | null> {
      if (waiting.size >= limits.readerWaitingMax) return Promise.resolve(nobody('too many searches at once'))
      const id = nextId++
      return new Promise((resolve) => {
        const answer = (found: Found | null): void => {
          clearTimeout(timer)
          waiting.delete(id)
          resolve(found)
        }
        const timer = setTimeout(() => answer(nobody('the reader of process facts took too long')), answerMs)
        waiting.set(id, answer)
        to.write(`${JSON.stringify({ id, ...question })}\n`)
      })
    },
    answered: (id: number, found: Found): void => waiting.get(id)?.(found),
    unanswered(): void {
      for (const answer of [...waiting.values()]) answer(null)
    },
  }
}

/** The reader is ours; what it says must still be what it says: an object with facts or none. */
function parseAnswer(line: string): { readonly id: number; readonly found: Found } | null {
  try {
    const { id, found } = JSON.parse(line)
    const { process, likeness, why, unreadable, root } = found
    const whole = typeof likeness === 'string' && typeof why === 'string' && typeof unreadable === 'boolean' && Number.isSafeInteger(root)
    const facts =
      process === null || (typeof process === 'object' && Number.isSafeInteger(process.pid) && Number.isSafeInteger(process.uid))
    return Number.isSafeInteger(id) && whole && facts ? { id, found } : null
  } catch {
    return null
  }
}
