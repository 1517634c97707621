// allow HOST [--for NAME]: writes the line that lets a workload reach a host. Only at a terminal outside any run: it shows what it
// would write, asks, checks the whole configuration, and only then puts the file in place. It never widens what it did not show.
import { chmodSync, existsSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { type Addition, difference, policyText, withAddition } from '../config/allow.ts'
import type { Config } from '../config/config.ts'
import type { Service } from '../model/service.ts'
import { ask, must, NotRunning } from './admin-client.ts'
import { type Context, refusedInsideRun } from './context.ts'
import { paint, printable, printableLines, WrongUse } from './print.ts'

export interface AllowOptions {
  readonly for?: string
  readonly action?: string
  readonly tunnel?: string
  readonly yes?: boolean
}

export async function allow(context: Context, host: string, options: AllowOptions): Promise<number> {
  const { out, configFile } = context
  const running = await outsideAnyRun(context)
  if (configFile === null) throw new WrongUse('there is no configuration to write into: `ostiary check` says where it is looked for')
  if (options.yes !== true && !process.stdin.isTTY) throw new WrongUse('this asks before it writes: use a terminal, or --yes')
  const { catalogServices, loadConfig } = await import('../compose/kinds.ts')
  const config = loadConfig(configFile, context.dataDir)
  const addition = additionOf(config, catalogServices, host.toLowerCase(), options)
  if (config.policies.some((one) => one.text.includes(policyText(addition).trim()))) {
    out.value({ ok: true, changes: [] }, () => out.line(`it is written already; \`ostiary explain\` shows what else stands against it`))
    return 0
  }
  const file = statSync(configFile).isDirectory() ? join(configFile, 'allowed.yaml') : realpathSync(configFile)
  const before = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const after = withAddition(before, addition)
  const changes = difference(before, after)
  if (!out.json) {
    out.line(printable(file))
    for (const line of changes) out.line(paint(line.startsWith('+') ? 'green' : 'red', printableLines(line)))
  }
  if (options.yes !== true && !(await agreed())) {
    out.line('nothing was changed')
    return 1
  }
  put(file, before, after, () => void loadConfig(configFile, context.dataDir))
  const version = running ? (await must(context.dataDir, 'POST', '/reload', { show: false })).version : null
  const lacks = addition.service?.inCatalog === true && !config.credentials.some((one) => one.service === addition.service?.name)
  out.value({ ok: true, file, changes, inForce: running }, () => {
    out.line(running ? `in force, policy version ${printable(String(version).slice(0, 12))}` : 'in force with the next `ostiary start`')
    if (lacks) out.line(`${printable(host)} takes a credential: add one under credentials, then \`ostiary secret set NAME --for SERVICE\``)
  })
  return 0
}

/** True when the server runs and answers: it hangs up on whoever is inside a run, whatever its environment says. */
async function outsideAnyRun({ dataDir }: Context): Promise<boolean> {
  const refused = refusedInsideRun()
  if (refused !== null) throw new WrongUse(refused)
  try {
    await ask(dataDir, 'GET', '/status')
    return true
  } catch (error) {
    if (error instanceof NotRunning) return false
    if ((error as NodeJS.ErrnoException).code === 'ECONNRESET')
      throw new WrongUse('this is refused inside a run: use a terminal outside any run')
    throw error
  }
}

function additionOf(config: Config, catalog: readonly Service[], host: string, options: AllowOptions): Addition {
  if (!/^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(host))
    throw new WrongUse(`${host} is no host: write a plain name such as docs.acme.example`)
  const workload = workloadOf(config, options.for)
  const there = config.services.find((one) => one.hosts.includes(host))
  const known = catalog.find((one) => one.hosts.includes(host))
  if (options.tunnel !== undefined) {
    if (there !== undefined || known !== undefined)
      throw new WrongUse(`${host} belongs to a service, and a managed host is never tunnelled`)
    const listed = config.tunnels.some((one) => one.host === host)
    const policy = { resource: `Host::${JSON.stringify(host)}`, action: 'tunnel' }
    return { host, workload, service: null, policy, tunnel: listed ? null : options.tunnel }
  }
  const service = there ?? known
  const name = service?.name ?? nameFor(host, config)
  const policy = { resource: `Service::${JSON.stringify(name)}`, action: actionOf(service, options.action) }
  return { host, workload, service: there === undefined ? { name, inCatalog: known !== undefined } : null, policy, tunnel: null }
}

function workloadOf(config: Config, named: string | undefined): string {
  const names = config.workloads.map((one) => one.name)
  if (named === undefined) {
    if (names.length === 1) return names[0] as string
    throw new WrongUse(`name the workload: --for ${names.join(' | ') || 'NAME (there is none yet)'}`)
  }
  if (!names.includes(named)) throw new WrongUse(`there is no workload ${named}; one of: ${names.join(', ') || 'none'}`)
  return named
}

/** What answers with secrets or administers is never allowed by a default. */
function actionOf(service: Service | undefined, named: string | undefined): string {
  const known = [...new Set(['call', ...(service?.actions.map((rule) => rule.action) ?? [])])]
  if (named !== undefined) {
    if (!known.includes(named)) throw new WrongUse(`${service?.name ?? 'the service'} has no action ${named}; one of: ${known.join(', ')}`)
    return named
  }
  return known.includes('inference') ? 'inference' : 'call'
}

function nameFor(host: string, config: Config): string {
  const plain = host.replaceAll('.', '-').replace(/^(?=[^a-z])/, 'host-')
  const taken = new Set([...config.services.map((one) => one.name)])
  return taken.has(plain) ? `${plain}-2` : plain
}

async function agreed(): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await lines.question('Write this? [y/N] ')).trim())
  } finally {
    lines.close()
  }
}

/** The new text takes the place at once; when the whole is not valid with it, the old one comes back. */
function put(file: string, before: string, after: string, check: () => void): void {
  const mode = existsSync(file) ? statSync(file).mode & 0o777 : 0o600
  const replace = (text: string): void => {
    writeFileSync(`${file}.new`, text, { mode })
    chmodSync(`${file}.new`, mode)
    renameSync(`${file}.new`, file)
  }
  replace(after)
  try {
    check()
  } catch (error) {
    if (before === '') rmSync(file)
    else replace(before)
    throw error
  }
}
