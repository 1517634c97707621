// How many connections the file descriptors of this process allow: an agent that opens many must never leave the log without one.
import { readFileSync } from 'node:fs'
import type { Log } from '../model/kind.ts'
import type { Limits } from '../model/limits.ts'

/** An agent's connection, and one to its API. */
const perConnection = 2
const connectionsMin = 16

/** The soft limit, which Node has raised to the hard one; null where no file says it. */
export function descriptorsMax(file = '/proc/self/limits'): number | null {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync(file, 'utf8'))?.[1]
    return soft === undefined ? null : Number(soft)
  } catch {
    return null
  }
}

export function connectionsWithin(limits: Limits, descriptors: number | null): Pick<Limits, 'connectionsMax' | 'connectionsPerSenderMax'> {
  const fit = descriptors === null ? limits.connectionsMax : Math.floor((descriptors - limits.descriptorsReserved) / perConnection)
  const connectionsMax = Math.min(limits.connectionsMax, Math.max(connectionsMin, fit))
  // One sender has the same share of few as of many.
  const share = limits.connectionsPerSenderMax / limits.connectionsMax
  return { connectionsMax, connectionsPerSenderMax: Math.ceil(connectionsMax * share) } as ReturnType<typeof connectionsWithin>
}

export function limitsHere(limits: Limits, log: Log): Limits {
  const few = connectionsWithin(limits, descriptorsMax())
  if (few.connectionsMax < limits.connectionsMax) log.warn('few file descriptors: fewer connections', { connections: few.connectionsMax })
  return { ...limits, ...few }
}
