// Stand-ins for the model that a coding agent talks to: the same short task for each vendor, a tool call at a time, in the
// vendor's streaming form. What is asked next follows from the tool results that the agent sent back, so an agent that does not
// carry a call out stays where it is. Strict as the vendors are: a placeholder, a second credential or none is a 401.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { event } from './answers.ts'

export type Step = { readonly shell: string } | { readonly mcp: string }

export interface AgentVendorsOptions {
  readonly certificate: { readonly cert: string; readonly key: string }
  readonly keys: Readonly<Record<AgentVendor, string>>
  /** Of a Claude subscription: a bearer, and only with its beta. */
  readonly setUpToken: string
  readonly steps: readonly Step[]
  /** What the model says at the end. */
  readonly last: string
}

export type AgentVendor = 'anthropic' | 'openai' | 'gemini'

export interface AgentVendors {
  readonly port: number
  /** Each request and each message of a WebSocket, as a line. */
  readonly seen: string[]
  /** What the agents' tools answered, in the order in which it came. */
  readonly results: string[]
  close(): Promise<void>
}

export const agentHosts: Readonly<Record<AgentVendor, string>> = {
  anthropic: 'api.anthropic.com',
  openai: 'api.openai.com',
  gemini: 'generativelanguage.googleapis.com',
}

/** Where each vendor's credential stands, and where no other may. */
const slots: Readonly<Record<AgentVendor, readonly [field: string, scheme: string]>> = {
  anthropic: ['x-api-key', ''],
  openai: ['authorization', 'Bearer '],
  gemini: ['x-goog-api-key', ''],
}

/** What the agents call their shell, and how each takes a command. */
const shells: Readonly<Record<string, (command: string) => unknown>> = {
  Bash: (command) => ({ command, description: 'a step' }),
  run_shell_command: (command) => ({ command, description: 'a step' }),
}

// biome-ignore lint/suspicious/noExplicitAny: what agents send is the vendors' JSON
type Json = any

interface Call {
  readonly name: string
  readonly input: unknown
}

interface Offered {
  readonly name: string
}

/** Codex has one tool, which takes JavaScript that calls the others. */
const scriptOf = (step: Step): string =>
  'shell' in step
    ? `text((await tools.exec_command(${JSON.stringify({ cmd: step.shell, yield_time_ms: 25_000 })})).output)`
    : `text(JSON.stringify(await tools.mcp__tiny__${step.mcp}({})))`

