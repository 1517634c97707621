// The data plane in a process of its own: it decides, injects, forwards and records by itself, and asks the broker who somebody is
// and for a lease. It must never outlive the broker: who is revoked there would go on here.
import { flushCompileCache } from 'node:module'
import { createReader } from '../accept/evidence/reader-client.ts'
import type { Config } from '../config/config.ts'
import { recognise } from '../crypto/seal.ts'
import { systemClock as clock } from '../model/clock.ts'
import type { Evidence } from '../model/evidence.ts'
import type { Identity } from '../model/identity.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Secret } from '../model/secret.ts'
import type { Passed } from '../net/activation.ts'
import { createFetch } from '../net/fetch.ts'
import { setUndumpable } from '../net/kernel.ts'
import type { LeasedCredential } from '../obtain/obtain.ts'
import { createRuns, type RunChange, type Runs } from '../runs/runs.ts'
import { arrived, type CrossingAuthority } from '../wire/authority.ts'
import type { Answers, Channel } from '../wire/channel.ts'
import type { AskedOfBroker } from '../wire/questions.ts'
import { ownPidNamespace } from './custody.ts'
import { countedRecords, cutSuspended, openLog } from './each-process.ts'
import { createLiveCalls } from './live-calls.ts'
import { createLogger } from './logger.ts'
import { createMetrics } from './metrics.ts'
import { pathsOf } from './paths.ts'
import { type Addresses, type Counts, createProxyPlane, type ProxyPlane, type Report, type Revoked } from './proxy.ts'
import { giveBackMemory, watchRest } from './rest.ts'
import { createStanding, type Standing } from './standing.ts'
import { createUpstream } from './upstream.ts'
import { createWorld, type World } from './world.ts'

export interface Revoking {
  readonly workloads: ReadonlyMap<string, number>
  readonly credentials: ReadonlyMap<string, number>
}

/** What a process has to know before its first call. */
export interface Beginning {
  /** From 1: of its log, and of its lines in the server's. */
  readonly n: number
  readonly config: Config
  readonly insideSocket: string
  readonly passed: Passed
  readonly factsSocket: string
  readonly ca: CrossingAuthority
  readonly recognition: Secret
  readonly runs: readonly RunChange[]
  readonly revoked: Revoking
}

export interface Serving {
  readonly addresses: Addresses
  readonly ports: readonly number[]
}

export type AskedOfProxy = {
  begin: (beginning: Beginning) => Serving
  run: (change: RunChange) => void
  revoked: (now: Revoking) => void
  logLevel: (level: string) => void
  /** What was said before is in force. */
  told: (nothing: null) => void
  bring: (next: Config) => void
  cut: (what: Revoked) => number
  endLeases: (credential: string) => void
  /** By a vendor, in another process. */
  distrusted: (lease: string) => void
  report: (nothing: null) => Report
  counts: (run: string) => Counts
  stop: (nothing: null) => void
}

type Broker = Channel<AskedOfBroker>

/** What answers the broker. All that comes waits for the beginning, in its order; a connection comes behind it. */
export function createPlaneProcess(broker: () => Broker): Answers<AskedOfProxy> {
  const { promise: begun, resolve: hasBegun, reject: hasNot } = Promise.withResolvers<Begun>()
  return {
    async begin(beginning) {
      setUndumpable()
      begin(beginning, broker()).then(hasBegun, hasNot)
      const { plane } = await begun
      const addresses = await plane.start()
      await plane.listenInside(beginning.insideSocket)
      return { addresses, ports: plane.ports }
    },
    async run(change) {
      const { runs, live } = await begun
      runs.follow(change)
      if (change.kind === 'suspended') cutSuspended(live, runs)
    },
    revoked: async (now) => (await begun).revoke(now),
    logLevel: async (level) => (await begun).log.level(level),
    told: async () => void (await begun),
    bring: async (next) => (await begun).bring(next),
    async cut(what) {
      const { standing, plane } = await begun
      standing.obtain.revoke(what)
      return plane.cut(what)
    },
    endLeases: async (credential) => void (await begun).standing.obtain.revoke({ credential }),
    distrusted: async (id) => void (await begun).standing.obtain.distrust({ id }),
    report: async () => (await begun).plane.report(),
    counts: async (run) => (await begun).plane.counts(run),
    async stop() {
      const { plane, standing, audit, reader } = await begun
      await plane.stop()
      reader?.close()
      standing.close()
      await audit.close()
      flushCompileCache()
    },
  }
}

