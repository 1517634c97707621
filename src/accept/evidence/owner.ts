// Which ONE process holds a socket's inode: sought among the candidates' trees first, then among all processes of the uid.
// It must never guess: none, or more than one, is said so. Synchronous; runs in the worker.

import { readFileSync, statSync } from 'node:fs'
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

export const nobody = (why: string, unreadable = false): Found => ({ process: null, likeness: '', why, unreadable, root: 0 })

/** An agent with very many descriptors must not make everybody else wait. */
const descriptorsMax = 200_000

interface Budget {
  processes: number
  descriptors: number
}

const spent = (budget: Budget): boolean => budget.processes <= 0 || budget.descriptors <= 0

export function findOwner(asked: Asked): Found {
  const budget: Budget = { processes: limits.ownerScanProcessesMax, descriptors: descriptorsMax }
  for (const root of asked.roots) {
    const tree = descendants(root, budget.processes)
    budget.processes -= tree.length
    const holders = tree.filter((pid) => !spent(budget) && holds(pid, asked.inode, budget) === 'yes')
    if (spent(budget)) return nobody('too much to look at')
    if (holders.length > 0) return judge(asked, holders, root)
  }
  const holders: number[] = []
  let unreadable = 0
  for (const name of names('/proc') ?? []) {
    if (!/^\d+$/.test(name)) continue
    if (spent(budget)) return nobody('too much to look at')
    budget.processes--
    const pid = Number(name)
    if (!mayBeOf(pid, asked.uid) || readOwner(pid)?.uid !== asked.uid) continue
    const answer = holds(pid, asked.inode, budget)
    if (answer === 'yes') holders.push(pid)
    else if (answer === 'closed') unreadable++
  }
  if (spent(budget)) return nobody('too much to look at')
  if (holders.length > 0) return judge(asked, holders, 0)
  return unreadable > 0
    ? nobody(`no process of uid ${asked.uid} that may be read holds the socket; ${unreadable} may not be read`, true)
    : nobody(`no process of uid ${asked.uid} holds the socket`)
}

/** The folder of a process is its effective user's, or root's when it is not dumpable: cheaper than to read its status. */
function mayBeOf(pid: number, uid: number): boolean {
  try {
    const owner = statSync(`/proc/${pid}`).uid
    return owner === uid || owner === 0
  } catch {
    return false
  }
}

/** Looked at before and after: the facts are those of one process that held the socket all the while. */
function judge(asked: Asked, holders: readonly number[], root: number): Found {
  if (holders.length > 1) return nobody(`${holders.length} processes hold the socket: ${holders.slice(0, 8).join(', ')}`)
  const pid = holders[0] as number
  const before = likeness(pid)
  const facts = readFacts(pid)
  if (facts === null) return nobody(`process ${pid} is gone`)
  if (facts.uid !== asked.uid) return nobody(`process ${pid} of uid ${facts.uid} holds a socket of uid ${asked.uid}`)
  if (holds(pid, asked.inode, { processes: 1, descriptors: descriptorsMax }) !== 'yes') return nobody(`process ${pid} let go of the socket`)
  if (likeness(pid) !== before || !before.startsWith(`${facts.startTicks} `)) return nobody(`process ${pid} changed while it was looked at`)
  return { process: facts, likeness: before, why: '', unreadable: false, root }
}

/** The facts of one process that is known already; nobody when it is another by now. */
export function lookAt(pid: number, startTicks: string): Found {
  const before = likeness(pid)
  const facts = readFacts(pid)
  if (facts === null || facts.startTicks !== startTicks) return nobody(`process ${pid} is gone`)
  if (likeness(pid) !== before || !before.startsWith(`${startTicks} `)) return nobody(`process ${pid} changed while it was looked at`)
  return { process: facts, likeness: before, why: '', unreadable: false, root: 0 }
}

/** In its own descriptor table, or in that of a thread that has unshared it. */
function holds(pid: number, inode: number, budget: Budget): 'yes' | 'no' | 'closed' {
  const own = tableHolds(`/proc/${pid}/fd`, inode, budget)
  if (own !== 'no') return own
  for (const thread of names(`/proc/${pid}/task`) ?? []) {
    if (Number(thread) === pid || sharesDescriptors(pid, Number(thread)) === true) continue
    const answer = tableHolds(`/proc/${pid}/task/${thread}/fd`, inode, budget)
    if (answer !== 'no') return answer
  }
  return 'no'
}

function tableHolds(folder: string, inode: number, budget: Budget): 'yes' | 'no' | 'closed' {
  const descriptors = names(folder)
  if (descriptors === null) return 'closed'
  const wanted = `socket:[${inode}]`
  // From the newest: a connection just made is seldom the oldest descriptor.
  for (let at = descriptors.length - 1; at >= 0; at--) {
    if (budget.descriptors-- <= 0) return 'no'
    if (readLink(`${folder}/${descriptors[at]}`) === wanted) return 'yes'
  }
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
