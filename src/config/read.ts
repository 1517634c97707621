// File and environment → a frozen Config, or all mistakes at once with file, line, what is wrong and what to write. Reads the
// named files and nothing else; it is never looked for in the current directory.
import { globSync, readFileSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import type { AnyConditionKind } from '../decide/condition.ts'
import type { AnyTrustKind } from '../identify/trust-provider.ts'
import { ConfigMistakes, type Mistake } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { AnyCredentialKind } from '../obtain/credential-provider.ts'
import type { Address, Chosen, Config, CredentialRule, PolicyText, WorkloadRule } from './config.ts'
import { crossChecks } from './cross-checks.ts'
import { type KindReader, kindReader } from './kinds.ts'
import { serviceOf } from './services.ts'
import { type FileShape, fileShape } from './shape.ts'
import { readSource, type Source } from './source.ts'

export interface Kinds {
  readonly trust: readonly AnyTrustKind[]
  readonly credential: readonly AnyCredentialKind[]
  readonly condition: readonly AnyConditionKind[]
}

export interface ReadOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly now: number
  readonly kinds: Kinds
  readonly catalog: readonly Service[]
  /** Mistakes in policies, with their lines; asked once everything else is right. */
  readonly checkPolicies?: (config: Config) => readonly Mistake[]
  /** Wins over the file's own. */
  readonly dataDir?: string | null
}

/** What a reader of one section needs. */
export interface Reading {
  readonly source: Source
  readonly options: ReadOptions
  readonly mistakes: Mistake[]
  readonly files: string[]
  wrong(path: readonly PropertyKey[], wrong: string, write: string): void
}

export function defaultConfigFile(env: ReadOptions['env']): string {
  return env['OSTIARY_CONFIG'] ?? join(env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'ostiary', 'ostiary.yaml')
}

export function defaultDataDir(env: ReadOptions['env']): string {
  return env['OSTIARY_DATA'] ?? join(env['XDG_DATA_HOME'] ?? join(homedir(), '.local', 'share'), 'ostiary')
}

/** Throws ConfigMistakes with all of them. `file` null: the empty configuration, which is valid and denies all. */
export function readConfig(file: string | null, options: ReadOptions): Config {
  const source: Source =
    file === null ? { file: '(none)', value: { trustDomain: 'localhost' }, lineOf: () => 0, mistakes: [] } : readSource(resolve(file))
  if (source.mistakes.length > 0) throw new ConfigMistakes(source.mistakes)
  const mistakes: Mistake[] = []
  const reading: Reading = {
    source,
    options,
    mistakes,
    files: file === null ? [] : [source.file],
    wrong: (path, wrong, write) =>
      void mistakes.push({ file: source.file, line: source.lineOf(path), path: path.map(String).join('.'), wrong, write }),
  }
  const parsed = fileShape.safeParse(source.value)
  if (!parsed.success) for (const issue of parsed.error.issues) shapeMistake(reading, issue)
  // Sections that hold are read on, so that every mistake is named at once and not one round after the other.
  const shape = parsed.success ? parsed.data : salvage(source.value)
  const config = build(reading, shape)
  if (mistakes.length === 0 && options.checkPolicies !== undefined) mistakes.push(...options.checkPolicies(config))
  if (mistakes.length > 0) throw new ConfigMistakes(mistakes.sort((a, b) => a.line - b.line))
  return deepFreeze(config)
}

function shapeMistake(
  reading: Reading,
  issue: { readonly code?: string; readonly path: readonly PropertyKey[]; readonly message: string; readonly keys?: readonly string[] },
): void {
  if (issue.code === 'unrecognized_keys' && issue.keys !== undefined) {
    for (const key of issue.keys) {
      const proxy = issue.path[0] === 'egress' && key === 'proxy'
      reading.wrong(
        [...issue.path, key],
        proxy ? 'an egress proxy is not supported yet' : `${key} is not known here`,
        proxy ? 'leave it out' : nearest(key, issue.path),
      )
    }
  } else if (issue.path.length === 1 && issue.path[0] === 'trustDomain')
    reading.wrong(issue.path, 'trustDomain is missing or not a host name', 'trustDomain: acme.example')
  else reading.wrong(issue.path, issue.message, 'see docs/reference/configuration.md')
}

