// Starts an agent for `ostiary run`: opens the run, makes its namespace and environment, stays its parent, passes signals
// and exit code. A launcher and relay, never a proxy; it holds no secret.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, realpathSync } from 'node:fs'
import { constants } from 'node:os'
import { setSubreaper } from '../net/kernel.ts'
import { DoorClosed, openRun } from './run-door-client.ts'
import { probeSandbox, sandboxWords } from './sandbox.ts'
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
  /** Do not even try a namespace (for tests and for `--no-namespace`). */
  readonly plain: boolean
}

const passed = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const

/** Resolves with the exit code of the command (128 + signal when it was killed, 127 when it could not be started). */
export async function launch(options: LaunchOptions): Promise<number> {
  const uid = process.getuid?.() ?? -1
  const sandbox = options.plain ? ({ custody: 'shared-user', why: 'it was asked for' } as const) : probeSandbox(uid)
  // Daemons of the command become our children, so that descent, which is membership, survives a double fork.
  setSubreaper()
  const run = await openRun(options.door, {
    workload: options.workload,
    command: options.command.join(' ').slice(0, 4_000),
    custody: sandbox.custody,
    evidenceFile: options.evidenceFile,
  })
  const { variables, removed } = runEnvironment(options.environment, run.description, options.looksLikeKey)
  if (sandbox.custody === 'shared-user')
    options.say(`custody: shared-user, the command could reach what its user can (no namespace: ${sandbox.why})`)
  if (removed.length > 0) options.say(`removed from the environment: ${removed.join(', ')}`)
  // The token is the launcher's to present; a symbolic link may lead to where it really lies.
  const evidence = options.evidenceFile === null ? [] : [realpathSync(options.evidenceFile)]
  const covers = {
    hidden: run.description.hidden,
    readOnly: run.description.readOnly,
    blank: [...run.description.blank, ...evidence],
    kept: [process.cwd(), ...run.description.kept],
  }
  const words = sandbox.custody === 'namespace' ? sandboxWords(covers, uid, process.getgid?.() ?? -1, options.command) : options.command
  const child = spawn(words[0] as string, words.slice(1), { stdio: 'inherit', env: variables })
  let over = false
  run.whenEnded(() => {
    if (!over) options.say('Ostiary ended this run: its connections are cut and its proxy address is dead')
  })
  const code = await ended(child, sandbox.custody === 'namespace', options)
  over = true
  run.close()
  return code
}

function ended(child: ChildProcess, namespaced: boolean, options: LaunchOptions): Promise<number> {
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

export { DoorClosed }
