// The run door: a Unix socket at which `ostiary run` opens a run. It knows its peer by the kernel (SO_PEERCRED), lets it
// open runs and end its own, and nothing else. The run lives as long as the connection.
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { z } from 'zod'
import type { ProcessFacts } from '../model/evidence.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Run } from '../model/run.ts'

const request = z.strictObject({
  open: z.strictObject({
    workload: z.string().max(200).nullable(),
    command: z.string().max(4_000),
    // A launcher is the user's own program: it may claim one of these, and whether there is a namespace the kernel says.
    custody: z
      .string()
      .max(200)
      .regex(/^(?:namespace|shared-user|exposed\([\w.,/-]+\)(?:\+agent-held\([\w,-]+\))?|agent-held\([\w,-]+\))(?:\+isolated)?$/),
    evidence: z.boolean(),
    labels: z
      .record(z.string().regex(/^[A-Za-z][A-Za-z0-9_.-]{0,49}$/), z.string().max(200))
      .refine((labels) => Object.keys(labels).length <= limits.runLabelsMax)
      .default({}),
    crossings: z
      .array(
        z.strictObject({
          kind: z.enum(['publish', 'reach']),
          host: z.string().max(255),
          address: z.string().max(64),
          port: z.number().int().min(1).max(65_535),
        }),
      )
      .max(limits.crossingsMax),
  }),
})
/** The command has ended: what was blocked in it? */
const finish = z.strictObject({ finish: z.literal(true) })
const evidenceAnswer = z.strictObject({ evidence: z.string().max(limits.evidenceBytesMax).nullable(), id: z.number() })

export type RunRequest = z.infer<typeof request>['open']

export interface Starter {
  readonly uid: number
  readonly user: string
  readonly process: ProcessFacts
}

export interface RunDoorOptions {
  readonly path: string
  readonly log: Log
  /** Who is at the other end, by the kernel; null when it cannot be told. */
  readonly peer: (socket: Socket) => Promise<Starter | null>
  /** Opens a run for the starter; throws Refusal runs.*. */
  readonly open: (asked: RunRequest, starter: Starter) => Promise<Run>
  /** What the launcher needs to know of it. */
  readonly describe: (run: Run) => Readonly<Record<string, unknown>>
  readonly ended: (run: Run) => void
  /** What was refused in the run, for the list at its end. */
  readonly blocked: (run: Run) => Promise<readonly object[]>
}

export interface RunDoor {
  start(): Promise<void>
  stop(): Promise<void>
  /** Asks the launcher of the run for its evidence, read anew; null when it has none. */
  evidence(runId: string): Promise<string | null>
}

interface Visit {
  readonly socket: Socket
  readonly asks: Map<number, (token: string | null) => void>
  readonly hasEvidence: boolean
}

export function createRunDoor(options: RunDoorOptions): RunDoor {
  const visits = new Map<string, Visit>()
  let nextAsk = 1
  let server: Server | null = null

  function visit(socket: Socket): void {
    let buffered = ''
    let run: Run | null = null
    let opening = false
    socket.setEncoding('utf8')
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      if (run === null) return
      for (const answer of visits.get(run.id)?.asks.values() ?? []) answer(null)
      visits.delete(run.id)
      options.ended(run)
    })
    socket.on('data', (text: string) => {
      buffered += text
      if (buffered.length > limits.doorLineBytesMax) return void socket.destroy()
      for (let at = buffered.indexOf('\n'); at >= 0; at = buffered.indexOf('\n')) {
        const line = buffered.slice(0, at)
        buffered = buffered.slice(at + 1)
        if (run !== null) answered(run, line)
        else if (!opening) {
          opening = true
          void open(socket, line).then((opened) => {
            run = opened
            if (run !== null && socket.destroyed) socket.emit('close')
          })
        }
      }
    })
  }

  async function open(socket: Socket, line: string): Promise<Run | null> {
    try {
      const parsed = request.safeParse(parseJson(line))
      if (!parsed.success) throw new Refusal('runs.not_allowed', 'the request to the run door is malformed')
      const starter = await options.peer(socket)
      if (starter === null) throw new Refusal('identify.process_unknown', 'the run door cannot tell who is there')
      const run = await options.open(parsed.data.open, starter)
      visits.set(run.id, { socket, asks: new Map(), hasEvidence: parsed.data.open.evidence })
      run.ended.addEventListener('abort', () => socket.end(`${JSON.stringify({ ended: true })}\n`), { once: true })
      socket.write(`${JSON.stringify({ run: options.describe(run) })}\n`)
      return run
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal('flow.defect', '', error)
      if (refusal.code === 'flow.defect') options.log.error('run door', { error: String(error) })
      socket.end(`${JSON.stringify({ error: { code: refusal.code, says: refusal.says, detail: refusal.detail } })}\n`)
      return null
    }
  }

  function answered(run: Run, line: string): void {
    const message = parseJson(line)
    if (finish.safeParse(message).success)
      return void options.blocked(run).then((blocked) => visits.get(run.id)?.socket.write(`${JSON.stringify({ blocked })}\n`))
    const parsed = evidenceAnswer.safeParse(message)
    const visitor = visits.get(run.id)
    if (!parsed.success || visitor === undefined) return
    visitor.asks.get(parsed.data.id)?.(parsed.data.evidence)
    visitor.asks.delete(parsed.data.id)
  }

  return {
    start: () =>
      new Promise((resolve, reject) => {
        mkdirSync(dirname(options.path), { recursive: true, mode: 0o755 })
        rmSync(options.path, { force: true })
        server = createServer(visit)
        server.once('error', reject)
        server.listen(options.path, () => {
          // Anybody may knock: the kernel says who it is and configuration says what it may start.
          chmodSync(options.path, 0o666)
          resolve()
        })
      }),
    stop: () =>
      new Promise((resolve) => {
        for (const { socket } of visits.values()) socket.destroy()
        if (server === null) return resolve()
        server.close(() => resolve())
      }),
    evidence(runId) {
      const visitor = visits.get(runId)
      if (visitor === undefined || !visitor.hasEvidence || visitor.asks.size >= 100) return Promise.resolve(null)
      const id = nextAsk++
      return new Promise((resolve) => {
        const late = setTimeout(() => {
          visitor.asks.delete(id)
          resolve(null)
        }, limits.factMs)
        visitor.asks.set(id, (token) => {
          clearTimeout(late)
          resolve(token)
        })
        visitor.socket.write(`${JSON.stringify({ want: 'evidence', id })}\n`)
      })
    },
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}