function nearest(key: string, path: readonly PropertyKey[]): string {
  let at: unknown = fileShape
  for (const part of path) {
    const inner = at as {
      shape?: Record<string, unknown>
      valueType?: unknown
      element?: unknown
      unwrap?: () => unknown
      def?: { valueType?: unknown; element?: unknown; innerType?: unknown }
    }
    at = unwrap(inner.shape?.[String(part)] ?? inner.def?.valueType ?? inner.def?.element)
  }
  const known = Object.keys((unwrap(at) as { shape?: Record<string, unknown> } | undefined)?.shape ?? {})
  const best = known.map((one) => [distance(key, one), one] as const).sort((a, b) => a[0] - b[0])[0]
  if (best !== undefined && best[0] <= 2) return `did you mean ${best[1]}?`
  return known.length === 0 ? 'take it out' : `one of: ${known.join(', ')}`
}

function unwrap(type: unknown): unknown {
  let at = type as { def?: { innerType?: unknown } } | undefined
  while (at?.def?.innerType !== undefined) at = at.def.innerType as typeof at
  return at
}

/** Edits between two words (Levenshtein). */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length] as number
}

/** Each section, or each entry of one, that holds by itself. */
function salvage(value: unknown): FileShape {
  const kept: Record<string, unknown> = { trustDomain: 'mistaken.example' }
  for (const [section, content] of Object.entries((value ?? {}) as Record<string, unknown>)) {
    if (!(section in fileShape.shape)) continue
    if (fileShape.safeParse({ ...kept, [section]: content }).success) kept[section] = content
    else if (typeof content === 'object' && content !== null && !Array.isArray(content)) {
      const entries = Object.entries(content).filter(
        ([key, entry]) => fileShape.safeParse({ ...kept, [section]: { [key]: entry } }).success,
      )
      kept[section] = Object.fromEntries(entries)
      if (!fileShape.safeParse(kept).success) delete kept[section]
    }
  }
  return fileShape.parse(kept)
}

function build(reading: Reading, shape: FileShape): Config {
  const { source, options } = reading
  const read = kindReader(reading)
  const trustProviders = readTrustProviders(reading, shape, read)
  const services = Object.entries(shape.services).flatMap(
    ([name, service]) => serviceOf(reading, name, service ?? {}, options.catalog) ?? [],
  )
  const file = (path: string): string => (isAbsolute(path) ? path : join(dirname(source.file), path))
  const extraCa = shape.egress.extraCa === undefined ? null : file(shape.egress.extraCa)
  if (extraCa !== null) checkReadable(reading, ['egress', 'extraCa'], extraCa)
  const config: Config = {
    file: source.file,
    trustDomain: shape.trustDomain,
    audience: shape.audience ?? `https://ostiary.${shape.trustDomain}`,
    dataDir: options.dataDir ?? (shape.dataDir === undefined ? defaultDataDir(options.env) : file(shape.dataDir)),
    listen: {
      proxy: address(shape.listen.proxy),
      baseUrl: address(shape.listen.baseUrl),
      metrics: shape.listen.metrics === undefined ? null : address(shape.listen.metrics),
    },
    logLevel: shape.log,
    egress: {
      extraCa,
      resolver: shape.egress.resolver ?? null,
      dangerouslyFixedAddresses: shape.egress.dangerouslyFixedAddresses.map((one, at) => {
        const until = one.until instanceof Date ? one.until.toISOString().slice(0, 10) : one.until
        if (Date.parse(`${until}T23:59:59Z`) < options.now)
          reading.wrong(
            ['egress', 'dangerouslyFixedAddresses', at, 'until'],
            `the fixed address of ${one.host} ended on ${until}`,
            'take it out, or write a later date with its reason',
          )
        const { host, port } = address(one.address)
        return { host: one.host, address: host, port, reason: one.reason, until }
      }),
    },
    trustProviders,
    workloads: Object.entries(shape.workloads).map(([name, workload]) => workloadOf(reading, name, workload, trustProviders, read)),
    services,
    tunnels: shape.tunnels,
    credentials: Object.entries(shape.credentials).flatMap(([name, credential]) => credentialOf(reading, name, credential, read) ?? []),
    conditions: Object.entries(shape.conditions).flatMap(
      ([name, chosen]) => read.one(['conditions', name], chosen, options.kinds.condition) ?? [],
    ),
    policies: readPolicies(reading, shape),
    suspension: { trips: shape.suspension.trips, windowMs: shape.suspension.windowSeconds * 1_000 },
    files: reading.files,
  }
  crossChecks(reading, config)
  return config
}

