// One entry as one line of JSON in plain ASCII, at most entryBytesMax: hand-built, since this is on the way of every call.
// It must never let a control character, a terminal escape, a query or what looks like a key into the log (DESIGN invariants 9, 16).
import { hash } from 'node:crypto'
import type { Entry } from '../model/entry.ts'
import { limits } from '../model/limits.ts'
import { redactPath, redactText } from './redact.ts'

const tightFieldBytesMax = 40
const listItemsMax = 64
const depthMax = 4
const repeatedMax = 1_024
const repeatedBytesMax = 512
const unsafe = /[^\x20-\x7e]|["\\]/

/** Throws nothing; what is too long is cut and its hash stands in its place. */
export function encodeEntry(entry: Entry): string {
  const line = write(entry, limits.entryFieldBytesMax, false)
  if (line.length <= limits.entryBytesMax) return line
  const shorter = write(entry, limits.entryFieldBytesMax, true)
  return shorter.length <= limits.entryBytesMax ? shorter : write(entry, tightFieldBytesMax, true)
}

function write(entry: Entry, max: number, folded: boolean): string {
  let line = `{"kind":"${entry.kind}","time":${number(entry.time)}`
  if (entry.call !== undefined) line += `,"call":${text(entry.call, max)}`
  line += `${field.workload(entry.workload, max)}${field.spiffeId(entry.spiffeId, max)}${field.provider(entry.provider, max)}`
  if (entry.run !== undefined) line += field.run(entry.run, max)
  if (entry.runLabels !== undefined) line += `,"runLabels":${group(entry.runLabels, max, folded, redactedValues)}`
  line += field.custody(entry.custody, max)
  if (entry.process !== undefined) line += `,"process":${group(entry.process, max, folded)}`
  line += `${field.address(entry.address, max)}${field.way(entry.way, max)}${field.service(entry.service, max)}${field.host(entry.host, max)}`
  if (entry.port !== undefined) line += `,"port":${number(entry.port)}`
  line += `${field.via(entry.via, max)}${field.method(entry.method, max)}${field.path(entry.path, max)}${field.action(entry.action, max)}`
  if (entry.model !== undefined) line += field.model(entry.model, max)
  return `${line}${rest(entry, max, folded)}}`
}

function rest(entry: Entry, max: number, folded: boolean): string {
  let line = ''
  if (entry.decision !== undefined) line += `,"decision":"${entry.decision}"`
  if (entry.code !== undefined) line += `,"code":${text(entry.code, max)}`
  if (entry.detail !== undefined) line += `,"detail":${text(redactText(entry.detail), max)}`
  if (entry.observed !== undefined) line += `,"observed":${text(entry.observed, max)}`
  if (entry.policies !== undefined) line += `,"policies":${group(entry.policies, max, folded)}`
  if (entry.facts !== undefined) line += `,"facts":${group(entry.facts, max, folded)}`
  line += `${field.policyVersion(entry.policyVersion, max)}${field.credential(entry.credential, max)}`
  line += `${field.credentialKind(entry.credentialKind, max)}${field.lease(entry.lease, max)}`
  if (entry.expires !== undefined) line += `,"expires":${number(entry.expires)}`
  if (entry.status !== undefined) line += `,"status":${number(entry.status)}`
  if (entry.bytesIn !== undefined) line += `,"bytesIn":${number(entry.bytesIn)}`
  if (entry.bytesOut !== undefined) line += `,"bytesOut":${number(entry.bytesOut)}`
  if (entry.messagesIn !== undefined) line += `,"messagesIn":${number(entry.messagesIn)}`
  if (entry.messagesOut !== undefined) line += `,"messagesOut":${number(entry.messagesOut)}`
  if (entry.durationMs !== undefined) line += `,"durationMs":${number(entry.durationMs)}`
  if (entry.scrubbed !== undefined) line += `,"scrubbed":${number(entry.scrubbed)}`
  if (entry.ended !== undefined) line += `,"ended":${text(redactText(entry.ended), max)}`
  if (entry.count !== undefined) line += `,"count":${number(entry.count)}`
  if (entry.notes !== undefined) line += `,"notes":${notes(entry.notes, max, folded)}`
  if (entry.alert !== undefined) line += `,"alert":${text(entry.alert, max)}`
  if (entry.by !== undefined) line += `,"by":${text(entry.by, max)}`
  if (entry.what !== undefined) line += `,"what":${text(redactText(entry.what), max)}`
  return line
}

/** One field of a few values that come again and again: checked and escaped once each. '' where there is none. */
function repeated(name: string, clean: (value: string) => string = (value) => value): (value: string | undefined, max: number) => string {
  const before = name === '' ? '' : `,"${name}":`
  const known = new Map<string, string>()
  return (value, max) => {
    if (value === undefined) return ''
    if (max !== limits.entryFieldBytesMax || value.length > repeatedBytesMax) return `${before}${text(clean(value), max)}`
    let made = known.get(value)
    if (made === undefined) {
      made = `${before}${text(clean(value), max)}`
      if (known.size >= repeatedMax) known.clear()
      known.set(value, made)
    }
    return made
  }
}

const field = {
  workload: repeated('workload'),
  spiffeId: repeated('spiffeId'),
  provider: repeated('provider'),
  run: repeated('run'),
  custody: repeated('custody'),
  address: repeated('address'),
  way: repeated('way'),
  service: repeated('service'),
  host: repeated('host'),
  via: repeated('via'),
  method: repeated('method'),
  path: repeated('path', redactPath),
  action: repeated('action'),
  model: repeated('model', redactText),
  policyVersion: repeated('policyVersion'),
  credential: repeated('credential'),
  credentialKind: repeated('credentialKind'),
  lease: repeated('lease'),
}

function number(value: number): string {
  return Number.isFinite(value) ? String(value) : 'null'
}

function text(value: string, max: number): string {
  if (value.length <= max && !unsafe.test(value)) return `"${value}"`
  const short = escaped(value)
  return short.length <= max ? `"${short}"` : cut(value, max)
}

function escaped(value: string): string {
  return JSON.stringify(value)
    .slice(1, -1)
    .replace(/[\x7f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** As much of the beginning as fits, then how many characters went and the SHA-256 of them (UTF-8). */
function cut(value: string, max: number): string {
  let kept = ''
  let at = 0
  while (at < value.length) {
    const char = escaped(value[at] as string)
    if (kept.length + char.length > max - 96) break
    kept += char
    at += 1
  }
  const gone = value.slice(at)
  return `"${kept}[cut ${gone.length} sha256:${hash('sha256', gone)}]"`
}

/** What an entry names but does not own (facts of a process, policies and facts of a verdict) is one object for many entries. */
const groups = new WeakMap<object, string>()

/** Objects and lists, never changed once they were given; `folded` puts their hash in their place where the entry would be too long. */
function group<Value extends object>(
  value: Value,
  max: number,
  folded: boolean,
  clean: (value: Value) => Value = (value) => value,
): string {
  if (folded || max !== limits.entryFieldBytesMax) return foldedGroup(value, any(clean(value), max, 0), folded)
  let made = groups.get(value)
  if (made === undefined) {
    made = any(clean(value), max, 0)
    groups.set(value, made)
  }
  return made
}

/** Free text of whoever started the run. */
function redactedValues(labels: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, redactText(value)]))
}

function foldedGroup(value: object, made: string, folded: boolean): string {
  if (!folded || made.length <= 2 * tightFieldBytesMax) return made
  const mark = `"sha256:${hash('sha256', made)}"`
  return Array.isArray(value) ? `[${mark}]` : `{"cut":${mark}}`
}

const oneNote = repeated('', redactText)

function notes(all: readonly string[], max: number, folded: boolean): string {
  if (all.length > listItemsMax) return foldedGroup(all, any(all.map(redactText), max, 0), folded)
  return foldedGroup(all, `[${all.map((note) => oneNote(note, max)).join(',')}]`, folded)
}

function any(value: unknown, max: number, depth: number): string {
  switch (typeof value) {
    case 'string':
      return text(value, max)
    case 'number':
      return number(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'object':
      if (value === null || depth >= depthMax) return 'null'
      return Array.isArray(value) ? list(value, max, depth) : fields(value as Readonly<Record<string, unknown>>, max, depth)
    default:
      return 'null'
  }
}

function list(values: readonly unknown[], max: number, depth: number): string {
  let made = ''
  for (let i = 0; i < values.length && i < listItemsMax; i += 1) made += `${i === 0 ? '' : ','}${any(values[i], max, depth + 1)}`
  if (values.length > listItemsMax)
    made += `,"[cut ${values.length - listItemsMax} sha256:${hash('sha256', JSON.stringify(values.slice(listItemsMax)))}]"`
  return `[${made}]`
}

function fields(values: Readonly<Record<string, unknown>>, max: number, depth: number): string {
  let made = ''
  for (const name in values) {
    const value = values[name]
    if (value !== undefined) made += `${made === '' ? '' : ','}${text(name, max)}:${any(value, max, depth + 1)}`
  }
  return `{${made}}`
}
