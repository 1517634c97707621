// runs, resume, revoke: what is under way, and how to end it.
import { must } from './admin-client.ts'
import type { Context } from './context.ts'
import { printable, table, WrongUse } from './print.ts'

export async function listRuns({ dataDir, out }: Context): Promise<number> {
  const { runs } = await must(dataDir, 'GET', '/runs')
  out.value({ runs }, () => {
    const rows = runs.map((run: Record<string, unknown>) => [
      run['id'],
      run['workload'],
      run['state'],
      run['custody'],
      run['startedBy'],
      run['command'],
    ])
    for (const line of table(['run', 'workload', 'state', 'custody', 'by', 'command'], rows)) out.line(line)
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
