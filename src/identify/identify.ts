// Evidence → Identity: what the trust providers prove, held against the workloads that configuration knows. Exactly one must
// match. It must never take a caller's word: a pointer selects a run whose membership the kernel proves, a token is verified.
import type { Clock } from '../model/clock.ts'
import type { Evidence, PeerFacts, ProcessFacts } from '../model/evidence.ts'
import type { Attested, Attributes, Identity } from '../model/identity.ts'
import type { Log } from '../model/kind.ts'
import type { Limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Run } from '../model/run.ts'
import { identityKey, spiffeId, spiffePath } from './spiffe.ts'
import type { AnyTrustKind, TrustProvider } from './trust-provider.ts'

export interface RunsView {
  byPointer(pointer: string): Run | null
  /** By PID namespace or descent; the innermost. */
  member(process: ProcessFacts): Run | null
}

/** What of a workload's configuration is needed here. */
export interface Workload {
  readonly name: string
  readonly path: string
  readonly groups: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly identify: readonly { readonly provider: string; readonly kind: string; readonly rule: unknown }[]
  readonly run: unknown
}

export interface Provider {
  readonly name: string
  readonly kind: string
  readonly provider: TrustProvider
}

export interface IdentifyOptions {
  readonly providers: readonly Provider[]
  readonly kinds: readonly AnyTrustKind[]
  readonly workloads: readonly Workload[]
  readonly trustDomain: string
  readonly runs: RunsView
  readonly clock: Clock
  readonly limits: Limits
  /** Custody of a peer that is in no run. */
  readonly defaultCustody: string
  readonly log: Log
}

/** The kind that judges the kernel's facts; every other kind judges something presented. */
const kernelKind = 'process'

/** What was proven, by the name of its provider. */
type Proven = ReadonlyMap<string, Attested>

interface Match {
  readonly workload: Workload
  readonly used: readonly Attested[]
  readonly id: string
  readonly attributes: Attributes
}

export type Identify = (evidence: Evidence, signal: AbortSignal) => Promise<Identity>

export function createIdentify(options: IdentifyOptions): Identify {
  return async (evidence, signal) => {
    if (signal.aborted) throw new Refusal('identify.none', 'the check was stopped', signal.reason)
    const run = runOf(evidence, options.runs)
    // From here on a pointer means a run that the kernel has proven; the word of the caller is gone.
    const held: Evidence = { ...evidence, pointer: run?.pointer ?? null }
    const proven = await prove(options.providers, held, signal)
    const match = run === null ? matchOutside(options, held, proven) : matchInRun(options, run, proven)
    if (!(await evidence.unchanged())) throw new Refusal('identify.changed', 'the process changed, or another holds the connection')
    // The run may have ended or been suspended while a key was fetched.
    if (run !== null) refuseClosed(options.runs.byPointer(run.pointer))
    return identityOf(options, evidence.peer, run, match)
  }
}

/** Could only a token identify this peer? Then a request without one gets 407. `kinds` are those of the configured providers. */
export function tokenRequired(peer: PeerFacts, kinds: readonly string[]): boolean {
  return !peer.loopback && peer.process === null && peer.uid === null && kinds.some((kind) => kind !== kernelKind)
}

function runOf({ pointer, peer }: Evidence, runs: RunsView): Run | null {
  const member = peer.process === null ? null : runs.member(peer.process)
  if (pointer === null) {
    if (member !== null) refuseClosed(runs.byPointer(member.pointer))
    return member
  }
  const pointed = runs.byPointer(pointer)
  if (pointed === null) throw new Refusal('identify.not_in_run', 'no run has this pointer')
  if (member?.id !== pointed.id)
    throw new Refusal('identify.not_in_run', member === null ? peer.why || 'the process is in no run' : `the process is in ${member.id}`)
  refuseClosed(pointed)
  return member
}

function refuseClosed(run: Run | null): void {
  if (run === null || run.state === 'ended') throw new Refusal('identify.run_ended', run?.id ?? '')
  if (run.state === 'suspended') throw new Refusal('identify.suspended', run.id)
}

async function prove(providers: readonly Provider[], evidence: Evidence, signal: AbortSignal): Promise<Proven> {
  const proven = new Map<string, Attested>()
  for (const { name, kind, provider } of providers) {
    if (kind !== kernelKind) continue
    const attested = await provider.verify(evidence, signal)
    if (attested !== null) proven.set(name, attested)
  }
  if (evidence.token !== null) await proveToken(providers, evidence, signal, proven)
  return proven
}

/** A token that is presented must hold: what is broken is refused, never passed over for something weaker. */
async function proveToken(
  providers: readonly Provider[],
  evidence: Evidence,
  signal: AbortSignal,
  proven: Map<string, Attested>,
): Promise<void> {
  let refused = new Refusal('identify.token_issuer', 'no trust provider is of this issuer')
  let held = false
  for (const { name, kind, provider } of providers) {
    if (kind === kernelKind) continue
    try {
      const attested = await provider.verify(evidence, signal)
      if (attested !== null) proven.set(name, attested)
      held ||= attested !== null
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      if (refused.code === 'identify.token_issuer') refused = error
    }
  }
  if (!held) throw refused
}

