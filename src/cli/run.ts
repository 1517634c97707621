// `ostiary run [--as WORKLOAD] [--evidence FILE] -- COMMAND`: starts an agent that holds no secret.
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { styleText } from 'node:util'
import { looksLikeKey } from '../catalog/leaks.ts'
import { unknownExposed } from '../launch/covers.ts'
import { doors } from '../launch/doors.ts'
import { DoorClosed, launch, NoIsolation, runAsIs } from '../launch/launch.ts'
import { probeSandbox } from '../launch/sandbox.ts'
import { systemClock } from '../model/clock.ts'
import { limits } from '../model/limits.ts'
import { loginSays } from './logins.ts'
import { handsOverMs, sayBlocked, sayHandedOver } from './run-says.ts'

export interface RunOptions {
  readonly dataDir: string
  readonly as?: string | undefined
  readonly evidence?: string | undefined
  readonly label?: readonly string[] | undefined
  readonly namespace?: boolean | undefined
  readonly expose?: readonly string[] | undefined
  readonly isolate?: boolean | undefined
  readonly publish?: readonly string[] | undefined
  readonly reach?: readonly string[] | undefined
}

function labelsOf(pairs: readonly string[]): Readonly<Record<string, string>> | null {
  const labels = pairs.map((pair) => /^([A-Za-z][A-Za-z0-9_.-]{0,49})=(.{0,200})$/.exec(pair))
  if (labels.length > limits.runLabelsMax) return null
  return labels.every((one) => one !== null) ? Object.fromEntries(labels.map((one) => [one[1], one[2]])) : null
}

/** In a run without a door to another: the command itself, which is of this run already; or a no. */
async function insideARun(command: readonly string[], as: string | undefined, say: (line: string) => void): Promise<number> {
  const { OSTIARY_RUN: run, OSTIARY_WORKLOAD: workload } = process.env
  if (as === undefined || as === workload) return runAsIs({ command, environment: process.env, say })
  say(`this is inside ${run}, of ${workload}, which is isolated or listed under no workload's run.within: it cannot become ${as}`)
  return 4
}

function wrongIsolation({ isolate, namespace, publish = [], reach = [] }: RunOptions): string | null {
  if (isolate === true) return namespace === false ? '--isolate is a namespace: leave out --no-namespace' : null
  if (publish.length + reach.length === 0) return null
  return '--publish and --reach cross the network of an isolated run: add --isolate, or leave them out'
}

/** Membership of a run is the Linux kernel's word: without it there would be placeholders that nobody could use. */
export function notHere(platform: string): string | null {
  if (platform === 'linux') return null
  const name = platform === 'darwin' ? 'macOS' : platform
  return `${name}: check, secret, audit and start with token evidence (oidc) work here; \`ostiary run\` needs Linux: use a virtual machine or a container`
}

/** Exit code of the command; 2 for wrong use, 3 when Ostiary is not running, 4 when it refuses. */
export async function runCommand(args: readonly string[], options: RunOptions): Promise<number> {
  const say = (line: string): void => void process.stderr.write(`${styleText('dim', 'ostiary:', { stream: process.stderr })} ${line}\n`)
  const elsewhere = notHere(process.platform)
  if (elsewhere === null) return run(args, options, say)
  say(elsewhere)
  return 2
}

async function run(args: readonly string[], options: RunOptions, say: (line: string) => void): Promise<number> {
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
  const wrong = wrongIsolation(options)
  if (wrong !== null) {
    say(wrong)
    return 2
  }
  const labels = labelsOf(options.label ?? [])
  if (labels === null) {
    say(`--label takes NAME=VALUE, at most ${limits.runLabelsMax} of them`)
    return 2
  }
  const door = join(`${options.dataDir}.run`, 'door', 'run.sock')
  if (process.env['OSTIARY_RUN'] !== undefined && !existsSync(door)) {
    if (options.isolate !== true) return insideARun(args, options.as, say)
    say(`this is inside ${process.env['OSTIARY_RUN']}, whose network is what it is: use --isolate at a terminal outside any run`)
    return 2
  }
  const startedAt = systemClock.monotonic()
  const login = loginSays(homedir(), args[0] as string, exposed, () => hidesFiles(options))
  if (login !== null) say(login)
  try {
    const code = await launch({
      door,
      workload: options.as ?? null,
      command: args,
      evidenceFile: options.evidence ?? null,
      // A command inside that asks Ostiary finds the same one.
      environment: { ...process.env, OSTIARY_DATA: options.dataDir },
      labels,
      looksLikeKey,
      say,
      whenBlocked: (workload, blocked) => sayBlocked(workload, blocked, say),
      plain: options.namespace === false,
      exposed,
      isolate: options.isolate === true ? crossings : null,
    })
    if (code === 0 && systemClock.monotonic() - startedAt < handsOverMs) sayHandedOver(args[0] as string, say)
    return code
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

function hidesFiles(options: RunOptions): boolean {
  return options.namespace !== false && probeSandbox(process.getuid?.() ?? -1).custody === 'namespace'
}
