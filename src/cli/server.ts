// start, stop, status, reload, log-level: the life of the server.
import type { Broker } from '../compose/broker.ts'
import { systemClock } from '../model/clock.ts'
import { limits } from '../model/limits.ts'
import { ConfigMistakes } from '../model/refusal.ts'
import { passedSockets } from '../net/activation.ts'
import { ask, must, NotRunning } from './admin-client.ts'
import { printMistakes } from './check.ts'
import { type Context, refusedInsideRun, refusedWithSecrets } from './context.ts'
import { paint, printable, table, WrongUse } from './print.ts'
import { unbrokered } from './unbrokered.ts'

/** A terminal and a wrapper may both pass on one Ctrl-C; a later one is a second wish. */
const sameWishMs = 1_000
const stopWaitMs = 30_000
const forced = 130

export async function start(context: Context): Promise<number> {
  const { out, configFile, dataDir } = context
  const refused = refusedWithSecrets()
  if (refused !== null) throw new WrongUse(refused)
  const passed = passedSockets(process.env, ['proxy', 'base-url'])
  // Read when the first file or name is asked for. Not by the launcher: what `ostiary run` starts would inherit it.
  process.env.UV_THREADPOOL_SIZE = String(limits.poolThreads)
  const { startBroker } = await import('../compose/broker.ts')
  const force = Promise.withResolvers<number>()
  let broker: Broker | null = null
  let asked: number | null = null
  const stopNow = (): void => {
    broker?.stop().catch((error: Error) => {
      out.problem(error.message)
      force.resolve(1)
    })
  }
  const end = (): void => {
    if (asked === null) {
      asked = systemClock.monotonic()
      if (!out.json) out.line('stopping: calls under way are finished first; Ctrl-C again ends them')
      stopNow()
    } else if (systemClock.monotonic() - asked > sameWishMs) force.resolve(forced)
  }
  const again = (): void => {
    broker?.reload().catch((error: unknown) => {
      if (error instanceof ConfigMistakes) printMistakes(out, error)
      else out.problem((error as Error).message)
    })
  }
  // Before it starts and until the process ends: who sees that it is there may stop it at once.
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
  process.on('SIGHUP', again)
  const started = await Promise.race([startBroker({ configFile, dataDir, env: process.env, passed }), force.promise])
  if (typeof started === 'number') return started
  broker = started
  if (asked === null) sayReady(context, started)
  else stopNow()
  return Promise.race([started.stopped.then(() => 0), force.promise])
}

function sayReady({ out, configFile }: Context, broker: Broker): void {
  const { proxy, baseUrl } = broker.addresses
  if (out.json) out.line(JSON.stringify({ ready: true, pid: process.pid, proxy, baseUrl, dataDir: broker.config.dataDir }))
  else {
    out.line(`${paint('green', 'ready')}  proxy ${proxy}  base URL http://${baseUrl}  data ${printable(broker.config.dataDir)}`)
    if (configFile === null)
      out.line('No configuration: everything is refused. Write ~/.config/ostiary/ostiary.yaml, then `ostiary check`.')
    else out.line('Next: `ostiary run -- COMMAND` in another terminal. Ctrl-C stops.')
  }
}