function matchOutside(options: IdentifyOptions, evidence: Evidence, proven: Proven): Match {
  const { peer } = evidence
  if (proven.size === 0) {
    if (peer.loopback) throw new Refusal('identify.process_unknown', peer.why)
    throw new Refusal('identify.none', peer.why)
  }
  const withToken = evidence.token !== null
  const matches: Match[] = []
  for (const workload of options.workloads) {
    // With a token only the workloads that ask for one are meant; without one, only those that ask for none can fit.
    if (workload.identify.length === 0 || workload.identify.some(({ kind }) => kind !== kernelKind) !== withToken) continue
    const used = workload.identify.map((entry) => fitting(options, entry, proven, {}))
    if (!used.every((one) => one !== null)) continue
    const match = complete(options, workload, used)
    if (match !== null) matches.push(match)
  }
  if (matches.length > 1) throw new Refusal('identify.ambiguous', matches.map(({ workload }) => workload.name).join(', '))
  const [match] = matches
  if (match === undefined) throw new Refusal('identify.no_workload', [...proven.keys()].join(', '))
  return match
}

/** The run says which workload; its rules that speak of runs (a token, `underRun`) narrow it still. */
function matchInRun(options: IdentifyOptions, run: Run, proven: Proven): Match {
  const workload = options.workloads.find(({ name }) => name === run.workload)
  if (workload === undefined || workload.run === null) throw new Refusal('identify.no_workload', `${run.workload} can be run no longer`)
  // Asked again of the kernel: what the launcher said of its namespace when it opened the run was only its word.
  if ((workload.run as { readonly custody?: string }).custody === 'namespace' && !run.custody.startsWith('namespace'))
    throw new Refusal('runs.custody', `${workload.name} demands a namespace, and this process shares its user`)
  for (const entry of workload.identify) {
    const speaksOfRuns = entry.kind !== kernelKind || (entry.rule as { readonly underRun?: boolean } | null)?.underRun === true
    if (speaksOfRuns && fitting(options, entry, proven, { run: run.id }) === null) {
      throw new Refusal('identify.no_workload', `${workload.name} asks for what ${entry.provider} did not prove`)
    }
  }
  const match = complete(options, workload, [...proven.values()])
  if (match === null) throw new Refusal('identify.no_workload', `${workload.name}: its path needs an attribute that was not proven`)
  return match
}

type Entry = Workload['identify'][number]

function fitting({ kinds, providers }: IdentifyOptions, entry: Entry, proven: Proven, more: Attributes): Attested | null {
  const kind = kinds.find(({ name }) => name === entry.kind)
  const attested = proven.get(providerOf(entry, providers) ?? '')
  if (kind === undefined || attested === undefined) return null
  return kind.fits(entry.rule, { ...attested.attributes, ...more }) ? attested : null
}

/** A rule names its provider, or its kind where only one provider of that kind is there: issuers are never mixed up. */
function providerOf({ provider, kind, rule }: Entry, providers: readonly Provider[]): string | null {
  const named = (rule as { readonly issuer?: string } | null)?.issuer
  if (named !== undefined && provider !== kind && named !== provider) return null
  const wanted = named ?? provider
  const ofKind = providers.filter((one) => one.kind === kind)
  const exact = ofKind.find(({ name }) => name === wanted)
  if (exact !== undefined && (named !== undefined || provider !== kind || ofKind.length === 1)) return exact.name
  return named === undefined && provider === kind && ofKind.length === 1 ? (ofKind[0] as Provider).name : null
}

function complete(options: IdentifyOptions, workload: Workload, used: readonly Attested[]): Match | null {
  // The kernel's facts come last, so that no claim of a token stands in their place.
  const tokens = used.filter((one) => !isKernel(options, one))
  const kernel = used.filter((one) => isKernel(options, one))
  const attributes: Attributes = Object.fromEntries([...tokens, ...kernel].flatMap((one) => Object.entries(one.attributes)))
  const path = spiffePath(workload.path, attributes)
  const id = path === null ? null : spiffeId(options.trustDomain, path)
  return id === null ? null : { workload, used, id, attributes }
}

function isKernel({ providers }: IdentifyOptions, { provider }: Attested): boolean {
  return providers.some(({ name, kind }) => name === provider && kind === kernelKind)
}

/** What comes by TCP was sent from outside of the network namespace that the launcher spoke of. */
function custodyOf({ custody }: Run, { transport }: PeerFacts): string {
  return transport === 'unix' ? custody : custody.replace(/\+isolated$/, '')
}

function identityOf(options: IdentifyOptions, peer: PeerFacts, run: Run | null, { workload, used, id, attributes }: Match): Identity {
  const token = used.find((one) => !isKernel(options, one))
  const now = options.clock.now()
  const identity = {
    workload: workload.name,
    spiffeId: id,
    groups: workload.groups,
    labels: workload.labels,
    proven: attributes,
    provider: run === null && token !== undefined ? token.provider : kernelKind,
    run: run?.id ?? null,
    custody: run === null ? options.defaultCustody : custodyOf(run, peer),
    onThisHost: peer.uid !== null,
    address: peer.address,
  }
  const expiresAt = Math.min(now + options.limits.identityMs, ...used.map((one) => one.expiresAt))
  return { ...identity, expiresAt, key: identityKey(identity) }
}
