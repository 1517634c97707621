// Finds every static key once, with all places where it stands. Reads only; what it returns holds values, so it is never printed
// whole: `said` is what may be.
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { systemClock } from '../../model/clock.ts'
import { limits } from '../../model/limits.ts'
import { exposureOf } from './exposure.ts'
import { isSetUpToken, masked, type Spotted, serviceOf, spot } from './keys.ts'
import { type PlaceKind, placesIn } from './places.ts'
import { rotateAt } from './vendors.ts'

export interface Standing {
  /** null: a variable of this process. */
  readonly path: string | null
  readonly kind: PlaceKind | 'variable'
  /** Of the first one in the file; the name of the variable stands in `name`. */
  readonly line: number
  readonly name: string
  times: number
  readonly exposure: readonly string[]
}

export interface FoundKey {
  readonly value: string
  readonly vendor: string
  /** Of the catalog; null where no agent can be given it through Ostiary yet. */
  readonly service: string | null
  readonly setUpToken: boolean
  readonly standings: Standing[]
}

export interface Search {
  readonly keys: readonly FoundKey[]
  readonly left: readonly string[]
}

export interface Where {
  readonly home: string
  readonly cwd: string
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Folders and files of Ostiary itself. */
  readonly own: readonly string[]
}

export function findKeys(where: Where): Search {
  const keys = new Map<string, FoundKey>()
  const { places, left } = placesIn(where.home, where.cwd, where.own)
  const said = [...left]
  const note = (text: string, spotted: readonly Spotted[], standing: Omit<Standing, 'line' | 'times' | 'name'>): void => {
    for (const one of spotted) {
      if (keys.size >= limits.initKeysMax && !keys.has(one.value)) {
        if (!said.includes(tooMany)) said.push(tooMany)
        return
      }
      const found = keys.get(one.value) ?? {
        value: one.value,
        vendor: one.vendor,
        service: serviceOf(one),
        setUpToken: isSetUpToken(one.value),
        standings: [],
      }
      keys.set(one.value, found)
      const known = found.standings.find((other) => other.path === standing.path && (standing.path !== null || other.name === one.name))
      if (known !== undefined) known.times++
      else found.standings.push({ ...standing, name: one.name, line: lineAt(text, one.start), times: 1 })
    }
  }
  for (const [name, value] of Object.entries(where.environment))
    if (value !== undefined && value !== '')
      note(`${name}=${value}`, spot(`${name}=${value}`), { path: null, kind: 'variable', exposure: [] })
  // What is read most slowly comes last.
  const ordered = [...places].sort((a, b) => Number(a.kind === 'transcript') - Number(b.kind === 'transcript'))
  const until = systemClock.monotonic() + limits.initReadMs
  for (const [at, { path, kind }] of ordered.entries()) {
    if (systemClock.monotonic() > until) {
      said.push(`${ordered.length - at} files, transcripts mostly, were not looked at within ${limits.initReadMs / 1000} s`)
      break
    }
    const read = readPlace(path)
    if (typeof read === 'string') {
      if (read !== '') said.push(read)
      continue
    }
    const text = read.bytes.toString('latin1')
    const spotted = spot(text)
    if (spotted.length > 0) note(text, spotted, { path, kind, exposure: exposureOf(path) })
  }
  return { keys: [...keys.values()], left: said }
}

const tooMany = `more than ${limits.initKeysMax} keys: the rest is not listed, run \`ostiary init\` again after these`

/** The bytes, or a sentence why not; no sentence where there is nothing to say. */
function readPlace(path: string): { readonly bytes: Buffer } | string {
  try {
    // A pipe of that name would wait for a writer.
    const opened = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const { size, isFile } = sized(opened)
      if (!isFile) return ''
      if (size > limits.initFileBytesMax) return `${path} is larger than ${limits.initFileBytesMax / 1024 / 1024} MiB and was not looked at`
      return { bytes: readFileSync(opened) }
    } finally {
      closeSync(opened)
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' || code === 'ELOOP' ? '' : `${path} could not be read (${code})`
  }
}

function sized(opened: number): { readonly size: number; readonly isFile: boolean } {
  const found = fstatSync(opened)
  return { size: found.size, isFile: found.isFile() }
}

function lineAt(text: string, start: number): number {
  let line = 1
  for (let at = text.indexOf('\n'); at >= 0 && at < start; at = text.indexOf('\n', at + 1)) line++
  return line
}

/** What may be printed of a key. */
export function said({ value, vendor, service, setUpToken, standings }: FoundKey): Readonly<Record<string, unknown>> {
  return {
    vendor,
    service,
    key: masked(value),
    what: setUpToken ? 'set-up token' : 'key',
    rotate: rotateAt[vendor] ?? `${vendor}: in its console`,
    places: standings.map(({ path, kind, line, name, times, exposure }) =>
      path === null
        ? { kind, variable: name, exposure: ['every process that you start inherits it'] }
        : { kind, path, line, times, exposure },
    ),
  }
}
