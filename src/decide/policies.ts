// From texts to policies: split, named, analysed, and every mistake in them at once with its line.
// It must never let a policy into force that strict validation would even warn about.
import type { Mistake } from '../model/refusal.ts'
import { type CedarComplaint, complaint, leavesRead, type PolicyTree, readPolicy, splitPolicies } from './analysis.ts'
import { type Complaint, validate } from './engine.ts'
import { actionNames, type Leaf, leavesOf, type SchemaParts, type SchemaWorkload, schemaOf } from './schema.ts'

/** One text, which may hold several policies; `id` names it where it holds one without an `@id`, unless empty. */
export interface PolicySource {
  readonly id: string
  readonly text: string
  readonly file: string
  readonly line: number
}

export interface Policy {
  readonly id: string
  readonly text: string
  readonly file: string
  readonly line: number
  readonly tree: PolicyTree
  readonly reads: ReadonlySet<Leaf>
}

export type PolicySchemaParts = Omit<SchemaParts, 'provenNames'> & {
  /** Known names of proven attributes; null: whatever policies name. */
  readonly provenNames?: readonly string[] | null
}

export interface ReadPolicies {
  readonly policies: readonly Policy[]
  readonly leaves: readonly Leaf[]
  readonly actions: readonly string[]
  readonly mistakes: readonly Mistake[]
}

interface Found {
  readonly id: string
  readonly text: string
  readonly file: string
  readonly line: number
  readonly tree: PolicyTree
}

/** Every mistake of the policies; empty when they may come into force. */
export function checkPolicies(sources: readonly PolicySource[], parts: PolicySchemaParts): readonly Mistake[] {
  return readPolicies(sources, parts).mistakes
}

export function readPolicies(sources: readonly PolicySource[], parts: PolicySchemaParts): ReadPolicies {
  const mistakes: Mistake[] = []
  const counted = new Map<string, number>()
  const found = sources.flatMap((source) => findPolicies(source, counted, mistakes))
  checkIds(found, mistakes)
  const provenNames = parts.provenNames ?? [...new Set(found.flatMap((policy) => provenNamesRead(policy.tree)))].sort()
  const leaves = leavesOf({ ...parts, provenNames })
  const actions = actionNames(parts.services)
  for (const policy of found) {
    checkEntities(policy, parts, mistakes)
    checkRepositories(policy, mistakes)
  }
  validateAll(found, parts.workloads, leaves, actions, mistakes)
  return { policies: found.map((policy) => ({ ...policy, reads: leavesRead(policy.tree, leaves) })), leaves, actions, mistakes }
}

/** `counted` numbers the policies of a file over all its texts, so that unnamed ones stay apart. */
function findPolicies(source: PolicySource, counted: Map<string, number>, mistakes: Mistake[]): readonly Found[] {
  const { parts, wrong } = splitPolicies(source.text)
  for (const one of wrong) mistakes.push(mistakeAt(source, source.text, one))
  const found: Found[] = []
  for (const part of parts) {
    const number = (counted.get(source.file) ?? 0) + 1
    counted.set(source.file, number)
    const line = source.line + linesBefore(source.text, part.offset)
    const tree = readPolicy(part.text)
    if ('message' in tree) mistakes.push(mistakeAt({ ...source, line }, part.text, tree))
    else {
      const id = tree.annotations['id'] ?? (parts.length === 1 && source.id !== '' ? source.id : `${source.file}#${number}`)
      found.push({ id, text: part.text, file: source.file, line, tree })
    }
  }
  return found
}

function checkIds(found: readonly Found[], mistakes: Mistake[]): void {
  const first = new Map<string, Found>()
  for (const policy of found) {
    const other = first.get(policy.id)
    if (other === undefined) first.set(policy.id, policy)
    else
      mistakes.push({
        ...placeOf(policy),
        wrong: `another policy is called ${JSON.stringify(policy.id)} (${other.file}:${other.line})`,
        write: 'give each policy an @id of its own',
      })
  }
}

function provenNamesRead(tree: PolicyTree): readonly string[] {
  return tree.reads.flatMap(([root, container, name]) =>
    root === 'principal' && container === 'proven' && name !== undefined ? [name] : [],
  )
}

/** Cedar takes any id of a known type; a name that does not exist would make a policy silently mean nothing. */
function checkEntities(policy: Found, parts: PolicySchemaParts, mistakes: Mistake[]): void {
  const known: Readonly<Record<string, readonly string[]>> = {
    Workload: parts.workloads.map((workload) => workload.name),
    Group: [...new Set(parts.workloads.flatMap((workload) => workload.groups))],
    Service: parts.services.map((service) => service.name),
  }
  const said = new Set<string>()
  for (const { type, id } of policy.tree.entities) {
    const names = known[type]
    if (names === undefined || names.includes(id) || said.has(`${type} ${id}`)) continue
    said.add(`${type} ${id}`)
    const at = policy.text.indexOf(`${type}::${JSON.stringify(id)}`)
    mistakes.push({
      ...placeOf(policy),
      line: policy.line + linesBefore(policy.text, Math.max(0, at)),
      wrong: `there is no ${type.toLowerCase()} ${JSON.stringify(id)}`,
      write:
        names.length === 0
          ? `configure a ${type.toLowerCase()} of this name`
          : `one of ${names.map((name) => `${type}::${JSON.stringify(name)}`).join(', ')}`,
    })
  }
}

