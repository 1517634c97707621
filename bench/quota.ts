// A share of a core for one process, so that several can be measured on a machine with few: a cgroup of its own, by either version.
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'

const periodMicros = 10_000

export interface Quota {
  /** Into its cgroup, with all its threads. */
  hold(pid: number): void
  /** Once its processes have ended. */
  end(): void
}

/** null where this machine lets nobody make one. */
export function quota(name: string, share: number): Quota | null {
  const micros = Math.round(share * periodMicros)
  for (const [dir, limits] of [
    [`/sys/fs/cgroup/cpu/${name}`, { 'cpu.cfs_period_us': `${periodMicros}`, 'cpu.cfs_quota_us': `${micros}` }],
    [`/sys/fs/cgroup/${name}`, { 'cpu.max': `${micros} ${periodMicros}` }],
  ] as const) {
    try {
      mkdirSync(dir)
    } catch {
      continue
    }
    if (Object.keys(limits).every((file) => existsSync(`${dir}/${file}`))) {
      for (const [file, text] of Object.entries(limits)) writeFileSync(`${dir}/${file}`, text)
      return { hold: (pid) => writeFileSync(`${dir}/cgroup.procs`, String(pid)), end: () => rmdirSync(dir) }
    }
    rmdirSync(dir)
  }
  return null
}
