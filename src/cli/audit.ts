// audit tail|show|verify|export: reads the log's files, offline, by code that the server does not share a state with.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readVerifierKey } from '../audit/note.ts'
import { records, show, tail } from '../audit/read.ts'
import { verifyLog } from '../audit/verify.ts'
import type { Context } from './context.ts'
import { paint, printable } from './print.ts'

// biome-ignore lint/suspicious/noExplicitAny: entries are JSON with many optional fields
type Any = any

export async function auditTail(
  { dataDir, out }: Context,
  options: { readonly follow?: boolean; readonly count?: string },
): Promise<number> {
  const ends = new AbortController()
  process.once('SIGINT', () => ends.abort())
  for await (const entry of tail(join(dataDir, 'audit'), Number(options.count ?? 20), options.follow === true ? ends.signal : undefined)) {
    out.line(out.json ? JSON.stringify(entry) : oneLine(entry))
  }
  return 0
}

function oneLine(entry: Any): string {
  const time = new Date(entry.time).toISOString().slice(11, 23)
  const what = entry.method === undefined ? (entry.what ?? entry.alert ?? '') : `${entry.method} ${entry.host ?? ''}${entry.path ?? ''}`
  const verdict = entry.code === undefined ? (entry.status ?? '') : entry.code
  const kind =
    entry.kind === 'alert'
      ? paint('red', entry.kind.padEnd(8))
      : entry.decision === 'refuse'
        ? paint('yellow', entry.kind.padEnd(8))
        : paint('dim', entry.kind.padEnd(8))
  return `${time} ${kind} ${printable(entry.workload ?? entry.by ?? '-').padEnd(14)} ${printable(what)} ${printable(verdict)}${entry.count > 1 ? ` (${entry.count} times)` : ''}`
}

export async function auditShow({ dataDir, out }: Context, call: string): Promise<number> {
  const found = await show(join(dataDir, 'audit'), call)
  if (found === null) {
    out.problem(`the log has no call ${printable(call)}`)
    return 1
  }
  out.value(found, () => {
    for (const [name, value] of Object.entries(found.record))
      out.line(`${paint('dim', name.padEnd(16))}${printable(typeof value === 'object' ? JSON.stringify(value) : value)}`)
  })
  return 0
}

export async function auditExport({ dataDir, out }: Context): Promise<number> {
  for await (const record of records(join(dataDir, 'audit'))) out.line(JSON.stringify(record))
  return 0
}

/** Exit code 1 when anything was found. */
export async function auditVerify({ dataDir, out }: Context, options: { readonly since?: string; readonly key?: string }): Promise<number> {
  const keyFile = options.key ?? join(dataDir, 'audit.pub')
  const { key, origin } = readVerifierKey((await readFile(keyFile, 'utf8')).trim())
  const since = options.since === undefined ? {} : { since: await readFile(options.since, 'utf8') }
  const verified = await verifyLog({ dir: join(dataDir, 'audit'), publicKey: key, origin, ...since })
  out.value(verified, () => {
    for (const finding of verified.findings)
      out.line(`${paint('red', finding.kind)} at ${printable(finding.at)}: ${printable(finding.says)}`)
    for (const note of verified.notes) out.line(paint('dim', printable(note)))
    for (const proved of verified.proved) out.line(printable(proved))
    out.line(
      verified.ok
        ? `${paint('green', 'verified')}: ${verified.entries} entries, checkpoint at ${verified.checkpointSize}`
        : `${paint('red', 'NOT verified')}: ${verified.findings.length} finding${verified.findings.length === 1 ? '' : 's'}`,
    )
  })
  return verified.ok ? 0 : 1
}
