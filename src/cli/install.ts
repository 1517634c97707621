// install, uninstall: Ostiary as a system user of its own under systemd. Every file and command can be seen before it is done.
import { existsSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { callCommand, installSteps, type Step, type Target, uninstallSteps } from '../deploy/deploy.ts'
import { type Doors, places } from '../deploy/units.ts'
import { type Context, refusedInsideRun } from './context.ts'
import { paint, printable, WrongUse } from './print.ts'
import { typedLine } from './prompt.ts'

export interface InstallOptions {
  readonly root?: string
  readonly dryRun?: boolean
}

export interface UninstallOptions extends InstallOptions {
  readonly purge?: boolean
  readonly yes?: boolean
}

const source = fileURLToPath(new URL('../..', import.meta.url))

export async function install({ out }: Context, options: InstallOptions): Promise<number> {
  const target = targetOf(options)
  const steps = installSteps(target, source, process.execPath, await doorsOf(target))
  const done = perform(out.json ? null : out.line, steps, options)
  const next = nextOf(target)
  out.value({ ok: true, dryRun: options.dryRun === true, steps: done, next }, () => {
    if (options.dryRun !== true) for (const line of next) out.line(line)
  })
  return 0
}

export async function uninstall({ out }: Context, options: UninstallOptions): Promise<number> {
  const target = targetOf(options)
  const purge = options.purge === true
  if (options.yes === true && !purge) throw new WrongUse('--yes answers what --purge asks; uninstall alone asks nothing')
  if (purge && options.yes !== true && options.dryRun !== true) await agreed()
  const done = perform(out.json ? null : out.line, uninstallSteps(target, purge), options)
  const next = purge ? [] : [`kept: ${places.configDir}, ${places.data} (secrets and audit log) and the user; --purge removes them`]
  out.value({ ok: true, dryRun: options.dryRun === true, steps: done, next }, () => {
    for (const line of next) out.line(line)
  })
  return 0
}

function targetOf({ root, dryRun }: InstallOptions): Target {
  const refused = refusedInsideRun()
  if (refused !== null) throw new WrongUse(refused)
  if (process.platform !== 'linux') throw new WrongUse(`this needs Linux with systemd; this is ${process.platform}: use \`ostiary start\``)
  if (root !== undefined && (!isAbsolute(root) || !existsSync(root))) throw new WrongUse(`--root takes a folder that is there, not ${root}`)
  if (dryRun !== true && process.geteuid?.() !== 0)
    throw new WrongUse('only root may do this: write sudo before it, or see what it would do with --dry-run')
  const staged = root === undefined || resolve(root) === '/' ? '' : resolve(root)
  return { root: staged, booted: existsSync('/run/systemd/system'), call: callCommand }
}

/** The sockets that systemd opens are those that the configuration names. Throws ConfigMistakes. */
async function doorsOf({ root }: Target): Promise<Doors> {
  const { loadConfig } = await import('../compose/kinds.ts')
  const file = join(root, places.config)
  const { listen } = loadConfig(existsSync(file) ? file : null, join(root, places.data))
  const text = ({ host, port }: { readonly host: string; readonly port: number }): string => {
    if (port === 0) throw new WrongUse(`${file}: write ports under listen; systemd cannot open port 0`)
    return `${host.includes(':') ? `[${host}]` : host}:${port}`
  }
  return { proxy: text(listen.proxy), baseUrl: text(listen.baseUrl) }
}

interface Done {
  readonly step: string
  readonly result: string
}

function perform(line: ((text: string) => void) | null, steps: readonly Step[], { dryRun }: InstallOptions): readonly Done[] {
  // What is written must be readable by those who use it, whatever root's own umask is.
  process.umask(0o022)
  return steps.map(({ says, run }) => {
    const result = dryRun === true ? 'would be done' : run()
    line?.(dryRun === true ? printable(says) : `${printable(says)}  ${paint('dim', result)}`)
    return { step: says, result }
  })
}

function nextOf({ root, booted }: Target): readonly string[] {
  if (root !== '') return [`staged below ${root}: its units start at the first boot`]
  const started = booted ? [] : ['systemd is not PID 1 here: nothing was started, nothing was tried']
  return [...started, `Next: write ${places.config}, then \`ostiary check\` and \`ostiary reload\`; \`ostiary status\` says how it is.`]
}

async function agreed(): Promise<void> {
  const wish = 'remove everything'
  if (!process.stdin.isTTY) throw new WrongUse('--purge removes every secret and the audit log: add --yes where nobody can be asked')
  const typed = await typedLine(`Every secret and the audit log would be gone. Type "${wish}": `, 64)
  if (typed.toString('utf8') !== wish) throw new WrongUse('nothing was removed')
}