function readTrustProviders(reading: Reading, shape: FileShape, read: KindReader): readonly Chosen[] {
  const { kinds } = reading.options
  const configured = Object.entries(shape.trustProviders).flatMap(
    ([name, chosen]) => read.one(['trustProviders', name], chosen, kinds.trust) ?? [],
  )
  // The kernel of this machine is asked whether it is named or not.
  if (configured.some((one) => one.kind === 'process')) return configured
  return [{ name: 'process', kind: 'process', config: {}, line: 0 }, ...configured]
}

function workloadOf(
  reading: Reading,
  name: string,
  workload: FileShape['workloads'][string],
  providers: readonly Chosen[],
  read: KindReader,
): WorkloadRule {
  const identify = Object.entries(workload.identify ?? {}).flatMap(
    ([key, rule]) => read.rule(['workloads', name, 'identify', key], key, rule, providers) ?? [],
  )
  if (workload.identify === undefined && workload.run === undefined)
    reading.wrong(
      ['workloads', name],
      'nothing says how it is identified',
      `identify: { process: { user: agent } }   or   run: { startedBy: [${userInfo().username}] }`,
    )
  return {
    name,
    path: workload.path ?? `/${name}`,
    groups: workload.groups,
    labels: workload.labels,
    identify,
    run:
      workload.run === undefined
        ? null
        : { startedBy: (workload.run.startedBy ?? [userInfo().username]).map(String), custody: workload.run.custody },
  }
}

function credentialOf(reading: Reading, name: string, entry: FileShape['credentials'][string], read: KindReader): CredentialRule | null {
  const { service, for: owners, leaseMinutes, ...rest } = entry
  const chosen = read.one(['credentials', name], rest, reading.options.kinds.credential)
  if (chosen === null) return null
  return { ...chosen, service, for: owners, leaseMs: (leaseMinutes ?? (chosen.kind === 'static-key' ? 15 : 30)) * 60_000 }
}

function readPolicies(reading: Reading, shape: FileShape): readonly PolicyText[] {
  const { source } = reading
  return shape.policies.flatMap((entry, at): PolicyText[] => {
    const path = ['policies', at]
    if (typeof entry !== 'string') return [{ id: '', text: entry.cedar, file: source.file, line: source.lineOf([...path, 'cedar']) + 1 }]
    const pattern = isAbsolute(entry) ? entry : join(dirname(source.file), entry)
    const found = globSync(pattern).sort()
    if (found.length === 0) reading.wrong(path, `${entry} names no file`, 'name a .cedar file, relative to this one')
    return found.flatMap((file) => {
      reading.files.push(file)
      return checkReadable(reading, path, file) ? [{ id: '', text: readFileSync(file, 'utf8'), file, line: 1 }] : []
    })
  })
}

export function checkReadable(reading: Reading, path: readonly PropertyKey[], file: string): boolean {
  try {
    readFileSync(file)
    if (!reading.files.includes(file)) reading.files.push(file)
    return true
  } catch (error) {
    reading.wrong(
      path,
      `${file} cannot be read (${(error as NodeJS.ErrnoException).code})`,
      'name a file that is there; paths are relative to the configuration',
    )
    return false
  }
}

function address(text: string): Address {
  const at = text.lastIndexOf(':')
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) }
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value) || value instanceof RegExp) return value
  Object.freeze(value)
  for (const inner of Object.values(value)) deepFreeze(inner)
  return value
}
