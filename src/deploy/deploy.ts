// Installs Ostiary on a server with systemd, and removes it: a list of steps that can be shown before any is done. It never
// overwrites a configuration or a file that it did not write, and doing it again changes nothing.
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Copied, programFiles } from './program.ts'
import {
  accountFiles,
  commandFile,
  type Doors,
  defaultConfig,
  ours,
  type Placed,
  places,
  services,
  sockets,
  unitFiles,
  user,
} from './units.ts'

export interface Step {
  /** What it does, in one line. */
  readonly says: string
  /** What was done, or why nothing had to be. */
  readonly run: () => string
}

export interface Target {
  /** Empty: this machine; else a folder that becomes a machine's root. */
  readonly root: string
  /** Is systemd PID 1 here? */
  readonly booted: boolean
  readonly call: (words: readonly string[]) => void
}

/** Runs a command; throws in its own words. */
export function callCommand(words: readonly string[]): void {
  const { status, stderr, error } = spawnSync(words[0] as string, words.slice(1), { encoding: 'utf8', timeout: 90_000 })
  if (error !== undefined) throw new Error(`${words[0]} cannot be started (${(error as NodeJS.ErrnoException).code}): systemd is needed`)
  if (status !== 0) throw new Error(`${words.join(' ')} ended with ${status}: ${stderr.trim()}`)
}

/** `source`: the folder of the running program; `node`: the Node that runs it. */
export function installSteps(target: Target, source: string, node: string, doors: Doors): readonly Step[] {
  const { files, extension } = programFiles(source, node)
  const units = unitFiles(doors, extension)
  const written = [...accountFiles, ...units].map((placed) => fileStep(target, placed, 0o644))
  // Only a changed socket is opened anew: at that moment the port is anybody's.
  const moved = units.some(({ path, text }) => path.endsWith('.socket') && textAt(join(target.root, path)) !== text)
  return [
    programStep(target, source, files),
    fileStep(target, commandFile, 0o755),
    configStep(target),
    ...written,
    commandStep(target, ['systemd-sysusers', ...rooted(target), 'ostiary.conf']),
    commandStep(target, ['systemd-tmpfiles', ...rooted(target), '--create', 'ostiary.conf']),
    commandStep(target, ['systemctl', ...rooted(target), 'enable', ...sockets, 'ostiary.service']),
    ...running(target, [
      ['systemctl', 'daemon-reload'],
      // A socket cannot start under a service that runs without it.
      ['systemctl', 'stop', ...services],
      ['systemctl', moved ? 'restart' : 'start', ...sockets],
      ['systemctl', 'start', 'ostiary.service'],
    ]),
  ]
}

export function uninstallSteps(target: Target, purge: boolean): readonly Step[] {
  const units = [...sockets, ...services]
  const account = [places.users, places.owned, places.command]
  const installed = existsSync(join(target.root, places.units, 'ostiary.service'))
  const disable = commandStep(target, ['systemctl', ...rooted(target), 'disable', ...sockets, 'ostiary.service'])
  return [
    ...(installed ? [...running(target, [['systemctl', 'stop', ...units]]), disable] : []),
    ...[...units.map((name) => `${places.units}/${name}`), ...account].map((path) => removeStep(target, path)),
    removeStep(target, places.program),
    ...running(target, [['systemctl', 'daemon-reload']]),
    ...(purge ? [places.configDir, places.data, places.publicData, places.cache].map((path) => removeStep(target, path)) : []),
    ...(purge ? [userStep(target)] : []),
  ]
}

const rooted = ({ root }: Target): readonly string[] => (root === '' ? [] : [`--root=${root}`])

function running({ booted, root, call }: Target, commands: readonly (readonly string[])[]): readonly Step[] {
  if (root !== '' || !booted) return []
  return commands.map((words) => commandStep({ booted, root, call }, words))
}

function commandStep({ call }: Target, words: readonly string[]): Step {
  return {
    says: `run      ${words.join(' ')}`,
    run() {
      call(words)
      return 'done'
    },
  }
}

/** null: nothing is there. */
function textAt(path: string): string | null {
  return existsSync(path) ? readFileSync(path, 'utf8') : null
}

function isOurs(text: string): boolean {
  return text.split('\n', 2).some((line) => line.startsWith(ours))
}

function fileStep({ root }: Target, { path, text }: Placed, mode: number): Step {
  const at = join(root, path)
  return {
    says: `write    ${at}`,
    run() {
      const there = textAt(at)
      if (there === text && (statSync(at).mode & 0o777) === mode) return 'unchanged'
      if (there !== null && !isOurs(there)) throw new Error(`${at} is there and not of this command: move it away, then install again`)
      mkdirSync(dirname(at), { recursive: true, mode: 0o755 })
      // Whole or not at all: a unit that is half written could be started.
      writeFileSync(`${at}.new`, text, { mode })
      chmodSync(`${at}.new`, mode)
      renameSync(`${at}.new`, at)
      return 'written'
    },
  }
}

function configStep({ root }: Target): Step {
  const at = join(root, places.config)
  return {
    says: `write    ${at} unless it is there`,
    run() {
      if (existsSync(at)) return 'kept'
      mkdirSync(dirname(dirname(at)), { recursive: true, mode: 0o755 })
      mkdirSync(dirname(at), { recursive: true, mode: 0o750 })
      writeFileSync(at, defaultConfig.text, { mode: 0o640, flag: 'wx' })
      return 'written'
    },
  }
}

const isProgram = (dir: string): boolean => /"name": "ostiary"/.test(textAt(join(dir, 'package.json')) ?? '')

/** Beside the old one, then in its place; owned by root and writable by nobody else, whatever the source was. */
function programStep({ root }: Target, source: string, files: readonly Copied[]): Step {
  const at = join(root, places.program)
  return {
    says: `copy     ${files.length} files to ${at}, the pinned Node among them`,
    run() {
      if (existsSync(at) && statSync(at).ino === statSync(source).ino && statSync(at).dev === statSync(source).dev)
        return 'this is the copy'
      if (existsSync(at) && !isProgram(at)) throw new Error(`${at} is there and is not Ostiary: move it away, then install again`)
      const [next, old] = [`${at}.new`, `${at}.old`]
      for (const dir of [next, old]) rmSync(dir, { recursive: true, force: true })
      for (const { from, to } of files) {
        const path = join(next, to)
        mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
        copyFileSync(from, path)
        chmodSync(path, (statSync(from).mode & 0o111) === 0 ? 0o644 : 0o755)
      }
      if (existsSync(at)) renameSync(at, old)
      renameSync(next, at)
      rmSync(old, { recursive: true, force: true })
      return 'copied'
    },
  }
}

function removeStep({ root }: Target, path: string): Step {
  const at = join(root, path)
  return {
    says: `remove   ${at}`,
    run() {
      if (!existsSync(at)) return 'not there'
      if (statSync(at).isFile() && !isOurs(readFileSync(at, 'utf8'))) return 'kept: not written by this command'
      if (path === places.program && !isProgram(at)) return 'kept: it is not Ostiary'
      rmSync(at, { recursive: true })
      return 'removed'
    },
  }
}

function userStep(target: Target): Step {
  const words = ['userdel', ...(target.root === '' ? [] : ['--prefix', target.root]), user]
  return {
    says: `run      ${words.join(' ')}`,
    run() {
      const known = (textAt(join(target.root, '/etc/passwd')) ?? '').split('\n').some((row) => row.startsWith(`${user}:`))
      if (!known) return 'not there'
      target.call(words)
      return 'removed'
    },
  }
}
