// env --for vscode|cursor|jetbrains|direnv|docker: settings for what an IDE, a shell or a container starts by itself. What can be in
// a run is put into one; the rest is known by its process alone, and that is said. No pointer of a run and no secret stands in it.
import { dirname } from 'node:path'
import { runEnvironment } from '../launch/variables.ts'
import { must } from './admin-client.ts'
import type { Context } from './context.ts'
import { printable, WrongUse } from './print.ts'

export interface EnvOptions {
  readonly for: string
  readonly as?: string
}

interface Settings {
  /** To be pasted. */
  readonly text: readonly string[]
  /** Where it goes and what it does. */
  readonly says: readonly string[]
}

interface Place {
  readonly workload: string
  readonly variables: Readonly<Record<string, string>>
  readonly publicDir: string
}

const shell = 'bash'
const inARun = 'What is started there is in a run of its own, with placeholders and the custody of a run.'
const byProcess =
  'What is started so is in no run: a workload must match it by its process (`ostiary identify PID` prints the rule), and its records say so.'

const kinds: Readonly<Record<string, (place: Place) => Settings>> = {
  vscode: (place) => terminal(place, 'Code'),
  cursor: (place) => terminal(place, 'Cursor'),
  jetbrains: ({ workload }) => ({
    text: [`ostiary run --as ${workload} -- ${shell}`],
    says: [
      'Settings > Tools > Terminal > Shell path. For MCP servers and agents of the IDE write `ostiary run --as NAME --` before their command.',
      inARun,
    ],
  }),
  direnv: ({ variables }) => ({
    text: Object.entries(variables).map(([name, value]) => `export ${name}=${quoted(value)}`),
    says: ['In .envrc, then `direnv allow`.', byProcess],
  }),
  docker: ({ variables, publicDir }) => ({
    text: [
      'docker run --network host \\',
      `  -v ${quoted(`${publicDir}/ca.pem:${publicDir}/ca.pem:ro`)} -v ${quoted(`${publicDir}/bundle.pem:${publicDir}/bundle.pem:ro`)} \\`,
      ...Object.entries(variables).map(([name, value]) => `  -e ${name}=${quoted(value)} \\`),
      '  IMAGE',
    ],
    says: ['The proxy listens on loopback, so the container shares the network of the host; its id is what identifies it.', byProcess],
  }),
}

export async function env({ dataDir, out }: Context, options: EnvOptions): Promise<number> {
  const make = Object.hasOwn(kinds, options.for) ? kinds[options.for] : undefined
  if (make === undefined) throw new WrongUse(`there are no settings for ${options.for}: ${Object.keys(kinds).join(', ')}`)
  const status = await must(dataDir, 'GET', '/status')
  const { ca, bundle } = status.paths
  const settings = make({
    workload: options.as ?? 'NAME',
    variables: variablesOf(status.listeners.find((one: { name: string }) => one.name === 'proxy').address, ca, bundle),
    publicDir: dirname(ca),
  })
  out.value({ for: options.for, ...settings }, () => {
    for (const line of settings.text) out.line(printable(line))
    for (const line of settings.says) process.stderr.write(`# ${line}\n`)
  })
  return 0
}

/** Those of a run, but for what leads to one. */
function variablesOf(proxy: string, caFile: string, bundleFile: string): Readonly<Record<string, string>> {
  const run = {
    id: '',
    pointer: '',
    workload: '',
    proxy,
    baseUrl: '',
    caFile,
    bundleFile,
    javaStoreFile: '',
    nodePreloadFile: '',
    services: [],
  }
  const { variables } = runEnvironment({}, run, () => null)
  const kept = Object.entries(variables).filter(([name]) => !/^(OSTIARY_|GIT_CONFIG|JAVA_|NODE_OPTIONS)/.test(name))
  return Object.fromEntries(kept.map(([name, value]) => [name, value.replace('http://:x@', 'http://')]))
}

function terminal({ workload }: Place, product: string): Settings {
  const settings = {
    'terminal.integrated.profiles.linux': { ostiary: { path: 'ostiary', args: ['run', '--as', workload, '--', shell] } },
    'terminal.integrated.defaultProfile.linux': 'ostiary',
  }
  return {
    text: JSON.stringify(settings, null, 2).split('\n'),
    says: [
      `In the user's settings.json of ${product}. For MCP servers write \`ostiary run --as NAME --\` before their command.`,
      inARun,
      'Extensions that start an agent outside of the terminal stay outside: `ostiary status` names the agents that do not pass through.',
    ],
  }
}

function quoted(value: string): string {
  return /^[\w./:@=,-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`
}
