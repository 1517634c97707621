// Where configuration and data lie when nobody says so. Never the current directory: a project could bring a configuration of
// its own, and with it another agent's rights.
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { readSource } from './source.ts'

/** A path of the configuration: relative to it, or below the home of whom it runs as. */
export function pathFrom(base: string, text: string): string {
  return text.startsWith('~/') ? join(homedir(), text.slice(2)) : resolve(base, text)
}

type Environment = Readonly<Record<string, string | undefined>>

/** XDG Base Directory Specification: "All paths must be absolute"; a relative one is ignored. */
function xdg(env: Environment, name: string, fallback: string): string {
  const named = env[name] ?? ''
  return isAbsolute(named) ? named : join(homedir(), fallback)
}

function named(env: Environment, name: string): string | null {
  const text = env[name] ?? ''
  return text === '' ? null : resolve(text)
}

export function defaultConfigFile(env: Environment): string {
  return named(env, 'OSTIARY_CONFIG') ?? join(xdg(env, 'XDG_CONFIG_HOME', '.config'), 'ostiary', 'ostiary.yaml')
}

export function defaultDataDir(env: Environment): string {
  return named(env, 'OSTIARY_DATA') ?? join(xdg(env, 'XDG_DATA_HOME', join('.local', 'share')), 'ostiary')
}

export interface Named {
  readonly config?: string | undefined
  readonly data?: string | undefined
}

export interface Places {
  /** null: there is none, and none was named; the empty configuration denies all. */
  readonly configFile: string | null
  readonly dataDir: string
}

/** What was named on the command line, else in the environment, else in the file, else the user's own. */
export function placesOf(options: Named, env: Environment): Places {
  const wanted = options.config ?? named(env, 'OSTIARY_CONFIG')
  const own = defaultConfigFile(env)
  const configFile = wanted ?? (existsSync(own) ? own : null)
  const given = options.data ?? named(env, 'OSTIARY_DATA')
  if (given !== null) return { configFile, dataDir: resolve(given) }
  return { configFile, dataDir: (configFile === null ? null : dataDirIn(configFile)) ?? defaultDataDir(env) }
}

/** The file's own word, mistakes or not: `stop` and `status` must find a server whose file was broken since. */
function dataDirIn(file: string): string | null {
  const { value, base } = readSource(resolve(file))
  const dataDir = typeof value === 'object' && value !== null ? (value as { dataDir?: unknown }).dataDir : undefined
  return typeof dataDir === 'string' && dataDir !== '' ? pathFrom(base, dataDir) : null
}