/** A repository is lower case when it is compared: in another spelling a `forbid` would silently forbid nothing. */
function checkRepositories(policy: Found, mistakes: Mistake[]): void {
  if (!policy.tree.reads.some((path) => path.join('.') === 'context.request.repository')) return
  for (const match of policy.text.matchAll(/"([\w.*-]*\/[\w.*-]*)"/g)) {
    const [, written = ''] = match
    if (written === written.toLowerCase()) continue
    mistakes.push({
      ...placeOf(policy),
      line: policy.line + linesBefore(policy.text, match.index),
      wrong: `a repository is compared in lower case, and "${written}" is not`,
      write: `"${written.toLowerCase()}"`,
    })
  }
}

/** A label is safe to read without `has` where every workload that the policy's scope can match has it. */
function validateAll(
  found: readonly Found[],
  workloads: readonly SchemaWorkload[],
  leaves: readonly Leaf[],
  actions: readonly string[],
  mistakes: Mistake[],
): void {
  const groups = new Map<string, { readonly certain: ReadonlySet<string>; readonly policies: Map<string, Found> }>()
  for (const [index, policy] of found.entries()) {
    const certain = certainLabels(policy.tree, workloads)
    const key = JSON.stringify([...certain].sort())
    const group = groups.get(key) ?? { certain, policies: new Map() }
    group.policies.set(`p${index}`, policy)
    groups.set(key, group)
  }
  for (const { certain, policies } of groups.values()) {
    const schema = schemaOf(
      leaves.map((leaf) => (leaf.path[0] === 'labels' && certain.has(leaf.path[1] as string) ? { ...leaf, required: true } : leaf)),
      actions,
    )
    const texts = Object.fromEntries([...policies].map(([id, policy]) => [id, policy.text]))
    sayComplaints(validate(texts, schema), policies, mistakes)
  }
}

function certainLabels(tree: PolicyTree, workloads: readonly SchemaWorkload[]): ReadonlySet<string> {
  const matching = workloads.filter((workload) => principalFits(tree, workload.name, workload.groups))
  const [first] = matching
  if (first === undefined) return new Set()
  return new Set(Object.keys(first.labels).filter((name) => matching.every((workload) => Object.hasOwn(workload.labels, name))))
}

export function principalFits(tree: PolicyTree, workload: string, groups: readonly string[]): boolean {
  return (
    tree.principal === null ||
    tree.principal.some(({ type, id }) => (type === 'Workload' && id === workload) || (type === 'Group' && groups.includes(id)))
  )
}

/** Cedar complains once for each action that a policy can meet; a person needs it once, the cause before its consequences. */
function sayComplaints(complaints: readonly Complaint[], policies: ReadonlyMap<string, Found>, mistakes: Mistake[]): void {
  const said = new Set<string>()
  for (const one of complaints) {
    const policy = policies.get(one.policy)
    const wrong = one.message
      .replace(/^for policy `[^`]*`, /, '')
      .replace(/ for (?:Tunnel|Action)::"[^"]*"/, '')
      .replace(/ in context for Action::"[^"]*"/, ' in context')
    const consequence = /policy is impossible|unable to find an applicable action/.test(wrong)
    const key = `${one.policy} ${consequence ? '' : one.sourceLocations[0]?.start}`
    if (said.has(key) || (consequence && [...said].some((known) => known.startsWith(`${one.policy} `)))) continue
    said.add(key)
    if (policy === undefined) mistakes.push({ file: '', line: 0, path: 'policies', wrong, write: one.help ?? 'see the policy reference' })
    else mistakes.push(mistakeAt(policy, policy.text, { ...complaint(one, policy.text), message: wrong }))
  }
}

function mistakeAt(
  source: { readonly id: string; readonly file: string; readonly line: number },
  text: string,
  one: CedarComplaint,
): Mistake {
  return {
    ...placeOf(source),
    line: source.line + linesBefore(text, Math.max(0, one.at)),
    wrong: one.message,
    write: one.help ?? 'see the policy reference for what a policy may say',
  }
}

function placeOf(source: { readonly id: string; readonly file: string; readonly line: number }): Pick<Mistake, 'file' | 'line' | 'path'> {
  return { file: source.file, line: source.line, path: `policies ${JSON.stringify(source.id)}` }
}

function linesBefore(text: string, at: number): number {
  let lines = 0
  for (let from = text.indexOf('\n'); from !== -1 && from < at; from = text.indexOf('\n', from + 1)) lines++
  return lines
}
