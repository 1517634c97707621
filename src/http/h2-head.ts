// Heads of HTTP/2 as lists of names and values, in and out. What came in is put into the one form that the strict reader
// judges, so that a request means the same over both versions; nothing is judged twice, and no value can end its line.
import { limits } from '../model/limits.ts'
import type { Edits, ResponseHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'
import { tokenByte, valueBytes } from './bytes.ts'
import { Fields, type Framing, type RequestMessage, type ResponseMessage, readRequestHead, readResponseHead } from './read-head.ts'
import { authorityOf, checkedName, checkedValue, isOurs, originForm, passes } from './write-head.ts'

type Side = 'request' | 'answer'

/** RFC 9113 §8.2.2: what speaks of a connection of HTTP/1.1 makes the message malformed. */
const connectionSpecific: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])

const requestPseudo: ReadonlySet<string> = new Set([':method', ':scheme', ':authority', ':path'])
const answerPseudo: ReadonlySet<string> = new Set([':status'])

const bad = (side: Side, detail: string): Refusal => new Refusal(side === 'request' ? 'http.malformed' : 'forward.bad_answer', detail)

/** `ended`: no body follows. Throws Refusal http.*. */
export function requestFromList(list: readonly string[], scheme: 'https' | 'http', ended: boolean): RequestMessage {
  const { pseudo, lines, length, cookie } = readList(list, 'request')
  const method = pseudo.get(':method') ?? ''
  if (method === 'CONNECT') throw new Refusal('http.method_unknown', 'CONNECT in a stream')
  const path = pseudo.get(':path') ?? ''
  if (!allOf(method, tokenByte) || /[^\x21-\x7e]/.test(path)) throw bad('request', 'the method or the path')
  if (pseudo.get(':scheme') !== scheme) throw bad('request', 'the scheme is not that of the connection')
  // RFC 9113 §8.3.1: the authority takes the place of Host; where both stand, the strict reader finds two.
  const authority = pseudo.get(':authority')
  const host = authority === undefined ? '' : `host: ${authority}\r\n`
  if (ended && length !== null && length !== '0') throw bad('request', 'content-length without a body')
  // A body of a length that nobody said is what HTTP/1.1 calls chunked.
  const framing = ended || length !== null ? '' : 'transfer-encoding: chunked\r\n'
  // RFC 9113 §8.2.3: a cookie that came in crumbs is one field again.
  const cookies = cookie === '' ? '' : `cookie: ${cookie}\r\n`
  const text = `${method} ${path} HTTP/1.1\r\n${host}${lines}${cookies}${framing}\r\n`
  if (text.length > limits.headBytesMax) throw new Refusal('http.head_too_large', 'headBytesMax')
  const bytes = Buffer.from(text, 'latin1')
  return readRequestHead(bytes, 0, bytes.length)
}

/** Throws Refusal forward.bad_answer. */
export function answerFromList(list: readonly string[], requestMethod: string, ended: boolean): ResponseMessage {
  const { pseudo, lines, length } = readList(list, 'answer')
  const status = pseudo.get(':status') ?? ''
  const bodiless = requestMethod === 'HEAD' || status === '204' || status === '304'
  if (ended && length !== null && length !== '0' && !bodiless) throw bad('answer', 'content-length without a body')
  const framing = ended || length !== null ? '' : 'transfer-encoding: chunked\r\n'
  const text = `HTTP/1.1 ${status} \r\n${lines}${framing}\r\n`
  if (text.length > limits.headBytesMax) throw bad('answer', 'headBytesMax')
  const bytes = Buffer.from(text, 'latin1')
  return readResponseHead(bytes, 0, bytes.length, requestMethod)
}

interface ReadList {
  readonly pseudo: ReadonlyMap<string, string>
  readonly lines: string
  readonly length: string | null
  readonly cookie: string
}

