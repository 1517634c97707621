// Further processes of the data plane: started, told, asked, and started anew when one ends. The kernel hands each connection to
// whichever of them takes it first; this process opens the port, holds it alone and takes none (cluster's SCHED_NONE: with
// SO_REUSEPORT any program of the same user could have taken a share of the agents' connections).
import cluster, { type Worker } from 'node:cluster'
import { fileURLToPath } from 'node:url'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Passed } from '../net/activation.ts'
import type { Blocked } from '../runs/runs.ts'
import { crossing } from '../wire/authority.ts'
import { type Answer, type Answers, type Asked, type Channel, createChannel } from '../wire/channel.ts'
import type { AskedOfBroker } from '../wire/questions.ts'
import { furtherProcesses } from './each-process.ts'
import type { Ground } from './ground.ts'
import type { InForce } from './in-force.ts'
import type { AskedOfProxy, Beginning, Revoking, Serving } from './plane-process.ts'
import type { Planes } from './planes.ts'
import type { Counts, Report } from './proxy.ts'
import { chooseCredential } from './world.ts'

export interface ProxiesParts {
  readonly ground: Ground
  readonly inForce: InForce
  readonly passed: Passed
  readonly factsSocket: string
}

interface Member {
  readonly worker: Worker
  readonly channel: Channel<AskedOfProxy>
  /** Resolves when it serves; rejects when it could not begin. */
  readonly serves: Promise<Serving>
  serving: boolean
  readonly gone: Promise<void>
}

interface Crew {
  readonly parts: ProxiesParts
  readonly members: Map<number, Member>
  insideSocket: string
  stopping: boolean
}

