// refused [--since 1h]: what was refused of late, grouped by who, where, what and why, each with what would allow it.
import type { Entry } from '../model/entry.ts'
import { recent } from './audit.ts'
import type { Context } from './context.ts'
import { paint, printable, WrongUse } from './print.ts'
import { type Refused, remedy } from './remedy.ts'

interface Group extends Refused {
  count: number
  last: number
  /** It was let through, and would have been refused. */
  readonly observed: boolean
}

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const groupsMax = 10_000

export async function refused({ dataDir, out }: Context, options: { readonly since?: string }): Promise<number> {
  const groups = new Map<string, Group>()
  for await (const entry of recent(dataDir, duration(options.since ?? '1h'))) add(groups, entry)
  const found = [...groups.values()].sort((a, b) => b.count - a.count)
  out.value({ refused: found.map((one) => ({ ...one, last: new Date(one.last).toISOString(), allow: remedy(one) })) }, () => {
    if (found.length === 0) out.line(`nothing was refused in the last ${options.since ?? '1h'}`)
    for (const one of found) {
      const times = `${one.count} time${one.count === 1 ? '' : 's'}`
      const let_ = one.observed ? paint('yellow', ' observed: let through') : ''
      const what = [one.workload ?? 'unknown', one.host ?? '-', one.action ?? '-'].map(printable).join('  ')
      out.line(`${what}  ${paint('red', printable(one.code))}  ${times}, last ${new Date(one.last).toISOString()}${let_}`)
      if (one.detail !== null) out.line(paint('dim', `    ${printable(one.detail)}`))
      out.line(`    ${printable(remedy(one))}`)
    }
  })
  return 0
}

function add(groups: Map<string, Group>, entry: Entry): void {
  const observed = entry.kind === 'intent' && entry.observed !== undefined
  const code = observed ? entry.observed : entry.kind === 'outcome' && entry.decision === 'refuse' ? entry.code : undefined
  if (code === undefined) return
  const one = refusedOf(entry, code)
  const unknown = one.workload === null ? (one.process?.['uid'] ?? '') : ''
  const key = JSON.stringify([one.workload, unknown, one.host, one.action, code, observed])
  const known = groups.get(key)
  // Equal refusals of one sender within a second stand as one entry with a count.
  const times = Math.max(1, entry.count ?? 1)
  if (known === undefined) {
    if (groups.size < groupsMax) groups.set(key, { ...one, count: times, last: entry.time, observed })
    return
  }
  known.count += times
  known.last = Math.max(known.last, entry.time)
}

export function refusedOf(entry: Entry, code: string): Refused {
  return {
    code,
    workload: entry.workload ?? null,
    host: entry.host ?? null,
    service: entry.service ?? null,
    action: entry.action ?? null,
    method: entry.method ?? null,
    detail: entry.detail ?? null,
    run: entry.run ?? null,
    process: entry.process ?? null,
  }
}

function duration(text: string): number {
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  if (unit === undefined) throw new WrongUse(`--since takes a time such as 30m, 1h or 7d, not ${text}`)
  return Number(count) * (unitMs[unit] as number)
}
