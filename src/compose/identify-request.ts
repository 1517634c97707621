// What can be proven of a process or of a token, in words: for `ostiary identify`. A token is verified and bound to nobody, so that
// asking costs the agent nothing. It must never return the token, and never make an identity that a call could use.
import { readFacts } from '../accept/evidence/proc.ts'
import type { Config } from '../config/config.ts'
import { createIdentify, type Provider, type RunsView } from '../identify/identify.ts'
import { processKind } from '../identify/process/process.ts'
import { trustKinds } from '../identify/trust-providers.ts'
import { systemClock } from '../model/clock.ts'
import type { Evidence, PeerFacts, ProcessFacts } from '../model/evidence.ts'
import type { Attributes, Identity } from '../model/identity.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import { loadConfig } from './kinds.ts'
import { createLogger } from './logger.ts'

export type IdentifyAsked = { readonly pid?: number | undefined; readonly token?: string | undefined }

export interface Identified {
  readonly attributes: Readonly<Record<string, string>>
  /** Attributes that alone count for nothing. */
  readonly weak: readonly string[]
  readonly rule: readonly string[]
  readonly notes: readonly string[]
  readonly workload: string | null
  readonly spiffeId: string | null
  readonly run: string | null
  /** Why no workload matches. */
  readonly why: string | null
}

export interface IdentifyWorld {
  readonly config: Config
  /** Trust providers that bind no token to a holder. */
  readonly unbound: readonly Provider[]
  readonly runs: RunsView
  readonly log: Log
}

/** Process facts that never suffice: they may only narrow a rule that has an anchor (DESIGN part 5). */
const weakFacts: ReadonlySet<string> = new Set(['executable', 'executableSha256', 'pid', 'gid', 'cgroup'])
/** Claims that every token has. */
const weakClaims: ReadonlySet<string> = new Set(['iss', 'aud', 'exp', 'iat', 'nbf', 'jti'])

export async function identifyRequest(world: IdentifyWorld, asked: IdentifyAsked): Promise<Identified> {
  const process = asked.pid === undefined ? null : readFacts(asked.pid)
  if (asked.pid !== undefined && process === null) throw new Error(`there is no process ${asked.pid}, or its facts cannot be read`)
  const evidence = evidenceOf(process, asked.token ?? null)
  const attributes: Record<string, string> = {}
  const provers: Provider[] = []
  let why: string | null = null
  for (const one of world.unbound) {
    try {
      const attested = await one.provider.verify(evidence, AbortSignal.timeout(limits.identityMs))
      if (attested === null) continue
      Object.assign(attributes, attested.attributes)
      provers.push(one)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      why = `${error.code}: ${error.detail}`
    }
  }
  const identity = await identityOf(world, evidence).catch((error) => {
    if (!(error instanceof Refusal)) throw error
    why = error.code === 'identify.no_workload' || why === null ? `${error.code}: ${error.detail}` : why
    return null
  })
  evidence.token?.wipe()
  const weak = process === null ? weakClaims : weakFacts
  return {
    attributes,
    weak: Object.keys(attributes).filter((name) => weak.has(name)),
    rule: process === null ? tokenRule(attributes, provers[0]?.name ?? null) : processRule(process),
    notes: process === null ? [] : notesOn(process),
    workload: identity?.workload ?? null,
    spiffeId: identity?.spiffeId ?? null,
    run: identity?.run ?? null,
    why: identity === null ? why : null,
  }
}

/** Without a server: the same rules on the same configuration, but no run is known. */
export async function identifyOffline(
  where: { readonly configFile: string | null; readonly dataDir: string },
  pid: number,
): Promise<Identified> {
  const log = createLogger('error')
  const host = { clock: systemClock, log, limits, fetch: () => Promise.reject(new Error('not asked')), once: () => true, audience: '' }
  const unbound = [{ name: 'process', kind: 'process', provider: processKind.start({}, host, 'process') }]
  const runs = { byPointer: () => null, member: () => null }
  return identifyRequest({ config: loadConfig(where.configFile, where.dataDir), unbound, runs, log }, { pid })
}

function evidenceOf(process: ProcessFacts | null, token: string | null): Evidence {
  const here = process !== null
  const peer: PeerFacts = {
    transport: 'tcp',
    address: here ? '127.0.0.1' : 'not connected',
    port: 0,
    loopback: here,
    secure: true,
    uid: process?.uid ?? null,
    process,
    why: here ? '' : 'a token was shown, and nobody connected',
  }
  return { peer, pointer: null, token: token === null ? null : new Secret(token), unchanged: () => true }
}

function identityOf(world: IdentifyWorld, evidence: Evidence): Promise<Identity> {
  const { config, unbound, runs, log } = world
  const { workloads, trustDomain } = config
  const identify = createIdentify({
    providers: unbound,
    kinds: trustKinds,
    workloads,
    trustDomain,
    runs,
    clock: systemClock,
    limits,
    defaultCustody: '',
    log,
  })
  return identify(evidence, AbortSignal.timeout(limits.identityMs))
}

/** The narrowest anchor that there is; what only narrows stands beside it as a remark. */
function processRule({ user, uid, systemUnit, containerId, executable }: ProcessFacts): readonly string[] {
  const anchor = [
    ...(containerId === '' ? [] : [`container: ${containerId}`]),
    ...(systemUnit === '' ? [] : [`systemUnit: ${systemUnit}`]),
    ...(containerId === '' ? [`user: ${user === '' ? uid : user}`] : []),
  ]
  return [
    'workloads:',
    '  NAME:',
    `    identify: { process: { ${anchor.join(', ')} } }`,
    ...(executable === '' ? [] : [`    # may be added inside, to narrow it: executable: ${JSON.stringify(executable)}`]),
  ]
}

function tokenRule({ sub }: Attributes, provider: string | null): readonly string[] {
  if (sub === undefined || provider === null) return []
  return ['workloads:', '  NAME:', `    identify: { oidc: { issuer: ${provider}, subject: ${JSON.stringify(sub)} } }`]
}

function notesOn({ user, uid, systemUnit, containerId }: ProcessFacts): readonly string[] {
  if (systemUnit !== '' || containerId !== '') return []
  const name = user === '' ? String(uid) : user
  return [`A rule by user matches everything that ${name} runs. Narrower is a run of its own: run: { startedBy: [${name}] }`]
}