function readList(list: readonly string[], side: Side): ReadList {
  const pseudo = new Map<string, string>()
  const known = side === 'request' ? requestPseudo : answerPseudo
  const values = valueBytes[side]
  let lines = ''
  let length: string | null = null
  let cookie = ''
  for (let at = 0; at < list.length; at += 2) {
    const name = list[at] as string
    const value = list[at + 1] as string
    if (!allOf(value, values) || /^[ \t]|[ \t]$/.test(value)) throw bad(side, 'a byte that a value may not hold')
    if (name.charCodeAt(0) === 0x3a) {
      // RFC 9113 §8.3: each once, before all fields, none that was not negotiated.
      if (!known.has(name) || pseudo.has(name) || lines !== '' || cookie !== '') throw bad(side, 'a pseudo-header that may not stand there')
      pseudo.set(name, value)
      continue
    }
    checkName(name, value, side)
    if (name === 'content-length') length = value
    if (name === 'cookie' && side === 'request') cookie += cookie === '' ? value : `; ${value}`
    else lines += `${name}: ${value}\r\n`
  }
  return { pseudo, lines, length, cookie }
}

function checkName(name: string, value: string, side: Side): void {
  // RFC 9113 §8.2.1: no upper case.
  if (name === '' || !allOf(name, tokenByte) || /[A-Z]/.test(name)) throw bad(side, 'the name of a field')
  if (connectionSpecific.has(name.replaceAll('_', '-'))) throw bad(side, 'a field that speaks of a connection')
  if (name === 'te' && value !== 'trailers') throw bad(side, 'te says more than trailers')
}

function allOf(text: string, table: Uint8Array): boolean {
  for (let at = 0; at < text.length; at++) if (table[text.charCodeAt(at)] !== 1) return false
  return true
}

export interface RequestList {
  readonly list: string[]
  /** Never kept in a table of either side (RFC 7541 §7.1.3): what we set, and what stands for a credential. */
  readonly sensitive: readonly string[]
}

/** The head of a request as the API gets it. Throws Refusal inject.bad_value. */
export function requestToList(head: RequestMessage, edits: Edits, target: Target, framing: Framing): RequestList {
  for (const [name] of edits.set) if (!isOurs(name)) throw new Refusal('inject.bad_value', 'a field that only the writer may set')
  const path = edits.target === null ? `${target.path}${target.query}` : originForm(edits.target)
  const list = [':method', target.method, ':scheme', target.scheme, ':authority', authorityOf(target), ':path', path]
  pushFields(list, head, edits, false)
  // gRPC's servers demand it: the one thing that TE may say here (RFC 9113 §8.2.2).
  if (head.get('te') === 'trailers') list.push('te', 'trailers')
  if (framing.kind === 'length') list.push('content-length', String(framing.length))
  return { list, sensitive: [...edits.set.map(([name]) => name.toLowerCase()), 'cookie'] }
}

/** The head of an answer as the agent gets it; lengths as in HTTP/1.1 (see writeResponseHead). */
export function answerToList(head: ResponseHead, edits: Edits, framing: Framing): string[] {
  const list = [':status', String(head.status)]
  const keepLength = framing.kind === 'none' && head.status !== 204 && head.status >= 200
  pushFields(list, head, { ...edits, set: edits.set.filter(([name]) => isOurs(name)) }, keepLength)
  if (framing.kind === 'length') list.push('content-length', String(framing.length))
  return list
}

function pushFields(list: string[], head: RequestMessage | ResponseHead, edits: Edits, keepLength: boolean): void {
  if (head instanceof Fields) {
    const { names, connectionNames } = head
    for (let index = 0; index < names.length; index++) {
      const name = names[index] as string
      if (!passes(name, edits.remove, keepLength) || (connectionNames.length > 0 && connectionNames.includes(name))) continue
      list.push(head.spelled(index).toLowerCase(), head.value(index))
    }
  } else head.each((name, value) => passes(name, edits.remove, keepLength) && list.push(name, value))
  for (const [name, value] of edits.set) list.push(checkedName(name).toLowerCase(), checkedValue(value).toString('latin1'))
}
