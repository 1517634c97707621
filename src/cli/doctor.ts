// doctor: what this machine can and cannot do for Ostiary, each with what to do about it.
import { chmodSync, existsSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { probeSandbox } from '../launch/sandbox.ts'
import { ConfigMistakes } from '../model/refusal.ts'
import { kernelIsAsked } from '../net/kernel.ts'
import { ask } from './admin-client.ts'
import { type Context, refusedInsideRun } from './context.ts'
import { paint, printable, WrongUse } from './print.ts'

const askMs = 3_000
/** sun_path of Linux, without its NUL. */
const socketPathBytesMax = 107

interface Finding {
  readonly what: string
  readonly ok: boolean
  readonly says: string
  /** Mends it, where that is nobody else's business. */
  readonly fix?: () => void
}

export async function doctor(context: Context, options: { readonly fix?: boolean }): Promise<number> {
  const inside = refusedInsideRun()
  if (options.fix === true && inside !== null) throw new WrongUse(inside)
  const found = [...machine(), clone(), ...(await installation(context))]
  const findings = found.map((one) => (options.fix === true && !one.ok && one.fix !== undefined ? mended(one) : shownOf(one)))
  context.out.value({ ok: findings.every((one) => one.ok), findings }, () => {
    for (const { what, ok, says } of findings)
      context.out.line(`${ok ? paint('green', 'ok  ') : paint('yellow', 'look')} ${what.padEnd(16)} ${printable(says)}`)
  })
  return findings.every((one) => one.ok) ? 0 : 1
}

function mended(finding: Finding): Finding {
  try {
    finding.fix?.()
    return { what: finding.what, ok: true, says: `mended: ${finding.says}` }
  } catch (error) {
    return { what: finding.what, ok: false, says: `${finding.says} (it could not be mended: ${(error as Error).message})` }
  }
}

function shownOf({ what, ok, says, fix }: Finding): Finding {
  return { what, ok, says: fix === undefined || ok ? says : `${says} (\`ostiary doctor --fix\` does it)` }
}

function machine(): readonly Finding[] {
  const linux = process.platform === 'linux'
  const sandbox = linux ? probeSandbox(process.getuid?.() ?? -1) : { custody: 'shared-user', why: `${process.platform} has none` }
  return [
    { what: 'node', ok: true, says: process.version },
    {
      what: 'kernel',
      ok: linux && kernelIsAsked(),
      says: !linux
        ? `process evidence needs Linux; this is ${process.platform}`
        : kernelIsAsked()
          ? 'asked directly who owns a connection'
          : 'node:ffi is absent: /proc/net/tcp answers, slower',
    },
    {
      what: 'namespaces',
      ok: sandbox.custody === 'namespace',
      says:
        sandbox.custody === 'namespace'
          ? 'a run gets its own mount and PID namespace'
          : `runs are shared-user here (${sandbox.why}): allow user namespaces, or run Ostiary as another user`,
    },
  ]
}

/** `bin/ostiary.mjs` works for every user who can read the clone; some put it into a home that others cannot enter. */
function clone(): Finding {
  let at = fileURLToPath(new URL('../..', import.meta.url))
  const first = at
  for (;;) {
    if ((statSync(at).mode & 0o001) === 0)
      return { what: 'program', ok: false, says: `other users cannot enter ${at}: they cannot use bin/ostiary.mjs of this clone` }
    const up = join(at, '..')
    if (up === at) return { what: 'program', ok: true, says: `every user may run ${join(first, 'bin', 'ostiary.mjs')}` }
    at = up
  }
}

async function installation({ dataDir, configFile }: Context): Promise<readonly Finding[]> {
  const status = await ask(dataDir, 'GET', '/status', undefined, askMs).catch(() => null)
  const running = status?.status === 200
  const { findings, listens } = await configuration(configFile, dataDir)
  const ports = running ? [] : await Promise.all(listens.map(free))
  return [
    ...findings,
    ...data(dataDir, running),
    ...ports,
    {
      what: 'server',
      ok: running,
      says: running ? `running, pid ${status?.body.pid}` : 'not running: `ostiary start`',
    },
  ]
}

interface Listens {
  readonly name: string
  readonly host: string
  readonly port: number
}

async function configuration(
  configFile: string | null,
  dataDir: string,
): Promise<{ readonly findings: readonly Finding[]; readonly listens: readonly Listens[] }> {
  const { loadConfig } = await import('../compose/kinds.ts')
  try {
    const config = loadConfig(configFile, dataDir)
    const { custodyWarnings } = await import('../config/custody.ts')
    const says = configFile === null ? 'there is none: everything is refused' : `${config.file}: no mistakes`
    return {
      findings: [
        { what: 'configuration', ok: configFile !== null, says },
        ...custodyWarnings(config).map((warning) => ({ what: 'custody', ok: false, says: warning })),
      ],
      listens: Object.entries(config.listen).flatMap(([name, at]) => (at === null || at.port === 0 ? [] : [{ name, ...at }])),
    }
  } catch (error) {
    if (!(error instanceof ConfigMistakes)) throw error
    return { findings: [{ what: 'configuration', ok: false, says: `${error.message}: see \`ostiary check\`` }], listens: [] }
  }
}

/** The public certificate lies where agents can read it, beside the data directory that they cannot. */
function data(dataDir: string, running: boolean): readonly Finding[] {
  if (!existsSync(dataDir)) return [{ what: 'data', ok: true, says: `${dataDir} is made by the first start` }]
  const open = (statSync(dataDir).mode & 0o077) !== 0
  const found: Finding[] = [
    {
      what: 'data',
      ok: !open,
      says: open ? `others can enter it: chmod 700 ${dataDir}` : dataDir,
      fix: () => chmodSync(dataDir, 0o700),
    },
    ...leftOpen(dataDir),
    ...(running
      ? []
      : leftOver([join(dataDir, 'admin.sock'), ...['run.sock', 'inside.sock'].map((name) => join(`${dataDir}.run`, 'door', name))])),
  ]
  const ca = join(`${dataDir}.run`, 'ca.pem')
  const there = existsSync(ca)
  found.push({ what: 'ca', ok: there || !running, says: there ? ca : 'made by the first start' })
  const socket = join(dataDir, 'admin.sock')
  if (Buffer.byteLength(socket) > socketPathBytesMax)
    found.push({ what: 'data', ok: false, says: `${socket} is too long for a Unix socket: choose a shorter --data` })
  return found
}

/** What only Ostiary reads. */
function leftOpen(dataDir: string): readonly Finding[] {
  return ['key', 'audit-key', 'ostiary.db']
    .map((name) => join(dataDir, name))
    .filter((file) => existsSync(file) && (statSync(file).mode & 0o077) !== 0)
    .map((file) => ({ what: 'data', ok: false, says: `others may open ${file}: chmod 600 it`, fix: () => chmodSync(file, 0o600) }))
}

/** Nobody listens at them, since no server runs on this folder; a start removes them as well. */
function leftOver(sockets: readonly string[]): readonly Finding[] {
  return sockets
    .filter((path) => existsSync(path) && statSync(path).isSocket())
    .map((path) => ({ what: 'socket', ok: false, says: `${path} is left from a server that was killed`, fix: () => rmSync(path) }))
}

/** May this user listen there, and does nobody else? */
function free({ name, host, port }: Listens): Promise<Finding> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) =>
      resolve({ what: `port ${name}`, ok: false, says: `${host}:${port} cannot be had (${error.code}): write another under listen` }),
    )
    server.listen({ host, port, exclusive: true }, () =>
      server.close(() => resolve({ what: `port ${name}`, ok: true, says: `${host}:${port} is free` })),
    )
  })
}
