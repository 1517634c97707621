// A program that is waited for: what it said, and how it ended.
import { spawn } from 'node:child_process'

export interface Ended {
  /** null where a signal ended it; 127 where it could not be started, as a shell says it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  readonly err: string
  readonly pid: number
}

export interface EndedOptions {
  readonly cwd?: string
  /** The whole environment; ours where it is left out. */
  readonly env?: NodeJS.ProcessEnv
  /** Standard input; without it there is none. */
  readonly input?: string
  readonly kill?: { readonly afterMs: number; readonly signal: NodeJS.Signals }
}

export function ended(program: string, words: readonly string[], options: EndedOptions = {}): Promise<Ended> {
  const { cwd, env, input, kill } = options
  return new Promise((resolve) => {
    const child = spawn(program, words, { cwd, env, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] })
    const timer = kill === undefined ? null : setTimeout(() => child.kill(kill.signal), kill.afterMs)
    let out = ''
    let err = ''
    child.stdout?.on('data', (text: Buffer) => {
      out += text
    })
    child.stderr?.on('data', (text: Buffer) => {
      err += text
    })
    const end = (code: number | null, signal: NodeJS.Signals | null): void => {
      if (timer !== null) clearTimeout(timer)
      resolve({ code, signal, out, err, pid: child.pid ?? 0 })
    }
    child.on('error', (error) => {
      err += error
      end(127, null)
    })
    child.on('close', end)
    child.stdin?.end(input)
  })
}
