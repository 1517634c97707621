// What makes the machine fail: file systems of our own, a tracer that answers system calls, a group with little memory.
// It must touch nothing but what it made itself.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'

export function mountTmpfs(dir: string, megabytes: number): boolean {
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=700`, 'tmpfs', dir]).status === 0
}

/** Fills the file system of `path` but for `left` bytes. */
export function fill(path: string, left: number): void {
  spawnSync('sh', [
    '-c',
    `n=$(( $(stat -f -c '%a * %S' "$(dirname "$1")") - $2 )); [ $n -gt 0 ] && fallocate -l $n "$1"; :`,
    'sh',
    path,
    String(left),
  ])
}

export function unmount(dir: string): void {
  spawnSync('umount', ['-l', dir])
}

export const strace = (): boolean => spawnSync('strace', ['-V']).status === 0

/** From here on these calls of a running process end with an error; ends it by the function. */
export async function inject(pid: number, calls: string, error: string): Promise<() => Promise<void>> {
  const words = ['-f', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', `inject=${calls}:error=${error}`, '-p', String(pid)]
  const child = spawn('strace', words, { stdio: ['ignore', 'ignore', 'pipe'] })
  await once(child.stderr, 'data')
  return async () => {
    const gone = once(child, 'close')
    child.kill('SIGTERM')
    await gone
  }
}

/** A cgroup whose processes share so much memory; null where none can be made. Words that join it, and its end. */
export function memoryGroup(bytes: number): { readonly before: readonly string[]; readonly end: () => void } | null {
  const name = `ostiary-faults-${process.pid}`
  for (const [dir, file] of [
    [`/sys/fs/cgroup/memory/${name}`, 'memory.limit_in_bytes'],
    [`/sys/fs/cgroup/${name}`, 'memory.max'],
  ] as const) {
    try {
      mkdirSync(dir)
    } catch {
      continue
    }
    const end = (): void => {
      for (let tries = 0; tries < 50; tries++) {
        try {
          return rmdirSync(dir)
        } catch {
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
        }
      }
    }
    if (existsSync(`${dir}/${file}`)) {
      writeFileSync(`${dir}/${file}`, String(bytes))
      return { before: ['sh', '-c', `echo $$ > ${dir}/cgroup.procs; exec "$@"`, 'sh'], end }
    }
    end()
  }
  return null
}
