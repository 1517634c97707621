// What every command gets: where things lie, and how to say something.
import { placesOf } from '../config/places.ts'
import type { Output } from './print.ts'

export interface Context {
  readonly dataDir: string
  /** null: there is none, and none was named; the empty configuration denies all. */
  readonly configFile: string | null
  readonly out: Output
}

export interface GlobalOptions {
  readonly config?: string
  readonly data?: string
  readonly json?: boolean
}

/** The configuration is the one that was named, or the user's own; never one of the current directory. */
export function whereThingsLie(options: GlobalOptions): { readonly dataDir: string; readonly configFile: string | null } {
  return placesOf(options, process.env)
}

/** What changes who may do what is done at a terminal outside any run. */
export function refusedInsideRun(): string | null {
  return process.env['OSTIARY_RUN'] === undefined ? null : 'this is refused inside a run: use a terminal outside any run'
}

/** Commands that touch secrets run in no environment that could carry them away. */
export function refusedWithSecrets(): string | null {
  const inside = refusedInsideRun()
  if (inside !== null) return inside
  for (const name of ['NODE_OPTIONS', 'LD_PRELOAD'])
    if ((process.env[name] ?? '') !== '') return `${name} is set, and with it other code could see the secret: unset it first`
  return null
}
