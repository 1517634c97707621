// One process owns a data directory. The lock is a file with the owner's pid and start time; a dead owner's lock is taken over.
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'

export interface Lock {
  release(): void
}

/** Throws an Error that names the owner when a live process holds the directory. */
export function lockDirectory(dir: string): Lock {
  const path = join(dir, 'lock')
  const mine = `${process.pid} ${startTicks(process.pid)}`
  for (let tries = 0; tries < 3; tries++) {
    try {
      const file = openSync(path, 'wx', 0o600)
      writeSync(file, mine)
      closeSync(file)
      return {
        release: () => {
          if (read(path) === mine) rmSync(path, { force: true })
        },
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      const owner = read(path)
      const [pid = '', ticks = ''] = owner.split(' ')
      if (owner !== '' && ticks !== '' && startTicks(Number(pid)) === ticks)
        throw new Error(
          `${dir} is in use by another Ostiary (pid ${pid}): stop it by \`ostiary stop\`, or name another directory with --data`,
        )
      rmSync(path, { force: true })
    }
  }
  throw new Error(`${dir} could not be locked: another Ostiary is starting on it`)
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function startTicks(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    // Where there is no /proc a live pid is taken for the owner.
    try {
      process.kill(pid, 0)
      return 'alive'
    } catch {
      return ''
    }
  }
}
