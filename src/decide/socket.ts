// Reads the messages by which an agent starts calls on a WebSocket, as strictly as a body (invariant 13). It must never take a
// message for harmless because it does not know it: only what the catalog lists passes.
import { Refusal } from '../model/refusal.ts'
import type { Service, SocketRule } from '../model/service.ts'
import type { Target } from '../model/target.ts'
import { type BodyRead, strictJson, toolsOf } from './body.ts'

/** Of one message: what the socket is set to by it, and each thing that it asks for. */
export interface MessageRead {
  readonly asks: readonly BodyRead[]
  readonly setTo: BodyRead
}

const unreadable = (detail: string): Refusal => new Refusal('decide.body_unreadable', detail)

/** null: the service's messages are not known. Throws Refusal decide.socket where it takes no WebSocket. */
export function socketRuleOf(service: Service, target: Target): SocketRule | null {
  if (service.sockets === undefined) return null
  const rule = service.sockets.find(({ path }) => path.test(target.path))
  if (rule === undefined) throw new Refusal('decide.socket', target.path)
  return rule
}

/** What the opening request says of the socket. Throws where the model could be read in another way. */
export function readOpening(rule: SocketRule, service: Service, target: Target): BodyRead {
  const { modelQuery } = rule
  if (modelQuery === null) return { model: undefined, tools: undefined }
  const pairs = [...new URLSearchParams(target.query)].filter(([name]) => name.toLowerCase() === modelQuery)
  if (pairs.length === 0) return { model: undefined, tools: undefined }
  const [name, value] = pairs[0] as [string, string]
  // One spelling, plain: a second parameter or an escape is what another parser reads differently.
  if (pairs.length > 1 || name !== modelQuery || !target.query.includes(`${modelQuery}=${value}`))
    throw unreadable('the query names a model oddly')
  return { model: bare(value, service), tools: undefined }
}

/** `before` is what the socket was set to. No asks: the message starts nothing. */
export function readMessage(rule: SocketRule, service: Service, bytes: Buffer, depthMax: number, before: BodyRead): MessageRead {
  const message = strictJson(bytes, depthMax)
  if (!isRecord(message)) throw unreadable('the message is not a JSON object')
  if (rule.typeField !== null) refuseAliases(message, rule.typeField)
  const names = rule.typeField === null ? Object.keys(message) : [message[rule.typeField]]
  const passing = names.length > 0 && names.every((name) => typeof name === 'string' && rule.passing.includes(name))
  const models = rule.models.map((path) => modelAt(message, path, service))
  const tools = service.toolsField === null ? undefined : toolsIn(message, rule.tools, service.toolsField)
  const setTo: BodyRead = { model: models[0] ?? before.model, tools: tools ?? before.tools }
  const named = [...new Set(models.filter((model) => model !== undefined))]
  if (passing && named.length === 0 && tools === undefined) return { asks: [], setTo }
  const asked = named.length > 0 ? named : [setTo.model]
  const deferred = rule.deferrals?.some((path) => isSet(message, path)) === true
  return { asks: asked.map((model) => ({ model, tools: setTo.tools ?? [], ...(deferred ? { deferred } : {}) })), setTo }
}

/** null where it is absent. Throws Refusal decide.body_unreadable where another spelling of it stands beside. */
function valueAt(message: Record<string, unknown>, path: string): unknown {
  const at = path.lastIndexOf('.')
  const field = path.slice(at + 1)
  const within = objectAt(message, at < 0 ? '' : path.slice(0, at))
  if (within === undefined) return null
  refuseAliases(within, field)
  return Object.hasOwn(within, field) ? within[field] : null
}

/** A flag that is neither absent nor plainly no. */
function isSet(message: Record<string, unknown>, path: string): boolean {
  const value = valueAt(message, path)
  return value !== null && value !== false
}

function modelAt(message: Record<string, unknown>, path: string, service: Service): string | undefined {
  const model = valueAt(message, path)
  if (model === null) return undefined
  if (typeof model !== 'string' || !model.isWellFormed()) throw unreadable(`${path} is not a string`)
  return bare(model, service)
}

/** undefined: none of the objects lists any. */
function toolsIn(message: Record<string, unknown>, places: readonly string[], field: string): readonly string[] | undefined {
  const found: string[] = []
  let listed = false
  for (const place of places) {
    const within = objectAt(message, place)
    if (within === undefined) continue
    refuseAliases(within, field)
    const tools = toolsOf(within, field)
    listed ||= Object.hasOwn(within, field) || tools.length > 0
    found.push(...tools)
  }
  return listed ? [...new Set(found)].sort() : undefined
}

/** The object at a dotted path; undefined where there is none. What stands there and is no object is refused. */
function objectAt(message: Record<string, unknown>, path: string): Record<string, unknown> | undefined {
  let within = message
  for (const name of path === '' ? [] : path.split('.')) {
    refuseAliases(within, name)
    const next = Object.hasOwn(within, name) ? within[name] : null
    if (next === null) return undefined
    if (!isRecord(next)) throw unreadable(`${path} is not an object`)
    within = next
  }
  return within
}

/** A parser that ignores case would read `Model` where we read nothing. */
function refuseAliases(object: Record<string, unknown>, field: string): void {
  for (const key of Object.keys(object))
    if (key !== field && key.toLowerCase() === field.toLowerCase()) throw unreadable(`the message spells ${field} in another case`)
}

/** As policy knows it from paths: without the collection that some vendors put before it. */
function bare(model: string, service: Service): string {
  return service.modelPath === null ? model : model.replace(/^models\//, '')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
