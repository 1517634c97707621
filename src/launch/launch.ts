// Starts an agent for `ostiary run`: opens the run, makes its namespace and environment, stays its parent, passes signals
// and exit code. A launcher and relay, never a proxy; it holds no secret.
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { readFileSync, realpathSync } from 'node:fs'
import { constants, homedir } from 'node:os'
import { flushTerminal, leaveSessionKeyring, setSubreaper } from '../net/kernel.ts'
import { withBrowserRoots } from './browsers.ts'
import { type Plan, planCovers, shutVariables } from './covers.ts'
import { doors } from './doors.ts'
import { withWhatWasKept } from './environment-kept.ts'
import { type CrossingsAsked, makeNetwork, NoIsolation, readCrossings } from './isolate.ts'
import { keepFree } from './later.ts'
import { strangerAtPort } from './port-owner.ts'
import { type Blocked, DoorClosed, type OpenRun, openRun } from './run-door-client.ts'
import { networkSteps, probeSandbox, type Sandbox, sandboxWords } from './sandbox.ts'
import { runEnvironment } from './variables.ts'

export interface LaunchOptions {
  readonly door: string
  readonly workload: string | null
  readonly command: readonly string[]
  readonly evidenceFile: string | null
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly looksLikeKey: (value: string) => string | null
  /** One honest line each, for stderr. */
  readonly say: (line: string) => void
  /** Stated for the records. */
  readonly labels: Readonly<Record<string, string>>
  /** What was refused in the run, once the command has ended; called only where there was any. */
  readonly whenBlocked: (workload: string, blocked: readonly Blocked[]) => void
  /** Do not even try a namespace (for tests and for `--no-namespace`). */
  readonly plain: boolean
  /** Doors to leave open, by name, or sockets by their absolute path. */
  readonly exposed: readonly string[]
  /** A network namespace whose only way out is the proxy, but for these; null without one. */
  readonly isolate: CrossingsAsked | null
}

const passed = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const

/** Resolves with the exit code of the command (128 + signal when it was killed, 127 when it could not be started). */
export async function launch(options: LaunchOptions): Promise<number> {
  const uid = process.getuid?.() ?? -1
  const isolated = options.isolate !== null
  const sandbox: Sandbox = options.plain ? { custody: 'shared-user', why: 'it was asked for' } : probeSandbox(uid, isolated)
  if (isolated && sandbox.custody !== 'namespace') throw new NoIsolation(`--isolate cannot be had here: ${sandbox.why}`)
  const crossings = options.isolate === null ? [] : await readCrossings(options.isolate)
  // Daemons of the command become our children, so that descent, which is membership, survives a double fork.
  setSubreaper()
  // Keys in the user's session keyring (Kerberos tickets) are its possessor's, whoever that is.
  if (!options.exposed.includes('keyrings')) leaveSessionKeyring()
  const run = await openRun(options.door, {
    workload: options.workload,
    command: options.command.join(' ').slice(0, 4_000),
    custody: custodyWord(sandbox, options.exposed, isolated),
    crossings,
    labels: options.labels,
    evidenceFile: options.evidenceFile,
  })
  const stranger = await strangerAtPort(run.description.proxy, run.brokerUid)
  if (stranger !== null) {
    run.close()
    throw new DoorClosed('launch.port', stranger)
  }
  const { variables, removed } = runEnvironment(options.environment, run.description, options.looksLikeKey, shutVariables(options.exposed))
  const plan = sandbox.custody === 'namespace' ? planFor(options, run, uid) : null
  for (const line of opening(options, sandbox, plan, removed)) options.say(line)
  const gid = process.getgid?.() ?? -1
  const words =
    plan === null
      ? options.command
      : sandboxWords(isolated ? [...networkSteps, ...plan.steps] : plan.steps, uid, gid, options.command, isolated)
  const later = keepFree(plan?.watched ?? [], run.description.id, options.say)
  // The fourth descriptor is the gate at which an isolated command waits for its network.
  const stdio: StdioOptions = isolated ? ['inherit', 'inherit', 'inherit', 'pipe'] : 'inherit'
  const child = spawn(words[0] as string, words.slice(1), { stdio, env: variables })
  const nothing = (error: unknown): never => {
    later.stop()
    run.close()
    throw error
  }
  const network = isolated ? await makeNetwork(child, run.description, crossings, options.say).catch(nothing) : null
  let over = false
  run.whenEnded(() => {
    if (!over) options.say('Ostiary ended this run: its connections are cut and its proxy address is dead')
  })
  const code = await ended(child, sandbox.custody === 'namespace', options)
  over = true
  later.stop()
  // What the command pushed into its terminal would else be typed into the shell that waits behind it.
  if (process.stdin.isTTY) flushTerminal(0)
  network?.close()
  const blocked = await run.blocked()
  if (blocked.length > 0) options.whenBlocked(run.description.workload, blocked)
  run.close()
  return code
}

