// registries: the package registries that this machine's own tools are configured with, as services without a credential. It
// names none itself, asks each tool from the user's home (a project could name any), and never prints a password.
import { execFile } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { classifyAddress } from '../net/address.ts'
import type { Context } from './context.ts'
import { printable } from './print.ts'

/** One registry as a tool has it. */
interface Named {
  readonly tool: string
  readonly url: URL
}

export interface Found {
  readonly named: readonly Named[]
  /** Sentences for a person. */
  readonly notes: readonly string[]
}

export interface RegistryService {
  readonly name: string
  readonly hosts: readonly string[]
  readonly scheme: 'https' | 'http'
  readonly port: number
  readonly tools: readonly string[]
  readonly private: boolean
}

/** Runs a tool of the machine; null: it is not there, or failed. */
export type Ask = (command: string, words: readonly string[]) => Promise<string | null>

const toolMs = 20_000
const indexMs = 5_000
const indexBytesMax = 4 * 1024 * 1024

export async function registries({ out, configFile, dataDir }: Context): Promise<number> {
  // The system's roots beside Node's: a registry of one's own is seldom known to Node.
  const { upstreamRoots } = await import('../compose/trust-roots.ts')
  tls.setDefaultCACertificates([...upstreamRoots(null), ...tls.getCACertificates('extra')])
  const found = await findRegistries(askTool, homedir(), process.env)
  const { services, known } = await withoutKnown(await servicesOf(found.named), configFile, dataDir)
  const notes = [...found.notes, ...known.map(({ name, host }) => `${host} is the service ${name} already`)]
  out.value({ ok: services.length + known.length > 0, services, notes }, () => {
    for (const line of yamlOf(services)) out.line(line)
    for (const note of notes) out.line(`# ${printable(note)}`)
    if (services.length + known.length === 0) out.line('# no tool of this machine names a registry')
  })
  return services.length + known.length > 0 ? 0 : 1
}

export async function findRegistries(ask: Ask, home: string, env: Readonly<Record<string, string | undefined>>): Promise<Found> {
  const [npm, pip, go] = await Promise.all([ofNpm(ask), ofPip(ask), ofGo(ask)])
  const texts = [...npm.texts, ...pip, ...go, ...ofCargo(env['CARGO_HOME'] ?? join(home, '.cargo'), env)]
  const notes: string[] = []
  const named: Named[] = []
  for (const [tool, text] of texts) {
    const url = URL.canParse(text) ? new URL(text) : null
    if (url === null || !/^https?:$/.test(url.protocol) || url.hostname.startsWith('[')) {
      notes.push(`${tool} names something that is no http URL with a host name; it is left out`)
      continue
    }
    if (url.username !== '' || url.password !== '') {
      notes.push(
        `the URL of ${tool} at ${url.hostname} carries a user and a password, which are left out: seal them, give the service \`slot: basic\` and a credential`,
      )
      url.username = ''
      url.password = ''
    }
    named.push({ tool, url })
  }
  for (const host of npm.tokens)
    notes.push(`npm has a token for ${host}: a call that carries it is refused where the service takes no credential`)
  for (const { tool, url } of [...named]) named.push(...(await whereFilesLie(tool, url, notes)))
  return { named, notes: [...new Set(notes)] }
}

type Texts = readonly (readonly [tool: string, url: string])[]

async function ofNpm(ask: Ask): Promise<{ readonly texts: Texts; readonly tokens: readonly string[] }> {
  const text = await ask('npm', ['config', 'list', '--json'])
  if (text === null) return { texts: [], tokens: [] }
  const config = JSON.parse(text) as Record<string, unknown>
  const texts = Object.entries(config).flatMap(
    ([key, value]): Texts => ((key === 'registry' || key.endsWith(':registry')) && typeof value === 'string' ? [['npm', value]] : []),
  )
  const files = [config['userconfig'], config['globalconfig']].map((path) => (typeof path === 'string' ? textOf(path) : ''))
  const tokens = [...files.join('\n').matchAll(/^\s*\/\/([^/:\s]+)[^\s=]*:_(?:authToken|auth|password)\s*=/gm)].map(
    ([, host]) => host as string,
  )
  return { texts, tokens: [...new Set(tokens)] }
}

