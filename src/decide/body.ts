// Reads the body of a request for policy, as strictly as invariant 13 demands: whoever parses it after us must see what
// we saw. It must never guess: what is not plain is refused.
import { isUtf8 } from 'node:buffer'
import type { RequestHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'

/** `model` and `tools` are undefined where the request has none: not applicable, which a policy guards by `has`. */
export interface BodyRead {
  readonly model: string | undefined
  /** Tools that are not plainly the agent's own functions; sorted, each once. */
  readonly tools: readonly string[] | undefined
  /** Of a message: whether it asks for work that goes on after its answer. */
  readonly deferred?: boolean
}

export const nothingRead: BodyRead = { model: undefined, tools: undefined }

const unreadable = (detail: string): Refusal => new Refusal('decide.body_unreadable', detail)

const methodsWithBody: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])

export function mayHaveBody(method: string): boolean {
  return methodsWithBody.has(method)
}

/** As the path spells it, but for a colon: RFC 3986 §3.3 lets it stand there in both spellings. */
export function namedInPath({ modelPath, modelColon }: Service, path: string): string | undefined {
  const model = modelPath?.exec(path)?.[1]
  return modelColon === true ? model?.replace(/%3a/gi, ':') : model
}

/** The model that a path names; throws where its spelling could be read in another way. */
export function modelOfPath(service: Service, path: string): string | undefined {
  const model = namedInPath(service, path)
  if (model?.includes('%')) throw unreadable('the model in the path is percent-encoded')
  return model
}

/** Refuses before the body is read what could not be read anyway. */
export function checkBodyHead(head: RequestHead): void {
  const encoding = head.get('content-encoding')
  if (encoding !== undefined && encoding.trim().toLowerCase() !== 'identity') throw unreadable('the body has a content-encoding')
  const type = head.get('content-type')
  if (type !== undefined && !/^application\/(?:[\w.+-]+\+)?json\s*(?:;\s*charset="?utf-8"?\s*)?$/i.test(type.trim()))
    throw unreadable('the body is not declared as JSON in UTF-8')
}

export function readBody(service: Service, path: string, bytes: Buffer, depthMax: number): BodyRead {
  const fromPath = modelOfPath(service, path)
  if (bytes.length === 0) return { model: fromPath, tools: undefined }
  const body = strictJson(bytes, depthMax)
  if (!isRecord(body)) throw unreadable('the body is not a JSON object')
  for (const field of [service.modelField, service.toolsField]) if (field !== null) refuseAliases(body, field)
  return {
    model: fromPath ?? modelOf(body, service.modelField),
    tools: service.toolsField === null ? undefined : toolsOf(body, service.toolsField),
  }
}

/** A parser that ignores case would read `Model` where we read nothing. */
function refuseAliases(body: Record<string, unknown>, field: string): void {
  for (const key of Object.keys(body))
    if (key !== field && key.toLowerCase() === field.toLowerCase()) throw unreadable(`the body spells ${field} in another case`)
}

function modelOf(body: Record<string, unknown>, field: string | null): string | undefined {
  if (field === null || !Object.hasOwn(body, field)) return undefined
  const model = body[field]
  if (typeof model !== 'string' || !model.isWellFormed()) throw unreadable(`${field} is not a string`)
  return model
}

const ownFunctions: ReadonlySet<string> = new Set(['function', 'custom'])
/** Fields of a tool that belong to a function of the agent's own, or only describe one. */
const describing: ReadonlySet<string> = new Set([
  'name',
  'description',
  'input_schema',
  'cache_control',
  'strict',
  'function_declarations',
  'defer_loading',
  'allowed_callers',
  'input_examples',
  'eager_input_streaming',
])

