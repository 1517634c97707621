// The face of the step: facts + Cedar → Decision. Deny by default; an error, a warning or a missing fact is a no.
// It must never permit on anything but values that the policies were analysed to read.
import { createHash } from 'node:crypto'
import type { Call, TunnelCall } from '../model/call.ts'
import type { Clock } from '../model/clock.ts'
import type { Decision } from '../model/decision.ts'
import type { Facts, FactValue } from '../model/facts.ts'
import type { Identity } from '../model/identity.ts'
import type { Log } from '../model/kind.ts'
import type { Limits } from '../model/limits.ts'
import { ConfigMistakes, Refusal } from '../model/refusal.ts'
import { signsBody } from '../model/scope.ts'
import type { Service } from '../model/service.ts'
import type { Target } from '../model/target.ts'
import { type BodyRead, nothingRead } from './body.ts'
import type { Condition, FactShape } from './condition.ts'
import { evaluate } from './engine.ts'
import { type Explanation, explain, type Known } from './explain.ts'
import { createFactSource, type FactSource } from './facts.ts'
import { createMemo, type Memo, memoKey } from './memo.ts'
import { type PolicySource, readPolicies } from './policies.ts'
import { type Asking, createReading, forRecord, mayDefer, type Reading, refuseFileOfCalls } from './reading.ts'
import { type SchemaWorkload, schemaOf } from './schema.ts'
import { createSlices, engineRequest, type Question, type Resource, type Slice, type Slices, valuesOf } from './slices.ts'

export interface DecideParts {
  readonly policies: readonly PolicySource[]
  readonly conditions: readonly { readonly name: string; readonly kind: string; readonly condition: Condition; readonly shape: FactShape }[]
  readonly services: readonly Service[]
  readonly workloads: readonly SchemaWorkload[]
  /** Known names of proven attributes; without it a policy may name any, each optional. */
  readonly provenNames?: readonly string[]
  /** May throw Refusal obtain.no_credential: said only once policy has permitted. */
  readonly credentialFor: (identity: Identity, service: Service) => string | null
  readonly clock: Clock
  readonly limits: Limits
  readonly log: Log
  readonly version?: string
  /** Until when (ms) the no of policy to a workload is recorded and not obeyed; null: it is obeyed. */
  readonly observeUntil?: (workload: string) => number | null
}

export interface Decider {
  /** SHA-256 of policies and schema, hex, unless given. */
  readonly version: string
  /** Throws Refusal decide.*; a value, not a promise, where nothing must be waited for. */
  decide(call: Call, identity: Identity): Decision | Promise<Decision>
  /** For what one message of a WebSocket asks for. */
  decideMessage(call: Call, identity: Identity, read: BodyRead): Decision | Promise<Decision>
  decideTunnel(call: TunnelCall, identity: Identity): Decision | Promise<Decision>
  /** Pure: decides on the facts given, flattened as in a Decision. `read` is what the body said, where policy reads it. */
  decideAgain(identity: Identity, target: Target, facts: Facts, read?: Pick<Decision, 'model' | 'tools'>): Decision
  /** What would become of a request and why; never throws for a no. */
  explain(identity: Identity, target: Target, known?: Known): Promise<Explanation>
}

interface Remembered {
  readonly allowed: boolean
  readonly policies: readonly string[]
  readonly error: string | null
  readonly facts: Facts
}

/** What a decider works with. */
interface World {
  readonly parts: DecideParts
  readonly version: string
  readonly slices: Slices
  readonly memo: Memo<Remembered>
  readonly factsOf: FactSource
  readonly reading: Reading
  readonly services: ReadonlyMap<string, Service>
  readonly managedHosts: ReadonlySet<string>
}

/** What stays the same for one identity and one action of one service. */
interface Lookup {
  readonly slice: Slice
  readonly resource: Resource
  readonly credential: string | null
  readonly noCredential: Refusal | null
  readonly prefix: string
  /** The verdict that was asked for last: most requests of an agent are like the one before. */
  last: { readonly key: string; readonly verdict: Remembered } | null
}

