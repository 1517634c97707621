// WebSockets through a started Ostiary: OpenAI's and Gemini's, by the `ws` package, with every way to give a key back.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findSecret } from '../../examples/story/attacks.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const script = fileURLToPath(new URL('../fakes/socket-agent.ts', import.meta.url))

interface Heard {
  readonly open?: boolean
  readonly messages: readonly string[]
  readonly protocol?: string
  readonly extensions?: string
  readonly code?: number
  readonly reason?: string
  readonly status?: number
  readonly body?: string
  readonly error?: string
}

let stage: Stage
let agent: ChildProcess
const waiting = new Map<number, { open: () => void; done: (heard: Heard) => void }>()
let next = 1
let said = ''

interface Task {
  readonly url: string
  readonly protocols?: readonly string[]
  readonly headers?: Readonly<Record<string, string>>
  readonly send?: readonly string[]
  readonly until?: number
  readonly base?: boolean
}

function talk(task: Task): { opened: Promise<void>; over: Promise<Heard> } {
  const id = next++
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const over = new Promise<Heard>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`nothing came of ${task.url}: ${said}`)), 10_000)
    waiting.set(id, {
      open,
      done: (heard) => {
        clearTimeout(late)
        resolve(heard)
      },
    })
  })
  agent.stdin?.write(`${JSON.stringify({ id, ...task })}\n`)
  return { opened, over }
}

before(async () => {
  stage = await setStage(Date.now())
  const stored = await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)
  assert.equal(stored.code, 0, stored.err)
  const words = [bin, '--config', stage.configFile, '--data', stage.dataDir, 'run', '--as', 'story-agent', '--']
  agent = spawn(process.execPath, [...words, process.execPath, '--disable-warning=ExperimentalWarning', script], {
    cwd: `${stage.dir}/work`,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  agent.stderr?.on('data', (text: Buffer) => {
    said += text
  })
  createInterface({ input: agent.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    const heard = JSON.parse(line)
    if (heard.open === true) waiting.get(heard.id)?.open()
    else if (heard.error !== undefined) said += heard.error
    else waiting.get(heard.id)?.done(heard)
  })
})
after(async () => {
  agent?.stdin?.end()
  await stage?.close()
})

const realtime = 'wss://api.openai.com/v1/realtime?model=gpt-realtime'
const bearer = { Authorization: 'Bearer PLACEHOLDER(OPENAI_API_KEY)' }
const create = (play?: string): string =>
  JSON.stringify({ type: 'response.create', response: play === undefined ? {} : { metadata: { play } } })
const last = () => stage.vendors.upgraded.at(-1) as (typeof stage.vendors.upgraded)[number]
const entries = async (): Promise<readonly Record<string, unknown>[]> => {
  const { out } = await stage.cli(['audit', 'export'])
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 40; tries++) {
    const found = await look()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('it did not come about')
}

test('OpenAI realtime: the key goes in, the placeholder does not; a message is a call of its own', async () => {
  const heard = await talk({ url: realtime, headers: bearer, send: [create()], until: 4 }).over
  assert.equal(heard.code, 1000, JSON.stringify(heard))
  assert.deepEqual(
    heard.messages.map((text) => JSON.parse(text).type),
    ['session.created', 'response.created', 'response.output_text.delta', 'response.done'],
  )
  assert.equal(heard.extensions, '')
  const { headers } = last()
  assert.ok(stage.vendors.secrets.has(String(headers.authorization).replace('Bearer ', '')))
  assert.equal(headers['sec-websocket-extensions'], undefined)
  const closed = await eventually(async () => last().closed ?? undefined)
  assert.deepEqual(closed, { code: 1000, reason: 'enough' })
  const socket = await eventually(async () => (await entries()).find((entry) => entry['messagesIn'] === 1))
  const message = (await entries()).find((entry) => entry['call'] === `${socket['call']}.1`)
  assert.deepEqual([message?.['model'], message?.['action'], message?.['decision']], ['gpt-realtime', 'inference', 'permit'])
  assert.deepEqual([socket['status'], socket['messagesOut'], socket['outcome']], [101, 4, 'answered'])
  assert.ok(Number(socket['bytesIn']) > 20 && Number(socket['bytesOut']) > 100)
})

for (const play of ['text', 'binary', 'base64', 'long', 'fragments', 'messages', 'halves', 'reason'])
  test(`nothing of the key comes back: ${play}`, async () => {
    const heard = await talk({ url: realtime, headers: bearer, send: [create(play)] }).over
    const all = [...heard.messages, heard.reason ?? ''].join('')
    assert.equal(findSecret(all, stage.vendors.secrets), null, play)
    assert.match(all, /\*{16}/)
    if (play !== 'reason') assert.equal(heard.messages.at(-1), '{"type":"done"}')
    if (play === 'long') assert.equal(heard.messages[1]?.length, 140_000 + `you sent ${[...stage.vendors.secrets][1]} to me`.length)
  })
