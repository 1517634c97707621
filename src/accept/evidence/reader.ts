// The reader of process facts: a second, tiny process with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, so that the one that holds
// secrets needs no capability (DESIGN part 5). One question, one answer: the facts of proc.ts, for one uid. It has no network
// and no secret; it must never read anything else, change anything, or answer anybody else.
import { createServer, type Server, type Socket } from 'node:net'
import { limits } from '../../model/limits.ts'
import { peerOfUnixSocket } from '../../net/kernel.ts'
import { type Asked, type Found, findOwners, lookAt, nobody } from './owner.ts'

/** Who holds the socket, or what is the process that started then. */
export type Question = Asked | { readonly pid: number; readonly startTicks: string }

export interface FactsOptions {
  /** The only uid that is answered: the kernel says whose the connection is (SO_PEERCRED). */
  readonly onlyUid: number
  readonly say: (line: string) => void
}

/** A server that is not listening yet. */
export function createFactsServer({ onlyUid, say }: FactsOptions): Server {
  let open = 0
  return createServer((socket) => {
    socket.on('error', () => socket.destroy())
    const peer = peerOfUnixSocket(socket)
    if (peer?.uid !== onlyUid) {
      say(`uid ${peer?.uid ?? 'unknown'} was not answered`)
      return void socket.destroy()
    }
    if (open >= limits.readerConnectionsMax) return void socket.destroy()
    open++
    socket.once('close', () => open--)
    serve(socket)
  })
}

function serve(socket: Socket): void {
  let buffered = ''
  socket.setEncoding('latin1')
  socket.on('drain', () => socket.resume())
  socket.on('data', (text: string) => {
    buffered += text
    const all: Numbered[] = []
    for (let at = buffered.indexOf('\n'); at >= 0; at = buffered.indexOf('\n')) {
      const asked = at > limits.readerQuestionBytesMax ? null : parseQuestion(buffered.slice(0, at))
      buffered = buffered.slice(at + 1)
      // Who asks in another way is not the broker that we came with.
      if (asked === null) return void socket.destroy()
      all.push(asked)
    }
    // What was asked while we searched is answered by the next search together: one agent's many connections delay nobody for long.
    // An asker that does not read its answers is asked nothing more.
    for (const answer of answersTo(all)) if (!socket.write(answer)) socket.pause()
    if (buffered.length > limits.readerQuestionBytesMax) socket.destroy()
  })
}

interface Numbered {
  readonly id: number
  readonly question: Question
}

function answersTo(all: readonly Numbered[]): readonly string[] {
  const sought = all.flatMap(({ question }) => ('pid' in question ? [] : [question]))
  const roots = new Set(sought.toReversed().flatMap((one) => one.roots))
  const owners = tried(() => findOwners(sought, [...roots]))
  let next = 0
  return all.map(({ id, question }) => {
    const found = 'pid' in question ? tried(() => lookAt(question.pid, question.startTicks)) : owners
    const one = Array.isArray(found) ? (found[next++] as Found) : (found as Found)
    const answer = `${JSON.stringify({ id, found: one })}\n`
    return answer.length <= limits.readerAnswerBytesMax
      ? answer
      : `${JSON.stringify({ id, found: nobody('the facts of the process are too long') })}\n`
  })
}

function tried<T>(look: () => T): T | Found {
  try {
    return look()
  } catch (error) {
    return nobody(error instanceof Error ? error.message : String(error))
  }
}

const natural = (value: unknown, most = Number.MAX_SAFE_INTEGER): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most

/** Exactly one of the two shapes, or null. */
export function parseQuestion(line: string): { readonly id: number; readonly question: Question } | null {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null) return null
  const { id, ...question } = value as Record<string, unknown>
  const keys = Object.keys(question).sort().join()
  if (!natural(id)) return null
  const { pid, startTicks, uid, inode, roots } = question
  if (keys === 'pid,startTicks' && natural(pid, 0x7fffffff) && typeof startTicks === 'string' && /^\d{1,20}$/.test(startTicks))
    return { id, question: { pid, startTicks } }
  const few = Array.isArray(roots) && roots.length <= limits.readerRootsMax && roots.every((root) => natural(root, 0x7fffffff))
  if (keys === 'inode,roots,uid' && natural(inode) && natural(uid, 0xffffffff) && few) return { id, question: { uid, inode, roots } }
  return null
}
