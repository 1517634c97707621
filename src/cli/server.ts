// start, stop, status, reload, log-level: the life of the server.
import { ConfigMistakes } from '../model/refusal.ts'
import { ask, must, NotRunning } from './admin-client.ts'
import { printMistakes } from './check.ts'
import type { Context } from './context.ts'
import { paint, printable, table } from './print.ts'

export async function start(context: Context): Promise<number> {
  const { out, configFile, dataDir } = context
  const { startBroker } = await import('../compose/broker.ts')
  try {
    const broker = await startBroker({ configFile, dataDir, env: process.env })
    const { proxy, baseUrl } = broker.addresses
    if (out.json) out.line(JSON.stringify({ ready: true, pid: process.pid, proxy, baseUrl, dataDir }))
    else {
      out.line(`${paint('green', 'ready')}  proxy ${proxy}  base URL http://${baseUrl}  data ${dataDir}`)
      if (configFile === null)
        out.line('No configuration: everything is refused. Write ~/.config/ostiary/ostiary.yaml, then `ostiary check`.')
      else out.line('Next: `ostiary run -- COMMAND` in another terminal. Ctrl-C stops.')
    }
    const end = (): void => void broker.stop()
    process.once('SIGINT', end)
    process.once('SIGTERM', end)
    process.on('SIGHUP', () => void broker.reload().catch(() => {}))
    await broker.stopped
    return 0
  } catch (error) {
    if (error instanceof ConfigMistakes) return printMistakes(context, error)
    out.problem((error as Error).message)
    return 1
  }
}

export async function stop({ dataDir, out }: Context): Promise<number> {
  await must(dataDir, 'POST', '/stop')
  for (let tries = 0; tries < 300; tries++) {
    try {
      await ask(dataDir, 'GET', '/status', undefined, 2_000)
    } catch (error) {
      if (error instanceof NotRunning) break
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  out.value({ ok: true }, () => out.line('stopped'))
  return 0
}

export async function reload(context: Context, options: { readonly show?: boolean }): Promise<number> {
  const { out, dataDir } = context
  const answer = await ask(dataDir, 'POST', '/reload', { show: options.show === true })
  if (answer.status === 422) return printMistakes(context, new ConfigMistakes(answer.body.mistakes))
  if (answer.status !== 200) throw new Error(answer.body?.error?.says ?? `the server answered ${answer.status}`)
  out.value(answer.body, () => {
    for (const change of answer.body.changes ?? []) out.line(`  ${printable(change)}`)
    out.line(
      options.show === true ? 'not in force: this only showed it' : `in force, policy version ${String(answer.body.version).slice(0, 12)}`,
    )
  })
  return 0
}

export async function status({ dataDir, out }: Context, options: { readonly wait?: string }): Promise<number> {
  const until = performance.now() + Number(options.wait ?? 0) * 1_000
  for (;;) {
    try {
      const body = await must(dataDir, 'GET', '/status')
      if (body.ready === true) {
        out.value(body, () => printStatus(out.line, body))
        return 0
      }
    } catch (error) {
      if (!(error instanceof NotRunning) || performance.now() >= until) throw error
    }
    if (performance.now() >= until) return 3
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of the admin door
function printStatus(line: (text?: string) => void, body: any): void {
  line(
    `${paint('green', 'ready')}  since ${new Date(body.startedAt).toISOString()}  pid ${body.pid}  policy version ${String(body.policyVersion).slice(0, 12)}`,
  )
  for (const text of table(
    ['listener', 'address', 'for'],
    body.listeners.map((one: Record<string, string>) => [one['name'], one['address'], one['for']]),
  ))
    line(`  ${text}`)
  for (const [name, path] of Object.entries(body.paths as Record<string, string>))
    line(`  ${paint('dim', name.padEnd(14))}${printable(path)}`)
  line(
    `  ${paint('dim', 'audit'.padEnd(14))}${body.audit.entries} entries${body.audit.failed ? paint('red', ', FAILED: everything is refused') : ''}`,
  )
  line(`  ${paint('dim', 'calls'.padEnd(14))}${body.calls.live} under way, ${body.connections} connections, ${body.leases} leases`)
  for (const warning of body.warnings) line(`  ${paint('yellow', '!')} ${printable(warning)}`)
  if (body.runs.length > 0)
    for (const text of table(
      ['run', 'workload', 'state', 'custody', 'command'],
      body.runs.map((run: Record<string, unknown>) => [run['id'], run['workload'], run['state'], run['custody'], run['command']]),
    ))
      line(`  ${text}`)
  for (const one of body.suspensions)
    line(
      `  ${paint('red', 'suspended')} ${printable(one.sender)} after ${one.trips} trips: ostiary audit tail, then ostiary resume ${printable(one.run ?? one.sender)}`,
    )
}

export async function logLevel({ dataDir, out }: Context, level: string): Promise<number> {
  const body = await must(dataDir, 'POST', '/log-level', { level })
  out.value(body, () => out.line(`log level ${body.level}`))
  return 0
}
