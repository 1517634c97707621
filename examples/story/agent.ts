// The agent of the story: an ordinary program with the vendors' official SDKs and no key. It reads tasks as JSON lines on
// standard input and answers each with a JSON line, so that one process tells the whole story.

import { once } from 'node:events'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { connect as openSession } from 'node:http2'
import { connect, createConnection } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import tls from 'node:tls'
import Anthropic from '@anthropic-ai/sdk'
import { GoogleGenAI } from '@google/genai'
import OpenAI from 'openai'

interface Task {
  readonly id: number
  readonly do: keyof typeof tasks
  readonly [more: string]: unknown
}

const prompt = [{ role: 'user' as const, content: 'Say hello.' }]

async function openai(task: Task): Promise<unknown> {
  const client = new OpenAI({ maxRetries: 0 })
  if (task['stream'] !== true) return { text: (await client.responses.create({ model: 'gpt-5', input: 'Say hello.' })).output_text }
  let text = ''
  for await (const event of await client.responses.create({ model: 'gpt-5', input: 'Say hello.', stream: true })) {
    if (event.type === 'response.output_text.delta') text += event.delta
  }
  return { text }
}

async function anthropic(task: Task): Promise<unknown> {
  const client = new Anthropic({ maxRetries: 0 })
  const asked = { model: 'claude-sonnet-4-5', max_tokens: 64, messages: prompt }
  if (task['stream'] !== true) {
    const message = await client.messages.create(asked)
    return { text: message.content.map((block) => (block.type === 'text' ? block.text : '')).join('') }
  }
  let text = ''
  for await (const event of await client.messages.create({ ...asked, stream: true })) {
    if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') text += event.delta.text
  }
  return { text }
}

async function gemini(task: Task): Promise<unknown> {
  const client = new GoogleGenAI({})
  const asked = { model: 'gemini-2.5-flash', contents: 'Say hello.' }
  if (task['stream'] !== true) return { text: (await client.models.generateContent(asked)).text }
  let text = ''
  for await (const part of await client.models.generateContentStream(asked)) text += part.text ?? ''
  return { text }
}

/** Any request, with `PLACEHOLDER(NAME)` replaced by what stands in the variable NAME. */
async function request(task: Task): Promise<unknown> {
  const fill = (text: string): string => text.replace(/PLACEHOLDER\((\w+)\)/g, (_, name: string) => process.env[name] ?? '')
  const headers = Object.fromEntries(
    Object.entries((task['headers'] as Record<string, string> | undefined) ?? {}).map(([name, value]) => [name, fill(value)]),
  )
  const method = String(task['method'] ?? 'GET')
  const sent = task['body'] === undefined ? {} : { body: fill(String(task['body'])) }
  const answer = await fetch(fill(String(task['url'])), { method, headers, redirect: 'manual', ...sent })
  return { status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text() }
}

/** Reads a stream until it ends or breaks. */
async function streaming(task: Task): Promise<unknown> {
  const client = new OpenAI({ maxRetries: 0 })
  let events = 0
  try {
    for await (const _ of await client.responses.create({ model: 'slow', input: 'Count.', stream: true })) {
      events++
      if (events === Number(task['tellAfter'])) process.stdout.write(`${JSON.stringify({ id: task.id, progress: events })}\n`)
    }
    return { events, broken: null }
  } catch (error) {
    return { events, broken: String(error instanceof Error ? error.message : error) }
  }
}

/** What the injected prompt asks for: everything that this process can see. */
function dump(task: Task): unknown {
  const found: string[] = [JSON.stringify(process.env), process.argv.join('\0')]
  const wanted = [
    '/proc/self/environ',
    '/proc/self/cmdline',
    '/proc/self/maps',
    '/proc/self/mountinfo',
    '/proc/self/status',
    ...((task['paths'] as string[]) ?? []),
  ]
  const walk = (path: string, depth: number): void => {
    try {
      if (!statSync(path).isDirectory()) found.push(`${path}\n${readFileSync(path, 'latin1').slice(0, 1_000_000)}`)
      else if (depth > 0) for (const name of readdirSync(path).slice(0, 200)) walk(join(path, name), depth - 1)
    } catch (error) {
      found.push(`${path}: ${(error as NodeJS.ErrnoException).code}`)
    }
  }
  for (const path of [...wanted, homedir(), '/tmp']) walk(path, 3)
  for (const name of readdirSync('/proc').filter((one) => /^\d+$/.test(one))) walk(`/proc/${name}/environ`, 0)
  return { text: found.join('\n'), readable: wanted.filter((path) => readable(path)) }
}

