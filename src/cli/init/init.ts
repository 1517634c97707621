// `ostiary init`: finds static keys, seals what the user picks, tries it with one real call, and only then blanks it where it
// stood. It never prints a value, and it never takes one away that it could not use.
import { existsSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { createInterface } from 'node:readline/promises'
import { loadConfig } from '../../compose/kinds.ts'
import type { Config } from '../../config/config.ts'
import { defaultConfigFile } from '../../config/places.ts'
import { ask, Declined, mustOrOffline, NotRunning } from '../admin-client.ts'
import { type Context, refusedWithSecrets } from '../context.ts'
import { heldLogins } from '../logins.ts'
import { type Output, paint, printable, WrongUse } from '../print.ts'
import { blankIn } from './blank.ts'
import { linesToAdd, type Route, routeOf, writeConfiguration } from './configuration.ts'
import { egressFound } from './egress.ts'
import { type FoundKey, findKeys, said } from './find.ts'
import { masked } from './keys.ts'
import { rotateAt } from './vendors.ts'
import { verifyByCall } from './verify.ts'

export interface InitOptions {
  readonly yes?: boolean
  readonly dryRun?: boolean
}

export async function init(context: Context, options: InitOptions): Promise<number> {
  const { out } = context
  const refused = refusedWithSecrets()
  if (refused !== null) throw new WrongUse(refused)
  const home = homedir()
  const file = context.configFile ?? defaultConfigFile(process.env)
  const { keys, left: unread } = findKeys({ home, cwd: process.cwd(), environment: process.env, own: [file, context.dataDir] })
  const left = [...unread, ...egressFound(process.env).said]
  const logins = heldLogins(home)
  if (out.json) {
    out.value({ keys: keys.map(said), logins, left }, () => {})
    return 0
  }
  keys.forEach((key, at) => {
    printKey(out, key, at + 1)
  })
  for (const login of logins)
    out.line(`${paint('yellow', 'login')} ${login.what} (${printable(login.path)}) stays the agent's own. Instead: ${login.instead}`)
  for (const one of left) out.line(`${paint('yellow', '!')} ${printable(one)}`)
  if (keys.length === 0) out.line('No static key was found.')
  const sealable = keys.filter((key) => key.service !== null)
  if (sealable.length === 0) return sayNext(out, keys, existsSync(file))
  if (options.dryRun === true) return sayPlan(out, proposed(sealable))
  const picked = await pick(out, keys, options.yes === true)
  return picked.length === 0 ? sayNext(out, keys, existsSync(file)) : sealAll({ ...context, configFile: file }, picked, keys)
}

function printKey(out: Output, key: FoundKey, number: number): void {
  const whose = key.service === null ? `${key.vendor}, which Ostiary cannot hold for an agent yet: left where it stands` : key.vendor
  out.line(
    `${paint('bold', `${String(number).padStart(2)}. ${printable(masked(key.value))}`)}  ${key.setUpToken ? 'set-up token of ' : ''}${whose}`,
  )
  for (const { path, kind, line, name, times, exposure } of key.standings) {
    const where = path === null ? `variable ${name} of this shell` : `${path}:${line}${times > 1 ? `, ${times} times` : ''}`
    out.line(
      `    ${kind === 'variable' ? '' : `${kind} `}${printable(where)}${exposure.length > 0 ? paint('yellow', `  ${exposure.join('; ')}`) : ''}`,
    )
  }
}

/** One key a service: an agent is given one. The first that a program would use: variables before files before what was only typed. */
function proposed(keys: readonly FoundKey[]): readonly FoundKey[] {
  const order = [
    'variable',
    'shell start file',
    'env file',
    'agent configuration',
    'MCP configuration',
    'credentials file',
    'shell history',
    'transcript',
  ]
  const rank = (key: FoundKey): number => Math.min(...key.standings.map(({ kind }) => order.indexOf(kind)))
  const best = new Map<string, FoundKey>()
  for (const key of keys) {
    const before = best.get(key.service as string)
    if (before === undefined || rank(key) < rank(before)) best.set(key.service as string, key)
  }
  return [...best.values()]
}

async function pick(out: Output, keys: readonly FoundKey[], all: boolean): Promise<readonly FoundKey[]> {
  const proposal = proposed(keys.filter((key) => key.service !== null))
  if (all) return proposal
  if (!process.stdin.isTTY) throw new WrongUse('nothing was changed: ask at a terminal, or say --yes to seal one key a service')
  const numbers = keys.flatMap((key, at) => (proposal.includes(key) ? [at + 1] : [])).join(' ')
  const asked = createInterface({ input: process.stdin, output: process.stderr })
  try {
    for (;;) {
      const answer = (await asked.question(`Seal which? Numbers, none, or Enter for ${numbers}: `)).trim()
      if (answer === '') return proposal
      if (/^n/i.test(answer)) return []
      const chosen = answer.split(/[\s,]+/).map((text) => keys[Number(text) - 1])
      const services = chosen.map((key) => key?.service ?? null)
      if (services.includes(null)) out.line('One of these numbers is no key that can be sealed.')
      else if (new Set(services).size < services.length)
        out.line('Two of these are for one service, and an agent is given one key a service.')
      else return chosen as readonly FoundKey[]
    }
  } catch {
    throw new WrongUse('cancelled: nothing was changed')
  } finally {
    asked.close()
  }
}

function sayPlan(out: Output, keys: readonly FoundKey[]): number {
  out.line()
  for (const key of keys) {
    out.line(`would seal ${masked(key.value)} for ${key.service}, try it with one call, and then blank it in:`)
    for (const { path } of key.standings) if (path !== null) out.line(`  ${printable(path)}`)
  }
  out.line('Nothing was changed (--dry-run).')
  return 0
}

function sayEgress(out: Output, file: string, lines: readonly string[]): void {
  out.line(
    `This shell goes out through a proxy, and ${printable(file)} names none. Where Ostiary has to as well, add and \`ostiary reload\`:`,
  )
  for (const line of lines) out.line(`  ${printable(line)}`)
}

interface Sealing {
  readonly out: Output
  readonly dataDir: string
  readonly configFile: string
  readonly config: Config
  readonly running: boolean
  readonly user: string
}

async function sealAll(
  context: Context & { readonly configFile: string },
  picked: readonly FoundKey[],
  keys: readonly FoundKey[],
): Promise<number> {
  const { out, dataDir, configFile } = context
  const user = userInfo().username
  const wanted = picked.map(({ service, setUpToken }) => ({ service: service as string, setUpToken }))
  const running = await isRunning(dataDir)
  const found = egressFound(process.env)
  if (!existsSync(configFile)) {
    for (const path of writeConfiguration(configFile, wanted, user, found.lines)) out.line(`wrote ${printable(path)}`)
    if (running) {
      out.line('Ostiary runs without it: `ostiary stop`, `ostiary start`, and then `ostiary init` again.')
      return 1
    }
  }
  const config = loadConfig(configFile, dataDir)
  if (found.lines.length > 0 && config.egress.proxy === null) sayEgress(out, configFile, found.lines)
  const sealing: Sealing = { out, dataDir, configFile, config, running, user }
  const starter = [user, String(process.getuid?.() ?? -1)]
  let failed = false
  const lacking = wanted.filter((one) => routeOf(config, one, starter) === null)
  for (const key of picked) {
    const route = routeOf(config, { service: key.service as string, setUpToken: key.setUpToken }, starter)
    if (route === null || !(await sealOne(sealing, key, route))) failed = true
  }
  if (lacking.length > 0) {
    out.line(
      `${printable(configFile)} has no way to an agent of yours for ${lacking.map((one) => one.service).join(', ')}, and init changes no`,
    )
    out.line('configuration. Add what it lacks of these lines, `ostiary reload`, and `ostiary init` again:')
    for (const line of linesToAdd(lacking, user)) out.line(`  ${line}`)
  }
  for (const key of keys)
    if (!picked.includes(key) && picked.some((one) => one.service === key.service))
      out.line(
        `${masked(key.value)} stays where it stands: an agent is given one key of ${key.service}. Delete it at ${rotateAt[key.vendor]}`,
      )
  sayNext(out, keys, true)
  return failed ? 1 : 0
}

/** Sealed, read back, tried, and only then blanked. False: it still stands where it stood, and why was said. */
async function sealOne({ out, dataDir, configFile, config, running }: Sealing, key: FoundKey, route: Route): Promise<boolean> {
  const service = key.service as string
  const name = `${masked(key.value)} of ${key.vendor}`
  try {
    const value = Buffer.from(key.value, 'latin1').toString('base64')
    // The server reads back what it sealed before it answers, and replaces no other value.
    const body = { service, value, rotate: false, keep: true }
    await mustOrOffline({ dataDir, configFile }, 'PUT', `/secrets/${encodeURIComponent(route.secret)}`, body)
  } catch (error) {
    if (!(error instanceof Declined)) throw error
    out.line(`${paint('red', 'not sealed')} ${name}: ${printable(error.message)}`)
    return false
  }
  out.line(`${paint('green', 'sealed')} ${name} as ${route.secret}, for ${service} alone, and read back`)
  if (!running) {
    out.line('  not tried and not blanked yet: `ostiary start` in another terminal, then `ostiary init` again')
    return true
  }
  const known = config.services.find((one) => one.name === service)
  const variable = (key.setUpToken ? known?.login?.keyVariables : known?.keyVariables)?.[0] ?? ''
  const wrong = await verifyByCall({ dataDir }, route.workload, service, variable, key.setUpToken)
  if (wrong !== null) {
    out.line(`${paint('red', 'not blanked')} ${name}: ${printable(wrong)}; it still stands where it stood`)
    return false
  }
  out.line(`${paint('green', 'tried')}  ${service} answered a call with it`)
  return blankEverywhere(out, key)
}

function blankEverywhere(out: Output, key: FoundKey): boolean {
  // With a listener a signal waits until the file is whole.
  const later = (): void => {}
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, later)
  try {
    return blankEach(out, key)
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, later)
  }
}