/** Tools that are not plainly the agent's own functions; sorted, each once. */
export function toolsOf(body: Record<string, unknown>, field: string): readonly string[] {
  const found = new Set(listOf(body, field).flatMap(namesOf))
  // The Responses API takes more of them as items of its input; Codex sends all of its own so.
  const items: readonly unknown[] = Array.isArray(body['input']) ? body['input'] : []
  for (const item of items)
    if (isRecord(item) && addsTools.has(item['type'])) for (const name of listOf(item, field).flatMap(namesOf)) found.add(name)
  // Tools that stand elsewhere: remote MCP servers, the search of chat completions, and prompts kept at the vendor.
  if (Object.hasOwn(body, 'mcp_servers')) found.add('mcp')
  if (Object.hasOwn(body, 'web_search_options')) found.add('web_search')
  if (isRecord(body['prompt'])) found.add('stored_prompt')
  return [...found].sort()
}

const addsTools: ReadonlySet<unknown> = new Set(['additional_tools', 'tool_search_output'])

function listOf(holder: Record<string, unknown>, field: string): readonly Record<string, unknown>[] {
  const listed = Object.hasOwn(holder, field) ? (holder[field] ?? []) : []
  if (!Array.isArray(listed)) throw unreadable(`${field} is not a list`)
  if (!listed.every(isRecord)) throw unreadable(`${field} holds something that is not an object`)
  return listed
}

function namesOf(tool: Record<string, unknown>): readonly string[] {
  const { type } = tool
  // A name for a group of tools.
  if (type === 'namespace' && Object.hasOwn(tool, 'tools')) return listOf(tool, 'tools').flatMap(namesOf)
  if (Object.hasOwn(tool, 'type') && type !== null) {
    if (typeof type !== 'string' || !type.isWellFormed()) throw unreadable('the type of a tool is not a string')
    return ownFunctions.has(type) ? [] : [toolName(type)]
  }
  return Object.keys(tool)
    .map(toolName)
    .filter((name) => !describing.has(name))
}

/** `googleSearch` and `google_search` are one tool; `web_search_20250305` is `web_search` of a certain date. */
function toolName(name: string): string {
  return name
    .replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    .replace(/^_/, '')
    .replace(/_(?:\d{8}|\d{4}_\d{2}_\d{2})$/, '')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** RFC 8259 with the choices that it leaves open taken strictly: UTF-8 without BOM, one value, no duplicate name, bounded depth. */
export function strictJson(bytes: Buffer, depthMax: number): unknown {
  if (!isUtf8(bytes)) throw unreadable('the body is not UTF-8')
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) throw unreadable('the body begins with a byte order mark')
  const text = bytes.toString('utf8')
  // The scan comes first: it is iterative, so that depth is refused before a recursive parser meets it.
  scan(text, depthMax)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Refusal('decide.body_unreadable', 'the body is not JSON', error)
  }
}

/** Duplicate names (RFC 8259 §4) and depth. Only strings and brackets matter here; JSON.parse judges the rest. */
function scan(text: string, depthMax: number): void {
  const open: (Set<string> | null)[] = []
  let nameNext = false
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: {
        const end = endOfString(text, at)
        if (nameNext) addName(open.at(-1) ?? null, text.slice(at, end + 1))
        nameNext = false
        at = end
        break
      }
      case 0x7b:
      case 0x5b: {
        const isObject = text.charCodeAt(at) === 0x7b
        open.push(isObject ? new Set() : null)
        nameNext = isObject
        if (open.length > depthMax) throw unreadable(`the body is nested deeper than ${depthMax}`)
        break
      }
      case 0x7d:
      case 0x5d:
        open.pop()
        nameNext = false
        break
      case 0x2c:
        nameNext = open.length > 0 && open.at(-1) !== null
        break
    }
  }
}

function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === 0x5c) slashes++
    if (slashes % 2 === 0) return end
  }
  throw unreadable('the body is not JSON')
}

function addName(names: Set<string> | null, literal: string): void {
  if (names === null) return
  let name: string
  try {
    name = literal.includes('\\') ? (JSON.parse(literal) as string) : literal.slice(1, -1)
  } catch (error) {
    throw new Refusal('decide.body_unreadable', 'the body is not JSON', error)
  }
  if (names.has(name)) throw unreadable('the body has a name twice in one object')
  names.add(name)
}
