// Serves the admin door over its Unix socket, 0600 in the data directory.
import { chmodSync, rmSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import { readFacts } from '../accept/evidence/proc.ts'
import type { Reader } from '../accept/evidence/reader-client.ts'
import { custodyWarnings } from '../config/custody.ts'
import type { AdminPorts } from '../endpoints/admin/admin.ts'
import { Refusal } from '../model/refusal.ts'
import type { Run } from '../model/run.ts'
import { kernelIsAsked, peerOfUnixSocket } from '../net/kernel.ts'
import { storedPorts } from './admin-ports.ts'
import type { BrokerWorld } from './broker-world.ts'
import { explainRequest } from './explain-request.ts'
import type { Ground } from './ground.ts'
import { identifyRequest } from './identify-request.ts'
import type { InForce } from './in-force.ts'
import { metricsText } from './metrics.ts'
import type { Planes } from './planes.ts'
import type { Report } from './proxy.ts'

// Not by `import`: see http/write-head.ts.
const { createServer } = process.getBuiltinModule('node:http')

export interface AdminParts {
  readonly ground: Ground
  readonly inForce: InForce
  readonly planes: Planes
  readonly addresses: { readonly proxy: string; readonly baseUrl: string }
  readonly reader: Reader | null
  readonly stop: () => Promise<void>
}

export async function startAdmin(parts: AdminParts): Promise<{ stop(): Promise<void> }> {
  const routes = routesOf(parts)
  routes.catch((error: Error) => parts.ground.log.error('admin door', { error: error.message }))
  const { adminSocket } = parts.ground.paths
  rmSync(adminSocket, { force: true })
  const server = createServer((request, response) => {
    routes.then(
      (answer) => answer(request, response),
      (error: Error) => {
        response.writeHead(500, { 'content-type': 'application/json', connection: 'close' })
        response.end(JSON.stringify({ error: { says: `The program files are not those of the start: ${error.message}` } }))
      },
    )
  })
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    // Whoever is inside a run has no business here, whatever its user may do (DESIGN part 5, doors).
    const peer = peerOfUnixSocket(socket)
    const process = peer === null ? null : readFacts(peer.pid)
    if (peer !== null && (process === null || parts.ground.runs.member(process) !== null)) return void socket.destroy()
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(adminSocket, resolve)
  })
  // The directory is 0700; the socket says the same once more.
  chmodSync(adminSocket, 0o600)
  return {
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        // An answer that is being written may end; a kept connection may not hold the stop.
        setTimeout(() => {
          for (const socket of open) socket.destroy()
        }, 100).unref()
      }),
  }
}

/**
 * hono comes behind the start, which it would make 35 ms longer, and not with the first who asks: whoever revokes must not depend
 * on files that were replaced meanwhile, or on a descriptor that is left.
 */
async function routesOf(parts: AdminParts): Promise<RequestListener> {
  const ports = portsOf(parts)
  await new Promise((resolve) => setImmediate(resolve))
  const [{ getRequestListener }, { adminRoutes }] = await Promise.all([import('@hono/node-server'), import('../endpoints/admin/admin.ts')])
  return getRequestListener(adminRoutes(ports, parts.ground.log).fetch)
}

function portsOf(parts: AdminParts): AdminPorts {
  const { inForce, planes } = parts
  const { runs, clock, revocations, vault, issuer } = parts.ground
  const startedAt = clock.now()
  const stored = storedPorts(
    vault,
    issuer,
    () => inForce.config,
    clock,
    async (secret) => {
      // A changed secret ends the leases that were made of it.
      for (const [name, one] of inForce.world.credentials) {
        if (one.secret !== secret) continue
        inForce.obtain.revoke({ credential: name })
        revocations.lift({ credential: name })
        planes.revoked()
        await planes.endLeases(name)
      }
    },
  )
  return {
    ...stored,
    status: async () => ({ startedAt, ...(await status(parts)) }),
    reload: inForce.reload,
    stop: () => void setTimeout(() => void parts.stop(), 10),
    logLevel(level) {
      parts.ground.log.level(level)
      planes.logLevel(level)
    },
    credentials: { ...stored.credentials, verify: (name) => verify(inForce.world, name) },
    explain: (asked) => explainRequest(inForce.world, asked, { clock, revocations }),
    identify: (asked) => identifyRequest({ ...inForce.world, runs, log: parts.ground.log }, asked),
    async revoke({ run, workload, credential, undo }) {
      if (undo) {
        revocations.lift({ workload, credential })
        planes.revoked()
        await planes.told()
        return { ok: true, leases: 0, calls: 0 }
      }
      const known = inForce.config
      if (workload !== undefined && !known.workloads.some((one) => one.name === workload))
        throw new Error(`there is no workload ${workload}`)
      if (credential !== undefined && !known.credentials.some((one) => one.name === credential))
        throw new Error(`there is no credential ${credential}`)
      // First nothing new, then what is open.
      if (run === undefined) revocations.add({ workload, credential }, clock.now())
      planes.revoked()
      if (run !== undefined && !runs.end(run)) throw new Refusal('runs.unknown', run)
      if (workload !== undefined) for (const one of runs.list()) if (one.workload === workload) runs.end(one.id)
      const leases = run === undefined ? inForce.obtain.revoke({ workload, credential }) : 0
      const calls = await planes.cut({ workload, credential })
      return { ok: true, leases, calls }
    },
    runs: {
      list: () => Promise.all(runs.list().map((run) => shown(run, planes))),
      async resume(id) {
        runs.resume(id)
        await planes.told()
      },
      end: (id) => runs.end(id),
    },
    metrics: () => metricsOf(parts.ground, planes),
    record: (what) => parts.ground.records.administration('admin socket', what),
  }
}

