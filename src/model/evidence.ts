// What a runtime presents, and what the kernel says of it. Gathered in accept/evidence, judged in identify.
import type { Secret } from './secret.ts'

/** Kernel facts of the process at the other end. Nothing in here is said by the process itself. */
export interface ProcessFacts {
  readonly pid: number
  /** Field 22 of /proc/PID/stat: with the pid it names one process for ever. */
  readonly startTicks: string
  readonly uid: number
  readonly gid: number
  readonly user: string
  /** Resolved path of the executable; empty when it could not be read. */
  readonly executable: string
  /** SHA-256 of the executable's bytes, hex; empty when it could not be read or is over the limit. */
  readonly executableSha256: string
  /** The line of the unified or systemd hierarchy of /proc/PID/cgroup. */
  readonly cgroup: string
  /** Set only for a *system* unit: system.slice, never user.slice or a delegated group. */
  readonly systemUnit: string
  readonly containerId: string
  /** Inode of the PID namespace, as text. */
  readonly pidNamespace: string
  /** pids from the parent upwards, each with its start ticks, as `pid:ticks`. */
  readonly ancestors: readonly string[]
}

/** How the peer is known. */
export interface PeerFacts {
  readonly transport: 'tcp' | 'unix'
  /** Client address as the socket says; `unix` for a Unix socket. */
  readonly address: string
  readonly port: number
  readonly loopback: boolean
  /** TLS on the agent's own leg (not the interception). */
  readonly secure: boolean
  /** uid that the kernel stored with the socket: the anchor. null where the kernel cannot say (another host). */
  readonly uid: number | null
  /** The one process that owns the socket; null with `why` where not exactly one could be found. */
  readonly process: ProcessFacts | null
  readonly why: string
}

export interface Evidence {
  readonly peer: PeerFacts
  /** Run pointer of the proxy URL or base URL; selects a run and proves nothing. */
  readonly pointer: string | null
  /** A signed token presented with the connection. */
  readonly token: Secret | null
  /** Looks again: true while the same process still owns the socket. */
  readonly unchanged: () => boolean | Promise<boolean>
}
