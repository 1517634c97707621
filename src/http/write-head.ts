// Writes heads: lines that pass are copied as byte ranges of a head that was read strictly; everything else is ours.
import { STATUS_CODES } from 'node:http'
import type { Edits, ResponseHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'
import { hopByHop } from './bytes.ts'
import { type Fields, type Framing, type RequestMessage, ResponseMessage } from './read-head.ts'

/** Method, target and Host come from the Target; framing is ours; of the rest, what `edits` and the connection do not take away. */
export function writeRequestHead(head: RequestMessage, edits: Edits, target: Target, framing: Framing): Buffer {
  const path = edits.target === null ? `${target.path}${target.query}` : edits.target.toString('latin1')
  const host = target.host.includes(':') ? `[${target.host}]` : target.host
  const port = target.port === (target.scheme === 'https' ? 443 : 80) ? '' : `:${target.port}`
  const first = `${target.method} ${path} HTTP/1.1\r\nHost: ${host}${port}\r\n`
  return assemble(
    first,
    head,
    edits,
    framingLine(framing),
    (name) => name !== 'host' && name !== 'content-length' && name !== 'content_length',
  )
}

/** A HEAD answer and a 304 keep the Content-Length of what they stand for; 1xx and 204 have none. */
export function writeResponseHead(head: ResponseHead, edits: Edits, framing: Framing, keepAlive: boolean): Buffer {
  const first = `HTTP/1.1 ${head.status} ${head.reason}\r\n`
  const keepLength = framing.kind === 'none' && head.status !== 204 && head.status >= 200
  const lines = `${framingLine(framing)}${keepAlive ? '' : 'Connection: close\r\n'}`
  const passes = (name: string): boolean => keepLength || name !== 'content-length'
  if (head instanceof ResponseMessage) return assemble(first, head, edits, lines, passes)
  let text = first
  head.each((name, value) => {
    if (passes(name) && !hopByHop.has(name) && !edits.remove.has(name)) text += `${name}: ${value}\r\n`
  })
  return Buffer.concat([
    Buffer.from(text, 'latin1'),
    ...edits.set.flatMap(([name, value]) => [Buffer.from(`${name}: `, 'latin1'), checked(value), Buffer.from('\r\n')]),
    Buffer.from(`${lines}\r\n`, 'latin1'),
  ])
}

function framingLine(framing: Framing): string {
  if (framing.kind === 'length') return `Content-Length: ${framing.length}\r\n`
  return framing.kind === 'chunked' ? 'Transfer-Encoding: chunked\r\n' : ''
}

// Ranges of the head under work: writing is synchronous, so one array serves all.
const ranges: number[] = []

function assemble(first: string, head: Fields, edits: Edits, last: string, passes: (name: string) => boolean): Buffer {
  const { names, marks, buffer, connectionNames } = head
  ranges.length = 0
  let size = first.length + last.length + 2
  let open = -1
  for (let index = 0; index < names.length; index++) {
    const name = names[index] as string
    const pass =
      passes(name) && !hopByHop.has(name) && !edits.remove.has(name) && (connectionNames.length === 0 || !connectionNames.includes(name))
    const start = marks[index * 4] as number
    if (pass && open < 0) open = start
    else if (!pass && open >= 0) {
      ranges.push(open, start)
      size += start - open
      open = -1
    }
  }
  if (open >= 0) {
    const end = endOfLine(buffer, marks[marks.length - 1] as number)
    ranges.push(open, end)
    size += end - open
  }
  for (const [name, value] of edits.set) size += name.length + value.length + 4
  const out = Buffer.allocUnsafe(size)
  let at = out.write(first, 0, 'latin1')
  for (let index = 0; index < ranges.length; index += 2) at += buffer.copy(out, at, ranges[index], ranges[index + 1])
  for (const [name, value] of edits.set) {
    at += out.write(name, at, 'latin1')
    at += out.write(': ', at, 'latin1')
    at += checked(value).copy(out, at)
    at += out.write('\r\n', at, 'latin1')
  }
  at += out.write(last, at, 'latin1')
  out.write('\r\n', at, 'latin1')
  return out
}

function endOfLine(buffer: Buffer, valueEnd: number): number {
  let at = valueEnd
  while (buffer[at] !== 0x0a) at++
  return at + 1
}

/** A value with CR, LF, NUL or another control would end the field, or the head. */
function checked(value: Buffer): Buffer {
  for (let at = 0; at < value.length; at++) {
    const byte = value[at] as number
    if ((byte < 0x20 && byte !== 9) || byte === 0x7f) throw new Refusal('inject.bad_value')
  }
  return value
}

/** An answer of our own. */
export function plainResponse(
  status: number,
  reason: string,
  fields: readonly (readonly [string, string])[],
  body: Buffer,
  keepAlive: boolean,
): Buffer {
  let text = `HTTP/1.1 ${status} ${reason === '' ? (STATUS_CODES[status] ?? '') : reason}\r\n`
  for (const [name, value] of fields) text += `${name}: ${value}\r\n`
  text += `Content-Length: ${body.length}\r\n${keepAlive ? '' : 'Connection: close\r\n'}\r\n`
  return Buffer.concat([Buffer.from(text, 'latin1'), body])
}

/** RFC 9457. Constant text only (invariant 16); `id` names the record. */
export function problemDocument(refusal: Refusal, id: string): Buffer {
  const { code, status, says } = refusal
  return Buffer.from(
    JSON.stringify({ type: `urn:ostiary:refusal:${code}`, title: says, status, code, id, help: `ostiary explain ${code}` }),
  )
}
