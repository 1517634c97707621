// One process owns a data directory. The lock is a file with the owner's pid and start time, so that a second one can be told
// who it is; a dead owner's lock is taken over. What holds in a race, and between containers, is the store's own exclusive lock.
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Lock {
  release(): void
}

const triesMax = 3

/** Throws an Error that names the owner when a live process holds the directory. */
export function lockDirectory(dir: string): Lock {
  const path = join(dir, 'lock')
  const mine = `${process.pid} ${startTicks(process.pid)}`
  for (let tries = 0; tries < triesMax; tries++) {
    if (take(path, mine, dir)) {
      return {
        release: () => {
          if (read(path) === mine) rmSync(path, { force: true })
        },
      }
    }
    const [pid = '', ticks = ''] = read(path).split(' ')
    if (ticks !== '' && startTicks(Number(pid)) === ticks)
      throw new Error(
        `${dir} is in use by another Ostiary (pid ${pid}): stop it by \`ostiary stop\`, or name another directory with --data`,
      )
    rmSync(path, { force: true })
  }
  throw new Error(`${dir} could not be locked: another Ostiary is starting on it`)
}

/** False where the file stands already. It appears with its content: nobody ever reads half a lock. */
function take(path: string, mine: string, dir: string): boolean {
  const draft = `${path}.${process.pid}`
  try {
    writeFileSync(draft, mine, { mode: 0o600 })
    linkSync(draft, path)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    throw new Error(`${dir} cannot be locked (${code}): make it writable and free some space, or name another directory with --data`)
  } finally {
    rmSync(draft, { force: true })
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Field 22 of /proc/PID/stat: a pid that was given to another process does not count as alive. */
function startTicks(pid: number): string {
  if (!Number.isSafeInteger(pid) || pid < 1) return ''
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    // Where there is no /proc a live pid is taken for the owner.
    try {
      if (process.platform === 'linux') return ''
      process.kill(pid, 0)
      return 'alive'
    } catch {
      return ''
    }
  }
}
