// Runs and what belongs to them: pointer, placeholders, suspension. In memory; a restart ends every run. The broker's are the ones
// that count; a further process of the data plane has their likeness, which follows each change and makes none.
import { createHash, randomBytes } from 'node:crypto'
import type { Clock } from '../model/clock.ts'
import type { ProcessFacts } from '../model/evidence.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Run } from '../model/run.ts'
import type { Service } from '../model/service.ts'

/** Stands in every placeholder, so that one cheap search tells whether a head carries any. */
export const placeholderMarker = 'Ost1ary'

export interface Opening {
  readonly workload: string
  readonly startedBy: string
  readonly command: string
  readonly custody: string
  /** `pid:startTicks` of the launcher; membership is descent from it. */
  readonly root: string
  /** PID namespace of the launcher: a run has one of its own where its processes are in another. */
  readonly pidNamespace?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly parent?: string | null
}

export interface Suspension {
  readonly sender: string
  readonly run: string | null
  readonly since: number
  readonly trips: number
}

/** What a likeness follows. What is inside of a run ends, stops and goes on with it. */
export type RunChange =
  | { readonly kind: 'opened'; readonly run: Omit<Run, 'ended'>; readonly launchedFrom: string }
  | { readonly kind: 'ended' | 'suspended' | 'resumed'; readonly id: string }
  | { readonly kind: 'sender'; readonly suspension: Suspension }

/** Equal calls of a run that were refused. */
export interface Blocked {
  readonly host: string
  readonly action: string
  readonly code: string
  count: number
}

interface Kept {
  run: Run
  /** PID namespace of the launcher. */
  readonly launchedFrom: string
  calls: number
  refused: number
  readonly blocked: Map<string, Blocked>
  readonly end: AbortController
  trips: number[]
}

export interface RunsOptions {
  readonly clock: Clock
  readonly services: (workload: string) => readonly Service[]
  readonly suspension: () => { readonly trips: number; readonly windowMs: number }
  readonly ownPidNamespace: string
  readonly onSuspended: (suspension: Suspension) => void
  /** Told of each change, in their order. */
  readonly changed?: (change: RunChange) => void
}

export type Runs = ReturnType<typeof createRuns>

