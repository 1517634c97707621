// File and environment → a frozen Config, or all mistakes at once with file, line, what is wrong and what to write. Reads the
// named files and nothing else; it is never looked for in the current directory.
import { userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import { ConfigMistakes, type Mistake } from '../model/refusal.ts'
import { address } from './address.ts'
import type { Chosen, Config, CredentialRule, WorkloadRule } from './config.ts'
import { crossChecks } from './cross-checks.ts'
import { readEgress } from './egress.ts'
import { type KindReader, kindReader } from './kinds.ts'
import { keysAt, meant } from './nearest.ts'
import { defaultDataDir, pathFrom } from './places.ts'
import { readPolicies } from './policies.ts'
import type { Reading, ReadOptions } from './reading.ts'
import { salvage } from './salvage.ts'
import { serviceOf } from './services.ts'
import { type FileShape, fileShape } from './shape.ts'
import { noSource, readSource, type Source, sourcePattern } from './source.ts'

export type { Kinds } from './kinds.ts'

const staticLeaseMinutes = 15
const federatedLeaseMinutes = 30

/** Throws ConfigMistakes with all of them. `file` null: the empty configuration, which is valid and denies all. */
export function readConfig(file: string | null, options: ReadOptions): Config {
  const source: Source = file === null ? noSource : readSource(resolve(file))
  const mistakes: Mistake[] = [...source.mistakes]
  if (source.broken) throw new ConfigMistakes(inOrder(mistakes))
  const parsed = fileShape.safeParse(source.value)
  // What holds is read on, so that every mistake is named at once and not one round after the other.
  const { shape, original } = parsed.success
    ? { shape: parsed.data, original: (path: readonly PropertyKey[]) => path }
    : salvage(source.value)
  const add = (path: readonly PropertyKey[], wrong: string, write: string): void =>
    void mistakes.push({ ...source.placeOf(path), path: path.map(String).join('.'), wrong, write })
  if (!parsed.success) for (const issue of parsed.error.issues) shapeMistake(add, issue)
  const reading: Reading = {
    source,
    options,
    mistakes,
    files: [...source.files],
    patterns: source.file === source.base ? [join(source.base, sourcePattern)] : [],
    believed: [],
    wrong: (path, wrong, write) => add(original(path), wrong, write),
    written: (section) => writtenNames(source.value, section),
  }
  const config = build(reading, shape)
  for (const one of options.checkPolicies?.(config) ?? []) if (!followsFrom(one, reading, config)) mistakes.push(one)
  if (mistakes.length > 0) throw new ConfigMistakes(inOrder(mistakes))
  return deepFreeze(config)
}

/** By place, each once; the same sentence may come from two checks. */
function inOrder(mistakes: readonly Mistake[]): readonly Mistake[] {
  const known = new Map(mistakes.map((one) => [JSON.stringify([one.file, one.line, one.path, one.wrong]), one]))
  return [...known.values()].sort((a, b) => (a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1))
}

function writtenNames(value: unknown, section: string): readonly string[] {
  const content =
    typeof value === 'object' && value !== null && Object.hasOwn(value, section) ? (value as Record<string, unknown>)[section] : null
  return typeof content === 'object' && content !== null && !Array.isArray(content) ? Object.keys(content) : []
}

/** A policy that names a thing whose own entry is mistaken is not mistaken itself. */
function followsFrom(one: Mistake, reading: Reading, config: Config): boolean {
  const built = new Set([...config.workloads, ...config.services, ...config.conditions].map((entry) => entry.name))
  return ['workloads', 'services', 'conditions']
    .flatMap((section) => reading.written(section))
    .some((name) => !built.has(name) && new RegExp(`(^|\\W)${RegExp.escape(name)}(\\W|$)`).test(one.wrong))
}

function shapeMistake(
  add: Reading['wrong'],
  issue: { readonly code?: string; readonly path: readonly PropertyKey[]; readonly message: string; readonly keys?: readonly string[] },
): void {
  const { path } = issue
  if (issue.code === 'unrecognized_keys' && issue.keys !== undefined) {
    for (const key of issue.keys) {
      add([...path, key], `${key} is not known here`, meant(key, keysAt(fileShape, path)))
    }
  } else if (path.length === 0) add([], 'the file does not hold sections', 'trustDomain: acme.example')
  else if (path.length === 1 && path[0] === 'trustDomain')
    add(path, 'trustDomain is missing or not a host name', 'trustDomain: acme.example')
  else {
    const keys = keysAt(fileShape, path)
    add(path, issue.message, keys.length > 0 ? `keys here: ${keys.join(', ')}` : 'see docs/reference/configuration.md')
  }
}

function build(reading: Reading, shape: FileShape): Config {
  const { source, options } = reading
  const read = kindReader(reading)
  const trustProviders = readTrustProviders(reading, shape, read)
  const services = Object.entries(shape.services).flatMap(
    ([name, service]) => serviceOf(reading, name, service ?? {}, options.catalog) ?? [],
  )
  const config: Config = {
    file: source.file,
    trustDomain: shape.trustDomain,
    audience: shape.audience ?? `https://ostiary.${shape.trustDomain}`,
    dataDir: options.dataDir ?? (shape.dataDir === undefined ? defaultDataDir(options.env) : pathFrom(source.base, shape.dataDir)),
    listen: {
      proxy: address(reading, ['listen', 'proxy'], shape.listen.proxy),
      baseUrl: address(reading, ['listen', 'baseUrl'], shape.listen.baseUrl),
      metrics: shape.listen.metrics === undefined ? null : address(reading, ['listen', 'metrics'], shape.listen.metrics),
    },
    processes: shape.processes,
    logLevel: shape.log,
    egress: readEgress(reading, shape.egress),
    trustProviders,
    workloads: Object.entries(shape.workloads).map(([name, workload]) => workloadOf(reading, name, workload, trustProviders, read)),
    services,
    tunnels: shape.tunnels,
    credentials: Object.entries(shape.credentials).flatMap(([name, credential]) => credentialOf(reading, name, credential, read) ?? []),
    conditions: Object.entries(shape.conditions).flatMap(
      ([name, chosen]) => read.one(['conditions', name], chosen, options.kinds.condition) ?? [],
    ),
    policies: readPolicies(reading, shape.policies),
    audit: { keepDays: shape.audit.keepDays ?? null, copies: shape.audit.copies.map((dir) => pathFrom(source.base, dir)) },
    suspension: { trips: shape.suspension.trips, windowMs: shape.suspension.windowSeconds * 1_000 },
    files: reading.files,
    patterns: reading.patterns,
    believed: reading.believed,
  }
  crossChecks(reading, config)
  return config
}

function readTrustProviders(reading: Reading, shape: FileShape, read: KindReader): readonly Chosen[] {
  const { kinds } = reading.options
  const configured = Object.entries(shape.trustProviders).flatMap(([name, chosen]) => {
    const entry = read.one(['trustProviders', name], chosen, kinds.trust)
    if (entry !== null && entry.kind !== name && kinds.trust.some((kind) => kind.name === name))
      reading.wrong(['trustProviders', name], `${name} is the name of another kind`, 'give the provider a name of its own')
    return entry ?? []
  })
  // The kernel of this machine is asked whether it is named or not.
  if (configured.some((one) => one.kind === 'process') || !kinds.trust.some((kind) => kind.name === 'process')) return configured
  return [{ name: 'process', kind: 'process', config: {}, line: 0 }, ...configured]
}

/** Whom the program runs as; a container's user may have no name. */
function ownUser(): string {
  try {
    return userInfo().username
  } catch {
    return String(process.getuid?.() ?? 'nobody')
  }
}

function workloadOf(
  reading: Reading,
  name: string,
  workload: FileShape['workloads'][string],
  providers: readonly Chosen[],
  read: KindReader,
): WorkloadRule {
  const path = ['workloads', name]
  const identify = Object.entries(workload.identify ?? {}).flatMap(
    ([key, rule]) => read.rule([...path, 'identify', key], key, rule, providers) ?? [],
  )
  const mistaken = reading.mistakes.some((one) => `${one.path}.`.startsWith(`workloads.${name}.`))
  if (!mistaken && workload.run === undefined && identify.length === 0)
    reading.wrong(
      path,
      'nothing says how it is identified',
      `identify: { process: { user: agent } }   or   run: { startedBy: [${ownUser()}] }`,
    )
  return {
    name,
    path: workload.path ?? `/${name}`,
    groups: workload.groups,
    labels: workload.labels,
    identify,
    observeUntil: observeUntil(reading, name, workload.observe),
    run: workload.run === undefined ? null : runOf(workload.run),
  }
}

/** What is started only inside of other runs is started by nobody else, unless that is written too. */
function runOf({ startedBy, custody, within }: NonNullable<FileShape['workloads'][string]['run']>): WorkloadRule['run'] {
  return { startedBy: (startedBy ?? (within === undefined ? [ownUser()] : [])).map(String), custody, within: within ?? [] }
}

function observeUntil(reading: Reading, name: string, observe: FileShape['workloads'][string]['observe']): number | null {
  if (observe === undefined) return null
  const end = Date.parse(`${observe.until}T23:59:59.999Z`)
  if (end < reading.options.now)
    reading.wrong(
      ['workloads', name, 'observe', 'until'],
      `${name} was to be observed until ${observe.until} only`,
      'take it out, so that policy is obeyed, or write a later date',
    )
  return end
}

function credentialOf(reading: Reading, name: string, entry: FileShape['credentials'][string], read: KindReader): CredentialRule | null {
  const { service, for: owners, leaseMinutes, ...rest } = entry
  const { credential: kinds } = reading.options.kinds
  const chosen = read.one(['credentials', name], rest, kinds, ['service', 'for', 'leaseMinutes'])
  if (chosen === null) return null
  const most = kinds.find((one) => one.name === chosen.kind)?.federated === true ? federatedLeaseMinutes : staticLeaseMinutes
  if (leaseMinutes !== undefined && leaseMinutes > most)
    reading.wrong(['credentials', name, 'leaseMinutes'], `a ${chosen.kind} is leased for at most ${most} minutes`, `leaseMinutes: ${most}`)
  return { ...chosen, service, for: owners, leaseMs: (leaseMinutes ?? most) * 60_000 }
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value) || value instanceof RegExp) return value
  Object.freeze(value)
  for (const inner of Object.values(value)) deepFreeze(inner)
  return value
}