const entry = fileURLToPath(new URL(`../plane.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url))

export function createProxies(parts: ProxiesParts): Planes {
  const { ground, inForce } = parts
  const crew: Crew = { parts, members: new Map(), insideSocket: '', stopping: false }
  let ports: readonly number[] = []
  cluster.schedulingPolicy = cluster.SCHED_NONE
  cluster.setupPrimary({ exec: entry, args: [], execArgv: [...process.execArgv], serialization: 'advanced' })
  return {
    async start(insideSocket) {
      crew.insideSocket = insideSocket
      const all = Array.from({ length: furtherProcesses(inForce.config) }, (_, at) => spawn(crew, at + 1).serves)
      const [first] = await Promise.all(all).catch(async (error) => {
        await stop(crew)
        throw error
      })
      const { addresses, ports: theirs } = first as Serving
      ports = theirs
      return addresses
    },
    get ports() {
      return ports
    },
    run: (change) => tell(crew, 'run', change),
    revoked: () => tell(crew, 'revoked', revokedNow(ground)),
    logLevel: (level) => tell(crew, 'logLevel', level),
    told: async () => void (await each(crew, 'told', null, limits.wireReloadMs)),
    bring: async (next) => void (await each(crew, 'bring', next, limits.wireReloadMs)),
    cut: async (what) => (await each(crew, 'cut', what, limits.revokeMs)).reduce((sum, one) => sum + one, 0),
    endLeases: async (credential) => void (await each(crew, 'endLeases', credential, limits.revokeMs)),
    report: async () => [ownReport(ground), ...(await each(crew, 'report', null, limits.wireReloadMs))],
    counts: async (run) => sumOf(await each(crew, 'counts', run, limits.wireReloadMs)),
    stop: () => stop(crew),
  }
}

function spawn(crew: Crew, n: number): Member {
  const { parts, members } = crew
  const { log } = parts.ground
  const worker = cluster.fork()
  const channel = createChannel<AskedOfBroker, AskedOfProxy>(
    // Gone already: its end is told by `exit`.
    (message) => void worker.process.send(message, undefined, undefined, () => {}),
    answersTo(parts, (lease) => tell(crew, 'distrusted', lease)),
  )
  worker.on('message', (message) => channel.take(message))
  worker.on('error', (error) => log.error('a process of the data plane', { process: n, error: error.message }))
  const first = beginning(parts, n, crew.insideSocket)
  const serves = channel.ask('begin', first, AbortSignal.timeout(limits.processStartMs))
  first.ca.key.wipe()
  const gone = new Promise<void>((resolve) =>
    worker.once('exit', (code, signal) => {
      ended(crew, n, signal ?? code)
      resolve()
    }),
  )
  const member = { worker, channel, serves, serving: false, gone }
  members.set(n, member)
  serves.then(
    () => {
      member.serving = true
    },
    () => worker.process.kill('SIGKILL'),
  )
  return member
}

/** Its calls ended with it. While it is away the others take every connection. */
function ended(crew: Crew, n: number, how: string | number): void {
  const { log, records } = crew.parts.ground
  crew.members.get(n)?.channel.close()
  crew.members.delete(n)
  if (crew.stopping) return
  const what = `process ${n} of the data plane ended (${how}): its calls are cut, another takes its place`
  log.error(what)
  records.administration('server', what).catch(() => {})
  const again = (): void => {
    if (crew.stopping) return
    spawn(crew, n).serves.catch((error: Error) =>
      log.error('a process of the data plane could not begin', { process: n, error: error.message }),
    )
  }
  setTimeout(again, limits.processAgainMs).unref()
}

const tell = <Name extends 'run' | 'revoked' | 'logLevel' | 'distrusted'>(
  crew: Crew,
  name: Name,
  asked: Asked<AskedOfProxy, Name>,
): void => {
  for (const { channel } of crew.members.values()) channel.tell(name, asked)
}

/** Whoever does not answer in time is ended: what was revoked must not go on there. */
async function each<Name extends keyof AskedOfProxy & string>(
  { members, parts }: Crew,
  name: Name,
  asked: Asked<AskedOfProxy, Name>,
  withinMs: number,
): Promise<readonly Answer<AskedOfProxy, Name>[]> {
  // One that begins was told what is, and hears what comes before it serves; only another configuration has to reach it.
  const asks = [...members].filter(([, { serving }]) => serving || name === 'bring')
  const all = asks.map(async ([n, { channel, worker }]) => {
    try {
      return [await channel.ask(name, asked, AbortSignal.timeout(withinMs))]
    } catch (error) {
      if (members.get(n)?.worker !== worker) return []
      const why = { process: n, asked: name, error: (error as Error).message }
      parts.ground.log.error('a process of the data plane did not answer, and is ended', why)
      worker.process.kill('SIGKILL')
      return []
    }
  })
  return (await Promise.all(all)).flat()
}

async function stop(crew: Crew): Promise<void> {
  crew.stopping = true
  const all = [...crew.members.values()].map(async ({ channel, worker, gone }) => {
    await channel.ask('stop', null, AbortSignal.timeout(limits.drainMs * 2)).catch(() => {})
    worker.disconnect()
    const late = setTimeout(() => worker.process.kill('SIGKILL'), limits.processAgainMs)
    await gone
    clearTimeout(late)
  })
  await Promise.all(all)
}

/** Equal ones of two processes are one. */
function sumOf(all: readonly Counts[]): Counts {
  const kinds = new Map<string, Blocked>()
  for (const one of all.flatMap((each) => each.kinds)) {
    const key = JSON.stringify([one.host, one.action, one.code])
    kinds.set(key, { ...one, count: one.count + (kinds.get(key)?.count ?? 0) })
  }
  const sum = (of: (one: Counts) => number): number => all.reduce((total, one) => total + of(one), 0)
  return { calls: sum(({ calls }) => calls), blocked: sum(({ blocked }) => blocked), kinds: [...kinds.values()] }
}

function ownReport({ audit, metrics }: Ground): Report {
  return { pid: process.pid, calls: 0, connections: 0, audit: audit.status(), tallies: metrics.tallies() }
}

function beginning({ ground, inForce, passed, factsSocket }: ProxiesParts, n: number, insideSocket: string): Beginning {
  const { vault, runs } = ground
  return {
    ...{ n, insideSocket, passed, factsSocket },
    config: inForce.config,
    ca: crossing(vault.ca),
    recognition: vault.values.recognition,
    runs: runs.all(),
    revoked: revokedNow(ground),
  }
}

const revokedNow = ({ revocations: { workloads, credentials } }: Ground): Revoking => ({ workloads, credentials })

/** The broker's side of the seam: it believes the kernel's facts that its own process gathered, and nothing else of it. */
function answersTo({ ground, inForce }: ProxiesParts, distrusted: (lease: string) => void): Answers<AskedOfBroker> {
  return {
    attest: (evidence) => inForce.world.identify({ ...evidence, unchanged: () => true }, AbortSignal.timeout(limits.identifyMs)),
    async lease({ need, credential }) {
      const { world, obtain } = inForce
      const service = world.services.byName(need.service)
      if (service === null || chooseCredential(world.config, need, service) !== credential)
        throw new Refusal('obtain.no_credential', `${credential} is not for ${need.workload}`)
      const { workloads, credentials } = ground.revocations
      if (workloads.has(need.workload) || credentials.has(credential)) throw new Refusal('obtain.revoked', credential)
      return obtain.leaseFor(need, credential)
    },
    distrust({ lease }) {
      // The others hold it too.
      if (inForce.obtain.distrust({ id: lease })) distrusted(lease)
    },
    trip: ({ run, otherwise }) => ground.runs.trip(run, otherwise),
  }
}