/** Without what opens anything. */
async function shown(
  { placeholders: _, pointer: __, ended: ___, ...run }: Run,
  planes: Planes,
): Promise<Readonly<Record<string, unknown>>> {
  const { calls, blocked } = await planes.counts(run.id)
  return { ...run, calls, blocked }
}

export async function metricsOf({ runs }: Ground, planes: Planes): Promise<string> {
  const all = await planes.report()
  return metricsText(
    all.map(({ tallies }) => tallies),
    {
      liveCalls: all.reduce((sum, { calls }) => sum + calls, 0),
      runs: runs.rootPids().length,
      auditEntries: all.reduce((sum, { audit }) => sum + audit.size, 0),
    },
  )
}

async function status(parts: AdminParts): Promise<Readonly<Record<string, unknown>>> {
  const { inForce, planes } = parts
  const { paths, runs, revocations } = parts.ground
  const { config } = inForce
  const processes = await planes.report()
  const sum = (of: (one: Report) => number): number => processes.reduce((all, one) => all + of(one), 0)
  const failedReload = inForce.lastReload
  return {
    ready: true,
    pid: process.pid,
    node: process.version,
    processes: processes.map(({ pid, connections }) => {
      const broker = processes.length === 1 ? 'broker and proxy' : 'broker'
      return { pid, for: pid === process.pid ? broker : 'proxy', connections }
    }),
    policyVersion: inForce.world.decider.version,
    listeners: [
      { name: 'proxy', address: parts.addresses.proxy, for: 'agents: HTTPS_PROXY' },
      { name: 'base-url', address: parts.addresses.baseUrl, for: 'agents: http://ADDRESS/SERVICE/...' },
      { name: 'admin', address: paths.adminSocket, for: 'the command line' },
      { name: 'run', address: paths.runSocket, for: '`ostiary run`' },
      ...(config.listen.metrics === null
        ? []
        : [{ name: 'metrics', address: `${config.listen.metrics.host}:${config.listen.metrics.port}`, for: 'Prometheus' }]),
    ],
    paths: {
      configuration: config.file,
      data: paths.dataDir,
      key: paths.keyFile,
      store: paths.store,
      audit: paths.auditDir,
      ca: paths.caFile,
      bundle: paths.bundleFile,
    },
    audit: { entries: sum(({ audit }) => audit.size), failed: processes.some(({ audit }) => audit.failed) },
    calls: { live: sum(({ calls }) => calls) },
    connections: sum(({ connections }) => connections),
    leases: inForce.obtain.size,
    processFacts: processFacts(parts.reader),
    runs: await Promise.all(
      runs
        .list()
        .filter((run) => run.state !== 'ended')
        .map((run) => shown(run, planes)),
    ),
    suspensions: runs.suspensions(),
    revoked: { workloads: [...revocations.workloads.keys()], credentials: [...revocations.credentials.keys()] },
    warnings: [
      ...(failedReload === null ? [] : [failedReload]),
      ...custodyWarnings(config),
      ...(kernelIsAsked() ? [] : ['node:ffi is absent: connections are looked up in /proc/net/tcp']),
    ],
  }
}

/** Whose processes can be told apart: by ourselves, or by the reader (DESIGN part 5). */
function processFacts(reader: Reader | null): Readonly<Record<string, string>> {
  if (process.geteuid?.() === 0) return { of: 'every user', reader: 'not needed', says: 'of every user: Ostiary runs as root' }
  if (reader?.state === 'there') return { of: 'every user', reader: 'there', says: 'of every user, by the reader' }
  const why = {
    none: 'no reader is set up: see `ostiary install`',
    away: 'the reader is away: systemctl status ostiary-facts.service',
    blind: 'the reader lacks CAP_SYS_PTRACE or CAP_DAC_READ_SEARCH',
  }
  const state = reader?.state ?? 'none'
  return { of: 'own user', reader: state, says: `of its own user; of other users only uid rules work (${why[state]})` }
}

/** A real exchange, or the unsealing of a real secret, for the first workload that the credential is for. */
async function verify(world: BrokerWorld, name: string): Promise<Readonly<Record<string, unknown>>> {
  const found = world.credentials.get(name)
  if (found === undefined) throw new Error(`there is no credential ${name}`)
  const service = world.services.byName(found.rule.service)
  const workload = world.config.workloads.find((one) => found.rule.for.some((owner) => owner === one.name || one.groups.includes(owner)))
  if (service === null || workload === undefined) throw new Error(`nobody may use ${name}`)
  const need = {
    workload: workload.name,
    spiffeId: `spiffe://${world.config.trustDomain}${workload.path.includes('{') ? '/verify' : workload.path}`,
    groups: workload.groups,
    run: null,
    service: service.name,
    host: service.hosts[0] as string,
    port: service.port,
  }
  try {
    const { expiresAt, secrets } = await found.provider.obtain(need, AbortSignal.timeout(30_000))
    for (const secret of secrets) secret.wipe()
    return { ok: true, detail: '', expires: expiresAt }
  } catch (error) {
    return { ok: false, detail: error instanceof Refusal ? `${error.code}: ${error.detail}` : 'defect', expires: null }
  }
}
