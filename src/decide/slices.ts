// The policies whose scope can match one request, with what these read: the unit of schema, memo and facts.

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Facts, FactValue } from '../model/facts.ts'
import type { Identity } from '../model/identity.ts'
import { limits } from '../model/limits.ts'
import type { Target } from '../model/target.ts'
import type { BodyRead } from './body.ts'
import type { EngineRequest, Program } from './engine.ts'
import type { ReadValue } from './memo.ts'
import { type Policy, principalFits } from './policies.ts'
import { actionLine, type Leaf, schemaOf } from './schema.ts'

export interface Resource {
  readonly type: 'Service' | 'Host'
  readonly id: string
}

/** Everything that a policy could read of one request. Facts are flattened, as in a Decision. */
export interface Question {
  readonly identity: Identity
  readonly target: Target
  readonly action: string
  readonly resource: Resource
  readonly facts: Facts
  readonly credential: string | null
  readonly body: BodyRead
}

export interface Slice {
  readonly policies: readonly Policy[]
  readonly permits: number
  readonly leaves: readonly Leaf[]
  /** Names of the conditions whose facts are read. */
  readonly conditions: readonly string[]
  readonly readsModel: boolean
  readonly readsTools: boolean
  readonly program: Program
}

export interface Slices {
  of(identity: Pick<Identity, 'workload' | 'groups'>, action: string, resource: Resource): Slice
}

/**
 * What no blanket policy permits: a permit must name the action itself in its scope. `mint` answers with fresh secrets,
 * `tunnel` passes what nobody can read.
 */
function namedOnly(action: string): string | null {
  if (action === 'tunnel') return 'tunnel'
  return action.split('.')[0] === 'mint' ? 'mint' : null
}

export function createSlices(policies: readonly Policy[], actions: readonly string[]): Slices {
  const slices = new LRUCache<string, Slice>({ max: limits.slicesMax })
  const lookups = new LRUCache<string, Slice>({ max: limits.sliceLookupsMax })
  const find = (identity: Pick<Identity, 'workload' | 'groups'>, action: string, resource: Resource): Slice => {
    const fitting = [...policies.keys()].filter((index) => fits(policies[index] as Policy, identity, action, resource))
    const key = fitting.join(',')
    const known = slices.get(key)
    if (known !== undefined) return known
    const slice = makeSlice(
      fitting.map((index) => policies[index] as Policy),
      actions,
    )
    slices.set(key, slice)
    return slice
  }
  return {
    of(identity, action, resource) {
      // A tunnel's host is the agent's to choose: it is never remembered here.
      if (resource.type === 'Host') return find(identity, action, resource)
      const key = JSON.stringify([identity.workload, identity.groups, action, resource.id])
      let slice = lookups.get(key)
      if (slice === undefined) {
        slice = find(identity, action, resource)
        lookups.set(key, slice)
      }
      return slice
    },
  }
}

function fits(policy: Policy, identity: Pick<Identity, 'workload' | 'groups'>, action: string, resource: Resource): boolean {
  const { tree } = policy
  if (!principalFits(tree, identity.workload, identity.groups)) return false
  if (tree.resource !== null && !tree.resource.some(({ type, id }) => type === resource.type && id === resource.id)) return false
  const guarded = namedOnly(action)
  if (guarded !== null && tree.effect === 'permit') {
    // Of the line upwards, `call` does not count: only the guarded word itself or what lies below it.
    const line = actionLine(action).filter((name) => name !== 'call')
    return tree.action?.some(({ id }) => line.includes(id) && id.split('.')[0] === guarded) ?? false
  }
  return tree.action === null || tree.action.some(({ id }) => actionLine(action).includes(id))
}

function makeSlice(policies: readonly Policy[], actions: readonly string[]): Slice {
  const read = new Set(policies.flatMap((policy) => [...policy.reads]))
  const leaves = [...read]
  const readsRequest = (name: string): boolean => leaves.some((leaf) => leaf.path[0] === 'request' && leaf.path[1] === name)
  return {
    policies,
    permits: policies.filter((policy) => policy.tree.effect === 'permit').length,
    leaves,
    conditions: [...new Set(leaves.flatMap((leaf) => (leaf.path[0] === 'facts' ? [leaf.path[1] as string] : [])))],
    readsModel: readsRequest('model'),
    readsTools: readsRequest('tools'),
    program: programOf(policies, leaves, actions),
  }
}

export function programOf(policies: readonly Policy[], leaves: readonly Leaf[], actions: readonly string[]): Program {
  const texts = Object.fromEntries(policies.map((policy, index) => [`p${index}`, policy.text]))
  const schema = schemaOf(leaves, actions)
  const key = createHash('sha256')
    .update(JSON.stringify([texts, schema]))
    .digest('base64')
  return { key, policies: texts, schema }
}

/** The values of the leaves, in their order: the only thing that the engine is given, and the key of the memo. */
export function valuesOf(leaves: readonly Leaf[], question: Question): readonly ReadValue[] {
  return leaves.map((leaf) => leafValue(leaf, question))
}

function leafValue(leaf: Leaf, { identity, target, facts, credential, body }: Question): ReadValue {
  const [first, second, third] = leaf.path as [string, string?, string?]
  switch (first) {
    case 'labels':
      return own(identity.labels, second as string)
    case 'proven':
      return own(identity.proven, second as string)
    case 'spiffeId':
      return identity.spiffeId
    case 'provider':
      return identity.provider
    case 'run':
      return identity.run ?? undefined
    case 'custody':
      return identity.custody
    case 'credential':
      return credential ?? undefined
    case 'facts':
      return own(facts, third === undefined ? (second as string) : `${second}.${third}`)
    default:
      return requestValue(second as string, target, body)
  }
}

function requestValue(name: string, target: Target, body: BodyRead): ReadValue {
  switch (name) {
    case 'host':
      return target.host
    case 'method':
      return target.method
    case 'path':
      return target.path
    case 'port':
      return target.port
    case 'repository':
      return target.repository
    case 'model':
      return body.model
    default:
      return body.tools
  }
}

function own<Value>(record: Readonly<Record<string, Value>>, name: string): Value | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined
}

/** The request as Cedar takes it, of nothing but the values. */
export function engineRequest(leaves: readonly Leaf[], values: readonly ReadValue[], question: Question): EngineRequest {
  const context: Record<string, unknown> = { request: {}, facts: {} }
  const attributes: Record<string, unknown> = { labels: {}, proven: {} }
  for (const [index, leaf] of leaves.entries()) put(leaf.root === 'context' ? context : attributes, leaf, values[index])
  return {
    principal: question.identity.workload,
    groups: question.identity.groups,
    attributes,
    action: question.action,
    resource: question.resource,
    context,
  }
}

function put(root: Record<string, unknown>, leaf: Leaf, value: ReadValue): void {
  let at = root
  for (const name of leaf.path.slice(0, -1)) {
    at[name] ??= {}
    at = at[name] as Record<string, unknown>
  }
  if (value !== undefined) at[leaf.path.at(-1) as string] = value as FactValue
}
