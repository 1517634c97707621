// Says in words what would become of a request and why: each policy that was considered, each fact that is missing.
// It must never be the way a decision is made: decide.ts asks the engine once, for all policies together.
import type { Facts, FactValue } from '../model/facts.ts'
import type { Identity } from '../model/identity.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { Target } from '../model/target.ts'
import { mayHaveBody, nothingRead } from './body.ts'
import { evaluate, type Program } from './engine.ts'
import type { FactSource } from './facts.ts'
import type { Policy } from './policies.ts'
import { type Asking, mayDefer, type Reading } from './reading.ts'
import { engineRequest, type Question, type Resource, type Slice, valuesOf } from './slices.ts'

/** What the person who asks supposes. */
export interface Known {
  /** Flattened, `condition` or `condition.name`; the rest is asked of the conditions. */
  readonly facts?: Facts
  /** JSON, as it would be sent. */
  readonly body?: Buffer
}

export interface Considered {
  readonly policy: string
  readonly effect: 'permit' | 'forbid'
  /** Does the policy hold for this request? null: it could not be told. */
  readonly holds: boolean | null
  readonly file: string
  readonly line: number
}

export interface Explanation {
  readonly permitted: boolean
  /** Of the refusal that there would be; null where there would be none. */
  readonly code: string | null
  /** Policies that decide. */
  readonly policies: readonly string[]
  readonly considered: readonly Considered[]
  /** Sentences. */
  readonly reasons: readonly string[]
  /** Facts that could not be had, with how to mend them. */
  readonly missing: readonly string[]
  readonly facts: Facts
  readonly credential: string | null
}

/** What is known of one action before policy is asked. */
interface Found {
  readonly slice: Slice
  readonly resource: Resource
  readonly credential: string | null
  readonly noCredential: Refusal | null
}

interface Explained {
  /** Throws what is refused before policy is asked. */
  readonly unasked: (call: Asking) => void
  readonly found: (action: string) => Found
  readonly factsOf: FactSource
  readonly reading: Reading
  /** null for a tunnel. */
  readonly service: Service | null
  readonly identity: Identity
  readonly target: Target
  readonly known: Known
}

interface Ask {
  readonly slice: Slice
  readonly question: Question
  readonly known: Facts
  readonly factsOf: FactSource
  /** What policy would not be told of any more. */
  readonly after: Refusal | null
}