/** Throws ConfigMistakes when the policies may not come into force. */
export function createDecide(parts: DecideParts): Decider {
  const { policies, leaves, actions, mistakes } = readPolicies(parts.policies, parts)
  if (mistakes.length > 0) throw new ConfigMistakes(mistakes)
  const world: World = {
    parts,
    version: parts.version ?? versionOf(policies, schemaOf(leaves, actions)),
    slices: createSlices(policies, actions),
    memo: createMemo(parts.limits.memoPerWorkloadMax),
    factsOf: createFactSource(parts.conditions, parts.limits.factMs),
    reading: createReading(parts.limits),
    services: new Map(parts.services.map((service) => [service.name, service])),
    managedHosts: new Set(parts.services.flatMap((service) => service.hosts)),
  }
  const lookups = new WeakMap<Identity, Map<string, Lookup>>()
  const lookup = (identity: Identity, action: string, service: Service): Lookup => {
    let own = lookups.get(identity)
    if (own === undefined) {
      own = new Map()
      lookups.set(identity, own)
    }
    // Bounded by the configuration: actions and services are both its words.
    const key = `${action} ${service.name}`
    let found = own.get(key)
    if (found === undefined) {
      if (action !== 'call' && !actions.includes(action)) throw new Refusal('decide.policy_error', 'the action is not in the schema')
      found = look(world, identity, action, service)
      own.set(key, found)
    }
    return found
  }
  return {
    version: world.version,
    decide: (call, identity) => {
      const decision = decideCall(world, lookup, call, identity)
      if (!waitsForBody(call)) return decision
      return Promise.resolve(decision).then((made) => world.reading.toSign(call, identity).then(() => made))
    },
    decideMessage: (call, identity, read) => decideCall(world, lookup, call, identity, read),
    decideTunnel: (call, identity) => decideTunnel(world, call, identity),
    decideAgain(identity, target, facts, read) {
      const service = target.service === null ? null : (world.services.get(target.service) ?? null)
      if (service === null ? target.service !== null : !service.hosts.includes(target.host) || service.port !== target.port)
        throw new Refusal('decide.denied', 'the target is not of its service')
      const found = service === null ? lookTunnel(world, identity, target) : lookup(identity, target.action, service)
      return settle(world, found, identity, target, pickFacts(world, found.slice, facts), bodyAgain(found.slice, service, target, read))
    },
    explain: (identity, target, known) => {
      const service = target.service === null ? null : (world.services.get(target.service) ?? null)
      const found = (action: string): Lookup =>
        service === null ? lookTunnel(world, identity, target) : look(world, identity, action, service)
      const unasked = (call: Asking): void => {
        if (service === null) return
        refuseMethod(service, call)
        refuseFileOfCalls(service, target, () => [found(target.action).slice, found('inference').slice])
      }
      return explain({ unasked, found, factsOf: world.factsOf, reading: world.reading, service, identity, target, known: known ?? {} })
    },
  }
}

function versionOf(policies: readonly { readonly id: string; readonly text: string }[], schema: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify([policies.map(({ id, text }) => [id, text]), schema]))
    .digest('hex')
}

function look(world: World, identity: Identity, action: string, service: Service): Lookup {
  const resource: Resource = { type: 'Service', id: service.name }
  let credential: string | null = null
  let noCredential: Refusal | null = null
  try {
    credential = world.parts.credentialFor(identity, service)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    noCredential = error
  }
  return {
    slice: world.slices.of(identity, action, resource),
    resource,
    credential,
    noCredential,
    prefix: prefixOf(identity, action, resource),
    last: null,
  }
}

function lookTunnel(world: World, identity: Identity, target: Target): Lookup {
  // Invariant 14: a managed host is never tunnelled, whatever policy says.
  if (world.managedHosts.has(target.host)) throw new Refusal('decide.denied', 'a managed host is never tunnelled')
  const resource: Resource = { type: 'Host', id: target.host }
  const slice = world.slices.of(identity, 'tunnel', resource)
  return { slice, resource, credential: null, noCredential: null, prefix: prefixOf(identity, 'tunnel', resource), last: null }
}

/** Part of every memo key: what a policy can test without reading an attribute. */
function prefixOf(identity: Identity, action: string, resource: Resource): string {
  return `${JSON.stringify([identity.workload, [...identity.groups].sort(), action, resource.type, resource.id])} `
}