async function ofPip(ask: Ask): Promise<Texts> {
  const [list, help] = await Promise.all([ask('pip', ['config', 'list']), ask('pip', ['install', '--help'])])
  const lines = [...(list ?? '').matchAll(/^[^=\n]*\.(extra-)?index-url='(.*)'$/gm)]
  const extra = lines.filter(([, more]) => more !== undefined).flatMap(([, , urls]) => (urls as string).split(/\\n|\s+/))
  const main = lines.findLast(([, more]) => more === undefined)?.[2]
  // The one that it has of its own stands in its help only.
  const own = /\(default:?\s+(https?:\/\/[^\s)]+)\)/.exec(help ?? '')?.[1]
  return [main ?? own, ...extra].flatMap((url): Texts => (url === undefined || url === '' ? [] : [['pip', url]]))
}

async function ofGo(ask: Ask): Promise<Texts> {
  const [proxies = '', sums = ''] = ((await ask('go', ['env', 'GOPROXY', 'GOSUMDB'])) ?? '').trim().split('\n')
  const urls = proxies.split(/[,|]/).filter((text) => text !== '' && text !== 'direct' && text !== 'off')
  // `name`, `name+key` or `name+key URL`.
  const [name = '', url] = sums.trim().split(/\s+/)
  const sum = name === '' || name === 'off' ? [] : [url ?? `https://${name.split('+')[0]}`]
  return [...urls, ...sum].map((text) => ['go', text])
}

/** cargo does not print its configuration; it names the registries that it has used as folders. */
function ofCargo(cargoHome: string, env: Readonly<Record<string, string | undefined>>): Texts {
  const config = `${textOf(join(cargoHome, 'config.toml'))}\n${textOf(join(cargoHome, 'config'))}`
  const written = [...config.matchAll(/^\s*(?:registry|index)\s*=\s*"(?:sparse\+)?(https?:[^"]+)"/gm)].map(([, url]) => url as string)
  const variables = Object.entries(env).flatMap(([name, value]) =>
    /^CARGO_REGISTRIES_\w+_INDEX$/.test(name) && value !== undefined ? [value.replace(/^sparse\+/, '')] : [],
  )
  const used = foldersOf(join(cargoHome, 'registry', 'index')).flatMap((folder) => {
    const host = /^(.+)-[0-9a-f]{16}$/.exec(folder)?.[1]
    return host === undefined ? [] : [`https://${host}/`]
  })
  return [...written, ...variables, ...used].map((url) => ['cargo', url])
}