type Begun = Awaited<ReturnType<typeof begin>>

async function begin(beginning: Beginning, broker: Broker) {
  const { config: first, n, ca, recognition } = beginning
  const log = createLogger(first.logLevel, process.stderr, { process: n })
  const audit = await openLog(first, pathsOf(first.dataDir), n, clock, log)
  const live = createLiveCalls()
  const metrics = createMetrics()
  const runs = likenessOf(beginning.runs)
  const revocations = { workloads: beginning.revoked.workloads, credentials: beginning.revoked.credentials }
  const upstream = createUpstream(first, () => plane.ports)
  const plain = { clock, fetch: createFetch(upstream.dial, upstream.roots, upstream.guards), log, limits }
  const world = (config: Config): World => createWorld(config, plain, (evidence, signal) => attest(broker, runs, evidence, signal))
  const standing: Standing = createStanding({ first: world(first), leased: ({ config }) => leasedBy(broker, config), clock, log, live })
  const records = countedRecords({ audit, clock, via: upstream.via, metrics, runs: () => runs })
  const reader = beginning.factsSocket === '' ? null : createReader(beginning.factsSocket, log)
  const plane: ProxyPlane = createProxyPlane({
    listen: first.listen,
    ground: {
      ...{ clock, log, audit, records, runs, live, metrics, revocations },
      ca: arrived(ca),
      recognise: (text) => recognise(recognition, text),
      trip: (run, otherwise) => broker.tell('trip', { run, otherwise }),
    },
    standing,
    upstream,
    distrust(lease) {
      if (standing.obtain.distrust(lease)) broker.tell('distrust', { lease: lease.id })
    },
    reader,
    passed: beginning.passed,
  })
  watchRest({ live: () => live.count, happened: () => audit.status().size, giveBack: giveBackMemory })
  return {
    ...{ log, audit, live, runs, standing, plane, reader },
    revoke: (now: Revoking) => void Object.assign(revocations, now),
    async bring(next: Config) {
      const made = world(next)
      upstream.follow(next)
      log.level(next.logLevel)
      await standing.bring(made)
    },
  }
}

/** Follows the broker's; nothing begins here. */
function likenessOf(changes: readonly RunChange[]): Runs {
  const runs = createRuns({
    clock,
    services: () => [],
    suspension: () => ({ trips: limits.tripsBeforeSuspension, windowMs: limits.tripWindowMs }),
    ownPidNamespace: ownPidNamespace(),
    onSuspended: () => {},
  })
  for (const change of changes) runs.follow(change)
  return runs
}

/** The broker cannot look at the connection: that it is still the same is seen here, after the answer. */
async function attest(broker: Broker, runs: Runs, { unchanged, ...evidence }: Evidence, signal: AbortSignal): Promise<Identity> {
  const identity = await broker.ask('attest', evidence, signal)
  if (!(await unchanged())) throw new Refusal('identify.changed', 'the process changed, or another holds the connection')
  const state = identity.run === null ? 'open' : runs.byId(identity.run)?.state
  if (state === 'open') return identity
  throw new Refusal(state === 'suspended' ? 'identify.suspended' : 'identify.run_ended', identity.run ?? '')
}

function leasedBy(broker: Broker, config: Config): readonly LeasedCredential[] {
  return config.credentials.map(({ name, kind, leaseMs }) => ({
    ...{ name, kind, leaseMs },
    provider: {
      async obtain(need, signal) {
        const { id, ...lease } = await broker.ask('lease', { need, credential: name }, signal)
        return { ...lease, leaseId: id }
      },
    },
  }))
}
