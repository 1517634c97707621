// Starts and ends the server of a stage for the tests that harm it. It must never look away: what a start said is kept and can be asked for.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Stage } from '../../examples/story/stage.ts'
import { logsIn } from '../../src/audit/logs.ts'
import { readVerifierKey } from '../../src/audit/note.ts'
import { entries } from '../../src/audit/read.ts'
import { verifyLogs } from '../../src/audit/verify-all.ts'
import type { Heard, Wire } from '../scenarios/wire.test-kit.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
export const host = 'api.openai.com'

export interface Server {
  readonly child: ChildProcess
  /** Everything it wrote. */
  said(): string
  /** Milliseconds until it said that it is ready; null where it ended before. */
  readonly ready: Promise<number | null>
  readonly gone: Promise<number | null>
  kill(): Promise<void>
  /** Ends it in order; the exit code, null where it had to be killed. */
  stop(): Promise<number | null>
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Waits until `done` or the time is up; tells which. */
export async function until(done: () => boolean | Promise<boolean>, waitMs: number): Promise<boolean> {
  for (const end = performance.now() + waitMs; performance.now() < end; await pause(20)) if (await done()) return true
  return done()
}

export interface StartOptions {
  /** Words before Node, as of prlimit. */
  readonly before?: readonly string[]
  /** Words after Node, if not the ones of the product. */
  readonly program?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

export function startServer(stage: Pick<Stage, 'configFile' | 'dataDir'>, options: StartOptions = {}): Server {
  const words = [
    ...(options.before ?? []),
    process.execPath,
    ...(options.program ?? [bin]),
    '--config',
    stage.configFile,
    '--data',
    stage.dataDir,
    '--json',
    'start',
  ]
  const began = performance.now()
  const child = spawn(words[0] as string, words.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.environment },
  })
  let said = ''
  const gone = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)))
  const ready = new Promise<number | null>((resolve) => {
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text: Buffer) => {
        said += text
        if (said.includes('"ready":true')) resolve(performance.now() - began)
      })
    gone.then(() => resolve(null))
  })
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await gone
  }
  return {
    ...{ child, ready, gone, kill },
    said: () => said,
    async stop() {
      child.kill('SIGTERM')
      const late = setTimeout(kill, 15_000)
      const code = await gone
      clearTimeout(late)
      return code
    },
  }
}

/** Started and ready, or an error with what it said. */
export async function readyServer(stage: Pick<Stage, 'configFile' | 'dataDir'>, options: StartOptions = {}): Promise<Server> {
  const server = startServer(stage, options)
  const late = setTimeout(server.kill, 30_000)
  if ((await server.ready) === null) assert.fail(`it ended at its start: ${server.said()}`)
  clearTimeout(late)
  return server
}

/** The stage without its own server: those that are harmed are started here. */
export async function clearStage(stage: Stage): Promise<void> {
  assert.equal((await stage.cli(['stop'])).code, 0)
  assert.ok(
    await until(async () => (await stage.admin('GET', '/status').catch(() => null)) === null, 10_000),
    'the server of the stage ends',
  )
}

export function sent(stage: Stage): number {
  return stage.vendors.seen.filter((one) => one.path === '/v1/responses').length
}

/** One call out of a run. `slow`: its answer goes on for half a minute. */
export function call(wire: Wire, slow = false, waitMs = 5_000): Promise<Heard> {
  const body = `{"model":"${slow ? 'slow' : 'quick'}","input":"hi","stream":${slow}}`
  const raw = `POST /v1/responses HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer PLACEHOLDER(OPENAI_API_KEY)\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  return wire.send({ via: 'connect', host, raw, waitMs })
}

export interface OnRecord {
  readonly intents: number
  readonly recovered: number
}

/** What the files of the log say, whether a server runs or not. */
export async function onRecord(dataDir: string): Promise<OnRecord> {
  const found = { intents: 0, recovered: 0 }
  for (const { dir } of logsIn(dataDir))
    for await (const { kind } of entries(dir)) {
      if (kind === 'intent') found.intents += 1
      if (kind === 'recovered') found.recovered += 1
    }
  return found
}

/** Verifies every log, the broker's against an earlier checkpoint too, and returns its present one. */
export async function verified(dataDir: string, since: string | null): Promise<string> {
  const { key, origin } = readVerifierKey(readFileSync(join(dataDir, 'audit.pub'), 'utf8').trim())
  const all = await verifyLogs({ dataDir, publicKey: key, origin, ...(since === null ? {} : { since }) })
  for (const { log, findings } of all) assert.deepEqual(findings, [], `log ${log} verifies`)
  return readFileSync(join(dataDir, 'audit', 'checkpoint'), 'utf8')
}
