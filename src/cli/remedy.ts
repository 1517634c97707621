// What would allow what was refused: a command or a line, for a person who reads a refusal. Pure; it never says that a thing should be
// allowed, only how.
import { type RefusalCode, refusals } from '../model/refusal.ts'

export interface Refused {
  readonly code: string
  readonly workload: string | null
  readonly host: string | null
  readonly service: string | null
  readonly action: string | null
  readonly method: string | null
  readonly detail: string | null
  readonly run: string | null
  readonly process: Readonly<Record<string, string | number>> | null
}

/** One line; words that a shell takes stand first, so that they can be copied. */
export function remedy(refused: Refused): string {
  const { code, workload, host, service, action, method, detail, run, process } = refused
  const who = workload === null ? '' : ` --for ${workload}`
  switch (code) {
    case 'accept.host_unmanaged':
      return `ostiary allow ${host}${who}`
    case 'decide.denied':
      if (action === 'tunnel') return `ostiary allow ${host}${who} --tunnel REASON`
      return `ostiary allow ${host}${who} --action ${action ?? 'call'}`
    case 'decide.forbidden':
      return `a forbid stands against it${detail === null ? '' : ` (${detail})`}: no line that is added can permit it, change that policy`
    case 'decide.method':
      return `services: { ${service ?? 'NAME'}: { methods: [${method ?? 'METHOD'}, ...] } }`
    case 'obtain.no_credential':
      return `credentials: { NAME: { service: ${service ?? 'SERVICE'}, for: [${workload ?? 'WORKLOAD'}], ... } }`
    case 'identify.no_workload':
    case 'identify.process_unknown':
      return process?.['pid'] === undefined ? mendOf(code) : `ostiary identify ${process['pid']} prints the rule (while the process lives)`
    case 'identify.suspended':
      return run === null ? mendOf(code) : `ostiary resume ${run}`
    default:
      return mendOf(code)
  }
}

function mendOf(code: string): string {
  return Object.hasOwn(refusals, code) ? refusals[code as RefusalCode].mend : `ostiary explain ${code}`
}