function decideCall(
  world: World,
  lookup: (identity: Identity, action: string, service: Service) => Lookup,
  call: Call,
  identity: Identity,
  message?: BodyRead,
): Decision | Promise<Decision> {
  const { service, target } = call
  if (service === null) throw new Refusal('decide.denied', 'no service manages this host')
  refuseMethod(service, call)
  const found = lookup(identity, target.action, service)
  refuseFileOfCalls(service, target, () => [found.slice, lookup(identity, 'inference', service).slice])
  const later = mayDefer(service, target, message) ? lookup(identity, 'deferred', service) : null
  const wanted = {
    readsModel: found.slice.readsModel || later?.slice.readsModel === true,
    readsTools: found.slice.readsTools || later?.slice.readsTools === true,
  }
  const { reading } = world
  const decided = (body: BodyRead, stated: Facts): Decision | Promise<Decision> => {
    const decision = settle(world, found, identity, target, stated, body)
    // Most bodies come with their head, and say at once that they do not.
    const defers = later === null ? false : (body.deferred ?? reading.defersNow(service, call))
    return later === null || defers === false ? decision : decideDeferred(world, later, call, identity, { body, defers }, decision)
  }
  const withBody = (stated: Facts): Decision | Promise<Decision> => {
    const read = message === undefined ? reading.request(wanted, service, call, identity) : reading.message(wanted, message)
    return read instanceof Promise ? read.then((body) => decided(body, stated)) : decided(read, stated)
  }
  const facts = world.factsOf(found.slice.conditions, identity, service.name)
  return facts instanceof Promise ? facts.then(withBody) : withBody(facts)
}

/** What goes on after its answer must be permitted as `deferred` too. Where it is not, the body is looked at: it must not ask for that. */
async function decideDeferred(
  world: World,
  later: Lookup,
  call: Call,
  identity: Identity,
  { body, defers }: { readonly body: BodyRead; readonly defers: boolean | undefined },
  decision: Decision,
): Promise<Decision> {
  const service = call.service as Service
  let refused: Refusal
  try {
    const facts = await world.factsOf(later.slice.conditions, identity, service.name)
    const also = settle(world, later, identity, { ...call.target, action: 'deferred' }, facts, body)
    if (body.deferred !== true) return decision
    return { ...decision, policies: [...new Set([...decision.policies, ...also.policies])] }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    refused = error
  }
  if (defers ?? (await world.reading.defers(service, call, identity))) throw refused
  return decision
}

function waitsForBody({ service, target, head, body }: Call): boolean {
  return service !== null && body.whole === null && body.length !== 0 && signsBody(service, target, head)
}

/** Of the method, and of the path, as frameworks and gateways read them. */
const overrides = [
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-method',
  'x-forwarded-method',
  'x-original-url',
  'x-original-uri',
  'x-rewrite-url',
  'x-forwarded-uri',
] as const
const queryOverride = /^(?:_method|[$.]*http[-_]?method|x[-_]http[-_]method(?:[-_]override)?)$/i

/** Where a rule looks at method and path, what changes them behind our back would lead past the rule. */
function refuseMethod(service: Service, call: Asking): void {
  const { method } = call.target
  if (service.methods.length > 0 && !service.methods.includes(method)) throw new Refusal('decide.method', method)
  if (service.actions.length === 0 && service.methods.length === 0) return
  for (const name of overrides) if (call.head.get(name) !== undefined) throw new Refusal('decide.method', `${name} is not allowed`)
  const { query } = call.target
  if (query === '') return
  for (const name of new URLSearchParams(query).keys())
    if (queryOverride.test(name)) throw new Refusal('decide.method', 'a query that overrides the method')
}

function decideTunnel(world: World, call: TunnelCall, identity: Identity): Decision | Promise<Decision> {
  const found = lookTunnel(world, identity, call.target)
  const facts = world.factsOf(found.slice.conditions, identity, null)
  if (facts instanceof Promise) return facts.then((stated) => settle(world, found, identity, call.target, stated, nothingRead))
  return settle(world, found, identity, call.target, facts, nothingRead)
}

