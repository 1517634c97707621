// `ostiary run [--as WORKLOAD] [--evidence FILE] -- COMMAND`: starts an agent that holds no secret.
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { styleText } from 'node:util'
import { looksLikeKey } from '../catalog/leaks.ts'
import { unknownExposed } from '../launch/covers.ts'
import { doors } from '../launch/doors.ts'
import { DoorClosed, launch, NoIsolation } from '../launch/launch.ts'
import type { Blocked } from '../launch/run-door-client.ts'
import { loginSays } from './logins.ts'
import { printable } from './print.ts'
import { remedy } from './remedy.ts'

export interface RunOptions {
  readonly dataDir: string
  readonly as?: string | undefined
  readonly evidence?: string | undefined
  readonly namespace?: boolean | undefined
  readonly expose?: readonly string[] | undefined
  readonly isolate?: boolean | undefined
  readonly publish?: readonly string[] | undefined
  readonly reach?: readonly string[] | undefined
}

/** A blocked host never looks like a broken network. */
function sayBlocked(workload: string, blocked: readonly Blocked[], say: (line: string) => void): void {
  say('blocked in this run, each with what would allow it (at a terminal outside any run):')
  for (const { host, action, code, count } of blocked) {
    const nothing = { service: null, method: null, detail: null, run: null, process: null }
    const times = count === 1 ? '' : ` (${count} times)`
    say(
      `  ${printable(host)} ${printable(action)}: ${printable(code)}${times}\n      ${printable(remedy({ ...nothing, code, workload, host, action }))}`,
    )
  }
}

/** Exit code of the command; 2 for wrong use, 3 when Ostiary is not running, 4 when it refuses. */
export async function runCommand(args: readonly string[], options: RunOptions): Promise<number> {
  const say = (line: string): void => void process.stderr.write(`${styleText('dim', 'ostiary:', { stream: process.stderr })} ${line}\n`)
  if (options.evidence !== undefined && !existsSync(options.evidence)) {
    say(`${options.evidence}: there is no such file to present`)
    return 2
  }
  if (args.length === 0) {
    say('nothing to run. Write the command behind two dashes: ostiary run -- python agent.py')
    return 2
  }
  const exposed = [...new Set(options.expose ?? [])].sort()
  const [unknown] = unknownExposed(exposed)
  if (unknown !== undefined) {
    say(`--expose ${unknown}: there is no such name. One of ${doors.map((door) => door.name).join(', ')}, or the absolute path of a socket`)
    return 2
  }
  if (exposed.join(',').length > 180) {
    say('--expose: that is too much to write into each record; expose fewer')
    return 2
  }
  const crossings = { publish: options.publish ?? [], reach: options.reach ?? [] }
  if (options.isolate !== true && crossings.publish.length + crossings.reach.length > 0) {
    say('--publish and --reach cross the network of an isolated run: add --isolate, or leave them out')
    return 2
  }
  if (options.isolate === true && options.namespace === false) {
    say('--isolate is a namespace: leave out --no-namespace')
    return 2
  }
  const login = loginSays(homedir(), args[0] as string, exposed, options.namespace !== false)
  if (login !== null) say(login)
  try {
    return await launch({
      door: join(`${options.dataDir}.run`, 'door', 'run.sock'),
      workload: options.as ?? null,
      command: args,
      evidenceFile: options.evidence ?? null,
      environment: process.env,
      looksLikeKey,
      say,
      whenBlocked: (workload, blocked) => sayBlocked(workload, blocked, say),
      plain: options.namespace === false,
      exposed,
      isolate: options.isolate === true ? crossings : null,
    })
  } catch (error) {
    if (error instanceof NoIsolation) {
      say(`${error.message}. Nothing was started; without --isolate the run shares this machine's network`)
      return 2
    }
    if (!(error instanceof DoorClosed)) throw error
    say(error.message)
    return error.code.includes('.') ? 4 : 3
  }
}
