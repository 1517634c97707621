// Generates the Cedar schema from services, workloads and conditions: what a policy may read, and of which type.
// It must never hold an attribute that an agent could state about itself.
import type { Service } from '../model/service.ts'
import type { CedarType, FactShape } from './condition.ts'

export interface SchemaWorkload {
  readonly name: string
  readonly groups: readonly string[]
  readonly labels: Readonly<Record<string, string>>
}

export interface SchemaParts {
  readonly services: readonly Service[]
  readonly workloads: readonly SchemaWorkload[]
  readonly conditions: readonly { readonly name: string; readonly shape: FactShape }[]
  /** Names of proven attributes that policies may read; each is optional, for no provider proves all. */
  readonly provenNames: readonly string[]
}

/** One readable attribute: `principal.labels.stage`, `context.facts.host.patchAgeDays`, ... */
export interface Leaf {
  readonly root: 'principal' | 'context'
  readonly path: readonly string[]
  readonly type: CedarType
  readonly required: boolean
}

/** Words of the catalog that exist in every schema, so that a policy may forbid what no configured service offers. */
const actionWords = ['inference', 'state', 'deferred', 'mint', 'admin'] as const

export function leavesOf(parts: SchemaParts): readonly Leaf[] {
  const optional = (root: Leaf['root'], path: readonly string[], type: CedarType): Leaf => ({ root, path, type, required: false })
  const required = (root: Leaf['root'], path: readonly string[], type: CedarType): Leaf => ({ root, path, type, required: true })
  return [
    required('principal', ['spiffeId'], 'String'),
    required('principal', ['provider'], 'String'),
    optional('principal', ['run'], 'String'),
    ...labelNames(parts.workloads).map((name) => optional('principal', ['labels', name], 'String')),
    ...parts.provenNames.map((name) => optional('principal', ['proven', name], 'String')),
    required('context', ['request', 'host'], 'String'),
    required('context', ['request', 'method'], 'String'),
    required('context', ['request', 'path'], 'String'),
    required('context', ['request', 'port'], 'Long'),
    optional('context', ['request', 'model'], 'String'),
    optional('context', ['request', 'tools'], 'Set<String>'),
    optional('context', ['request', 'repository'], 'String'),
    required('context', ['custody'], 'String'),
    optional('context', ['credential'], 'String'),
    ...parts.conditions.flatMap((condition) => factLeaves(condition.name, condition.shape)),
  ]
}

function factLeaves(name: string, shape: FactShape): readonly Leaf[] {
  if (typeof shape === 'string') return [{ root: 'context', path: ['facts', name], type: shape, required: true }]
  return Object.entries(shape).map(([fact, type]) => {
    const optional = fact.endsWith('?')
    return { root: 'context', path: ['facts', name, optional ? fact.slice(0, -1) : fact], type, required: !optional }
  })
}

export function labelNames(workloads: readonly SchemaWorkload[]): readonly string[] {
  return [...new Set(workloads.flatMap((workload) => Object.keys(workload.labels)))].sort()
}

/** `call` and what lies below it; `git.push` lies below `git`. */
export function actionNames(services: readonly Service[]): readonly string[] {
  const names = new Set<string>(actionWords)
  for (const service of services) {
    for (const rule of service.actions) for (const name of withPrefixes(rule.action)) names.add(name)
  }
  names.delete('call')
  names.delete('tunnel')
  return [...names].sort()
}

function withPrefixes(action: string): readonly string[] {
  const words = action.split('.')
  return words.map((_, index) => words.slice(0, index + 1).join('.'))
}

/** An action and everything that it lies below, nearest first. */
export function actionLine(action: string): readonly string[] {
  if (action === 'tunnel' || action === 'call') return [action]
  return [...withPrefixes(action).toReversed(), 'call']
}

type CedarJson = Record<string, unknown>
interface RecordType {
  readonly type: 'Record'
  readonly attributes: Record<string, CedarJson>
}

/** The schema in Cedar's JSON form with just these leaves. */
export function schemaOf(leaves: readonly Leaf[], actions: readonly string[]): CedarJson {
  const context = record(['request', 'facts'])
  const principal = record(['labels', 'proven'])
  for (const leaf of leaves) place(leaf.root === 'context' ? context : principal, leaf)
  const applies = (resource: string): CedarJson => ({ principalTypes: ['Workload'], resourceTypes: [resource], context })
  const entries: [string, CedarJson][] = [
    ['call', { appliesTo: applies('Service') }],
    ['tunnel', { appliesTo: applies('Host') }],
    ...actions.map((name): [string, CedarJson] => [
      name,
      { memberOf: [{ type: 'Action', id: actionLine(name)[1] }], appliesTo: applies('Service') },
    ]),
  ]
  return {
    '': {
      entityTypes: { Group: {}, Service: {}, Host: {}, Workload: { memberOfTypes: ['Group'], shape: principal } },
      actions: Object.fromEntries(entries),
    },
  }
}

function record(containers: readonly string[]): RecordType {
  return { type: 'Record', attributes: Object.fromEntries(containers.map((name) => [name, { ...record([]) }])) }
}

function place(root: RecordType, leaf: Leaf): void {
  let at = root
  for (const name of leaf.path.slice(0, -1)) {
    at.attributes[name] ??= { ...record([]) }
    at = at.attributes[name] as unknown as RecordType
  }
  at.attributes[leaf.path.at(-1) as string] = { ...cedarType(leaf.type), required: leaf.required }
}

function cedarType(type: CedarType): CedarJson {
  if (type === 'Bool') return { type: 'Boolean' }
  return type === 'Set<String>' ? { type: 'Set', element: { type: 'String' } } : { type }
}
