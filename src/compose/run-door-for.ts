// The run door with what it needs of the rest: who may start what, and what a launcher is told.
import { readFileSync, statSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readFacts } from '../accept/evidence/proc.ts'
import { cacheDirOf } from '../config/cache.ts'
import type { Config, WorkloadRule } from '../config/config.ts'
import { createRunDoor, type RunDoor, type RunRequest, type Starter } from '../endpoints/run-door.ts'
import type { Log } from '../model/kind.ts'
import { Refusal } from '../model/refusal.ts'
import type { Run } from '../model/run.ts'
import { classifyAddress, plainAddress } from '../net/address.ts'
import { peerOfUnixSocket } from '../net/kernel.ts'
import type { Runs } from '../runs/runs.ts'
import type { Paths } from './paths.ts'
import type { Planes } from './planes.ts'
import { servicesFor } from './services-for.ts'

export interface RunDoorParts {
  readonly paths: Paths
  readonly log: Log
  readonly runs: Runs
  readonly config: () => Config
  readonly addresses: () => { readonly proxy: string; readonly baseUrl: string }
  readonly ended: (run: Run) => void
  /** Its ports are Ostiary's own: no run reaches them around its proxy. */
  readonly planes: () => Pick<Planes, 'ports' | 'told' | 'counts'>
  /** Durable when it resolves: no run without its record. */
  readonly record: (what: string) => Promise<void>
}

const programRoot = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

export function createRunDoorFor(parts: RunDoorParts): RunDoor {
  return createRunDoor({
    path: parts.paths.runSocket,
    log: parts.log,
    async peer(socket) {
      const peer = peerOfUnixSocket(socket)
      const process = peer === null ? null : readFacts(peer.pid)
      return peer === null || process === null ? null : { uid: peer.uid, user: userName(peer.uid), process }
    },
    async open(asked, starter) {
      for (const crossing of asked.crossings) judgeCrossing(crossing, parts.planes().ports)
      const run = open(parts, asked, starter)
      const record = async (): Promise<void> => {
        const inside = run.parent === null ? '' : ` inside ${run.parent}`
        await parts.record(`run ${run.id} of ${run.workload} by ${starter.user}${inside}: ${run.command}`)
        for (const { kind, host, address, port } of asked.crossings)
          await parts.record(`run ${run.id} crosses its network: ${kind} ${host}:${port}${host === address ? '' : ` at ${address}`}`)
      }
      // Nobody connects from a run that some process has not heard of.
      await Promise.all([record(), parts.planes().told()]).catch((error) => {
        parts.runs.end(run.id)
        throw error
      })
      return run
    },
    describe: (run) => describe(parts, run),
    ended: parts.ended,
    blocked: async (run) => (await parts.planes().counts(run.id)).kinds,
  })
}

/** A person asked for it, so private addresses are fine; the credentials of clouds and Ostiary itself never are. */
function judgeCrossing({ kind, address, port }: RunRequest['crossings'][number], ownPorts: readonly number[]): void {
  if (kind === 'publish') return
  const place = classifyAddress(address)
  if (place === 'metadata' || place === 'link-local' || place === 'reserved') throw new Refusal('runs.crossing', `${address} is ${place}`)
  const here = [...Object.values(networkInterfaces())].flat().map((one) => one?.address)
  if (ownPorts.includes(port) && (place === 'loopback' || here.includes(plainAddress(address))))
    throw new Refusal('runs.crossing', `${address}:${port} is Ostiary's own`)
}

function open(parts: RunDoorParts, asked: RunRequest, starter: Starter): Run {
  const outer = parts.runs.member(starter.process)
  if (outer?.state === 'ended') throw new Refusal('identify.run_ended', outer.id)
  if (outer?.state === 'suspended') throw new Refusal('identify.suspended', outer.id)
  // All connections of an isolated run come from its one relay: an inner run's would count as the outer's, which may do more.
  if (outer !== null && isIsolated(parts.runs.byId(outer.id))) throw new Refusal('runs.inside', `${outer.id} is isolated: no run inside it`)
  const workload = outer === null ? choose(parts.config(), asked.workload, starter) : within(parts.config(), asked.workload, outer)
  if (workload.run?.custody === 'namespace' && !asked.custody.startsWith('namespace'))
    throw new Refusal('runs.custody', `${workload.name} demands a namespace`)
  return parts.runs.open({
    workload: workload.name,
    startedBy: starter.user,
    command: asked.command,
    custody: asked.custody,
    root: `${starter.process.pid}:${starter.process.startTicks}`,
    pidNamespace: starter.process.pidNamespace,
    labels: { ...outer?.labels, ...asked.labels },
    parent: outer?.id ?? null,
  })
}

