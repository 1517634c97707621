// Notices that a configured file changed, or that another fits a configured pattern, by looking once a second: editors replace files,
// and a watch follows the old one.
import { statSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import type { Config } from '../config/config.ts'

const lookMs = 1_000

type Watched = Pick<Config, 'files' | 'patterns'>

export function watchFiles(watched: () => Watched, changed: () => Promise<void>): { close(): void } {
  let known: string | null = null
  let busy = false
  const round = async (): Promise<void> => {
    const now = await look(watched())
    const before = known
    known = now
    if (before === null || before === now) return
    await changed()
    // A reload by hand meanwhile read the same files.
    known = await look(watched())
  }
  const begin = (): void => {
    if (busy) return
    busy = true
    void round().finally(() => {
      busy = false
    })
  }
  begin()
  const timer = setInterval(begin, lookMs)
  timer.unref()
  return { close: () => clearInterval(timer) }
}

async function look({ files, patterns }: Watched): Promise<string> {
  // A folder that cannot be looked into fits nothing for now.
  const fitting = await Promise.all(patterns.map((pattern) => Array.fromAsync(glob(pattern)).catch((): string[] => [])))
  const all = new Set([...files, ...fitting.flat().sort()])
  return [...all].map(stateOf).join('\n')
}

function stateOf(file: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(file)
    return `${file} ${mtimeMs} ${size} ${ino}`
  } catch {
    return `${file} gone`
  }
}