function settle(world: World, found: Lookup, identity: Identity, target: Target, facts: Facts, body: BodyRead): Decision {
  const question: Question = {
    identity,
    target,
    action: actionOf(found, target),
    resource: found.resource,
    facts,
    credential: found.credential,
    body,
  }
  const verdict = remembered(world, found, question)
  if (verdict.error !== null) throw new Refusal('decide.policy_error', verdict.error)
  const no = verdict.allowed ? null : noOf(verdict, question)
  if (no !== null && !isObserved(world, question)) throw no
  if (found.noCredential !== null) throw found.noCredential
  return {
    policies: verdict.policies,
    facts: verdict.facts,
    policyVersion: world.version,
    credential: found.credential,
    model: body.model ?? null,
    tools: body.tools ?? [],
    ...(no === null ? {} : { observed: { code: no.code, detail: no.detail } }),
  }
}

/** Only the verdict is observed, at a listed service: what answers with fresh secrets, and what is passed unread, must be permitted. */
function isObserved({ parts }: World, { identity, action, resource }: Question): boolean {
  const until = parts.observeUntil?.(identity.workload) ?? null
  if (until === null || parts.clock.now() > until) return false
  return resource.type === 'Service' && action !== 'mint' && !action.startsWith('mint.')
}

function actionOf(found: Lookup, target: Target): string {
  return found.resource.type === 'Host' ? 'tunnel' : target.action
}

function noOf(verdict: Remembered, { action, resource, identity }: Question): Refusal {
  if (verdict.policies.length > 0)
    return new Refusal('decide.forbidden', `by ${verdict.policies.map((id) => JSON.stringify(id)).join(', ')}`)
  return new Refusal('decide.denied', `nothing permits ${identity.workload} ${action} at ${resource.id}`)
}

function remembered(world: World, found: Lookup, question: Question): Remembered {
  const { slice } = found
  const values = valuesOf(slice.leaves, question)
  const key = memoKey(found.prefix, values)
  if (found.last?.key === key) return found.last.verdict
  const { workload } = question.identity
  const known = world.memo.get(workload, key)
  if (known !== undefined) {
    found.last = { key, verdict: known }
    return known
  }
  const verdict = verdictOf(world, slice, question, values)
  // Errors are not remembered: a defect of the engine must not outlive its cause.
  if (verdict.error === null) world.memo.set(workload, key, verdict)
  return verdict
}

function verdictOf(world: World, slice: Slice, question: Question, values: ReturnType<typeof valuesOf>): Remembered {
  const facts: Record<string, FactValue> = {}
  for (const [index, leaf] of slice.leaves.entries()) {
    const value = values[index]
    if (leaf.path[0] === 'facts' && value !== undefined) facts[leaf.path.slice(1).join('.')] = value
  }
  if (slice.policies.length === 0) return { allowed: false, policies: [], error: null, facts }
  const { allowed, reasons, error } = evaluate(slice.program, engineRequest(slice.leaves, values, question))
  if (error !== null) world.parts.log.warn('policy error', { workload: question.identity.workload, action: question.action, error })
  return { allowed, policies: reasons.map((reason) => nameOf(slice, reason)), error, facts }
}

function nameOf(slice: Slice, reason: string): string {
  return slice.policies[Number(reason.slice(1))]?.id ?? reason
}

/** Facts that came from elsewhere are held against the schema by name here and by type in the engine. */
function pickFacts(world: World, slice: Slice, facts: Facts): Facts {
  for (const leaf of slice.leaves) {
    const name = leaf.path.slice(1).join('.')
    if (leaf.path[0] === 'facts' && leaf.required && !Object.hasOwn(facts, name))
      throw new Refusal('decide.fact_missing', `${name} was not given (policy ${world.version.slice(0, 12)})`)
  }
  return facts
}

function bodyAgain(slice: Slice, service: Service | null, target: Target, read: Pick<Decision, 'model' | 'tools'> | undefined): BodyRead {
  if (service === null) return nothingRead
  if (read !== undefined) return { model: read.model ?? undefined, tools: slice.readsTools ? read.tools : undefined }
  if (slice.readsTools || (slice.readsModel && service.modelPath === null))
    throw new Refusal('decide.fact_missing', 'policy reads the body, which was not given')
  return { model: forRecord(service, target.path), tools: undefined }
}
