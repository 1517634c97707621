// Which ONE process holds a socket's inode: sought among the candidates' trees first, then among all processes of the uid. All who
// wait are answered by one search, so that one agent's many connections cost the others little. It must never guess: none, or more
// than one, is said so. Synchronous; runs in the worker.

import { readFileSync, statSync } from 'node:fs'
import type { ProcessFacts } from '../../model/evidence.ts'
import { limits } from '../../model/limits.ts'
import { sharesDescriptors } from '../../net/kernel.ts'
import { likeness, mayReadLink, names, readFacts, readOwner } from './proc.ts'

export interface Sought {
  readonly uid: number
  readonly inode: number
}

export interface Asked extends Sought {
  /** Roots of process trees that are sought first, as host pids. */
  readonly roots: readonly number[]
}

/** What the worker is asked at once. */
export interface Batch {
  readonly ids: readonly number[]
  readonly sought: readonly Sought[]
  /** null: among all processes. */
  readonly roots: readonly number[] | null
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

interface Budget {
  processes: number
  descriptors: number
}

const spent = (budget: Budget): boolean => budget.processes <= 0 || budget.descriptors <= 0

/** In the order asked. */
export function findOwners(all: readonly Sought[], roots: readonly number[]): readonly Found[] {
  const inTrees = findInTrees(all, roots)
  const rest = findAmongAll(all.filter((_, at) => inTrees[at] === null))
  let next = 0
  return inTrees.map((found) => found ?? (rest[next++] as Found))
}

/** null: in none of the trees. */
export function findInTrees(all: readonly Sought[], roots: readonly number[]): readonly (Found | null)[] {
  const budget: Budget = { processes: limits.ownerScanProcessesMax, descriptors: limits.ownerDescriptorsMax }
  const found = new Map<number, Found>()
  let open = all
  for (const root of roots) {
    if (open.length === 0) break
    const tree = descendants(root, budget.processes)
    budget.processes -= tree.length
    const wanted = new Set(open.map(({ inode }) => inode))
    const holders = new Map<number, number[]>()
    for (const pid of tree) if (!spent(budget)) note(holders, pid, held(pid, wanted, budget).found)
    // Whoever else may hold it was not looked at.
    if (spent(budget)) break
    judge(open, holders, root, found)
    open = open.filter(({ inode }) => !holders.has(inode))
  }
  const otherwise = spent(budget) ? nobody('too much to look at') : null
  return all.map(({ inode }) => found.get(inode) ?? otherwise)
}

/** Among all processes of each uid. */
export function findAmongAll(all: readonly Sought[]): readonly Found[] {
  if (all.length === 0) return []
  const budget: Budget = { processes: limits.ownerScanProcessesMax, descriptors: limits.ownerDescriptorsMax }
  const found = new Map<number, Found>()
  const unreadable = new Map<number, number>()
  const holders = amongAll(all, budget, unreadable)
  if (!spent(budget)) judge(all, holders, 0, found)
  return all.map(
    ({ uid, inode }) => found.get(inode) ?? (spent(budget) ? nobody('too much to look at') : unfound(uid, unreadable.get(uid) ?? 0)),
  )
}

function unfound(uid: number, unreadable: number): Found {
  return unreadable > 0
    ? nobody(`no process of uid ${uid} that may be read holds the socket; ${unreadable} may not be read`, true)
    : nobody(`no process of uid ${uid} holds the socket`)
}

function note(holders: Map<number, number[]>, pid: number, inodes: ReadonlySet<number>): void {
  for (const inode of inodes) {
    const known = holders.get(inode)
    if (known === undefined) holders.set(inode, [pid])
    else known.push(pid)
  }
}

function amongAll(open: readonly Sought[], budget: Budget, unreadable: Map<number, number>): ReadonlyMap<number, readonly number[]> {
  const byUid = new Map<number, Set<number>>()
  for (const { uid, inode } of open) byUid.set(uid, (byUid.get(uid) ?? new Set()).add(inode))
  const holders = new Map<number, number[]>()
  const pids = (names('/proc') ?? []).filter((name) => /^\d+$/.test(name)).map(Number)
  // Ourselves last, and only for what nobody else holds: nobody hands us a socket, and there are two here for each call under way.
  for (const pid of [...pids.filter((one) => one !== process.pid), process.pid]) {
    if (spent(budget) || (pid === process.pid && open.every(({ inode }) => holders.has(inode)))) break
    budget.processes--
    if (![...byUid.keys()].some((uid) => mayBeOf(pid, uid))) continue
    const uid = readOwner(pid)?.uid
    const wanted = uid === undefined ? undefined : byUid.get(uid)
    if (uid === undefined || wanted === undefined) continue
    const { found, closed } = held(pid, wanted, budget)
    note(holders, pid, found)
    if (closed) unreadable.set(uid, (unreadable.get(uid) ?? 0) + 1)
  }
  return holders
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

/** Each process is looked at before and after: the facts are those of one that held the socket all the while. */
function judge(asked: readonly Sought[], holders: ReadonlyMap<number, readonly number[]>, root: number, into: Map<number, Found>): void {
  const byPid = new Map<number, Sought[]>()
  for (const one of asked) {
    const pids = holders.get(one.inode)
    if (pids === undefined) continue
    const [pid] = pids as readonly [number]
    if (pids.length > 1) into.set(one.inode, nobody(`${pids.length} processes hold the socket: ${pids.slice(0, 8).join(', ')}`))
    else byPid.set(pid, [...(byPid.get(pid) ?? []), one])
  }
  for (const [pid, own] of byPid) {
    const before = likeness(pid)
    const facts = readFacts(pid)
    const again = held(pid, new Set(own.map(({ inode }) => inode)), { processes: 1, descriptors: limits.ownerDescriptorsMax }).found
    const changed = facts !== null && (likeness(pid) !== before || !before.startsWith(`${facts.startTicks} `))
    for (const { uid, inode } of own) {
      if (facts === null) into.set(inode, nobody(`process ${pid} is gone`))
      else if (facts.uid !== uid) into.set(inode, nobody(`process ${pid} of uid ${facts.uid} holds a socket of uid ${uid}`))
      else if (!again.has(inode)) into.set(inode, nobody(`process ${pid} let go of the socket`))
      else if (changed) into.set(inode, nobody(`process ${pid} changed while it was looked at`))
      else into.set(inode, { process: facts, likeness: before, why: '', unreadable: false, root })
    }
  }
}

/** The facts of one process that is known already; nobody when it is another by now. */
export function lookAt(pid: number, startTicks: string): Found {
  const before = likeness(pid)
  const facts = readFacts(pid)
  if (facts === null || facts.startTicks !== startTicks) return nobody(`process ${pid} is gone`)
  if (likeness(pid) !== before || !before.startsWith(`${startTicks} `)) return nobody(`process ${pid} changed while it was looked at`)
  return { process: facts, likeness: before, why: '', unreadable: false, root: 0 }
}

interface Held {
  readonly found: ReadonlySet<number>
  /** Some of it may not be looked at. */
  readonly closed: boolean
}

/** What of the wanted stands in its own descriptor table, or in that of a thread that has unshared it. */
function held(pid: number, wanted: ReadonlySet<number>, budget: Budget): Held {
  const found = new Set<number>()
  if (!addHeld(`/proc/${pid}/fd`, wanted, found, budget)) return { found, closed: true }
  if (found.size === wanted.size) return { found, closed: false }
  for (const thread of names(`/proc/${pid}/task`) ?? []) {
    if (Number(thread) === pid || sharesDescriptors(pid, Number(thread)) === true) continue
    if (!addHeld(`/proc/${pid}/task/${thread}/fd`, wanted, found, budget)) return { found, closed: true }
  }
  return { found, closed: false }
}

/** False where the table may not be read. */
function addHeld(folder: string, wanted: ReadonlySet<number>, found: Set<number>, budget: Budget): boolean {
  const descriptors = names(folder)
  if (descriptors === null) return false
  // From the newest: a connection just made is seldom the oldest descriptor.
  for (let at = descriptors.length - 1; at >= 0 && found.size < wanted.size; at--) {
    if (budget.descriptors-- <= 0) return true
    const link = mayReadLink(`${folder}/${descriptors[at]}`)
    // The kernel lets us see that they are there and not what they are: no other of this table either.
    if (link === null) return true
    if (!link.startsWith('socket:[')) continue
    const inode = Number(link.slice('socket:['.length, -1))
    if (wanted.has(inode)) found.add(inode)
  }
  return true
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