/** An index may lead to files on another host: pip's pages and cargo's config.json say where. */
async function whereFilesLie(tool: string, url: URL, notes: string[]): Promise<readonly Named[]> {
  const base = url.href.endsWith('/') ? url.href : `${url.href}/`
  const question = tool === 'pip' ? `${base}pip/` : tool === 'cargo' ? `${base}config.json` : null
  if (question === null) return []
  const text = await page(question)
  if (text === null) notes.push(`the index of ${tool} at ${url.hostname} did not answer: its files may lie on another host`)
  const links = tool === 'pip' ? /href="(https?:\/\/[^"]+)"/g : /"dl"\s*:\s*"(https?:[^"]+)"/g
  const urls = [...(text ?? '').matchAll(links)]
    .map(([, link]) => (link as string).replace(/[#{].*$/, ''))
    .filter((link) => URL.canParse(link))
  return [...new Map(urls.map((link) => [new URL(link).origin, { tool, url: new URL('/', link) }])).values()]
}

async function page(url: string): Promise<string | null> {
  try {
    const answer = await fetch(url, { redirect: 'error', headers: { accept: 'text/html' }, signal: AbortSignal.timeout(indexMs) })
    if (!answer.ok || Number(answer.headers.get('content-length') ?? 0) > indexBytesMax) return null
    return (await answer.text()).slice(0, indexBytesMax)
  } catch {
    return null
  }
}

/** One service a tool, or several where scheme, port or kind of address differ. A host belongs to the first tool that names it. */
async function servicesOf(named: readonly Named[]): Promise<readonly RegistryService[]> {
  const services = new Map<string, RegistryService>()
  const counted = new Map<string, number>()
  for (const [origin, uses] of Map.groupBy(named, ({ url }) => url.origin)) {
    const [{ tool, url }] = uses as [Named, ...Named[]]
    const scheme = origin.startsWith('http:') ? 'http' : 'https'
    const port = url.port === '' ? (scheme === 'http' ? 80 : 443) : Number(url.port)
    const lies = await isPrivate(url.hostname)
    const key = `${tool} ${scheme} ${port} ${lies}`
    const tools = [...new Set(uses.map((use) => use.tool))]
    const same = services.get(key)
    if (same !== undefined) {
      services.set(key, { ...same, hosts: [...same.hosts, url.hostname], tools: [...new Set([...same.tools, ...tools])] })
      continue
    }
    const number = (counted.get(tool) ?? 0) + 1
    counted.set(tool, number)
    services.set(key, { name: number === 1 ? tool : `${tool}-${number}`, hosts: [url.hostname], scheme, port, tools, private: lies })
  }
  return [...services.values()]
}

async function isPrivate(host: string): Promise<boolean> {
  const answers = await lookup(host, { all: true }).catch(() => [])
  return answers.some(({ address }) => ['private', 'loopback'].includes(classifyAddress(address)))
}

async function withoutKnown(
  services: readonly RegistryService[],
  configFile: string | null,
  dataDir: string,
): Promise<{ readonly services: readonly RegistryService[]; readonly known: readonly { host: string; name: string }[] }> {
  const { loadConfig } = await import('../compose/kinds.ts')
  let configured: readonly { readonly name: string; readonly hosts: readonly string[] }[] = []
  try {
    configured = loadConfig(configFile, dataDir).services
  } catch {
    // `check` says what is wrong with it
  }
  const owner = (host: string) => configured.find((one) => one.hosts.includes(host))
  const taken = new Set(configured.map((one) => one.name))
  const fresh = services.map((service) => ({ ...service, hosts: service.hosts.filter((host) => owner(host) === undefined) }))
  return {
    services: fresh
      .filter(({ hosts }) => hosts.length > 0)
      .map((service) => (taken.has(service.name) ? { ...service, name: `${service.name}-registry` } : service)),
    known: services
      .flatMap(({ hosts }) => hosts.flatMap((host) => ({ host, name: owner(host)?.name ?? '' })))
      .filter(({ name }) => name !== ''),
  }
}

/** Lines for the configuration: the services, and a policy for each. */
export function yamlOf(services: readonly RegistryService[]): readonly string[] {
  if (services.length === 0) return []
  const service = (one: RegistryService): string => {
    const port = one.port === (one.scheme === 'http' ? 80 : 443) ? '' : `port: ${one.port}, `
    const where = `hosts: [${one.hosts.join(', ')}], ${one.scheme === 'http' ? 'scheme: http, ' : ''}${port}`
    return `  ${one.name}: { ${where}credential: none, methods: [GET, HEAD]${one.private ? ', allowPrivateAddresses: true' : ''} }`
  }
  return [
    'services:',
    ...services.map((one) => `${service(one)}  # ${one.tools.join(', ')}`),
    'policies:',
    '  - cedar: |',
    ...services.flatMap((one) => [
      `      @id("packages from ${one.name}")`,
      `      permit (principal, action == Action::"call", resource == Service::"${one.name}");`,
    ]),
  ]
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function foldersOf(path: string): readonly string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function askTool(command: string, words: readonly string[]): Promise<string | null> {
  return new Promise((resolve) => {
    // Without GOTOOLCHAIN go could fetch another version of itself only to answer.
    const env = { ...process.env, GOTOOLCHAIN: 'local', NO_COLOR: '1', COLUMNS: '500' }
    execFile(command, words, { cwd: homedir(), env, timeout: toolMs, maxBuffer: indexBytesMax }, (error, text) =>
      resolve(error === null ? text : null),
    )
  })
}