/** Never throws for a no. */
export async function explain(parts: Explained): Promise<Explanation> {
  const { service, identity, target, known } = parts
  const call = supposed(target, known.body ?? Buffer.alloc(0))
  try {
    parts.unasked(call)
    const first = await explainAction(parts, call, target.action)
    if (!first.permitted || service === null || !mayDefer(service, target, undefined)) return first
    if (!(await parts.reading.defers(service, call, identity))) return first
    const later = await explainAction(parts, call, 'deferred')
    return {
      ...later,
      policies: later.permitted ? [...new Set([...first.policies, ...later.policies])] : later.policies,
      considered: [...first.considered, ...later.considered],
      reasons: [...first.reasons, 'Its body asks for work that goes on after the answer: that needs `deferred` too.', ...later.reasons],
      facts: { ...first.facts, ...later.facts },
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const { code, says, detail } = error
    const reasons = [detail === '' ? says : `${says} ${detail}.`]
    return { permitted: false, code, policies: [], considered: [], reasons, missing: [], facts: {}, credential: null }
  }
}

/** A request with nothing but what is read of one. */
function supposed(target: Target, body: Buffer): Asking {
  return {
    target,
    head: {
      method: target.method,
      target: target.path,
      get: (name) => (name === 'content-type' ? 'application/json' : undefined),
      each() {},
    },
    body: { length: body.length, whole: body, start() {}, pause() {}, resume() {}, cancel() {} },
    readBody: async () => body,
  }
}

async function explainAction(parts: Explained, call: Asking, action: string): Promise<Explanation> {
  const { service, identity, target, known, factsOf, reading } = parts
  const { slice, resource, credential, noCredential } = parts.found(action)
  const read = service === null ? nothingRead : await reading.request(slice, service, call, identity)
  const question: Question = {
    ...{ identity, target, resource, credential, facts: {}, body: read },
    action: resource.type === 'Host' ? 'tunnel' : action,
  }
  const explained = await explainQuestion({ slice, question, known: known.facts ?? {}, factsOf, after: noCredential })
  const unsaid = (slice.readsModel || slice.readsTools) && known.body === undefined && mayHaveBody(target.method)
  return unsaid ? { ...explained, reasons: [...explained.reasons, 'Policy reads the body, and none was given (--body).'] } : explained
}

async function explainQuestion(ask: Ask): Promise<Explanation> {
  const { facts, missing } = await gather(ask)
  const question: Question = { ...ask.question, facts }
  const { slice } = ask
  const values = valuesOf(slice.leaves, question)
  const request = engineRequest(slice.leaves, values, question)
  const holds = (policy: Policy, index: number): boolean | null => {
    if (missing.length > 0) return null
    // Alone, a forbid beside a permit for all: it holds when it is among the reasons.
    const id = `p${index}`
    const rest = policy.tree.effect === 'forbid' ? { all: 'permit (principal, action, resource);' } : {}
    const program: Program = {
      key: `explain ${slice.program.key} ${id}`,
      policies: { [id]: policy.text, ...rest },
      schema: slice.program.schema,
    }
    const verdict = evaluate(program, request)
    return verdict.error === null ? verdict.reasons.includes(id) : null
  }
  const considered = slice.policies.map((policy, index) => ({
    policy: policy.id,
    effect: policy.tree.effect,
    holds: holds(policy, index),
    file: policy.file,
    line: policy.line,
  }))
  const outcome = outcomeOf(ask, question, considered, missing, request)
  return { ...outcome, considered, missing, facts, credential: question.credential }
}

type Outcome = Pick<Explanation, 'permitted' | 'code' | 'policies' | 'reasons'>

function outcomeOf(
  ask: Ask,
  question: Question,
  considered: readonly Considered[],
  missing: readonly string[],
  request: ReturnType<typeof engineRequest>,
): Outcome {
  const no = (code: string, reasons: readonly string[], policies: readonly string[] = []): Outcome => ({
    permitted: false,
    code,
    policies,
    reasons,
  })
  const { action, resource, identity } = question
  if (missing.length > 0) return no('decide.fact_missing', [`Policy reads facts that cannot be had: ${missing.join('; ')}.`])
  if (considered.length === 0) return no('decide.denied', [nobody(identity.workload, action, resource.id)])
  const verdict = evaluate(ask.slice.program, request)
  if (verdict.error !== null) return no('decide.policy_error', [`A policy raised an error: ${verdict.error}.`])
  const forbids = considered.filter((one) => one.effect === 'forbid' && one.holds === true).map((one) => one.policy)
  const permits = considered.filter((one) => one.effect === 'permit' && one.holds === true).map((one) => one.policy)
  if (forbids.length > 0)
    return no(
      'decide.forbidden',
      forbids.map((id) => `${quoted(id)} forbids it.`),
      forbids,
    )
  if (!verdict.allowed) return no('decide.denied', deniedBecause(question, considered))
  if (ask.after !== null)
    return no(ask.after.code, [`${permits.map(quoted).join(', ')} permits it, but there is no credential: ${ask.after.detail}.`], permits)
  return { permitted: true, code: null, policies: permits, reasons: permits.map((id) => `${quoted(id)} permits it.`) }
}

function deniedBecause({ identity, action, resource }: Question, considered: readonly Considered[]): readonly string[] {
  const unmet = considered.filter((one) => one.effect === 'permit')
  if (unmet.length === 0) return [nobody(identity.workload, action, resource.id)]
  return unmet.map((one) => `${quoted(one.policy)} could permit it, but its conditions do not hold.`)
}

function nobody(workload: string, action: string, resource: string): string {
  const named = action === 'mint' || action === 'tunnel' || action.startsWith('mint.')
  return `No policy permits ${workload} the action ${action} at ${resource}${named ? `; it must name Action::${JSON.stringify(action)} itself` : ''}.`
}

function quoted(id: string): string {
  return JSON.stringify(id)
}

/** One condition that fails must not hide what the others say. */
async function gather({ slice, question, known, factsOf }: Ask): Promise<{ readonly facts: Facts; readonly missing: readonly string[] }> {
  const facts: Record<string, FactValue> = {}
  const missing: string[] = []
  const service = question.resource.type === 'Service' ? question.resource.id : null
  for (const name of slice.conditions) {
    const needed = slice.leaves.filter((leaf) => leaf.path[0] === 'facts' && leaf.path[1] === name)
    if (needed.every((leaf) => Object.hasOwn(known, leaf.path.slice(1).join('.')) || !leaf.required)) {
      if (needed.some((leaf) => Object.hasOwn(known, leaf.path.slice(1).join('.')))) continue
    }
    try {
      Object.assign(facts, await factsOf([name], question.identity, service))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      missing.push(error.detail)
    }
  }
  return { facts: { ...facts, ...known }, missing }
}
