// WebSockets through a started Ostiary: OpenAI's and Gemini's, by the `ws` package, with every way to give a key back.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findSecret } from '../../examples/story/attacks.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { limits } from '../../src/model/limits.ts'

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

const inEach = process.env['OSTIARY_TEST_PROCESSES'] !== undefined && 'the share is of each process'
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
  const words = stage.words(['run', '--as', 'story-agent', '--', process.execPath, '--disable-warning=ExperimentalWarning', script])
  agent = spawn(process.execPath, words, {
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

const codeOf = (heard: Heard): string | undefined => /"code":"([a-z_.]+)"/.exec(heard.body ?? '')?.[1]

test('a key as a subprotocol: the entry goes, the credential stands in its header, `realtime` is agreed on', async () => {
  const protocols = ['realtime', 'openai-insecure-api-key.PLACEHOLDER(OPENAI_API_KEY)', 'openai-project.proj_1']
  const heard = await talk({ url: realtime, protocols, until: 1 }).over
  assert.equal(heard.protocol, 'realtime', JSON.stringify(heard))
  const { headers } = last()
  assert.equal(headers['sec-websocket-protocol'], 'realtime, openai-project.proj_1')
  assert.ok(stage.vendors.secrets.has(String(headers.authorization).replace('Bearer ', '')))
})

test('by the base URL', async () => {
  const heard = await talk({
    url: 'ws://base/openai/v1/realtime?model=gpt-realtime',
    headers: bearer,
    base: true,
    send: [create()],
    until: 4,
  }).over
  assert.equal(heard.messages.length, 4, JSON.stringify(heard))
})

const live = 'wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent'

test('Gemini Live: the key leaves the query, and the model of the setup is that of what follows', async () => {
  const send = [
    JSON.stringify({ setup: { model: 'models/gemini-live-2.5' } }),
    JSON.stringify({ realtimeInput: { text: 'hm' } }),
    JSON.stringify({ clientContent: { turns: [], turnComplete: true } }),
  ]
  const heard = await talk({ url: `${live}?key=PLACEHOLDER(GEMINI_API_KEY)`, send, until: 2 }).over
  assert.match(heard.messages[1] ?? '', /Hello from Gemini/, JSON.stringify(heard))
  const { path, headers, messages } = last()
  assert.ok(!path.includes('key'), path)
  assert.equal(headers['x-goog-api-key'], stage.geminiKey)
  assert.deepEqual(messages, send)
  const socket = await eventually(async () => (await entries()).find((entry) => entry['service'] === 'gemini' && entry['messagesIn'] === 3))
  const asked = (await entries()).filter((entry) => String(entry['call']).startsWith(`${socket['call']}.`))
  assert.deepEqual(
    asked.map((entry) => entry['model']),
    ['gemini-live-2.5', 'gemini-live-2.5'],
  )
})

test("Codex's way: /v1/responses, the request as a message", async () => {
  const message = JSON.stringify({ type: 'response.create', model: 'gpt-5-codex', input: [], tools: [{ type: 'function', name: 'shell' }] })
  const headers = { ...bearer, 'OpenAI-Beta': 'responses_websockets=2026-02-06' }
  const heard = await talk({ url: 'wss://api.openai.com/v1/responses', headers, send: [message], until: 3 }).over
  assert.equal(heard.messages.length, 3, JSON.stringify(heard))
  assert.deepEqual(last().messages, [message])
  await eventually(async () => (await entries()).find((entry) => entry['model'] === 'gpt-5-codex' && entry['outcome'] === 'answered'))
})

test('what a request would be refused for, an upgrade is', async () => {
  const before = stage.vendors.upgraded.length
  const cases: readonly (readonly [string, Omit<Task, 'url'>, string])[] = [
    [realtime, {}, 'inject.no_placeholder'],
    [realtime, { headers: { Authorization: 'Bearer sk-proj-attackers-own' } }, 'inject.foreign_credential'],
    [realtime, { protocols: ['realtime', 'openai-insecure-api-key.sk-attackers-own'] }, 'inject.foreign_credential'],
    ['wss://api.openai.com/v1/chat/completions', { headers: bearer }, 'decide.socket'],
    ['wss://api.openai.com/v1/live', { headers: bearer }, 'decide.socket'],
    ['wss://api.openai.com/v1/realtime/client_secrets', { headers: bearer }, 'decide.socket'],
    [`${live}Constrained`, { headers: { 'x-goog-api-key': 'PLACEHOLDER(GEMINI_API_KEY)' } }, 'decide.socket'],
  ]
  for (const [url, task, code] of cases) {
    const heard = await talk({ url, ...task }).over
    assert.equal(codeOf(heard), code, JSON.stringify([url, task, heard]))
  }
  assert.equal(stage.vendors.upgraded.length, before)
})

test("the vendor's no passes as an answer", async () => {
  const heard = await talk({ url: 'wss://api.openai.com/v1/realtime?model=gone', headers: bearer }).over
  assert.deepEqual([heard.status, heard.body], [404, '{"error":"no such model"}'])
})

test('a message that cannot be read goes nowhere, and the socket with it', async () => {
  for (const message of [
    'hello',
    '[]',
    '{"type":"response.create","type":"x"}',
    '{"type":"response.create","Type":"input_audio_buffer.append"}',
  ]) {
    const { over } = talk({ url: realtime, headers: bearer, send: [message] })
    const heard = await over
    assert.deepEqual([heard.code, heard.reason], [1008, 'decide.body_unreadable'], message)
    assert.deepEqual(last().messages, [])
  }
})

test('policy that reads the model decides on every message', async () => {
  const config = readFileSync(stage.configFile, 'utf8')
  writeFileSync(
    stage.configFile,
    `${config}      @id("not that model")
      forbid (principal, action in Action::"inference", resource)
      when { context.request has model && context.request.model like "*secret*" };
`,
  )
  const reload = await stage.cli(['reload'])
  assert.equal(reload.code, 0, reload.err)
  try {
    assert.equal(codeOf(await talk({ url: 'wss://api.openai.com/v1/realtime?model=secret-1', headers: bearer }).over), 'decide.forbidden')
    assert.equal(codeOf(await talk({ url: `${realtime}&model=secret-1`, headers: bearer }).over), 'decide.body_unreadable')
    assert.equal(
      codeOf(await talk({ url: 'wss://api.openai.com/v1/realtime?model=%73ecret', headers: bearer }).over),
      'decide.body_unreadable',
    )
    const allowed = await talk({ url: realtime, headers: bearer, send: [create()], until: 4 }).over
    assert.equal(allowed.code, 1000, JSON.stringify(allowed))
    for (const session of [
      { model: 'secret-1' },
      { audio: { input: { transcription: { model: 'secret-2' } } } },
      { model: 'gpt-realtime', input_audio_transcription: { model: 'secret-3' } },
    ]) {
      const heard = await talk({ url: realtime, headers: bearer, send: [JSON.stringify({ type: 'session.update', session }), create()] })
        .over
      assert.deepEqual([heard.code, heard.reason], [1008, 'decide.forbidden'], JSON.stringify(session))
      assert.deepEqual(last().messages, [])
    }
    const unnamed = await talk({ url: 'wss://api.openai.com/v1/responses', headers: bearer, send: ['{"type":"response.create"}'] }).over
    assert.deepEqual([unnamed.code, unnamed.reason], [1008, 'decide.body_unreadable'])
    const setup = await talk({ url: `${live}?key=PLACEHOLDER(GEMINI_API_KEY)`, send: ['{"setup":{"model":"models/secret"}}'] }).over
    assert.equal(setup.reason, 'decide.forbidden')
  } finally {
    writeFileSync(stage.configFile, config)
    assert.equal((await stage.cli(['reload'])).code, 0)
  }
})

test('a policy that comes into force cuts the socket', async () => {
  const { opened, over } = talk({ url: realtime, headers: bearer })
  await opened
  await stage.setFacts({ stage: 'test' })
  const heard = await over
  assert.deepEqual([heard.code, heard.reason], [1008, 'flow.revoked'])
  await eventually(async () => (await entries()).find((entry) => String(entry['notes']).includes('closed: flow.revoked')))
  await stage.setFacts({ stage: 'production' })
})

test('one workload opens no more sockets than its share, and a revoked credential closes them within a second', {
  skip: inEach,
}, async () => {
  const all = Array.from({ length: limits.socketsPerWorkloadMax }, () => talk({ url: `${live}?key=PLACEHOLDER(GEMINI_API_KEY)` }))
  await Promise.all(all.map((one) => one.opened))
  const more = await talk({ url: realtime, headers: bearer }).over
  assert.equal(codeOf(more), 'accept.too_many', JSON.stringify(more))
  const since = performance.now()
  await stage.admin('POST', '/revoke', { credential: 'gemini-story' })
  const heard = await Promise.all(all.map((one) => one.over))
  assert.ok(performance.now() - since < limits.revokeMs)
  assert.deepEqual([...new Set(heard.map((one) => `${one.code} ${one.reason}`))], ['1008 flow.revoked'])
  const room = await talk({ url: realtime, headers: bearer, until: 1 }).over
  assert.equal(room.code, 1000)
})

test('when the vendor goes without a word, the agent is told; when the run ends, the vendor is', async () => {
  const one = talk({ url: realtime, headers: bearer })
  await one.opened
  last().socket.terminate()
  const heard = await one.over
  assert.deepEqual([heard.code, heard.reason], [1011, 'forward.reset'])
  const two = talk({ url: realtime, headers: bearer })
  await two.opened
  two.over.catch(() => {})
  agent.kill('SIGKILL')
  const closed = await eventually(async () => last().closed ?? undefined)
  assert.ok([1001, 1006].includes(closed.code), String(closed.code))
})
