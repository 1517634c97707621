// Writes heads: lines that pass are copied as byte ranges of a head that was read strictly; everything else is ours. It never
// lets a value end its field, and never lets anybody but us frame a message.
import type { Edits, ResponseHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'
import { endsHere, framingNames, targetByte, tokenByte } from './bytes.ts'
import { type Fields, type Framing, type RequestMessage, ResponseMessage } from './read-head.ts'

/** Never by `import`: for a module that imports node:http, Node loads all of its own fetch too, which is 40 ms of CPU and 16 MB. */
export const reasonPhrases = process.getBuiltinModule('node:http').STATUS_CODES

/** Method, target and Host come from the Target; framing is ours; of the rest, what `edits` and the connection do not take away. `upgrade`: to a WebSocket. */
export function writeRequestHead(head: RequestMessage, edits: Edits, target: Target, framing: Framing, upgrade = false): Buffer {
  for (const [name] of edits.set) if (!isOurs(name)) throw new Refusal('inject.bad_value', 'a field that only the writer may set')
  const path = edits.target === null ? `${target.path}${target.query}` : originForm(edits.target)
  const first = `${target.method} ${path} HTTP/1.1\r\nHost: ${authorityOf(target)}\r\n`
  return assemble(first, head, edits.remove, edits.set, upgrade ? switching : framingLine(framing), false)
}

/** Host, or `:authority`: without a port that goes without saying. */
export function authorityOf({ scheme, host, port }: Target): string {
  const name = host.includes(':') ? `[${host}]` : host
  return port === (scheme === 'https' ? 443 : 80) ? name : `${name}:${port}`
}

/** RFC 6455 §4.1: of all upgrades only that to a WebSocket is ever passed on or answered. */
const switching = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'

/** A HEAD answer and a 304 keep the Content-Length of what they stand for; 1xx and 204 have none (RFC 9110 §8.6). */
export function writeResponseHead(head: ResponseHead, edits: Edits, framing: Framing, keepAlive: boolean): Buffer {
  // Of a head that our reader did not make, the phrase is no more than decoration (RFC 9112 §4).
  const reason = head instanceof ResponseMessage || /^[\t\x20-\x7e\x80-\xff]*$/.test(head.reason) ? head.reason : ''
  const first = `HTTP/1.1 ${head.status} ${reason}\r\n`
  const keepLength = framing.kind === 'none' && head.status !== 204 && head.status >= 200
  const lines = head.status === 101 ? switching : `${framingLine(framing)}${keepAlive ? '' : 'Connection: close\r\n'}`
  const set = edits.set.every(([name]) => isOurs(name)) ? edits.set : edits.set.filter(([name]) => isOurs(name))
  if (head instanceof ResponseMessage) return assemble(first, head, edits.remove, set, lines, keepLength)
  const all: [string, Buffer][] = []
  head.each((name, value) => {
    if (passes(name, edits.remove, keepLength)) all.push([name, Buffer.from(value, 'latin1')])
  })
  return assemble(first, noFields, edits.remove, [...all, ...set], lines, false)
}

const noFields = new ResponseMessage(Buffer.alloc(0))

function framingLine(framing: Framing): string {
  if (framing.kind === 'length') return `Content-Length: ${framing.length}\r\n`
  return framing.kind === 'chunked' ? 'Transfer-Encoding: chunked\r\n' : ''
}

export function passes(name: string, remove: ReadonlySet<string>, keepLength: boolean): boolean {
  if (framingNames.has(name)) return keepLength && name === 'content-length'
  return !endsHere(name) && !remove.has(name)
}

export function isOurs(name: string): boolean {
  const lower = name.toLowerCase().replaceAll('_', '-')
  return !framingNames.has(lower) && !endsHere(lower)
}

// Ranges of the head under work: writing is synchronous, so one array serves all.
const ranges: number[] = []

function assemble(first: string, head: Fields, remove: ReadonlySet<string>, set: Edits['set'], last: string, keepLength: boolean): Buffer {
  let size = first.length + last.length + 2 + rangesOf(head, remove, keepLength)
  for (const [name, value] of set) size += name.length + value.length + 4
  const out = Buffer.allocUnsafe(size)
  let at = out.write(first, 0, 'latin1')
  for (let index = 0; index < ranges.length; index += 2) at += head.buffer.copy(out, at, ranges[index], ranges[index + 1])
  for (const [name, value] of set) {
    at += out.write(checkedName(name), at, 'latin1')
    out[at++] = 0x3a
    out[at++] = 0x20
    at += checkedValue(value).copy(out, at)
    out[at++] = 0x0d
    out[at++] = 0x0a
  }
  at += out.write(last, at, 'latin1')
  out[at++] = 0x0d
  out[at++] = 0x0a
  // What was not written would be somebody else's memory.
  if (at !== size) throw new RangeError('the head is not as long as it was counted')
  return out
}

/** Fills `ranges` with the lines that pass, coalesced; returns their bytes. */
function rangesOf(head: Fields, remove: ReadonlySet<string>, keepLength: boolean): number {
  const { names, marks, connectionNames } = head
  ranges.length = 0
  let size = 0
  let open = -1
  for (let index = 0; index < names.length; index++) {
    const name = names[index] as string
    const pass = passes(name, remove, keepLength) && (connectionNames.length === 0 || !connectionNames.includes(name))
    const start = marks[index * 4] as number
    if (pass && open < 0) open = start
    else if (!pass && open >= 0) {
      ranges.push(open, start)
      size += start - open
      open = -1
    }
  }
  if (open >= 0) {
    const end = head.buffer.indexOf(0x0a, marks[marks.length - 1] as number) + 1
    ranges.push(open, end)
    size += end - open
  }
  return size
}

/** A value with CR, LF, NUL or another control would end the field, or the head. */
export function checkedValue(value: Buffer): Buffer {
  for (let at = 0; at < value.length; at++) {
    const byte = value[at] as number
    if ((byte < 0x20 && byte !== 9) || byte === 0x7f) throw new Refusal('inject.bad_value')
  }
  return value
}

export function checkedName(name: string): string {
  for (let at = 0; at < name.length; at++)
    if (tokenByte[name.charCodeAt(at)] !== 1) throw new Refusal('inject.bad_value', 'the name of a field')
  if (name === '') throw new Refusal('inject.bad_value', 'the name of a field')
  return name
}

/** RFC 9112 §3.2.1. A blank would end the target, CR and LF the line. */
export function originForm(target: Buffer): string {
  for (const byte of target) if (targetByte[byte] !== 1) throw new Refusal('inject.bad_value', 'the request target')
  if (target[0] !== 0x2f) throw new Refusal('inject.bad_value', 'the request target')
  return target.toString('latin1')
}

/** An answer of our own: its fields are constants of ours, never outside text. */
export function plainResponse(
  status: number,
  reason: string,
  fields: readonly (readonly [string, string])[],
  body: Buffer,
  keepAlive: boolean,
): Buffer {
  const set = fields.map(([name, value]): [string, Buffer] => [name, Buffer.from(value, 'latin1')])
  const first = `HTTP/1.1 ${status} ${reason === '' ? (reasonPhrases[status] ?? '') : reason}\r\n`
  const last = `Content-Length: ${body.length}\r\n${keepAlive ? '' : 'Connection: close\r\n'}`
  return Buffer.concat([assemble(first, noFields, noNames, set, last, false), body])
}

const noNames: ReadonlySet<string> = new Set()

/** RFC 9457. Constant text only (invariant 16); `id` names the record. */
export function problemDocument(refusal: Refusal, id: string): Buffer {
  const { code, status, says } = refusal
  return Buffer.from(
    JSON.stringify({ type: `urn:ostiary:refusal:${code}`, title: says, status, code, id, help: `ostiary explain ${code}` }),
  )
}
