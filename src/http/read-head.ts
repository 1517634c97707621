// The strict reader of heads: bytes in, message or Refusal out. It accepts less than llhttp does, always; nothing outside
// this folder sees raw head bytes. A head is scanned once in its Buffer, lines stay byte ranges.
import { limits } from '../model/limits.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { hashStart, hashStep, internName, methods, nameByte, neverNamed, targetByte, tokenByte, valueBytes } from './bytes.ts'

export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until-close' }

export const noBody: Framing = { kind: 'none' }
const chunked: Framing = { kind: 'chunked' }
const untilClose: Framing = { kind: 'until-close' }

/** Index after the CRLFCRLF that ends a head, or after a LF without CR (which no head survives: it is refused now), or -1. */
export function findHeadEnd(buffer: Buffer, from: number): number {
  const at = buffer.indexOf('\r\n\r\n', from, 'latin1')
  if (at >= 0) return at + 4
  for (let line = buffer.indexOf(0x0a, from); line >= 0; line = buffer.indexOf(0x0a, line + 1)) {
    if (line === 0 || buffer[line - 1] !== 0x0d) return line + 1
  }
  return -1
}

type Side = 'request' | 'answer'

/** Fields as ranges: marks holds name start, name end, value start, value end for each. */
export class Fields {
  readonly buffer: Buffer
  readonly names: string[] = []
  readonly marks: number[] = []
  /** Extra names that a Connection field lists. */
  readonly connectionNames: string[] = []

  constructor(buffer: Buffer) {
    this.buffer = buffer
  }

  value(index: number): string {
    return this.buffer.toString('latin1', this.marks[index * 4 + 2] as number, this.marks[index * 4 + 3] as number)
  }

  /** The name as it was written. */
  spelled(index: number): string {
    return this.buffer.toString('latin1', this.marks[index * 4], this.marks[index * 4 + 1])
  }

  get(name: string): string | undefined {
    let found: string | undefined
    for (let index = 0; index < this.names.length; index++) {
      if (this.names[index] !== name) continue
      found = found === undefined ? this.value(index) : `${found}, ${this.value(index)}`
    }
    return found
  }

  each(visit: (name: string, value: string) => void): void {
    for (let index = 0; index < this.names.length; index++) visit(this.names[index] as string, this.value(index))
  }
}

export class RequestMessage extends Fields implements RequestHead {
  method = ''
  target = ''
  kind: 'origin' | 'absolute' | 'authority' = 'origin'
  host = ''
  framing: Framing = noBody
  keepAlive = true
  expectContinue = false
  upgrade = false
}

export class ResponseMessage extends Fields implements ResponseHead {
  status = 0
  reason = ''
  framing: Framing = noBody
  keepAlive = true
}

function bad(side: Side, detail: string): Refusal {
  return new Refusal(side === 'request' ? 'http.malformed' : 'forward.bad_answer', detail)
}

/** Throws Refusal http.*. `end` is the index after CRLFCRLF. */
export function readRequestHead(buffer: Buffer, start: number, end: number): RequestMessage {
  const head = new RequestMessage(buffer)
  let at = start
  while (at < end && tokenByte[buffer[at] as number] === 1) at++
  if (buffer[at] !== 0x20 || at === start) throw bad('request', 'request line: no method')
  head.method = buffer.toString('latin1', start, at)
  if (!methods.has(head.method)) throw new Refusal('http.method_unknown', head.method.slice(0, 20))
  const targetStart = ++at
  while (at < end && targetByte[buffer[at] as number] === 1) at++
  if (buffer[at] !== 0x20 || at === targetStart) throw bad('request', 'request line: a byte that a target may not hold')
  if (at - targetStart > limits.targetBytesMax) throw new Refusal('http.target_too_long')
  head.target = buffer.toString('latin1', targetStart, at)
  // RFC 3986 §2.1. nginx and apache refuse these too, in a path; real queries hold a lone percent sign.
  if (head.target.includes('%') && /^[^?]*?%(?:00|(?![0-9A-Fa-f]{2}))/.test(head.target))
    throw bad('request', 'request line: a percent sign that encodes nothing')
  at++
  const old = buffer.toString('latin1', at, at + 10) !== 'HTTP/1.1\r\n'
  // Python's http.client before 3.12 (and with it urllib, requests, boto3) opens tunnels by CONNECT of HTTP/1.0. No other method:
  // CONNECT has no body, so that an older version cannot change where a message ends.
  if (old && (head.method !== 'CONNECT' || buffer.toString('latin1', at, at + 10) !== 'HTTP/1.0\r\n')) throw version(buffer, at)
  head.kind = kindOf(head.method, head.target)
  readFields(head, at + 10, end, 'request')
  readRequestMeaning(head, old)
  return head
}

