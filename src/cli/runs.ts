// runs, resume, revoke: what is under way, and how to end it.
import { must } from './admin-client.ts'
import type { Context } from './context.ts'
import { printable, table, WrongUse } from './print.ts'

export async function listRuns({ dataDir, out }: Context): Promise<number> {
  const { runs } = await must(dataDir, 'GET', '/runs')
  out.value({ runs }, () => {
    const rows = runs.map((run: Record<string, unknown>) => [
      run['parent'] === null ? run['id'] : `${run['id']} in ${run['parent']}`,
      run['workload'],
      run['state'],
      run['startedBy'],
      new Date(Number(run['startedAt'])).toISOString().slice(0, 16).replace('T', ' '),
      run['custody'],
      run['calls'],
      run['blocked'],
      [...Object.entries(run['labels'] ?? {}).map((pair) => pair.join('=')), run['command']].join('  '),
    ])
    for (const line of table(['run', 'workload', 'state', 'by', 'since', 'custody', 'calls', 'blocked', 'command'], rows)) out.line(line)
  })
  return 0
}

export async function resume({ dataDir, out }: Context, id: string): Promise<number> {
  const body = await must(dataDir, 'POST', `/runs/${encodeURIComponent(id)}/resume`)
  out.value(body, () => out.line(`${printable(id)} may go on`))
  return 0
}

/** Cuts what is open within a second and refuses what comes. */
export async function revoke({ dataDir, out }: Context, what: string, name: string, options: { readonly undo?: boolean }): Promise<number> {
  if (!['run', 'workload', 'credential'].includes(what)) throw new WrongUse(`${what} cannot be revoked: run, workload or credential`)
  const body = await must(dataDir, 'POST', '/revoke', { [what]: name, undo: options.undo === true })
  if (options.undo === true) out.value(body, () => out.line(`${what} ${printable(name)} may be used again`))
  else out.value(body, () => out.line(`revoked ${what} ${printable(name)}: ${body.leases} leases ended, ${body.calls} calls cut`))
  return 0
}
