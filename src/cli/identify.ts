// identify [PID|--here|--token FILE]: what can be proven of a process or a token, and the rule that would match it. It reads what the
// kernel says; it never runs, stops or changes the process, and it never presents the token anywhere.
import { readFileSync } from 'node:fs'
import type { Identified } from '../compose/identify-request.ts'
import { ask, NotRunning } from './admin-client.ts'
import type { Context } from './context.ts'
import { paint, printable, WrongUse } from './print.ts'

export interface IdentifyOptions {
  readonly here?: boolean
  readonly token?: string
}

const tokenBytesMax = 16 * 1024

export async function identify(context: Context, pid: string | undefined, options: IdentifyOptions): Promise<number> {
  const { out } = context
  const found = await asked(context, pid, options)
  out.value(found, () => {
    for (const [name, value] of Object.entries(found.attributes)) {
      const weak = found.weak.includes(name) ? paint('yellow', '  weak: only narrows a rule') : ''
      out.line(`  ${paint('dim', name.padEnd(18))}${printable(value)}${weak}`)
    }
    if (found.workload !== null) {
      const run = found.run === null ? '' : ` in ${printable(found.run)}`
      out.line(`${paint('green', 'is')} ${printable(found.workload)}${run}  ${printable(found.spiffeId)}`)
    } else out.line(`${paint('yellow', 'no workload')}  ${printable(found.why)}`)
    for (const note of found.notes) out.line(printable(note))
    if (found.workload === null) for (const line of found.rule) out.line(printable(line))
  })
  return found.workload === null ? 1 : 0
}

async function asked(context: Context, pid: string | undefined, options: IdentifyOptions): Promise<Identified> {
  if ([pid, options.here, options.token].filter((one) => one !== undefined).length !== 1)
    throw new WrongUse('name one of: a PID, --here, --token FILE')
  if (options.token !== undefined) {
    const token = readFileSync(options.token, 'utf8').trim()
    if (token.length > tokenBytesMax) throw new WrongUse(`${options.token} is too large for a token`)
    return answered(context, { token })
  }
  const wanted = options.here === true ? here() : Number(pid)
  if (!Number.isInteger(wanted) || wanted < 1) throw new WrongUse(`${pid} is no process id`)
  return answered(context, { pid: wanted })
}

/** The server's own eyes where it runs; else those of this command, on the same configuration. */
async function answered(context: Context, body: { readonly pid: number } | { readonly token: string }): Promise<Identified> {
  try {
    const answer = await ask(context.dataDir, 'POST', '/identify', body)
    if (answer.status === 200) return answer.body
    throw new Error(answer.body?.error?.says ?? `the server answered ${answer.status}`)
  } catch (error) {
    if (!(error instanceof NotRunning) || !('pid' in body)) throw error
    const { identifyOffline } = await import('../compose/identify-request.ts')
    return identifyOffline(context, body.pid)
  }
}

/** The shell that asks: what started us, behind our own wrapper. */
function here(): number {
  let pid = process.ppid
  for (let level = 0; level < 3; level++) {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
    if (!/ostiary(\.mjs)?\0/.test(words)) break
    pid = Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1] ?? 1)
  }
  return pid
}
