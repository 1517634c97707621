// Which custody a workload outside any run has, and what Ostiary knows of its own process.
import { readlinkSync } from 'node:fs'

/** Inode of this process's PID namespace; empty where /proc does not say. */
export function ownPidNamespace(): string {
  try {
    return /\[(\d+)\]/.exec(readlinkSync('/proc/self/ns/pid'))?.[1] ?? ''
  } catch {
    return ''
  }
}

/** A workload outside any run, of another uid than ours, cannot read our files; of our own uid it can. */
export function custodyOf(peerUid: number | null, ownUid: number): string {
  if (peerUid === null) return 'other-host'
  return peerUid === ownUid || peerUid === 0 ? 'shared-user' : 'other-user'
}