export function createRuns(options: RunsOptions) {
  const runs = new Map<string, Kept>()
  const byPointer = new Map<string, string>()
  const byRoot = new Map<string, string>()
  const owners = new Map<string, { run: string; service: string }>()
  const senders = new Map<string, { trips: number[]; suspended: Suspension | null }>()
  const { changed = () => {} } = options

  function open(opening: Opening): Run {
    if (runs.size >= limits.runsMax) dropEnded()
    if (runs.size >= limits.runsMax) throw new Refusal('accept.too_many', 'runsMax')
    if (opening.parent != null && openInside(outermost(opening.parent)) >= limits.innerRunsMax)
      throw new Refusal('accept.too_many', 'innerRunsMax')
    const id = `run-${randomBytes(6).toString('hex')}`
    const pointer = `run-${randomBytes(16).toString('hex')}`
    const placeholders = options
      .services(opening.workload)
      .filter((service) => service.credential === 'required')
      .map((service) => ({ service: service.name, value: placeholderFor(service) }))
    const run = {
      id,
      pointer,
      workload: opening.workload,
      startedBy: opening.startedBy,
      startedAt: options.clock.now(),
      command: opening.command,
      labels: opening.labels ?? {},
      parent: opening.parent ?? null,
      custody: opening.custody,
      placeholders,
      root: opening.root,
      pidNamespace: '',
      state: 'open',
    } as const
    const launchedFrom = opening.pidNamespace ?? options.ownPidNamespace
    changed({ kind: 'opened', run, launchedFrom })
    return keep(run, launchedFrom)
  }

  function keep(known: Omit<Run, 'ended'>, launchedFrom: string): Run {
    const { id, pointer, root, placeholders } = known
    const end = new AbortController()
    const run = { ...known, ended: end.signal }
    runs.set(id, { run, end, trips: [], launchedFrom, calls: 0, refused: 0, blocked: new Map() })
    byPointer.set(pointer, id)
    byRoot.set(root, id)
    for (const { service, value } of placeholders) owners.set(value, { run: id, service })
    return run
  }

  function follow(change: RunChange): void {
    switch (change.kind) {
      case 'opened':
        if (runs.size >= limits.runsMax) dropEnded()
        return void keep(change.run, change.launchedFrom)
      case 'ended':
        return void end(change.id)
      case 'suspended':
        return suspend(change.id)
      case 'resumed':
        return runs.has(change.id) || senders.has(change.id) ? resume(change.id) : undefined
      case 'sender':
        return void senders.set(change.suspension.sender, { trips: [], suspended: change.suspension })
    }
  }

  /** Ended runs stay known for a while, so that their pointers and placeholders are recognised as dead. */
  function dropEnded(): void {
    for (const [id, kept] of runs) {
      if (kept.run.state !== 'ended') continue
      runs.delete(id)
      byPointer.delete(kept.run.pointer)
      byRoot.delete(kept.run.root)
      for (const { value } of kept.run.placeholders) owners.delete(value)
    }
  }

  function end(id: string): boolean {
    const kept = runs.get(id)
    if (kept === undefined || kept.run.state === 'ended') return false
    changed({ kind: 'ended', id })
    kept.run = { ...kept.run, state: 'ended' }
    kept.end.abort()
    // What was started inside of it may do nothing that it may not.
    for (const inner of childrenOf(id)) end(inner)
    return true
  }

  function outermost(id: string): string {
    const parent = runs.get(id)?.run.parent ?? null
    return parent === null ? id : outermost(parent)
  }

  function openInside(id: string): number {
    const open = childrenOf(id).filter((inner) => runs.get(inner)?.run.state !== 'ended')
    return open.reduce((sum, inner) => sum + 1 + openInside(inner), 0)
  }

  function childrenOf(id: string): readonly string[] {
    return [...runs.values()].filter((kept) => kept.run.parent === id).map((kept) => kept.run.id)
  }

  function suspend(id: string): void {
    const kept = runs.get(id)
    if (kept?.run.state === 'open') {
      changed({ kind: 'suspended', id })
      kept.run = { ...kept.run, state: 'suspended' }
    }
    for (const inner of childrenOf(id)) suspend(inner)
  }

  /** A run, or a sender outside of any. */
  function resume(id: string): void {
    const kept = runs.get(id)
    const sender = senders.delete(id)
    if (kept === undefined && !sender) throw new Refusal('runs.unknown', id)
    changed({ kind: 'resumed', id })
    if (kept?.run.state !== 'suspended') return
    kept.run = { ...kept.run, state: 'open' }
    for (const inner of childrenOf(id)) resume(inner)
  }

  /** The innermost run that the process descends from. */
  function member(process: ProcessFacts): Run | null {
    for (const ancestor of process.ancestors) {
      const id = byRoot.get(ancestor)
      const kept = id === undefined ? undefined : runs.get(id)
      if (kept === undefined) continue
      // A launcher says which custody it made; that the process really is in another PID namespace is the kernel's word.
      const foreign = process.pidNamespace !== options.ownPidNamespace && process.pidNamespace !== kept.launchedFrom
      const namespaced = process.pidNamespace !== '' && foreign
      return namespaced ? kept.run : { ...kept.run, custody: 'shared-user' }
    }
    return null
  }

  /** A tripwire was touched: it counts against the sender, never against the owner of what was sent (invariant 17). */
  function trip(run: string | null, otherwise: string): void {
    const sender = run ?? otherwise
    const now = options.clock.now()
    const { trips: tripsMax, windowMs } = options.suspension()
    if (!senders.has(sender) && senders.size >= limits.runsMax) senders.delete(senders.keys().next().value as string)
    const kept = senders.get(sender) ?? { trips: [], suspended: null }
    senders.set(sender, kept)
    kept.trips = [...kept.trips.filter((at) => now - at < windowMs), now].slice(-tripsMax)
    if (kept.suspended !== null || kept.trips.length < tripsMax) return
    kept.suspended = { sender, run, since: now, trips: kept.trips.length }
    if (run === null) changed({ kind: 'sender', suspension: kept.suspended })
    else suspend(run)
    options.onSuspended(kept.suspended)
  }

  /** A call of a run came to its end: `code` of its refusal, or null. */
  function count(id: string, call: { readonly host: string; readonly action: string; readonly code: string | null }): void {
    const kept = runs.get(id)
    if (kept === undefined) return
    kept.calls += 1
    const { host, action, code } = call
    if (code === null) return
    kept.refused += 1
    const key = JSON.stringify([host, action, code])
    const known = kept.blocked.get(key)
    if (known !== undefined) known.count += 1
    else if (kept.blocked.size < limits.blockedKindsPerRunMax) kept.blocked.set(key, { host, action, code, count: 1 })
  }

  return {
    open,
    end,
    count,
    blocked: (id: string): readonly Blocked[] => [...(runs.get(id)?.blocked.values() ?? [])],
    counts: (id: string) => ({ calls: runs.get(id)?.calls ?? 0, blocked: runs.get(id)?.refused ?? 0 }),
    resume,
    member,
    trip,
    follow,
    /** What makes a likeness of these, as they are now. */
    all: (): readonly RunChange[] => [
      ...[...runs.values()].map(({ run: { ended: _, ...run }, launchedFrom }) => ({ kind: 'opened' as const, run, launchedFrom })),
      ...[...senders.values()].flatMap(({ suspended }) => (suspended === null ? [] : [{ kind: 'sender' as const, suspension: suspended }])),
    ],
    placeholders: {
      marker: placeholderMarker,
      of: (run: string, service: string): string | null =>
        runs.get(run)?.run.placeholders.find((one) => one.service === service)?.value ?? null,
      owner: (value: string): { run: string; service: string } | null => owners.get(value) ?? null,
    },
    byPointer: (pointer: string): Run | null => runs.get(byPointer.get(pointer) ?? '')?.run ?? null,
    byId: (id: string): Run | null => runs.get(id)?.run ?? null,
    /** Is a sender that is in no run suspended? */
    suspended: (sender: string): boolean => senders.get(sender)?.suspended != null,
    suspensions: (): readonly Suspension[] => [...senders.values()].flatMap((one) => (one.suspended === null ? [] : [one.suspended])),
    list: (): readonly Run[] => [...runs.values()].map((kept) => kept.run),
    /** Host pids of the roots of live runs, for the search of a connection's owner. */
    rootPids: (): readonly number[] =>
      [...runs.values()].filter((kept) => kept.run.state !== 'ended').map((kept) => Number(kept.run.root.split(':')[0])),
    endAll(): void {
      for (const id of runs.keys()) end(id)
    },
  }
}

/** A value of the vendor's shape that no vendor would accept. */
function placeholderFor(service: Service): string {
  const random = createHash('sha512').update(randomBytes(32)).digest('base64').replace(/[+/=]/g, '')
  const length = service.keyPrefix === 'AIza' ? 39 : service.keyPrefix.length + placeholderMarker.length + 33
  return `${service.keyPrefix}${placeholderMarker}${random}`.slice(0, length)
}
