// What the run holds of variables that a program started in it did not get: agents keep from the servers they start what looks
// like a secret, and the proxy's address and the placeholders look like one. They are read where the kernel keeps them, from the
// uppermost process of the run above this one. It must never take those of a process that is not of the same run.
import { readFileSync } from 'node:fs'

export type Environment = Readonly<Record<string, string | undefined>>

/** `own`, and beside it what an ancestor of the same run was started with. */
export function withWhatWasKept(own: Environment, parent: number = process.ppid, proc = '/proc'): Environment {
  let found: Environment = {}
  for (let pid = parent; pid > 1; pid = parentOf(pid, proc)) {
    const environment = environmentOf(pid, proc)
    if (environment['OSTIARY_RUN'] === own['OSTIARY_RUN']) found = environment
  }
  return { ...found, ...own }
}

/** Empty where it cannot be read: the process is another user's, or of another namespace. */
function environmentOf(pid: number, proc: string): Environment {
  try {
    const pairs = readFileSync(`${proc}/${pid}/environ`, 'utf8').split('\0')
    return Object.fromEntries(pairs.filter((pair) => pair.includes('=')).map((pair) => pair.split(/=(.*)/s, 2)))
  } catch {
    return {}
  }
}

function parentOf(pid: number, proc: string): number {
  try {
    return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`${proc}/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