function version(buffer: Buffer, at: number): Refusal {
  const text = buffer.toString('latin1', at, at + 10)
  return /^HTTP\/\d\.\d\r\n$/.test(text) ? new Refusal('http.version', text.trim()) : bad('request', 'request line: no version')
}

function kindOf(method: string, target: string): 'origin' | 'absolute' | 'authority' {
  if (method === 'CONNECT') {
    // RFC 9112 §3.2.3; which host and port it is, the door says.
    if (!/^[A-Za-z0-9.\-_:[\]]+$/.test(target)) throw bad('request', 'request line: the target of CONNECT is no authority')
    return 'authority'
  }
  if (target.startsWith('/')) return 'origin'
  if (/^https?:\/\//.test(target)) return 'absolute'
  throw bad('request', 'request line: the target is neither a path nor a URL')
}

/** RFC 9112 §5: no folding, no space before the colon, no bare CR or LF. */
function readFields(head: Fields, start: number, end: number, side: Side): void {
  const { buffer, names, marks } = head
  const values = valueBytes[side]
  const last = end - 2
  if (last < start || buffer[last] !== 0x0d || buffer[last + 1] !== 0x0a) throw bad(side, 'head: a line that does not end in CRLF')
  // Every loop below stops at a CR, and there is one at `last`.
  let at = start
  while (at < last) {
    if (names.length >= limits.headFieldsMax)
      throw side === 'request' ? new Refusal('http.head_too_large', 'headFieldsMax') : bad(side, 'headFieldsMax')
    const nameStart = at
    let hash = hashStart
    for (let byte = nameByte[buffer[at] as number] as number; byte !== 0; byte = nameByte[buffer[++at] as number] as number)
      hash = hashStep(hash, byte)
    if (at === nameStart || buffer[at] !== 0x3a) throw bad(side, 'field line: a name is followed by something other than a colon')
    const nameEnd = at++
    while (buffer[at] === 0x20 || buffer[at] === 9) at++
    const valueStart = at
    while (values[buffer[at] as number] === 1) at++
    if (buffer[at] !== 0x0d || buffer[at + 1] !== 0x0a) throw bad(side, 'field line: a byte that a value may not hold')
    let valueEnd = at
    while (valueEnd > valueStart && (buffer[valueEnd - 1] === 0x20 || buffer[valueEnd - 1] === 9)) valueEnd--
    names.push(internName(buffer, nameStart, nameEnd, hash))
    marks.push(nameStart, nameEnd, valueStart, valueEnd)
    at += 2
  }
  if (at !== last) throw bad(side, 'head: no empty line at its end')
}

interface Counts {
  host: number
  length: number
  coding: number
}

/** `old`: of HTTP/1.0, which knows no Host: its authority stands in the target alone. */
function readRequestMeaning(head: RequestMessage, old: boolean): void {
  const counts: Counts = { host: -1, length: -1, coding: -1 }
  for (let index = 0; index < head.names.length; index++) {
    switch (head.names[index]) {
      case 'host':
        if (counts.host >= 0) throw bad('request', 'Host stands twice')
        withoutTab(head, index, 'request')
        counts.host = index
        break
      case 'content-length':
      case 'transfer-encoding':
        noteFraming(head, index, counts, 'request')
        break
      case 'connection':
      case 'proxy-connection': // no standard has it, llhttp and others heed it
        readConnection(head, head.value(index), 'request')
        break
      case 'expect':
        if (head.expectContinue || head.value(index).toLowerCase() !== '100-continue')
          throw bad('request', 'an expectation other than 100-continue, once')
        head.expectContinue = true
        break
      case 'upgrade':
        head.upgrade = true
        break
      default:
    }
  }
  // RFC 9112 §3.2: exactly one Host, of every request of HTTP/1.1.
  if (counts.host < 0 && !old) throw bad('request', 'no Host')
  head.host = counts.host < 0 ? head.target : head.value(counts.host)
  if (!/^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/.test(head.host)) throw bad('request', 'Host is not a plain authority')
  if (counts.coding >= 0 && counts.length >= 0) throw bad('request', 'Content-Length stands beside Transfer-Encoding')
  if (head.method === 'CONNECT' && (counts.coding >= 0 || counts.length >= 0)) throw bad('request', 'CONNECT with a body')
  head.framing = framingOf(head, counts, 'request')
}

function noteFraming(head: Fields, index: number, counts: Counts, side: Side): void {
  // `Content_Length` counts as the field itself, and as such is an attack.
  for (let at = head.marks[index * 4] as number; at < (head.marks[index * 4 + 1] as number); at++)
    if (head.buffer[at] === 0x5f) throw bad(side, 'a framing field is spelled with an underscore')
  withoutTab(head, index, side)
  const which = head.names[index] === 'content-length' ? 'length' : 'coding'
  if (counts[which] >= 0) throw bad(side, `${head.names[index]} stands twice`)
  counts[which] = index
}

/** RFC 9110 §5.5 takes tabs around a value away; llhttp reads `chunked<TAB>` as another coding, nginx `a.test<TAB>` as another host. */
function withoutTab(head: Fields, index: number, side: Side): void {
  for (let at = head.marks[index * 4 + 1] as number; head.buffer[at] !== 0x0d; at++)
    if (head.buffer[at] === 9) throw bad(side, 'a tab in Host or in a framing field')
}

function framingOf(head: Fields, counts: Counts, side: Side): Framing {
  if (counts.coding >= 0) {
    if (head.value(counts.coding).toLowerCase() !== 'chunked') throw bad(side, 'a transfer coding other than chunked')
    return chunked
  }
  if (counts.length < 0) return noBody
  const text = head.value(counts.length)
  if (!/^\d{1,15}$/.test(text)) throw bad(side, 'Content-Length is not a number')
  return { kind: 'length', length: Number(text) }
}

function readConnection(head: RequestMessage | ResponseMessage, value: string, side: Side): void {
  if (value === 'keep-alive') return
  for (const part of value.split(',')) {
    const name = part.trim().toLowerCase()
    if (name === 'close') head.keepAlive = false
    else if (name === '' || name === 'keep-alive') continue
    else if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name) || neverNamed.has(name.replaceAll('_', '-')))
      throw bad(side, 'Connection names a field that it may not')
    else if (head.connectionNames.push(name.replaceAll('_', '-')) > limits.connectionNamesMax)
      throw bad(side, 'Connection names too many fields')
  }
}

