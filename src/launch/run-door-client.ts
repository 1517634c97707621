// The launcher's half of the run door: opens the run and answers when the broker wants evidence, read anew each time.
import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { peerOfUnixSocket } from '../net/kernel.ts'
import type { Crossing, InsideDoor } from './isolate.ts'
import type { RunDescription } from './variables.ts'

export interface Asked {
  readonly workload: string | null
  readonly command: string
  readonly custody: string
  /** What crosses the network of an isolated run. */
  readonly crossings: readonly Crossing[]
  readonly labels: Readonly<Record<string, string>>
  /** Path of a token file, or null. */
  readonly evidenceFile: string | null
}

export interface OpenRun {
  readonly description: RunDescription & {
    readonly hidden: readonly string[]
    /** Sockets that stay: the run door, where another run may be started inside. */
    readonly open: readonly string[]
    readonly readOnly: readonly string[]
    readonly blank: readonly string[]
    readonly kept: readonly string[]
    readonly inside: InsideDoor['inside']
  }
  /** uid of who listens at the door; null where the kernel does not say. */
  readonly brokerUid: number | null
  /** Runs when the broker ended the run or went away. */
  whenEnded(run: () => void): void
  /** What was refused in the run until now; empty when the broker does not say in time. */
  blocked(): Promise<readonly Blocked[]>
  close(): void
}

export interface Blocked {
  readonly host: string
  readonly action: string
  readonly code: string
  readonly count: number
}

const blockedMs = 1_000

/** The broker's no, in its own words. */
export class DoorClosed extends Error {
  readonly code: string
  constructor(code: string, says: string) {
    super(says)
    this.name = 'DoorClosed'
    this.code = code
  }
}

export function openRun(path: string, asked: Asked): Promise<OpenRun> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    let buffered = ''
    let opened = false
    let ended = (): void => {}
    const said = Promise.withResolvers<readonly Blocked[]>()
    socket.setEncoding('utf8')
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (!opened)
        reject(
          new DoorClosed(
            error.code ?? 'ECONNREFUSED',
            `Ostiary is not running (${error.code ?? error.message}): start it by \`ostiary start\``,
          ),
        )
    })
    socket.once('connect', () => {
      const { evidenceFile, ...said } = asked
      const open = { ...said, evidence: evidenceFile !== null }
      socket.write(`${JSON.stringify({ open })}\n`)
    })
    socket.on('close', () => {
      if (opened) ended()
      else reject(new DoorClosed('closed', 'Ostiary closed the run door without an answer'))
    })
    socket.on('data', (text: string) => {
      buffered += text
      for (let at = buffered.indexOf('\n'); at >= 0; at = buffered.indexOf('\n')) {
        const message = JSON.parse(buffered.slice(0, at))
        buffered = buffered.slice(at + 1)
        if (message.error !== undefined) {
          opened = false
          reject(new DoorClosed(message.error.code, `${message.error.says}${message.error.detail ? ` (${message.error.detail})` : ''}`))
          socket.destroy()
        } else if (message.run !== undefined) {
          opened = true
          resolve({
            description: message.run,
            brokerUid: peerOfUnixSocket(socket)?.uid ?? null,
            whenEnded: (run) => {
              ended = run
            },
            blocked() {
              if (!socket.destroyed) socket.write(`${JSON.stringify({ finish: true })}\n`)
              setTimeout(() => said.resolve([]), socket.destroyed ? 0 : blockedMs).unref()
              return said.promise
            },
            close: () => socket.destroy(),
          })
        } else if (message.blocked !== undefined) said.resolve(message.blocked)
        else if (message.want === 'evidence') void answer(socket, asked.evidenceFile, message.id)
        else if (message.ended !== undefined) ended()
      }
    })
  })
}

async function answer(socket: Socket, file: string | null, id: number): Promise<void> {
  const evidence =
    file === null
      ? null
      : await readFile(file, 'utf8').then(
          (text) => text.trim(),
          () => null,
        )
  if (!socket.destroyed) socket.write(`${JSON.stringify({ evidence, id })}\n`)
}