const isIsolated = (run: Run | null): boolean => run?.custody.endsWith('+isolated') === true

/** Inside a run: its own workload, or one that lists it; never another. */
function within(config: Config, asked: string | null, outer: Run): WorkloadRule {
  const found = config.workloads.find((workload) => workload.name === (asked ?? outer.workload))
  if (found?.run && (found.name === outer.workload || found.run.within.includes(outer.workload))) return found
  throw new Refusal('runs.inside', `${outer.id} is of ${outer.workload}, and ${asked ?? 'it'} does not list that under run.within`)
}

/** The one that was named, or the only one that the starter may start. */
function choose(config: Config, asked: string | null, starter: Starter): WorkloadRule {
  const may = (workload: WorkloadRule): boolean =>
    workload.run?.startedBy.some((name) => name === starter.user || name === String(starter.uid)) === true
  const allowed = config.workloads.filter(may)
  if (asked !== null) {
    const found = allowed.find((workload) => workload.name === asked)
    if (found === undefined)
      throw new Refusal('runs.not_allowed', `${starter.user} may start: ${allowed.map((one) => one.name).join(', ') || 'nothing'}`)
    return found
  }
  const [only] = allowed
  if (only === undefined) throw new Refusal('runs.not_allowed', `no workload lists ${starter.user} under run.startedBy`)
  if (allowed.length > 1) throw new Refusal('runs.not_allowed', `name one with --as: ${allowed.map((one) => one.name).join(', ')}`)
  return only
}

function describe(parts: RunDoorParts, run: Run): Readonly<Record<string, unknown>> {
  const { paths } = parts
  const config = parts.config()
  const services = servicesFor(config, run.workload).flatMap(({ name, keyVariables, runVariables, baseUrlVariables, basicAt }) => {
    const placeholder = run.placeholders.find((one) => one.service === name)?.value
    return placeholder === undefined
      ? []
      : [{ name, keyVariables, runVariables, baseUrlVariables, placeholder, ...(basicAt === undefined ? {} : { basicAt }) }]
  })
  const nests = !isIsolated(run) && config.workloads.some((one) => one.run?.within.includes(run.workload) === true)
  const believed = [...config.files, ...config.believed]
  // What every run trusts and loads: a command of the same user would else write it for the next one.
  const readOnly = [...new Set([paths.publicDir, ...believed.map((file) => dirname(file)), programRoot, cacheDirOf(process.env)])]
  return {
    id: run.id,
    pointer: run.pointer,
    workload: run.workload,
    ...parts.addresses(),
    caFile: paths.caFile,
    bundleFile: paths.bundleFile,
    javaStoreFile: paths.javaStoreFile,
    nodePreloadFile: paths.nodePreloadFile,
    services,
    // The door is there only for a run in which another may be started; the admin socket never is.
    hidden: nests ? [paths.dataDir] : [paths.dataDir, paths.doorDir],
    open: nests ? [paths.runSocket] : [],
    readOnly,
    blank: believed,
    kept: readOnly,
    inside: { socket: paths.insideSocket, ports: portsOf(config) },
  }
}

/** At these ports any address leads to the proxy: the usual ones and those of what is configured. */
function portsOf(config: Config): readonly number[] {
  return [...new Set([443, 80, ...config.services.map(({ port }) => port)])]
}

let users: { readonly at: number; readonly names: ReadonlyMap<number, string> } | null = null

/** A uid without a row in /etc/passwd (a container's) is its number. */
export function userName(uid: number): string {
  const { mtimeMs } = statSync('/etc/passwd')
  if (users?.at !== mtimeMs) {
    const rows = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
    users = { at: mtimeMs, names: new Map(rows.map((row) => [Number(row[2]), row[0] as string])) }
  }
  return users.names.get(uid) ?? String(uid)
}