/** Throws Refusal forward.bad_answer. 1xx answers are heads without a body. */
export function readResponseHead(buffer: Buffer, start: number, end: number, requestMethod: string): ResponseMessage {
  const head = new ResponseMessage(buffer)
  const lineEnd = buffer.indexOf('\r\n', start, 'latin1')
  const line = buffer.toString('latin1', start, lineEnd)
  const match = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/.exec(line)
  if (match === null) throw bad('answer', 'status line')
  head.status = Number(match[2])
  head.reason = match[3] ?? ''
  if (match[1] === '0') head.keepAlive = false
  readFields(head, lineEnd + 2, end, 'answer')
  const counts: Counts = { host: -1, length: -1, coding: -1 }
  for (let index = 0; index < head.names.length; index++) {
    const name = head.names[index]
    if (name === 'content-length' || name === 'transfer-encoding') noteFraming(head, index, counts, 'answer')
    else if (name === 'connection' || name === 'proxy-connection') readConnection(head, head.value(index), 'answer')
  }
  if (counts.coding >= 0 && (counts.length >= 0 || match[1] === '0')) throw bad('answer', 'Transfer-Encoding where it may not stand')
  const framing = framingOf(head, counts, 'answer')
  const bodiless = requestMethod === 'HEAD' || head.status < 200 || head.status === 204 || head.status === 304
  // RFC 9112 §6.3: a 204 has no body; the real world sends `Content-Length: 0` with it.
  if ((head.status === 204 || head.status < 200) && (framing.kind === 'chunked' || (framing.kind === 'length' && framing.length > 0)))
    throw bad('answer', 'a body where there is none')
  head.framing = bodiless ? noBody : framing.kind === 'none' ? untilClose : framing
  if (head.framing.kind === 'until-close') head.keepAlive = false
  return head
}
