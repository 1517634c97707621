// Agents of this user that do not pass through Ostiary: known programs, in no run, without its proxy in their environment. It reads
// /proc and judges by names, so it finds what does not hide; it never says that there is nothing else.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'

export interface Unbrokered {
  readonly pid: number
  readonly agent: string
}

const agents = new Set(['claude', 'codex', 'gemini', 'aider', 'cursor-agent', 'opencode', 'goose', 'crush', 'amp', 'copilot', 'qwen'])
const foundMax = 50
const levelsMax = 64

/** `roots` are the first processes of live runs, as `pid:ticks`; `proxy` is the address of the listener. */
export function unbrokered(roots: readonly string[], proxy: string): readonly Unbrokered[] {
  if (process.platform !== 'linux') return []
  const uid = process.getuid?.()
  const rootPids = new Set(roots.map((root) => Number(root.split(':')[0])))
  const found: Unbrokered[] = []
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || found.length >= foundMax) continue
    try {
      if (statSync(`/proc/${pid}`).uid !== uid) continue
      const agent = agentOf(readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0'))
      if (agent === null || descends(pid, rootPids)) continue
      if (!readFileSync(`/proc/${pid}/environ`, 'latin1').includes(proxy)) found.push({ pid, agent })
    } catch {
      // it has just ended, or hides from its own user
    }
  }
  return found
}

/** The program itself, or the script that an interpreter runs. */
export function agentOf(words: readonly string[]): string | null {
  const [program = '', ...rest] = words
  const script = rest.find((word) => !word.startsWith('-')) ?? ''
  const interpreted = /^(?:node|bun|deno|python[\d.]*|env)$/.test(basename(program))
  for (const word of interpreted ? [script] : [program]) {
    const name = basename(word).replace(/\.(?:js|mjs|cjs|py)$/, '')
    if (agents.has(name)) return name
  }
  return null
}

function descends(pid: number, roots: ReadonlySet<number>): boolean {
  let at = pid
  for (let level = 0; level < levelsMax && at > 1; level++) {
    if (roots.has(at)) return true
    const stat = readFileSync(`/proc/${at}/stat`, 'latin1')
    at = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0)
  }
  return false
}