function readable(path: string): boolean {
  try {
    return statSync(path).isDirectory() ? readdirSync(path).length > 0 : readFileSync(path).length > 0
  } catch {
    return false
  }
}

/** Tries each path for reading, and as a Unix socket. */
async function reach(task: Task): Promise<unknown> {
  const reached: string[] = []
  for (const path of task['paths'] as string[]) {
    const connected = await new Promise((resolve) => {
      const socket = createConnection(path, () => resolve(socket.destroy() !== undefined))
      socket.on('error', () => resolve(false))
    })
    if (readable(path) || connected === true) reached.push(path)
  }
  return { reached }
}

/** Eight calls at once on one connection of HTTP/2, opened through the proxy as any client of it does. */
async function http2(): Promise<unknown> {
  const host = 'api.anthropic.com'
  const proxy = new URL(process.env['HTTPS_PROXY'] ?? '')
  const raw = connect(Number(proxy.port), proxy.hostname)
  const authorization = proxy.username === '' ? '' : `Proxy-Authorization: Basic ${btoa(`${proxy.username}:${proxy.password}`)}\r\n`
  raw.write(`CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n${authorization}\r\n`)
  await once(raw, 'data')
  const socket = tls.connect({ socket: raw, servername: host, ALPNProtocols: ['h2'], ca: readFileSync(process.env['SSL_CERT_FILE'] ?? '') })
  await once(socket, 'secureConnect')
  const session = openSession(`https://${host}`, { createConnection: () => socket })
  const body = JSON.stringify({ model: 'claude-sonnet-4-5', max_tokens: 64, messages: prompt })
  const headers = {
    'x-api-key': process.env['ANTHROPIC_API_KEY'] ?? '',
    'anthropic-version': '2023-06-01',
    'content-type': 'application/json',
  }
  const one = async (): Promise<string> => {
    const stream = session.request({ ':method': 'POST', ':path': '/v1/messages', ...headers })
    stream.end(body)
    let text = ''
    for await (const chunk of stream) text += chunk
    return JSON.parse(text).content[0].text
  }
  const texts = await Promise.all(Array.from({ length: 8 }, one))
  session.close()
  return { protocol: socket.alpnProtocol, texts }
}

/** A realtime session by Node's own WebSocket: one answer, then the vendor is talked into giving the key back, a character a frame. */
function websocket(): Promise<unknown> {
  const key = process.env['OPENAI_API_KEY'] ?? ''
  const socket = new WebSocket('wss://api.openai.com/v1/realtime?model=gpt-realtime', ['realtime', `openai-insecure-api-key.${key}`])
  const said: string[] = []
  return new Promise((resolve, reject) => {
    socket.onerror = (event) => reject(new Error(String((event as ErrorEvent).message ?? event.type)))
    socket.onopen = () => socket.send('{"type":"response.create"}')
    socket.onmessage = ({ data }) => {
      said.push(String(data))
      if (said.at(-1)?.includes('response.done'))
        socket.send(JSON.stringify({ type: 'response.create', response: { metadata: { play: 'fragments' } } }))
      if (said.at(-1) === '{"type":"done"}') socket.close()
    }
    socket.onclose = ({ code }) => resolve({ code, said })
  })
}

const tasks = {
  http2,
  websocket,
  openai,
  anthropic,
  gemini,
  request,
  streaming,
  dump,
  reach,
  environment: () => ({ variables: process.env, pid: process.pid, uid: process.getuid?.() }),
}

for await (const line of createInterface({ input: process.stdin })) {
  const task = JSON.parse(line) as Task
  const started = performance.now()
  try {
    const value = await tasks[task.do](task)
    process.stdout.write(`${JSON.stringify({ id: task.id, ok: true, value, ms: Math.round(performance.now() - started) })}\n`)
  } catch (error) {
    const { status, message, cause } = error as { status?: number; message: string; cause?: { message?: string } }
    process.stdout.write(
      `${JSON.stringify({ id: task.id, ok: false, status: status ?? null, error: `${message}${cause?.message === undefined ? '' : `: ${cause.message}`}` })}\n`,
    )
  }
}
