// Whatever Ostiary believes is in custody too: the configuration, every file that it names, its own code and its Node. Names
// each that somebody else may write; judges by what the file system says and changes nothing.
import { realpathSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Mistake } from '../model/refusal.ts'
import { cacheDirOf } from './cache.ts'
import type { Config } from './config.ts'

const programRoot = fileURLToPath(new URL('../..', import.meta.url))

/** What the configuration stands on, each with its place in the file. */
function believed(config: Config): readonly string[] {
  const { extraCa } = config.egress
  const own = config.file.startsWith('/') ? [config.file] : []
  return [...new Set([...own, ...config.files, ...config.believed, ...(extraCa === null ? [] : [extraCa])])]
}

/** Why `uids` or everybody could change what is there; null where nobody but `own` and root can. */
function weakness(path: string, own: number, uids: ReadonlySet<number>, found: Stats): string | null {
  const sticky = found.isDirectory() && (found.mode & 0o1000) !== 0
  if ((found.mode & 0o002) !== 0 && !sticky) return `${path} can be written by everybody: chmod o-w ${path}`
  // A group of the owner's own (same number) is what umask 002 is for; of any other, who is in it later is nobody's promise.
  const shared = found.gid !== 0 && !(found.gid === found.uid && !uids.has(found.uid))
  if ((found.mode & 0o020) !== 0 && shared && !sticky) return `${path} can be written by its group: chmod g-w ${path}`
  if (found.uid !== own && found.uid !== 0) return `${path} belongs to uid ${found.uid}, who could change what Ostiary believes: chown it`
  if (found.uid !== 0 && uids.has(found.uid)) return `${path} belongs to uid ${found.uid}, as which a workload runs: chown it to another`
  return null
}

/** The file and every folder above it: who may rename a folder may put another one there. */
function above(file: string): readonly string[] {
  const paths = [file]
  for (let at = dirname(file); at !== paths.at(-1); at = dirname(at)) paths.push(at)
  return paths
}

function weaknesses(file: string, own: number, uids: ReadonlySet<number>): readonly string[] {
  let real = file
  try {
    real = realpathSync(file)
  } catch {
    // it is not there yet; who may write its folder may make it
  }
  return [...new Set([...above(file), ...above(real)])].flatMap((path) => {
    try {
      return weakness(path, own, uids, statSync(path)) ?? []
    } catch {
      return []
    }
  })
}

/** Mistakes in the custody of the configuration and of what it names. `uidsOfWorkloads`: uids as which configured agents run. */
export function custodyMistakes(config: Config, uidsOfWorkloads: readonly number[]): readonly Mistake[] {
  const own = process.getuid?.() ?? -1
  const uids = new Set(uidsOfWorkloads)
  const said = new Set<string>()
  return believed(config).flatMap((file) =>
    weaknesses(file, own, uids).flatMap((wrong): readonly Mistake[] => {
      if (said.has(wrong)) return []
      said.add(wrong)
      const [what = wrong, write = ''] = wrong.split(': ')
      return [{ file, line: 0, path: '', wrong: what, write }]
    }),
  )
}

/** The uids that rules of `process` name as numbers. */
function uidsNamed(config: Config): readonly number[] {
  return config.workloads.flatMap((workload) =>
    workload.identify.flatMap(({ rule }) => {
      const { user } = rule as { readonly user?: unknown }
      return typeof user === 'number' ? [user] : []
    }),
  )
}

/** One sentence a thing that somebody else may write, Ostiary's own code and Node among them, and one a fixed address. */
export function custodyWarnings(config: Config, uidsOfWorkloads: readonly number[] = uidsNamed(config)): readonly string[] {
  const own = process.getuid?.() ?? -1
  const uids = new Set(uidsOfWorkloads)
  const program = [`${programRoot}package.json`, fileURLToPath(import.meta.url), process.execPath, cacheDirOf(process.env)].flatMap(
    (file) => weaknesses(file, own, uids),
  )
  const fixed = config.egress.dangerouslyFixedAddresses.map(
    (one) => `dangerouslyFixedAddresses: ${one.host} is dialled at ${one.address}:${one.port} until ${one.until} (${one.reason})`,
  )
  const observed = config.workloads.flatMap(({ name, observeUntil }) =>
    observeUntil === null
      ? []
      : [
          `${name} is only observed until ${new Date(observeUntil).toISOString().slice(0, 10)}: what policy refuses it is recorded and let through`,
        ],
  )
  return [
    ...new Set([
      ...custodyMistakes(config, uidsOfWorkloads).map(({ wrong, write }) => `${wrong}: ${write}`),
      ...program,
      ...(config.egress.inspects ? ['egress.inspects: the proxy of this network reads every credential that goes through it'] : []),
      ...fixed,
      ...observed,
    ]),
  ]
}