function custodyWord(sandbox: Sandbox, exposed: readonly string[], isolated: boolean): string {
  const held = exposed.filter((name) => doors.some((door) => door.name === name && door.agentHeld === true))
  const others = exposed.filter((name) => !held.includes(name))
  const words = [
    ...(others.length > 0 ? [`exposed(${others.join(',')})`] : []),
    ...(held.length > 0 ? [`agent-held(${held.join(',')})`] : []),
  ]
  const word = sandbox.custody === 'namespace' && words.length > 0 ? words.join('+') : sandbox.custody
  return isolated ? `${word}+isolated` : word
}

function planFor(options: LaunchOptions, run: OpenRun, uid: number): Plan {
  // The token is the launcher's to present; a symbolic link may lead to where it really lies.
  const evidence = options.evidenceFile === null ? [] : [realpathSync(options.evidenceFile)]
  const { hidden, readOnly, blank, kept } = run.description
  const home = realpathSync(homedir())
  const plan = planCovers({
    uid,
    home,
    workingDir: process.cwd(),
    environment: options.environment,
    exposed: [...options.exposed, ...run.description.open],
    own: { hidden, readOnly, blank: [...blank, ...evidence], kept },
  })
  return { ...plan, steps: withBrowserRoots(plan.steps, home, run.description.caFile) }
}

/** What the person who starts it has to know. */
function opening(options: LaunchOptions, sandbox: Sandbox, plan: Plan | null, removed: readonly string[]): readonly string[] {
  const open = options.exposed.map((name) => `${name} (${doors.find((door) => door.name === name)?.says ?? 'a socket'})`)
  return [
    ...(plan === null ? [`custody: shared-user, the command could reach what its user can (no namespace: ${sandbox.why})`] : []),
    ...(plan !== null && open.length > 0 ? [`EXPOSED to the command: ${open.join(', ')}; each record says so`] : []),
    ...(plan !== null && plan.shut.length > 0 ? [`hidden from the command: ${plan.shut.join(', ')} (--expose NAME opens one)`] : []),
    ...(removed.length > 0 ? [`removed from the environment: ${removed.join(', ')}`] : []),
    ...(plan?.notes ?? []),
  ]
}

/** The command as it is, in the run that it is in already, with what the run holds of variables. */
export function runAsIs(options: Pick<LaunchOptions, 'command' | 'environment' | 'say'>): Promise<number> {
  const env = withWhatWasKept(options.environment)
  return ended(spawn(options.command[0] as string, options.command.slice(1), { stdio: 'inherit', env }), false, options)
}

function ended(child: ChildProcess, namespaced: boolean, options: Pick<LaunchOptions, 'command' | 'say'>): Promise<number> {
  return new Promise((resolve) => {
    const pass = (signal: NodeJS.Signals): void => {
      // A terminal sends to the whole group by itself; a signal to us alone must reach the command, two levels down.
      const pid = namespaced ? innermost(child.pid) : child.pid
      if (pid !== undefined) {
        try {
          process.kill(pid, signal)
        } catch {
          // it has just ended: its own exit tells
        }
      }
    }
    for (const signal of passed) process.on(signal, pass)
    child.once('error', (error: NodeJS.ErrnoException) => {
      options.say(`${options.command[0]}: ${error.code === 'ENOENT' ? 'command not found' : error.message}`)
      resolve(127)
    })
    child.once('exit', (code, signal) => {
      for (const name of passed) process.off(name, pass)
      resolve(signal === null ? (code ?? 1) : 128 + (constants.signals[signal] ?? 0))
    })
  })
}

/** unshare → sh (PID 1 inside) → the command. */
function innermost(pid: number | undefined): number | undefined {
  let at = pid
  for (let level = 0; level < 2 && at !== undefined; level++) {
    try {
      const [first] = readFileSync(`/proc/${at}/task/${at}/children`, 'utf8').split(' ')
      at = first === undefined || first === '' ? undefined : Number(first)
    } catch {
      return undefined
    }
  }
  return at
}

export { DoorClosed, NoIsolation }