function blankEach(out: Output, key: FoundKey): boolean {
  let done = true
  for (const { path, name } of key.standings) {
    if (path === null) {
      out.line(`  ${name} is still set in this shell: unset ${name}`)
      continue
    }
    const wrong = blankIn(path, [key.value])
    if (wrong === null) out.line(`${paint('green', 'blanked')} ${printable(path)}`)
    else {
      done = false
      out.line(`${paint('red', 'not blanked')} ${printable(path)}: ${wrong}`)
    }
  }
  if (key.standings.some(({ kind }) => kind === 'shell history'))
    out.line('  Shells that are open hold their history in memory and write it back: close them, then `ostiary init` again.')
  if (key.standings.some(({ kind, name }) => name !== '' && lines.has(kind)))
    out.line('  Delete the lines that set it: an agent that reads them would send them instead of its placeholder.')
  return done
}

/** What is read again at each start, and would hide the placeholder that the run sets. */
const lines: ReadonlySet<string> = new Set(['env file', 'shell start file', 'agent configuration', 'MCP configuration'])

function sayNext(out: Output, keys: readonly FoundKey[], configured: boolean): number {
  if (keys.length > 0) {
    out.line()
    out.line('Each of these was exposed. Make a new key and delete the old one:')
    for (const key of keys) out.line(`  ${masked(key.value)}  ${rotateAt[key.vendor] ?? `in the console of ${key.vendor}`}`)
    out.line('Seal the new one: ostiary secret rotate NAME')
  }
  out.line(configured ? 'Next: `ostiary start`, and in another terminal `ostiary run -- claude`.' : 'Next: `ostiary init --help`.')
  return 0
}

async function isRunning(dataDir: string): Promise<boolean> {
  try {
    await ask(dataDir, 'GET', '/status')
    return true
  } catch (error) {
    if (error instanceof NotRunning) return false
    throw error
  }
}