export async function startAgentVendors(options: AgentVendorsOptions): Promise<AgentVendors> {
  const seen: string[] = []
  const results: string[] = []
  let calls = 0
  /** The next call, or null where the model has nothing (more) to ask of these tools. */
  const next = (offered: readonly Offered[], done: readonly string[]): Call | null => {
    // Some ask again before they go on.
    if (done.length > 0 && done.at(-1) !== results.at(-1)) results.push(done.at(-1) as string)
    const step = options.steps[done.length]
    if (step === undefined) return null
    const tool = offered.find(({ name }) => ('shell' in step ? Object.hasOwn(shells, name) : name.endsWith(`_${step.mcp}`)))
    if (tool !== undefined) return { name: tool.name, input: 'shell' in step ? shells[tool.name]?.(step.shell) : {} }
    if (offered.some(({ name }) => name === 'exec')) return { name: 'exec', input: scriptOf(step) }
    return 'mcp' in step && offered.some(({ name }) => name === 'ToolSearch')
      ? { name: 'ToolSearch', input: { query: `select:mcp__tiny__${step.mcp}`, max_results: 5 } }
      : null
  }
  const turn: Turn = { next, last: options.last, id: () => `${++calls}` }
  const sockets = new WebSocketServer({ noServer: true })
  const server = createServer(options.certificate, async (request, response) => {
    seen.push(`${request.method} ${request.headers.host}${request.url}`)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const vendor = vendorOf(request)
    if (
      vendor === null ||
      !(mayCall(vendor, request, options.keys[vendor]) || (vendor === 'anthropic' && subscribes(request, options.setUpToken)))
    )
      return say(response, 401, { type: 'error', error: { type: 'authentication_error', message: 'invalid key' } })
    const text = Buffer.concat(chunks).toString()
    answers[vendor](new URL(request.url ?? '/', 'https://vendor.example').pathname, text === '' ? {} : JSON.parse(text), turn, response)
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    seen.push(`upgrade ${request.headers.host}${request.url}`)
    if (request.url !== '/v1/responses' || !mayCall('openai', request, options.keys.openai))
      return void socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    sockets.handleUpgrade(request, socket, head, (ws) => converse(ws, turn, seen))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    results,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

interface Turn {
  next(offered: readonly Offered[], done: readonly string[]): Call | null
  readonly last: string
  id(): string
}

function vendorOf(request: IncomingMessage): AgentVendor | null {
  return (Object.keys(agentHosts) as AgentVendor[]).find((vendor) => agentHosts[vendor] === request.headers.host) ?? null
}

function mayCall(vendor: AgentVendor, { headers, url }: IncomingMessage, key: string): boolean {
  const [field, scheme] = slots[vendor]
  const others = ['authorization', 'x-api-key', 'x-goog-api-key', 'api-key'].filter((name) => name !== field)
  return headers[field] === `${scheme}${key}` && others.every((name) => headers[name] === undefined) && !/[?&]key=/.test(url ?? '')
}

function subscribes({ headers }: IncomingMessage, token: string): boolean {
  const betas = String(headers['anthropic-beta'] ?? '').split(',')
  return headers.authorization === `Bearer ${token}` && betas.includes('oauth-2025-04-20') && headers['x-api-key'] === undefined
}

function say(response: ServerResponse, status: number, json: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json))
}

function stream(response: ServerResponse, events: readonly string[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const one of events) response.write(one)
  response.end()
}

type Answer = (path: string, json: Json, turn: Turn, response: ServerResponse) => void

const answers: Readonly<Record<AgentVendor, Answer>> = {
  anthropic(path, json, turn, response) {
    if (path === '/v1/messages/count_tokens') return say(response, 200, { input_tokens: 10 })
    if (path !== '/v1/messages') return say(response, 404, { type: 'error', error: { type: 'not_found_error', message: 'no such path' } })
    const blocks: Json[] = (json.messages ?? []).flatMap(({ content }: Json) => (Array.isArray(content) ? content : []))
    // Tools of MCP servers are known by name only until they are searched for.
    const searches = blocks.filter(({ type, name }) => type === 'tool_use' && name === 'ToolSearch').map(({ id }) => id)
    const results = blocks.filter((one) => one.type === 'tool_result' && !searches.includes(one.tool_use_id))
    const found = searches.length > 0 ? [{ name: 'mcp__tiny__tell' }] : []
    const call = turn.next(
      [...(json.tools ?? []), ...found],
      results.map(({ content }) => JSON.stringify(content)),
    )
    const block =
      call === null ? { type: 'text', text: turn.last } : { type: 'tool_use', id: `toolu_${turn.id()}`, name: call.name, input: call.input }
    const reason = call === null ? 'end_turn' : 'tool_use'
    const message = {
      id: `msg_${turn.id()}`,
      type: 'message',
      role: 'assistant',
      model: json.model,
      usage: { input_tokens: 10, output_tokens: 1 },
    }
    if (json.stream !== true) return say(response, 200, { ...message, content: [block], stop_reason: reason, stop_sequence: null })
    const begun = call === null ? { type: 'text', text: '' } : { ...block, input: {} }
    const delta =
      call === null ? { type: 'text_delta', text: turn.last } : { type: 'input_json_delta', partial_json: JSON.stringify(call.input) }
    stream(
      response,
      [
        { type: 'message_start', message: { ...message, content: [], stop_reason: null, stop_sequence: null } },
        { type: 'content_block_start', index: 0, content_block: begun },
        { type: 'content_block_delta', index: 0, delta },
        { type: 'content_block_stop', index: 0 },
        { type: 'message_delta', delta: { stop_reason: reason, stop_sequence: null }, usage: { output_tokens: 5 } },
        { type: 'message_stop' },
      ].map((one) => `event: ${one.type}\n${event(one)}`),
    )
  },
  openai(path, json, turn, response) {
    if (path === '/v1/models') return say(response, 200, { models: [] })
    if (path !== '/v1/responses') return say(response, 404, { error: { message: 'no such path' } })
    stream(
      response,
      responseOf(json.model, offeredIn(json), outputsOf(json), turn).map((one) => `event: ${one.type}\n${event(one)}`),
    )
  },
  gemini(path, json, turn, response) {
    if (!/:(?:streamGenerate|generate)Content$/.test(path)) return say(response, 200, { totalTokens: 10 })
    const parts: Json[] = (json.contents ?? []).flatMap(({ parts }: Json) => parts ?? [])
    const done = parts.filter((part) => part.functionResponse !== undefined).map((part) => JSON.stringify(part.functionResponse.response))
    const call = turn.next(
      (json.tools ?? []).flatMap((tool: Json) => tool.functionDeclarations ?? []),
      done,
    )
    // It asks which model the task is worth, and takes nothing but its own schema.
    const text =
      json.generationConfig?.responseJsonSchema === undefined
        ? turn.last
        : JSON.stringify({ complexity_reasoning: 'short', complexity_score: 1 })
    const part = call === null ? { text } : { functionCall: { id: turn.id(), name: call.name, args: call.input } }
    const answer = {
      candidates: [{ content: { role: 'model', parts: [part] }, finishReason: 'STOP', index: 0 }],
      usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 5, totalTokenCount: 15 },
      responseId: `response-${turn.id()}`,
    }
    if (path.endsWith(':generateContent')) say(response, 200, answer)
    else stream(response, [event(answer)])
  },
}

