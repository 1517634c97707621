// watch: calls and refusals as they happen, a line each, and with the first refusal of its kind what would allow it.
import type { Entry } from '../model/entry.ts'
import { following } from './audit.ts'
import type { Context } from './context.ts'
import { jsonText, paint, printable } from './print.ts'
import { refusedOf } from './refused.ts'
import { remedy } from './remedy.ts'

const openMax = 10_000
const saidMax = 10_000

export async function watch({ dataDir, out }: Context): Promise<number> {
  const open = new Map<string, Entry>()
  const said = new Set<string>()
  if (!out.json) out.line(paint('dim', 'calls and refusals as they happen; Ctrl-C ends'))
  for await (const entry of following(dataDir, 0)) {
    if (out.json) {
      out.line(jsonText(entry))
      continue
    }
    if (entry.kind === 'intent' && entry.call !== undefined) {
      if (open.size >= openMax) open.delete(open.keys().next().value as string)
      open.set(entry.call, entry)
    }
    const known = entry.kind === 'outcome' ? open.get(entry.call ?? '') : undefined
    if (known !== undefined) open.delete(entry.call as string)
    for (const line of linesOf({ ...known, ...entry }, said)) out.line(line)
  }
  return 0
}

function linesOf(entry: Entry, said: Set<string>): readonly string[] {
  const head = `${new Date(entry.time).toISOString().slice(11, 19)}  ${printable(entry.workload ?? entry.by ?? 'unknown')}`
  if (entry.kind === 'alert') return [`${head}  ${paint('red', `ALERT ${printable(entry.alert)}`)} ${printable(entry.what ?? entry.host)}`]
  if (entry.kind === 'administration') return [paint('dim', `${head}  ${printable(entry.what)}`)]
  if (entry.kind !== 'outcome') return []
  const what = `${printable(entry.method)} ${printable(entry.host)}${printable(entry.path)}`
  if (entry.decision !== 'refuse') {
    const observed = entry.observed === undefined ? '' : paint('yellow', ` observed ${printable(entry.observed)}`)
    const ended = entry.ended === undefined ? '' : `, ${printable(entry.ended)}`
    return [`${head}  ${what}  ${paint('green', printable(entry.status ?? 'ended'))} ${printable(entry.durationMs)} ms${ended}${observed}`]
  }
  const code = entry.code ?? ''
  const times = entry.count !== undefined && entry.count > 1 ? ` (${entry.count} times)` : ''
  const line = `${head}  ${what}  ${paint('red', `refused ${printable(code)}`)}${times}`
  const key = JSON.stringify([entry.workload, entry.host, entry.action, code])
  if (said.has(key)) return [line]
  if (said.size < saidMax) said.add(key)
  return [line, `          ${paint('dim', printable(remedy(refusedOf(entry, code))))}`]
}
