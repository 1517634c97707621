// What a policy reads and to whom it can apply, from Cedar's own syntax tree. Where the tree is not plain, more is
// assumed to be read and to apply, never less.
import { createRequire } from 'node:module'
import type { Leaf } from './schema.ts'

const cedar = createRequire(import.meta.url)('@cedar-policy/cedar-wasm/nodejs') as typeof import('@cedar-policy/cedar-wasm/nodejs')

export interface Entity {
  readonly type: string
  readonly id: string
}

/** null: any. Several: any of these. */
export type ScopeEntities = readonly Entity[] | null

export interface PolicyTree {
  readonly effect: 'permit' | 'forbid'
  readonly annotations: Readonly<Record<string, string>>
  readonly principal: ScopeEntities
  readonly action: ScopeEntities
  readonly resource: ScopeEntities
  /** Paths from `principal` or `context`, e.g. `['context', 'facts', 'businessHours']`; one may be a prefix of what is read. */
  readonly reads: readonly (readonly string[])[]
  /** Every entity that is named anywhere. */
  readonly entities: readonly Entity[]
}

export interface PolicyPart {
  readonly text: string
  /** Characters before it in the text that it came from. */
  readonly offset: number
}

export interface CedarComplaint {
  readonly message: string
  readonly help: string | null
  /** Characters into the text; -1 where Cedar names no place. */
  readonly at: number
}

/** The policies of a text in order, or what is wrong with it. Templates are refused: nothing could link them. */
export function splitPolicies(text: string): { readonly parts: readonly PolicyPart[]; readonly wrong: readonly CedarComplaint[] } {
  const answer = cedar.policySetTextToParts(text)
  if (answer.type === 'failure') return { parts: [], wrong: answer.errors.map((error) => complaint(error, text)) }
  const wrong = answer.policy_templates.map((template) => ({
    message: 'templates (?principal, ?resource) are not supported',
    help: 'name the principal and the resource',
    at: text.indexOf(template),
  }))
  const taken = new Map<string, number>()
  const parts = answer.policies.map((part) => {
    const offset = text.indexOf(part, taken.get(part) ?? 0)
    taken.set(part, offset + 1)
    return { text: part, offset: Math.max(0, offset) }
  })
  return { parts: parts.sort((a, b) => a.offset - b.offset), wrong }
}

/** Cedar counts in bytes of UTF-8, texts here in UTF-16 units. */
export function complaint(
  error: {
    readonly message: string
    readonly help: string | null
    readonly sourceLocations?: readonly { readonly start: number; readonly label: string | null }[]
  },
  text: string,
): CedarComplaint {
  const place = error.sourceLocations?.[0]
  const label = place?.label ?? null
  return {
    message: error.message,
    help: error.help ?? (label === null ? null : label),
    at: place === undefined ? -1 : Buffer.from(text).subarray(0, place.start).toString().length,
  }
}

export function readPolicy(text: string): PolicyTree | CedarComplaint {
  const answer = cedar.policyToJson(text)
  if (answer.type === 'failure') return complaint(answer.errors[0] ?? { message: 'not a policy', help: null }, text)
  const { json } = answer
  const reads = new Map<string, readonly string[]>()
  const entities: Entity[] = []
  for (const scope of [json.principal, json.action, json.resource]) collectEntities(scope, entities)
  for (const clause of json.conditions) walk(clause.body, reads, entities)
  return {
    effect: json.effect,
    annotations: (json.annotations ?? {}) as Record<string, string>,
    principal: scopeEntities(json.principal),
    action: scopeEntities(json.action),
    resource: scopeEntities(json.resource),
    reads: [...reads.values()],
    entities,
  }
}

type Json = unknown

function scopeEntities(scope: Json): ScopeEntities {
  const { op, entity, entities, in: inside } = scope as { op: string; entity?: Json; entities?: Json[]; in?: { entity: Json } }
  if (op === 'is') return inside === undefined ? null : [entityOf(inside.entity)]
  if (entities !== undefined) return entities.map(entityOf)
  return entity === undefined ? null : [entityOf(entity)]
}

function entityOf(json: Json): Entity {
  const plain = json as { __entity?: Entity } & Entity
  return plain.__entity ?? { type: plain.type, id: plain.id }
}

function collectEntities(node: Json, into: Entity[]): void {
  if (typeof node !== 'object' || node === null) return
  const { __entity, type, id } = node as { __entity?: Entity; type?: Json; id?: Json }
  if (__entity !== undefined) into.push(__entity)
  else if (typeof type === 'string' && typeof id === 'string') into.push({ type, id })
  else for (const child of Object.values(node)) collectEntities(child, into)
}

function walk(node: Json, reads: Map<string, readonly string[]>, entities: Entity[]): void {
  if (Array.isArray(node)) {
    for (const child of node) walk(child, reads, entities)
    return
  }
  if (typeof node !== 'object' || node === null) return
  for (const [operator, operand] of Object.entries(node)) {
    if (operator === 'Value') collectEntities(operand, entities)
    // The bare context is read as a whole; the bare principal is only its name.
    else if (operator === 'Var') {
      if (operand === 'context') note(reads, ['context'])
    } else if (operator === '.' || operator === 'has') access(node, reads, entities)
    // Its keys are names that the author chose, not operators.
    else if (operator === 'Record') walk(Object.values(operand as object), reads, entities)
    else walk(operand, reads, entities)
  }
}

function access(node: Json, reads: Map<string, readonly string[]>, entities: Entity[]): void {
  const chain = chainOf(node)
  if (chain !== null) {
    note(reads, chain)
    return
  }
  // An attribute of something computed: it could be any record, so everything counts as read.
  note(reads, ['context'])
  note(reads, ['principal'])
  for (const operand of Object.values(node as object)) walk((operand as { left: Json }).left, reads, entities)
}

/** `context.facts.host` as ['context', 'facts', 'host']; null where the root is no variable. */
function chainOf(node: Json): readonly string[] | null {
  if (typeof node !== 'object' || node === null) return null
  const { Var: variable, '.': dot, has } = node as { Var?: string; '.'?: { left: Json; attr: string }; has?: { left: Json; attr: Json } }
  if (variable !== undefined) return [variable]
  const step = dot ?? has
  if (step === undefined) return null
  const left = chainOf(step.left)
  return left === null ? null : [...left, ...(Array.isArray(step.attr) ? (step.attr as string[]) : [step.attr as string])]
}

function note(reads: Map<string, readonly string[]>, path: readonly string[]): void {
  reads.set(JSON.stringify(path), path)
}

/** The leaves that a policy reads: those below a path that it names, and those that a path goes through. */
export function leavesRead(tree: PolicyTree, leaves: readonly Leaf[]): ReadonlySet<Leaf> {
  return new Set(
    leaves.filter((leaf) => {
      const full = [leaf.root, ...leaf.path]
      return tree.reads.some((path) => path.every((name, index) => index >= full.length || full[index] === name))
    }),
  )
}
