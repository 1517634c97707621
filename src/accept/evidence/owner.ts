// Which ONE process holds a socket's inode: sought among the candidates' trees first, then among all processes of the uid.
// It must never guess: none, or more than one, is said so. Synchronous; runs in the worker.

import { readFileSync } from 'node:fs'
import type { ProcessFacts } from '../../model/evidence.ts'
import { limits } from '../../model/limits.ts'
import { sharesDescriptors } from '../../net/kernel.ts'
import { likeness, names, readFacts, readLink, readOwner } from './proc.ts'

export interface Asked {
  readonly uid: number
  readonly inode: number
  /** Roots of process trees that are sought first, as host pids. */
  readonly roots: readonly number[]
}

export interface Found {
  readonly process: ProcessFacts | null
  /** What a second look compares (see likeness). */
  readonly likeness: string
  readonly why: string
  /** The holder may be a process that we are not allowed to look at: nothing is known but the uid. */
  readonly unreadable: boolean
  /** The root in whose tree it was found; 0 when elsewhere. */
  readonly root: number
}

const nobody = (why: string, unreadable = false): Found => ({ process: null, likeness: '', why, unreadable, root: 0 })

export function findOwner(asked: Asked): Found {
  let budget = limits.ownerScanProcessesMax
  for (const root of asked.roots) {
    const tree = descendants(root, budget)
    budget -= tree.length
    const holders = tree.filter((pid) => holds(pid, asked.inode) === 'yes')
    if (holders.length > 0) return judge(asked, holders, root)
    if (budget <= 0) return nobody('too many processes to look at')
  }
  const holders: number[] = []
  let unreadable = 0
  for (const name of names('/proc') ?? []) {
    if (!/^\d+$/.test(name)) continue
    if (budget-- <= 0) return nobody('too many processes to look at')
    const pid = Number(name)
    if (readOwner(pid)?.uid !== asked.uid) continue
    const answer = holds(pid, asked.inode)
    if (answer === 'yes') holders.push(pid)
    else if (answer === 'closed') unreadable++
  }
  if (holders.length > 0) return judge(asked, holders, 0)
  return unreadable > 0
    ? nobody(`no process of uid ${asked.uid} that may be read holds the socket; ${unreadable} may not be read`, true)
    : nobody(`no process of uid ${asked.uid} holds the socket`)
}

/** Looked at before and after: the facts are those of one process that held the socket all the while. */
function judge(asked: Asked, holders: readonly number[], root: number): Found {
  if (holders.length > 1) return nobody(`${holders.length} processes hold the socket: ${holders.slice(0, 8).join(', ')}`)
  const pid = holders[0] as number
  const before = likeness(pid)
  const facts = readFacts(pid)
  if (facts === null) return nobody(`process ${pid} is gone`)
  if (facts.uid !== asked.uid) return nobody(`process ${pid} of uid ${facts.uid} holds a socket of uid ${asked.uid}`)
  if (holds(pid, asked.inode) !== 'yes') return nobody(`process ${pid} let go of the socket`)
  if (likeness(pid) !== before || !before.startsWith(`${facts.startTicks} `)) return nobody(`process ${pid} changed while it was looked at`)
  return { process: facts, likeness: before, why: '', unreadable: false, root }
}

/** In its own descriptor table, or in that of a thread that has unshared it. */
function holds(pid: number, inode: number): 'yes' | 'no' | 'closed' {
  const own = tableHolds(`/proc/${pid}/fd`, inode)
  if (own !== 'no') return own
  for (const thread of names(`/proc/${pid}/task`) ?? []) {
    if (Number(thread) === pid || sharesDescriptors(pid, Number(thread)) === true) continue
    const answer = tableHolds(`/proc/${pid}/task/${thread}/fd`, inode)
    if (answer !== 'no') return answer
  }
  return 'no'
}

function tableHolds(folder: string, inode: number): 'yes' | 'no' | 'closed' {
  const descriptors = names(folder)
  if (descriptors === null) return 'closed'
  const wanted = `socket:[${inode}]`
  // From the newest: a connection just made is seldom the oldest descriptor.
  for (let at = descriptors.length - 1; at >= 0; at--) if (readLink(`${folder}/${descriptors[at]}`) === wanted) return 'yes'
  return 'no'
}

/** The root and all below it; every thread may have children of its own. */
function descendants(root: number, most: number): readonly number[] {
  const tree = [root]
  const seen = new Set(tree)
  for (let at = 0; at < tree.length && tree.length < most; at++) {
    for (const thread of names(`/proc/${tree[at]}/task`) ?? []) {
      for (const child of childrenOf(`/proc/${tree[at]}/task/${thread}/children`)) {
        if (!seen.has(child)) tree.push(child)
        seen.add(child)
      }
    }
  }
  return tree
}

function childrenOf(path: string): readonly number[] {
  try {
    return readFileSync(path, 'latin1').split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}
