// What every measure of the bench stands on: certificates, an upstream, processes that are started on a core, and what they
// used. Whatever it starts it ends by its id.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { cpus, homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createRootAuthority, issueLeaf } from '../src/crypto/x509.ts'

export const root = fileURLToPath(new URL('..', import.meta.url))
/** Peers that no Debian package brings lie here; docs/guide/bench.md says how they come there. */
export const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'ostiary-bench')
const ticksPerSecond = Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) || 100
export const pinned = cpus().length > 1 && spawnSync('taskset', ['--version']).status === 0

export interface Ground {
  readonly dir: string
  /** squid dials the port of the CONNECT, so the upstream listens on 443: of an address of loopback that nobody else uses. */
  readonly upstreamAddress: string
  readonly upstreamPort: number
  readonly upstreamCa: string
  /** Certificate and key of an authority that the clients of the peers trust, and a leaf of it for those that mint none. */
  readonly caCert: string
  readonly caKey: string
  readonly leafCert: string
  readonly leafKey: string
  readonly credential: string
  readonly host: string
  /** Names that the upstream has too, for what happens to a name that was never seen. */
  readonly manyHosts: readonly string[]
  /** A folder of its own for what is started next. */
  folder(name: string): string
}

export function prepare(): Ground {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-bench-'))
  // squid changes to a user of its own, who must come through here.
  chmodSync(dir, 0o755)
  const now = Date.now()
  const host = 'api.openai.com'
  const upstreamAddress = `127.77.${(process.pid >> 8) & 255}.${process.pid & 255 || 1}`
  const manyHosts = Array.from({ length: 900 }, (_, at) => `h${at}.bench.example`)
  const upstreamCa = createRootAuthority({ commonName: 'Bench upstream', now, years: 1 })
  const leaf = issueLeaf(upstreamCa, [host, '*.bench.example', upstreamAddress], now, 86_400_000)
  const peersCa = createRootAuthority({ commonName: 'Bench peers', now, years: 1 })
  const peersLeaf = issueLeaf(peersCa, [host], now, 86_400_000)
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text, { mode: 0o644 })
    return join(dir, name)
  }
  file('hosts', [host, ...manyHosts].map((name) => `${upstreamAddress} ${name}\n`).join(''))
  file('upstream.pem', leaf.certPem)
  file('upstream.key', leaf.keyPem)
  let folders = 0
  return {
    dir,
    host,
    manyHosts,
    upstreamAddress,
    upstreamPort: 443,
    upstreamCa: file('upstream-ca.pem', upstreamCa.certPem),
    caCert: file('peers-ca.pem', peersCa.certPem),
    caKey: file('peers.key', peersCa.key.export({ type: 'pkcs8', format: 'pem' }) as string),
    leafCert: file('leaf.pem', peersLeaf.certPem),
    leafKey: file('leaf.key', peersLeaf.keyPem),
    credential: `sk-proj-${'k'.repeat(40)}`,
    folder: (name) => {
      const made = join(dir, `${++folders}-${name}`)
      mkdirSync(made, { mode: 0o755 })
      return made
    },
  }
}

export interface Running {
  readonly child: ChildProcess
  readonly pid: number
  readonly log: string[]
  stop(): Promise<void>
}

const alive = new Set<Running>()

export const on = (core: number, words: readonly string[]): readonly string[] =>
  pinned ? ['taskset', '-c', String(core % cpus().length), ...words] : words

export function start(words: readonly string[], environment: Readonly<Record<string, string>> = {}, cwd?: string): Running {
  const log: string[] = []
  const child = spawn(words[0] as string, words.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
    ...(cwd === undefined ? {} : { cwd }),
  })
  child.once('error', (error) => log.push(`${error.message}\n`))
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (text: Buffer) => {
      if (log.length < 200) log.push(text.toString())
    })
  const over = new Promise<void>((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()))
  const running: Running = {
    child,
    log,
    pid: child.pid ?? 0,
    stop: async () => {
      if (!alive.delete(running)) return
      const all = familyOf(running.pid)
      child.kill('SIGTERM')
      const ended = await Promise.race([over.then(() => true), new Promise<boolean>((resolve) => setTimeout(resolve, 3_000, false))])
      if (!ended) child.kill('SIGKILL')
      // Children that their parent left behind; by the ids that were ours a moment ago.
      for (const pid of all.slice(1)) if (statOf(pid)?.parent === 1) process.kill(pid, 'SIGKILL')
    },
  }
  alive.add(running)
  return running
}

export async function stopAll(ground: Ground): Promise<void> {
  await Promise.all([...alive].map((one) => one.stop()))
  rmSync(ground.dir, { recursive: true, force: true })
}

function statOf(pid: number): { readonly parent: number; readonly ticks: number; readonly rss: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]), rss: Number(fields[21]) * 4_096 }
  } catch {
    return null // it has just ended
  }
}

/** A process and all its descendants. */
export function familyOf(pid: number): readonly number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const parent = /^\d+$/.test(name) ? statOf(Number(name))?.parent : undefined
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)])
  }
  const all = [pid]
  for (let at = 0; at < all.length; at++) all.push(...(children.get(all[at] as number) ?? []))
  return all
}

/** CPU seconds of all threads, as the scheduler counts them: ticks are too coarse for a second of work. */
export function cpuSeconds(family: readonly number[], mainThread = false): number {
  let sum = 0
  for (const pid of family) {
    try {
      const threads = mainThread ? [String(pid)] : readdirSync(`/proc/${pid}/task`)
      for (const thread of threads) sum += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]) / 1e9
    } catch {
      sum += (statOf(pid)?.ticks ?? 0) / ticksPerSecond
    }
  }
  return sum
}

export const rssOf = (family: readonly number[]): number => family.reduce((sum, pid) => sum + (statOf(pid)?.rss ?? 0), 0)

export function listens(port: number, address?: string): boolean {
  const hex = address === undefined ? '[0-9A-F]+' : Buffer.from(address.split('.').map(Number).reverse()).toString('hex').toUpperCase()
  const form = new RegExp(`${hex}:${port.toString(16).toUpperCase().padStart(4, '0')} 0+:0000 0A`)
  return ['tcp', 'tcp6'].some((name) => {
    try {
      return form.test(readFileSync(`/proc/net/${name}`, 'latin1'))
    } catch {
      return false
    }
  })
}

export interface Waiting {
  readonly address?: string
  readonly withinMs?: number
  /** Where it says why it does not start, if not on its output. */
  readonly log?: string
}

export async function ready(port: number, running: Running, { address, withinMs = 15_000, log = '' }: Waiting = {}): Promise<void> {
  for (const since = performance.now(); performance.now() - since < withinMs; ) {
    if (listens(port, address)) return
    if (running.child.exitCode !== null || running.pid === 0) break
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error(`does not listen: ${running.log.join('').slice(-600)}${log === '' ? '' : spawnSync('tail', ['-n', '5', log]).stdout}`)
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
