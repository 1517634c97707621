// What policy wants to know of a request beside its head: reads a body only where something in it counts, holds no more of them than
// a workload's share, and never takes what it could not read for harmless.
import { isUtf8 } from 'node:buffer'
import type { Call } from '../model/call.ts'
import type { Identity } from '../model/identity.ts'
import type { Limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { Target } from '../model/target.ts'
import { type BodyRead, checkBodyHead, mayHaveBody, modelOfPath, namedInPath, nothingRead, readBody, strictJson } from './body.ts'
import { readOpening, socketRuleOf } from './socket.ts'

/** Of a slice. */
export interface Wanted {
  readonly readsModel: boolean
  readonly readsTools: boolean
}

/** What a call must have to be read. */
export type Asking = Pick<Call, 'target' | 'head' | 'body' | 'upgrade' | 'readBody'>

export interface Reading {
  request(wanted: Wanted, service: Service, call: Asking, identity: Identity): BodyRead | Promise<BodyRead>
  message(wanted: Wanted, message: BodyRead): BodyRead
  /** The same of a body that is here already; undefined where it must be waited for. */
  defersNow(service: Service, call: Asking): boolean | undefined
  /** Does the body ask for work that goes on after its answer? What cannot be read plainly is taken to. */
  defers(service: Service, call: Asking, identity: Identity): Promise<boolean>
  /** Reads the body whole, where its hash will be signed: what is permitted only. */
  toSign(call: Asking, identity: Identity): Promise<void>
}

export function createReading(limits: Limits): Reading {
  /** Bytes that are held, by workload. */
  const holding = new Map<string, number>()

  async function hold(call: Asking, { workload }: Identity, bytesMax: number): Promise<Buffer> {
    const bytes = call.body.length < 0 ? bytesMax : call.body.length
    const before = holding.get(workload) ?? 0
    if (before + bytes > limits.heldBodiesPerWorkloadBytesMax) throw new Refusal('decide.busy', 'heldBodiesPerWorkloadBytesMax')
    holding.set(workload, before + bytes)
    try {
      return await call.readBody(bytesMax)
    } finally {
      const left = (holding.get(workload) ?? bytes) - bytes
      if (left === 0) holding.delete(workload)
      else holding.set(workload, left)
    }
  }

  return {
    request(wanted, service, call, identity) {
      const { path, method } = call.target
      if (call.upgrade !== undefined) return openingOf(wanted, service, call)
      const { readsModel, readsTools } = wanted
      if (service.modelPath === null && !readsModel && !readsTools) return nothingRead
      const model = readsModel ? modelOfPath(service, path) : forRecord(service, path)
      if (readsModel && service.modelField !== null && queryNames(call.target.query, service.modelField))
        throw new Refusal('decide.body_unreadable', 'the query names a model')
      const inBody = (readsModel && service.modelField !== null && model === undefined) || (readsTools && service.toolsField !== null)
      if (!inBody || call.body.length === 0 || !mayHaveBody(method)) return { model, tools: undefined }
      checkBodyHead(call.head)
      const { readBodyBytesMax, jsonDepthMax } = limits
      if (call.body.length > readBodyBytesMax)
        throw new Refusal('decide.body_unreadable', `the body is larger than ${readBodyBytesMax} bytes`)
      return hold(call, identity, readBodyBytesMax).then((bytes) => readBody(service, path, bytes, jsonDepthMax))
    },
    message: messageOf,
    defersNow(service, call) {
      const field = service.deferral?.field
      if (field === undefined || call.body.length === 0) return false
      const { whole } = call.body
      if (whole === null || whole.length > limits.searchedBodyBytesMax) return undefined
      try {
        checkBodyHead(call.head)
        return saysLater(whole, field, limits)
      } catch (error) {
        return takenToDefer(error)
      }
    },
    async defers(service, call, identity) {
      const field = service.deferral?.field
      if (field === undefined || call.body.length === 0) return false
      try {
        checkBodyHead(call.head)
        if (call.body.length > limits.searchedBodyBytesMax) return true
        // How long it will be is not said: less of it is waited for.
        const bytesMax = call.body.length < 0 ? limits.readBodyBytesMax : limits.searchedBodyBytesMax
        return saysLater(await hold(call, identity, bytesMax), field, limits)
      } catch (error) {
        return takenToDefer(error)
      }
    },
    async toSign(call, identity) {
      await hold(call, identity, limits.signedBodyBytesMax).catch((error) => {
        throw error instanceof Refusal && error.code === 'decide.body_unreadable' ? new Refusal('decide.signed_body') : error
      })
    },
  }
}

/** What cannot be read plainly is taken to ask for it. */
function takenToDefer(error: unknown): true {
  if (error instanceof Refusal && error.code === 'decide.body_unreadable') return true
  throw error
}

/** Only a body that names the field, or could by an escape, is parsed. */
function saysLater(bytes: Buffer, field: string, limits: Limits): boolean {
  const text = bytes.toString('latin1')
  // UTF-16, which some parsers guess, would hide it from the search.
  if (!isUtf8(bytes) || text.includes('\0')) return true
  if (!text.includes('\\u') && !text.toLowerCase().includes(field)) return false
  if (bytes.length > limits.readBodyBytesMax) return true
  return isSet(strictJson(bytes, limits.jsonDepthMax), field)
}

/** In any case: a parser that ignores case reads it. */
function isSet(body: unknown, field: string): boolean {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return true
  return Object.entries(body).some(([name, value]) => name.toLowerCase() === field && value !== false && value !== null)
}

/** Only what a body or a message says tells whether its work goes on after the answer, when nobody asks policy again. */
export function mayDefer(service: Service, target: Target, message: BodyRead | undefined): boolean {
  if (!names(service, 'deferred') || target.action === 'deferred') return false
  if (message !== undefined) return message.deferred === true
  return target.method === 'POST' && service.deferral?.path.test(target.path) === true
}

/** Where policy reads what a call says, a file of calls would say it unread. */
export function refuseFileOfCalls(service: Service, target: Target, slices: () => readonly Wanted[]): void {
  if (!mayHaveBody(target.method) || service.filesOfCalls?.test(target.path) !== true || !names(service, 'inference')) return
  if (slices().some(({ readsModel, readsTools }) => readsModel || readsTools))
    throw new Refusal('decide.body_unreadable', 'a file of calls, of which policy would read each')
}

const actionsOf = new WeakMap<Service, ReadonlySet<string>>()

function names(service: Service, action: string): boolean {
  let named = actionsOf.get(service)
  if (named === undefined) {
    named = new Set(service.actions.map((rule) => rule.action))
    actionsOf.set(service, named)
  }
  return named.has(action)
}

function messageOf(slice: Wanted, message: BodyRead): BodyRead {
  // A socket has a model, whether or not anybody has said which.
  if (slice.readsModel && message.model === undefined) throw new Refusal('decide.body_unreadable', 'no message has named a model')
  return { ...message, tools: slice.readsTools ? message.tools : undefined }
}

/** What a socket will be asked for stands in its messages: where policy wants to know it, they must be readable. */
function openingOf(slice: Wanted, service: Service, call: Asking): BodyRead {
  const rule = socketRuleOf(service, call.target)
  if (rule === null) {
    if (slice.readsModel || slice.readsTools) throw new Refusal('decide.body_unreadable', 'the messages of this WebSocket are not readable')
    return nothingRead
  }
  return readOpening(rule, service, call.target)
}

/** Some routes take the model from the query, where policy does not look. */
function queryNames(query: string, field: string): boolean {
  if (query === '') return false
  return [...new URLSearchParams(query).keys()].some((name) => name.toLowerCase() === field.toLowerCase())
}

/** No policy reads it: an odd spelling is no reason to refuse, only to say nothing. */
export function forRecord(service: Service, path: string): string | undefined {
  const model = namedInPath(service, path)
  return model?.includes('%') ? undefined : model
}