const outputsOf = (json: Json): string[] =>
  (Array.isArray(json.input) ? json.input : [])
    .filter(({ type }: Json) => /^(?:function_call|custom_tool_call|local_shell_call|mcp_tool_call)_output$/.test(type))
    .map(({ output }: Json) => (typeof output === 'string' ? output : JSON.stringify(output)))

function offeredIn(json: Json): readonly Offered[] {
  const flat = (tool: Json): readonly Offered[] => (Array.isArray(tool.tools) ? tool.tools.flatMap(flat) : [tool])
  const items: Json[] = Array.isArray(json.input) ? json.input : []
  const all = [...(json.tools ?? []), ...items.filter(({ type }) => type === 'additional_tools')].flatMap(flat)
  return all.filter(({ name }) => name !== undefined)
}

interface ResponseEvent {
  readonly type: string
  readonly [field: string]: unknown
}

/** The events of one answer of the Responses API. */
function responseOf(model: string, offered: readonly Offered[], done: readonly string[], turn: Turn): readonly ResponseEvent[] {
  const call = turn.next(offered, done)
  const id = turn.id()
  const item =
    call === null
      ? { type: 'message', id: `msg_${id}`, role: 'assistant', content: [{ type: 'output_text', text: turn.last, annotations: [] }] }
      : call.name === 'exec'
        ? { type: 'custom_tool_call', id: `ctc_${id}`, call_id: `call_${id}`, name: 'exec', namespace: 'functions', input: call.input }
        : { type: 'function_call', id: `fc_${id}`, call_id: `call_${id}`, name: call.name, arguments: JSON.stringify(call.input) }
  const usage = {
    input_tokens: 10,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: 5,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: 15,
  }
  const response = { id: `resp_${id}`, object: 'response', created_at: 1, model }
  return [
    { type: 'response.created', response: { ...response, status: 'in_progress', output: [] } },
    { type: 'response.output_item.added', output_index: 0, item: { ...item, status: 'in_progress' } },
    { type: 'response.output_item.done', output_index: 0, item: { ...item, status: 'completed' } },
    { type: 'response.completed', response: { ...response, status: 'completed', output: [item], usage } },
  ]
}

/** Over a WebSocket only what is new is sent: what came before is known by the answer that it follows. */
function converse(ws: WebSocket, turn: Turn, seen: string[]): void {
  const known = new Map<string, { readonly done: readonly string[]; readonly offered: readonly Offered[] }>()
  ws.on('error', () => {})
  ws.on('message', (bytes: Buffer) => {
    const json = JSON.parse(bytes.toString())
    seen.push(`message api.openai.com/v1/responses ${json.type}`)
    if (json.type !== 'response.create') return
    const before = known.get(json.previous_response_id) ?? { done: [], offered: [] }
    const done = [...before.done, ...outputsOf(json)]
    const offered = [...before.offered, ...offeredIn(json)]
    // It warms up with a question that is to produce nothing.
    const events = responseOf(json.model, json.generate === false ? [] : offered, done, turn)
    known.set((events[0] as Json).response.id, { done, offered })
    for (const one of events) ws.send(JSON.stringify(one))
  })
}
