// The head of an injected answer: no field, and not the reason phrase, gives the secret back; no cookie that the service
// does not list reaches the agent.
import { Fields } from '../http/read-head.ts'
import type { ResponseHead } from '../model/message.ts'
import type { Matcher } from './matcher.ts'

export interface HeadEdits {
  readonly remove: Set<string>
  readonly set: (readonly [string, Buffer])[]
}

/** Adds to `edits`; returns how many matches were masked. */
export function maskHead(head: ResponseHead, matcher: Matcher, cookies: readonly string[], edits: HeadEdits): number {
  let found = 0
  if (head.reason.length >= matcher.bytesMin) {
    const reason = matcher.mask(Buffer.from(head.reason, 'latin1'))
    found = reason.found
    // The writer takes the reason from the head itself, which is this call's own.
    if (found > 0) (head as { reason: string }).reason = reason.bytes.toString('latin1')
  }
  withholdCookies(head, cookies, edits)
  return found + (mayHold(head, matcher) ? maskFields(head, matcher, edits) : 0)
}

/** All fields in one search: the block as it was received, where there is one. */
function mayHold(head: ResponseHead, matcher: Matcher): boolean {
  if (!(head instanceof Fields)) return true
  const { marks, buffer } = head
  if (marks.length === 0) return false
  return matcher.find(buffer.subarray(marks[0], marks[marks.length - 1])) !== null
}

function maskFields(head: ResponseHead, matcher: Matcher, edits: HeadEdits): number {
  let found = 0
  const clean = new Map<string, Buffer[]>()
  const dirty = new Set<string>()
  const visit = (name: string, spelled: Buffer, value: Buffer): void => {
    const inName = matcher.mask(spelled).found
    const inValue = matcher.mask(value)
    found += inName + inValue.found
    if (inName > 0 || inValue.found > 0) dirty.add(name)
    if (inName > 0) return
    const values = clean.get(name)
    if (values === undefined) clean.set(name, [inValue.bytes])
    else values.push(inValue.bytes)
  }
  if (head instanceof Fields) {
    const { names, marks, buffer } = head
    for (const [index, name] of names.entries()) {
      const at = index * 4
      visit(name, buffer.subarray(marks[at], marks[at + 1]), buffer.subarray(marks[at + 2], marks[at + 3]))
    }
  } else head.each((name, value) => visit(name, Buffer.from(name, 'latin1'), Buffer.from(value, 'latin1')))
  for (const name of dirty) {
    // Cookies were dealt with: those that stay are set already, so they are masked there.
    if (name === 'set-cookie' && edits.remove.has(name)) continue
    edits.remove.add(name)
    for (const value of clean.get(name) ?? []) edits.set.push([name, value])
  }
  for (const [at, [name, value]] of edits.set.entries()) edits.set[at] = [name, matcher.mask(value).bytes]
  return found
}

/** A cookie of a session that our credential opened would be a credential itself. */
function withholdCookies(head: ResponseHead, cookies: readonly string[], edits: HeadEdits): void {
  if (head instanceof Fields && !head.names.includes('set-cookie') && !head.names.includes('set-cookie2')) return
  let withheld = false
  const kept: (readonly [string, Buffer])[] = []
  head.each((name, value) => {
    if (name === 'set-cookie2') edits.remove.add(name)
    if (name !== 'set-cookie') return
    const equals = value.indexOf('=')
    if (equals > 0 && cookies.includes(value.slice(0, equals).trim())) kept.push([name, Buffer.from(value, 'latin1')])
    else withheld = true
  })
  if (!withheld) return
  edits.remove.add('set-cookie')
  edits.set.push(...kept)
}
