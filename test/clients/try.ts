// Starts one client in a run, in one way, and says what came of it: what it printed, and what its vendor saw. It must never call
// a thing that was not seen at the vendor a success.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Client } from './list.ts'
import type { Arrived, ClientStage } from './others.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
/** Some import half a package registry before they say a word. */
const lateMs = 60_000

export interface Way {
  readonly isolate?: true
  /** Variables of the run's that are taken away. */
  readonly without?: readonly string[]
  readonly set?: readonly [variable: string, value: string]
}

export interface Tried {
  readonly ok: boolean
  /** `authorization: Bearer`, where the credential stood. */
  readonly slot: string | null
  /** Why not, in a line. */
  readonly why: string
}

export async function tryClient(set: ClientStage, client: Client, command: readonly string[], way: Way): Promise<Tried> {
  const since = set.mark()
  const words = [bin, '--config', set.stage.configFile, '--data', set.stage.dataDir, 'run', '--as', 'story-agent']
  const more = way.isolate === true ? ['--isolate'] : []
  const { code, out, err } = await ended([...words, ...more, '--', ...prepared(command, way)], set.stage.dir)
  if (process.env['DEBUG_CLIENTS']) process.stdout.write(`${err}\n${out}\n`)
  const arrived = since()
  const secrets = set.secrets()
  const slots = arrived.map(({ headers }) => slotOf(headers, secrets)).filter((one) => one !== null)
  const leaked = arrived.some(holdsPlaceholder)
  const ok = code === 0 && client.answer.test(out) && slots.length > 0 && !leaked
  return { ok, slot: slots.at(-1) ?? null, why: ok ? '' : leaked ? 'a placeholder reached the vendor' : whyNot(`${err}\n${out}`) }
}

function prepared(command: readonly string[], { without, set }: Way): readonly string[] {
  const less = without === undefined ? command : ['env', ...without.flatMap((name) => ['-u', name]), ...command]
  return set === undefined ? less : ['sh', '-c', `export ${set[0]}="${set[1]}"; exec "$@"`, 'sh', ...less]
}

function ended(
  words: readonly string[],
  dir: string,
): Promise<{ readonly code: number | null; readonly out: string; readonly err: string }> {
  const child = spawn(process.execPath, words, { cwd: `${dir}/work`, stdio: ['ignore', 'pipe', 'pipe'] })
  const texts = { out: '', err: '' }
  child.stdout.on('data', (text: Buffer) => {
    texts.out += text
  })
  child.stderr.on('data', (text: Buffer) => {
    texts.err += text
  })
  const late = setTimeout(() => {
    texts.err += '\nno answer in time'
    child.kill('SIGTERM')
    setTimeout(() => child.kill('SIGKILL'), 2_000).unref()
  }, lateMs)
  return new Promise((resolve) =>
    child.on('close', (code) => {
      clearTimeout(late)
      resolve({ code, ...texts })
    }),
  )
}

/** Where one of the real credentials stands; Basic is read as what it says. */
function slotOf(headers: Arrived['headers'], secrets: ReadonlySet<string>): string | null {
  for (const [name, value] of Object.entries(headers)) {
    const [scheme = '', rest = ''] = String(value).split(' ')
    if (secrets.has(String(value))) return name
    // The stand-in has checked the signature, or the client had no answer.
    const signer = /^(AWS4-\S+) Credential=(\w+)\//.exec(String(value))
    if (signer !== null && secrets.has(signer[2] ?? '')) return `${name}: ${signer[1]}`
    if (secrets.has(rest)) return `${name}: ${scheme}`
    if (scheme === 'Basic' && secrets.has(fromBasic(rest))) return `${name}: Basic`
  }
  return null
}

function fromBasic(text: string): string {
  return Buffer.from(text, 'base64')
    .toString()
    .replace(/^[^:]*:/, '')
}

function holdsPlaceholder({ path, headers }: Arrived): boolean {
  return [path, ...Object.values(headers).map(String)].some((text) =>
    `${text} ${fromBasic(text.replace(/^Basic /, ''))}`.includes('Ost1ary'),
  )
}

/** A refusal's code where there is one, else the last line that looks like the cause. */
function whyNot(text: string): string {
  const code = /"code": ?"([a-z_]+\.[a-z_]+)"/.exec(text)?.[1]
  if (code !== undefined) return `refused: ${code}`
  if (/getaddrinfo|ENOTFOUND|EAI_AGAIN|name resolution|Name or service not known|failed to resolve/i.test(text))
    return 'it dials the vendor itself, past the proxy'
  const known =
    /no answer in time|PKIX path building failed|CERTIFICATE_VERIFY_FAILED|self-signed certificate\w*|unable to get \w*issuer certificate|\bE(?:PROTO|CONNREFUSED|CONNRESET|NETUNREACH)\b/.exec(
      text,
    )?.[0]
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !/^ostiary:|^\s+at /.test(line))
  return (known ?? lines.at(-1) ?? 'it said nothing').trim().slice(0, 120)
}
