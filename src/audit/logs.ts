// The logs of one installation: that of the broker, and one for each further process of its data plane. By their names alone; what
// stands in them is read.ts's and verify.ts's.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

export interface NumberedLog {
  /** 0: the broker's. The last part of its origin. */
  readonly n: number
  readonly dir: string
}

export const logName = (n: number): string => (n === 0 ? 'audit' : `audit-${n}`)

/** Those that are there, in their order; none where the directory is not. */
export function logsIn(dataDir: string): readonly NumberedLog[] {
  const names = new Set(present(dataDir))
  const numbers = [...names].map((name) => (name === 'audit' ? 0 : Number(/^audit-([1-9]\d?)$/.exec(name)?.[1] ?? Number.NaN)))
  return numbers
    .filter(Number.isInteger)
    .sort((a, b) => a - b)
    .map((n) => ({ n, dir: join(dataDir, logName(n)) }))
}

function present(dataDir: string): readonly string[] {
  try {
    return readdirSync(dataDir, { withFileTypes: true })
      .filter((one) => one.isDirectory())
      .map(({ name }) => name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