export async function stop({ dataDir, out }: Context): Promise<number> {
  const refused = refusedInsideRun()
  if (refused !== null) throw new WrongUse(refused)
  await must(dataDir, 'POST', '/stop')
  const until = systemClock.monotonic() + stopWaitMs
  while (systemClock.monotonic() < until) {
    try {
      await ask(dataDir, 'GET', '/status', undefined, 2_000)
    } catch (error) {
      if (error instanceof NotRunning) {
        out.value({ ok: true }, () => out.line('stopped'))
        return 0
      }
    }
    await pause(50)
  }
  out.value({ ok: false }, () => out.line('it is still finishing the calls under way: `ostiary status`'))
  return 1
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** While an agent could have written the file, this command at a terminal is what brings it into force. */
export async function reload(context: Context, options: { readonly show?: boolean }): Promise<number> {
  const { out, dataDir } = context
  const refused = refusedInsideRun()
  if (refused !== null) throw new WrongUse(refused)
  const body = await must(dataDir, 'POST', '/reload', { show: options.show === true })
  out.value(body, () => {
    for (const change of body.changes ?? []) out.line(`  ${printable(change)}`)
    const version = printable(String(body.version).slice(0, 12))
    out.line(options.show === true ? 'not in force: this only showed it' : `in force, policy version ${version}`)
  })
  return 0
}

export async function status({ dataDir, out }: Context, options: { readonly wait?: string }): Promise<number> {
  const waitSeconds = Number(options.wait ?? 0)
  if (!Number.isFinite(waitSeconds) || waitSeconds < 0) throw new WrongUse(`--wait takes seconds, not ${options.wait}`)
  const until = systemClock.monotonic() + waitSeconds * 1_000
  for (;;) {
    let why: unknown = new NotRunning(dataDir)
    try {
      const body = await must(dataDir, 'GET', '/status', undefined, Math.max(1_000, waitSeconds * 1_000))
      if (body.ready === true) {
        const outside = outsideOf(body)
        out.value({ ...body, unbrokered: outside }, () => {
          printStatus(out.line, body)
          for (const { pid, agent } of outside)
            out.line(
              `  ${paint('yellow', '!')} ${agent} (pid ${pid}) does not pass through Ostiary: start it by \`ostiary run -- ${agent}\``,
            )
        })
        return 0
      }
      why = new Error('Ostiary runs and is not ready')
    } catch (error) {
      why = error
    }
    if (systemClock.monotonic() >= until) throw why
    await pause(100)
  }
}

function outsideOf(body: {
  readonly runs?: readonly { root: string }[]
  readonly listeners?: readonly { name: string; address: string }[]
}) {
  const proxy = body.listeners?.find((one) => one.name === 'proxy')?.address
  return proxy === undefined
    ? []
    : unbrokered(
        (body.runs ?? []).map((run) => run.root),
        proxy,
      )
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of the admin door
function printStatus(line: (text?: string) => void, body: any): void {
  const version = printable(String(body.policyVersion).slice(0, 12))
  line(`${paint('green', 'ready')}  since ${new Date(body.startedAt).toISOString()}  pid ${body.pid}  policy version ${version}`)
  const named = (name: string, value: string): void => line(`  ${paint('dim', name.padEnd(14))}${value}`)
  for (const text of table(
    ['listener', 'address', 'for'],
    body.listeners.map((one: Record<string, string>) => [one['name'], one['address'], one['for']]),
  ))
    line(`  ${text}`)
  for (const [name, path] of Object.entries(body.paths as Record<string, string>)) named(name, printable(path))
  named('audit', `${body.audit.entries} entries${body.audit.failed ? paint('red', ', FAILED: everything is refused') : ''}`)
  if (body.processes.length > 1)
    named('processes', body.processes.map((one: Record<string, unknown>) => `${one['pid']} ${one['for']}`).join(', '))
  named('process facts', printable(body.processFacts?.says))
  named('calls', `${body.calls.live} under way, ${body.connections} connections, ${body.leases} leases`)
  for (const warning of body.warnings) line(`  ${paint('yellow', '!')} ${printable(warning)}`)
  if (body.runs.length > 0)
    for (const text of table(
      ['run', 'workload', 'state', 'custody', 'command'],
      body.runs.map((run: Record<string, unknown>) => [run['id'], run['workload'], run['state'], run['custody'], run['command']]),
    ))
      line(`  ${text}`)
  for (const what of ['workload', 'credential'])
    for (const name of body.revoked[`${what}s`])
      line(`  ${paint('red', 'revoked')} ${what} ${printable(name)}: ostiary revoke ${what} ${printable(name)} --undo`)
  for (const one of body.suspensions) {
    const sender = printable(one.sender)
    const resume = printable(one.run ?? one.sender)
    line(`  ${paint('red', 'suspended')} ${sender} after ${one.trips} trips: ostiary audit tail, then ostiary resume ${resume}`)
  }
}

export async function logLevel({ dataDir, out }: Context, level: string): Promise<number> {
  if (!['debug', 'info', 'warn', 'error'].includes(level)) throw new WrongUse(`${level} is no level: debug, info, warn or error`)
  const body = await must(dataDir, 'POST', '/log-level', { level })
  out.value(body, () => out.line(`log level ${body.level}`))
  return 0
}
