// audit tail|show|verify|export: reads the log's files, offline, by code that the server does not share a state with.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { logsIn, type NumberedLog } from '../audit/logs.ts'
import { readVerifierKey } from '../audit/note.ts'
import type { Numbered } from '../audit/read.ts'
import { recordsAll, showAll, sinceAll, tailAll } from '../audit/read-all.ts'
import { type VerifiedLog, verifyLogs } from '../audit/verify-all.ts'
import { systemClock } from '../model/clock.ts'
import type { Context } from './context.ts'
import { jsonText, paint, printable, WrongUse } from './print.ts'

// biome-ignore lint/suspicious/noExplicitAny: entries are JSON with many optional fields
type Any = any

/** An absent log and an empty one are different things, and only one of them is in order. */
function logsOf(dataDir: string): readonly NumberedLog[] {
  const logs = logsIn(dataDir)
  if (logs.length === 0)
    throw new Error(`there is no log in ${dataDir}: the data directory is another, or \`ostiary start\` has not been here yet`)
  return logs
}

/** The entries of the last `ms`, for commands that say what was refused. */
export function recent(dataDir: string, ms: number): AsyncGenerator<Numbered> {
  return sinceAll(logsOf(dataDir), systemClock.now() - ms)
}

/** The last `count` entries and what comes, until Ctrl-C. */
export function following(dataDir: string, count: number): AsyncGenerator<Numbered> {
  const ends = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => ends.abort())
  return tailAll(() => logsOf(dataDir), count, ends.signal)
}

export async function auditTail(
  { dataDir, out }: Context,
  options: { readonly follow?: boolean; readonly count?: string },
): Promise<number> {
  const count = Number(options.count ?? 20)
  if (!Number.isInteger(count) || count < 0) throw new WrongUse(`--count takes a number, not ${options.count}`)
  const found = options.follow === true ? following(dataDir, count) : tailAll(() => logsOf(dataDir), count)
  for await (const entry of found) out.line(out.json ? jsonText(entry) : oneLine(entry))
  return 0
}

function oneLine(entry: Any): string {
  const time = new Date(entry.time).toISOString().slice(11, 23)
  const what = entry.method === undefined ? (entry.what ?? entry.alert ?? '') : `${entry.method} ${entry.host ?? ''}${entry.path ?? ''}`
  const verdict = entry.code ?? (entry.ended === undefined ? (entry.status ?? '') : `${entry.status}, ${entry.ended}`)
  const colour = entry.kind === 'alert' ? 'red' : entry.decision === 'refuse' ? 'yellow' : 'dim'
  const kind = paint(colour, printable(entry.kind).padEnd(14))
  const times = entry.count > 1 ? ` (${printable(entry.count)} times)` : ''
  return `${time} ${kind} ${printable(entry.workload ?? entry.by ?? '-').padEnd(14)} ${printable(what)} ${printable(verdict)}${times}`
}

export async function auditShow({ dataDir, out }: Context, call: string): Promise<number> {
  const found = await showAll(logsOf(dataDir), call)
  if (found === null) throw new Error(`the log has no call ${call}`)
  out.value(found, () => {
    for (const [name, value] of Object.entries(found.record)) {
      if (value === null) continue
      out.line(`${paint('dim', name.padEnd(16))}${printable(typeof value === 'object' ? JSON.stringify(value) : value)}`)
    }
  })
  return 0
}

export async function auditExport({ dataDir, out }: Context): Promise<number> {
  for await (const record of recordsAll(logsOf(dataDir))) {
    out.line(jsonText(record))
    await out.drained()
  }
  return 0
}

/** Exit code 1 when anything was found. */
export async function auditVerify({ dataDir, out }: Context, options: { readonly since?: string; readonly key?: string }): Promise<number> {
  logsOf(dataDir)
  const { key, origin } = readVerifierKey((await readFile(options.key ?? join(dataDir, 'audit.pub'), 'utf8')).trim())
  const since = options.since === undefined ? {} : { since: await readFile(options.since, 'utf8') }
  const all = await verifyLogs({ dataDir, publicKey: key, origin, ...since })
  const ok = all.every((one) => one.ok)
  const [first] = all as [VerifiedLog]
  out.value(all.length === 1 ? first : { ok, logs: all }, () => {
    for (const one of all) {
      if (all.length > 1) out.line(paint('bold', `log ${one.log}`))
      printVerified(out, one)
    }
    if (all.length > 1) out.line(ok ? `${paint('green', 'verified')}: all ${all.length} logs` : paint('red', 'NOT verified'))
  })
  return ok ? 0 : 1
}

function printVerified(out: Context['out'], verified: VerifiedLog): void {
  for (const finding of verified.findings)
    out.line(`${paint('red', printable(finding.kind))} at ${printable(finding.at)}: ${printable(finding.says)}`)
  for (const note of verified.notes) out.line(paint('dim', printable(note)))
  for (const proved of verified.proved) out.line(printable(proved))
  const found = verified.findings.length
  if (verified.ok && verified.checkpointSize === 0)
    return out.line(`${paint('yellow', 'nothing to verify')}: ${verified.entries} entries, no checkpoint`)
  out.line(
    verified.ok
      ? `${paint('green', 'verified')}: ${verified.entries} entries, checkpoint at ${verified.checkpointSize}`
      : `${paint('red', 'NOT verified')}: ${found} finding${found === 1 ? '' : 's'}`,
  )
}
