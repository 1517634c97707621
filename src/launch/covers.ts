// Decides what of a machine a run sees: looks at the home, the sockets and the mounts that are there now and makes the list of
// steps that sandbox.ts carries out. It changes nothing itself. It must never leave a protected path whose parent can be renamed:
// whoever renames the parent makes a new one beside the cover.
import { accessSync, constants, globSync, lstatSync, readFileSync, readlinkSync, realpathSync, type Stats, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { type Door, doors, harmlessSockets, rootsOwn, runsLater } from './doors.ts'

/** What the broker asks to be covered: its own things. */
export interface OwnThings {
  /** Folders that do not exist for the command: the data directory, the door of the run socket. */
  readonly hidden: readonly string[]
  /** Folders it sees but cannot write: those of the configuration, Ostiary's code and Node. */
  readonly readOnly: readonly string[]
  /** Files that it finds empty: the configuration and what it names. */
  readonly blank: readonly string[]
  /** Folders that stay although they lie below /tmp: the public CA bundle. */
  readonly kept: readonly string[]
}

export interface Machine {
  readonly uid: number
  readonly home: string
  readonly workingDir: string
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Names of doors, or absolute paths of sockets. */
  readonly exposed: readonly string[]
  readonly own: OwnThings
}

export type Step = readonly [
  what: 'net' | 'names' | 'keep' | 'replace' | 'dev' | 'pin' | 'lock' | 'ro' | 'hidden' | 'blank' | 'json' | 'roots' | 'nss',
  path: string,
]

/** A path at which nothing may appear during the run, or a symbolic link that has to stay. */
export interface Watched {
  readonly path: string
  readonly link: string | null
  /** Its uppermost part that was not there: below it nothing may be a link. */
  readonly absent: string
}

export interface Plan {
  readonly steps: readonly Step[]
  readonly watched: readonly Watched[]
  /** Doors that hide something that is there. */
  readonly shut: readonly string[]
  readonly notes: readonly string[]
}

/** Names that open nothing: to be refused before anything starts. */
export function unknownExposed(names: readonly string[]): readonly string[] {
  return names.filter((name) => !/^\/[\w./-]+$/.test(name) && !doors.some((door) => door.name === name))
}

/** Variables that lead to what is not exposed. */
export function shutVariables(exposed: readonly string[]): ReadonlySet<string> {
  return new Set(doors.filter((door) => !exposed.includes(door.name)).flatMap((door) => door.variables ?? []))
}

export function planCovers(machine: Machine): Plan {
  const notes: string[] = []
  const replaced = replacedFolders(machine)
  const away = (path: string): boolean => replaced.some((folder) => inside(path, folder))
  const { covers, keeps, shut, spared } = planDoors(machine, away, notes)
  const { readOnly, watched } = planLater(machine, away, notes)
  for (const path of otherSockets(machine, (path) => away(path) || spared.has(path))) covers.push([kindOf(path), path])
  const { own } = machine
  for (const path of own.hidden) covers.push(['hidden', path])
  for (const path of own.blank) covers.push(['blank', path])
  for (const path of own.readOnly) readOnly.push(path)
  const kept = [...new Set([machine.workingDir, ...own.kept, ...keeps])].filter(away)
  // What lies in a folder that is kept is there with it.
  const within = (path: string): boolean => kept.some((folder) => folder !== path && inside(path, folder))
  const keep = kept.filter((path) => !within(path)).map((path): Step => ['keep', path])
  const protections = [...covers, ...readOnly.map((path): Step => ['ro', path])].filter(([, path]) => !away(path) || isKept(path, keep))
  const mounts = mountPoints()
  const submounts = readOnly.flatMap((path) => mounts.filter((point) => point !== path && inside(point, path)))
  const places = [...protections.map(([, path]) => path), ...watched.map((one) => one.absent)]
  const later = [...pins(machine, places, away), ...protections, ...submounts.map((path): Step => ['lock', path])]
  const asIs = machine.exposed.includes('devices')
  return {
    steps: [
      ...keep,
      ...replaced.map((path): Step => ['replace', path]),
      ...(machine.uid === 0 ? rootsLocks(machine, mounts, replaced, notes) : []),
      ...ordered(later),
      ...(asIs ? [] : [['dev', '/dev'] as const]),
    ],
    watched,
    shut,
    notes,
  }
}

const inside = (path: string, folder: string): boolean => path === folder || folder === '/' || path.startsWith(`${folder}/`)
const isKept = (path: string, keep: readonly Step[]): boolean => keep.some(([, folder]) => inside(path, folder))

/** Below the working directory, where that is not the home or above it. */
function isProject(path: string, { workingDir, home }: Machine): boolean {
  return inside(path, workingDir) && !inside(home, workingDir)
}

/** Parents before children; on one path a pin before what lies upon it. */
function ordered(steps: readonly Step[]): readonly Step[] {
  const rank = { pin: 0, ro: 1, lock: 2 } as Readonly<Record<string, number>>
  const depth = (path: string): number => path.split('/').length
  const unique = new Map(steps.map((step) => [step.join('\0'), step]))
  return [...unique.values()].sort((a, b) => depth(a[1]) - depth(b[1]) || (rank[a[0]] ?? 3) - (rank[b[0]] ?? 3))
}

function statOf(path: string, follow = true): Stats | null {
  try {
    return follow ? statSync(path) : lstatSync(path)
  } catch {
    return null
  }
}

function kindOf(path: string): Step[0] {
  if (statOf(path)?.isDirectory() === true) return 'hidden'
  return path.endsWith('.json') ? 'json' : 'blank'
}

/** /tmp, and the runtime folder of the user: the run gets its own. */
function replacedFolders({ uid, environment, home, workingDir }: Machine): readonly string[] {
  const named = environment['XDG_RUNTIME_DIR'] ?? ''
  const mayGo = (path: string): boolean => {
    const stat = statOf(path)
    return path.startsWith('/') && stat?.isDirectory() === true && stat.uid === uid && !inside(home, path) && !inside(workingDir, path)
  }
  const runtime = [`/run/user/${uid}`, named].filter((path) => mayGo(path) && !inside(path, '/tmp'))
  return ['/tmp', ...new Set(runtime)]
}

/** Paths of a pattern that are there; `~/.config` is also where XDG_CONFIG_HOME says. */
function found(pattern: string, { home, uid, workingDir, environment }: Machine): readonly string[] {
  const config = environment['XDG_CONFIG_HOME'] ?? ''
  const runtime = environment['XDG_RUNTIME_DIR'] ?? `/run/user/${uid}`
  const base = pattern
    .replace(/^~\//, `${home}/`)
    .replace(/^\.\//, `${workingDir}/`)
    .replace(/^\$RUN\//, `${runtime}/`)
  const moved = config.startsWith('/') && pattern.startsWith('~/.config/') ? [join(config, pattern.slice('~/.config/'.length))] : []
  return [base, ...moved].flatMap((path) => {
    if (!path.includes('*')) return statOf(path) === null ? [] : [path]
    const folder = dirname(path)
    return globSync(path.slice(folder.length + 1), { cwd: folder }).map((name) => join(folder, name))
  })
}

function planDoors(machine: Machine, away: (path: string) => boolean, notes: string[]) {
  const covers: Step[] = []
  const keeps: string[] = []
  const shut: string[] = []
  const spared = new Set(machine.exposed.filter((name) => name.startsWith('/')))
  for (const path of spared) if (away(path)) keeps.push(path)
  const pathsOf = (door: Door): readonly string[] => [
    ...door.paths.flatMap((pattern) => found(pattern, machine)),
    ...(door.named ?? []).flatMap((name) => namedPaths(machine.environment[name] ?? '', machine.workingDir)),
  ]
  for (const door of doors.filter((door) => machine.exposed.includes(door.name)))
    for (const path of pathsOf(door)) {
      spared.add(path)
      if (away(path)) keeps.push(path)
    }
  for (const door of doors.filter((door) => door.name !== 'devices' && !machine.exposed.includes(door.name))) {
    for (const path of pathsOf(door)) {
      if (spared.has(path) || !holds(path, door.when) || /\.(?:example|sample|template|dist)$/.test(path)) continue
      if (!shut.includes(door.name)) shut.push(door.name)
      if (away(path)) continue
      const real = realpathSync(path)
      if (inside(machine.workingDir, real)) notes.push(`${real} is the working directory, so ${door.name} stays visible`)
      else covers.push([kindOf(real), real])
    }
  }
  return { covers, keeps, shut, spared }
}

function namedPaths(value: string, workingDir: string): readonly string[] {
  return value
    .split(':')
    .filter((path) => path !== '')
    .map((path) => resolve(workingDir, path))
    .filter((path) => statOf(path) !== null && path !== '/')
}

function holds(path: string, when: RegExp | undefined): boolean {
  if (when === undefined) return true
  try {
    return statSync(path).isFile() && when.test(readFileSync(path, 'latin1').slice(0, 65_536))
  } catch {
    return false // what its owner cannot read, the command cannot either
  }
}

/** What would run later outside the run, and the folders of PATH. */
function planLater(machine: Machine, away: (path: string) => boolean, notes: string[]) {
  const readOnly: string[] = []
  const watched: Watched[] = []
  const { home, workingDir, environment } = machine
  const zsh =
    environment['ZDOTDIR'] === undefined
      ? []
      : ['.zshrc', '.zshenv', '.zprofile', '.zlogin'].map((name) => join(environment['ZDOTDIR'] as string, name))
  const config = environment['XDG_CONFIG_HOME'] ?? ''
  const names = runsLater.flatMap((name) => [
    name.replace(/^~/, home),
    ...(config.startsWith('/') && name.startsWith('~/.config/') ? [name.replace(/^~\/\.config/, config)] : []),
  ])
  for (const path of [...names, ...zsh, ...gitHooks(home)]) {
    if (away(path)) continue
    const stat = statOf(path, false)
    if (stat === null) watched.push({ path, link: null, absent: firstAbsent(path) })
    else if (stat.isSymbolicLink()) watched.push({ path, link: readlinkSync(path), absent: path })
    const real = stat === null || statOf(path) === null ? null : realpathSync(path)
    if (real === null) continue
    if (inside(workingDir, real)) notes.push(`${real} is the working directory: what the command writes there may run later`)
    else readOnly.push(real)
  }
  for (const path of new Set((environment['PATH'] ?? '').split(':'))) {
    const stat = path.startsWith('/') ? statOf(path) : null
    if (stat?.isDirectory() !== true || !mayChange(path, stat, machine.uid)) continue
    const real = realpathSync(path)
    if (away(real) || isProject(real, machine)) continue
    if (inside(workingDir, real) || inside(home, real)) notes.push(`PATH names ${real}, which cannot be read-only`)
    else readOnly.push(real)
  }
  return { readOnly: [...new Set(readOnly)], watched: [...new Map(watched.map((one) => [one.path, one])).values()] }
}

function mayChange(path: string, stat: Stats, uid: number): boolean {
  if (stat.uid === uid) return true
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Where the global configuration of git says that hooks lie. */
function gitHooks(home: string): readonly string[] {
  return [join(home, '.gitconfig'), join(home, '.config/git/config')].flatMap((file) => {
    try {
      const paths = [...readFileSync(file, 'utf8').matchAll(/^\s*(?:hooksPath|templateDir)\s*=\s*"?([^"\n]+?)"?\s*$/gim)]
      return paths.map(([, path]) => resolve(home, (path as string).replace(/^~\//, `${home}/`)))
    } catch {
      return []
    }
  })
}

/** The uppermost part of a path that is not there. */
function firstAbsent(path: string): string {
  const parent = dirname(path)
  return statOf(parent, false) === null ? firstAbsent(parent) : path
}

/** Sockets with a name that the user may connect to, and that no door speaks of. */
function otherSockets(machine: Machine, skip: (path: string) => boolean): readonly string[] {
  const { own } = machine
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n')
  const paths = new Set(lines.flatMap((line) => /^(?:\S+\s+){7}(\/.*)$/.exec(line)?.[1] ?? []))
  return [...paths].filter((path) => {
    if (skip(path) || harmlessSockets.test(path) || isProject(path, machine) || own.hidden.some((folder) => inside(path, folder)))
      return false
    try {
      accessSync(path, constants.W_OK)
      return statSync(path).isSocket()
    } catch {
      return false
    }
  })
}

/** Parents of what is protected that the user could rename: a mount point cannot be. */
function pins(machine: Machine, places: readonly string[], away: (path: string) => boolean): readonly Step[] {
  const parents = new Set<string>()
  for (const path of places)
    for (let at = dirname(path); at !== '/' && at !== '.'; at = dirname(at)) {
      const stat = statOf(dirname(at))
      const rootsLock = machine.uid === 0 && ![machine.home, machine.workingDir].some((folder) => inside(at, folder))
      if (!away(at) && !rootsLock && stat !== null && mayChange(dirname(at), stat, machine.uid)) parents.add(at)
    }
  return [...parents].map((path): Step => ['pin', path])
}

function mountPoints(): readonly string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\n')
  return [
    ...new Set(
      lines.map((line) =>
        (line.split(' ')[4] as string).replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8))),
      ),
    ),
  ]
}

/** No folder of the system is anybody's project. */
const systems = /^\/(?:(?:etc|usr|bin|sbin|lib\w*|var|run|boot|dev|proc|sys|home|opt|srv|mnt|media)(?:\/(?:bin|sbin|lib|local|share))?)?$/

/** uid 0 without a capability still owns the machine's files: all but the home and the working directory becomes read-only. */
function rootsLocks(machine: Machine, mounts: readonly string[], replaced: readonly string[], notes: string[]): readonly Step[] {
  const free = [machine.home, machine.workingDir].filter((path) => !systems.test(path) && !replaced.some((folder) => inside(path, folder)))
  if (systems.test(machine.workingDir)) notes.push(`the working directory ${machine.workingDir} belongs to the system: it is read-only`)
  const apart = [...free, ...replaced, '/dev', '/proc']
  const locked = mounts.filter((point) => !apart.some((folder) => inside(point, folder)))
  const kernels = ['/proc/sys', '/proc/sysrq-trigger', '/proc/irq', '/proc/bus', '/proc/fs', '/proc/acpi', '/proc/scsi']
  return [
    ...free.map((path): Step => ['pin', path]),
    ...locked.map((path): Step => ['lock', path]),
    ...kernels.map((path): Step => ['ro', path]),
    ...[...rootsOwn, ...globSync('/etc/ssh/ssh_host_*_key')]
      .filter((path) => statOf(path) !== null)
      .map((path): Step => [kindOf(path), path]),
  ]
}
