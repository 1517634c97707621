// The stage of the story: Ostiary in a temporary data directory, three stand-ins for the vendors, an agent in a run.
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { JSONWebKeySet } from 'jose'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { startVendors, type Vendors } from '../../test/fakes/vendors.ts'
import { type Ended, type EndedOptions, ended } from './ended.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const bin = join(root, 'bin', 'ostiary.mjs')

export interface Answer {
  readonly ok: boolean
  // biome-ignore lint/suspicious/noExplicitAny: what a task answers is the task's own
  readonly value?: any
  readonly status?: number | null
  readonly error?: string
  readonly ms?: number
}

export interface Agent {
  readonly child: ChildProcess
  ask(task: string, more?: Readonly<Record<string, unknown>>, progress?: (n: number) => void): Promise<Answer>
  /** What the launcher said on standard error. */
  readonly said: string[]
  end(): Promise<void>
}

export interface Stage {
  readonly dir: string
  readonly dataDir: string
  readonly configFile: string
  readonly vendors: Vendors
  readonly geminiKey: string
  /** Facts that the story turns. */
  readonly facts: Facts
  setFacts(change: Partial<Facts>): Promise<void>
  // biome-ignore lint/suspicious/noExplicitAny: JSON of the admin door
  admin(method: string, path: string, body?: unknown): Promise<any>
  /** `ostiary ARGS`: the words behind Node. */
  words(args: readonly string[]): readonly string[]
  cli(args: readonly string[], input?: string): Promise<Ended>
  /** The same from the agent's folder, with more in its environment and nothing on standard input. */
  inWork(args: readonly string[], more?: Readonly<Record<string, string>>, kill?: EndedOptions['kill']): Promise<Ended>
  startAgent(workload: string, environment?: Readonly<Record<string, string>>): Promise<Agent>
  close(): Promise<void>
}

export interface Facts {
  readonly hours: 'in' | 'out'
  readonly stage: string
  readonly patchAgeDays: number
  readonly region: string
}

/** `program`: the words that start Ostiary, for a test that starts it otherwise. */
export async function setStage(now: number, program: readonly string[] = [bin]): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-story-'))
  const dataDir = join(dir, 'data')
  const configDir = join(dir, 'config')
  // The public folder of Ostiary must be within reach of everybody, as it is on a real machine.
  chmodSync(dir, 0o711)
  for (const name of ['data', 'config', 'work']) mkdirSync(join(dir, name), { mode: name === 'work' ? 0o755 : 0o700 })
  const vendorCa = createRootAuthority({ commonName: 'Stand-in vendors', now, years: 1 })
  writeFileSync(join(configDir, 'vendors-ca.pem'), vendorCa.certPem)
  const geminiKey = `AIzaSy${Buffer.from(crypto.getRandomValues(new Uint8Array(24)))
    .toString('base64url')
    .padEnd(33, 'x')
    .slice(0, 33)}`
  const configFile = join(configDir, 'ostiary.yaml')
  const vendors = await startVendors({
    certificate: (hosts) => {
      const leaf = issueLeaf(vendorCa, hosts, now, 24 * 3_600_000)
      return { cert: leaf.certPem, key: leaf.keyPem }
    },
    geminiKey,
    jwks: async () => ({ openai: await keySet('openai-story'), anthropic: await keySet('anthropic-story') }),
    expectedAudience: { openai: 'https://api.openai.com/v1', anthropic: 'https://api.anthropic.com' },
  })
  let facts: Facts = { hours: 'in', stage: 'production', patchAgeDays: 2, region: 'eu-central' }
  const write = (): void => {
    writeFileSync(configFile, configuration(facts, vendors, now), { mode: 0o600 })
    writeFileSync(
      join(configDir, 'posture.json'),
      JSON.stringify({
        at: new Date().toISOString(),
        patchAgeDays: facts.patchAgeDays,
        pendingSecurityUpdates: 0,
        rebootNeeded: false,
        kernel: '6.1',
      }),
      { mode: 0o600 },
    )
  }
  write()
  const server = spawn(process.execPath, [...program, '--config', configFile, '--data', dataDir, 'start'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log: string[] = []
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (text: Buffer) => log.push(text.toString()))
  const admin = (method: string, path: string, body?: unknown): Promise<unknown> => ask(join(dataDir, 'admin.sock'), method, path, body)
  const keySet = async (credential: string): Promise<JSONWebKeySet> =>
    (await admin('GET', `/issuer/jwks?credential=${credential}`)) as JSONWebKeySet
  const words = (args: readonly string[]): readonly string[] => [bin, '--config', configFile, '--data', dataDir, ...args]
  await ready(admin, () => (server.exitCode === null ? null : log.join(''))).catch(async (error) => {
    server.kill('SIGKILL')
    await vendors.close()
    rmSync(dir, { recursive: true, force: true })
    throw error
  })
  const agents: Agent[] = []
  return {
    dir,
    dataDir,
    configFile,
    vendors,
    geminiKey,
    get facts() {
      return facts
    },
    setFacts: async (change) => {
      facts = { ...facts, ...change }
      write()
      const done = (await admin('POST', '/reload')) as { ok: boolean; mistakes?: unknown }
      if (!done.ok) throw new Error(`the configuration of the story does not load: ${JSON.stringify(done)}`)
    },
    admin,
    words,
    cli: (args, input = '') => ended(process.execPath, words(args), { input }),
    inWork: (args, more = {}, kill) =>
      ended(process.execPath, words(args), {
        cwd: join(dir, 'work'),
        env: { ...process.env, ...more },
        ...(kill === undefined ? {} : { kill }),
      }),
    startAgent: async (workload, environment = {}) => {
      const agent = startAgent(workload, { configFile, dataDir, cwd: join(dir, 'work') }, environment)
      agents.push(agent)
      return agent
    },
    close: async () => {
      for (const agent of agents) await agent.end()
      server.kill('SIGTERM')
      await new Promise((resolve) =>
        server.exitCode === null && server.signalCode === null ? server.once('exit', resolve) : resolve(null),
      )
      await vendors.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

function configuration(facts: Facts, vendors: Vendors, now: number): string {
  const hour = (offset: number): string => `${new Date(now + offset * 3_600_000).toISOString().slice(11, 13)}:00`
  const [from, to] = facts.hours === 'in' ? [hour(-1), hour(3)] : [hour(3), hour(5)]
  const until = new Date(now + 30 * 86_400_000).toISOString().slice(0, 10)
  const fixed = Object.entries(vendors.hosts).flatMap(([vendor, hosts]) =>
    hosts.map(
      (host) =>
        `    - { host: ${host}, address: "127.0.0.1:${vendors.ports[vendor as 'openai']}", reason: the story plays with stand-ins, until: ${until} }`,
    ),
  )
  // The scenarios hold for one process and for several.
  const processes = process.env['OSTIARY_TEST_PROCESSES']
  const inProcesses = processes === undefined ? '' : `processes: ${processes}\n`
  return `trustDomain: story.example
${inProcesses}listen: { proxy: 127.0.0.1:0, baseUrl: 127.0.0.1:0 }
egress:
  extraCa: vendors-ca.pem
  dangerouslyFixedAddresses:
${fixed.join('\n')}
workloads:
  story-agent:
    groups: [story]
    labels: { stage: ${facts.stage}, region: ${facts.region} }
    run: { startedBy: ["${process.getuid?.()}"] }
services:
  openai: {}
  anthropic: {}
  gemini: {}
credentials:
  openai-story: { service: openai, for: [story], openai-federation: { provider: idp_story, serviceAccount: sa_story } }
  anthropic-story: { service: anthropic, for: [story], anthropic-federation: { rule: fdrl_story, organization: org_story, serviceAccount: svac_story, workspace: default } }
  gemini-story: { service: gemini, for: [story], static-key: { secret: gemini }, leaseMinutes: 15 }
conditions:
  businessHours: { time-window: { zone: UTC, days: mon-sun, from: "${from}", to: "${to}" } }
  production: { stage: {} }
  host: { posture: { file: posture.json, maxAgeMinutes: 60 } }
  place: { location: {} }
policies:
  - cedar: |
      @id("the story may use models")
      permit (principal in Group::"story", action in Action::"inference", resource);
      @id("only in business hours")
      forbid (principal, action in Action::"inference", resource) unless { context.facts.businessHours };
      @id("only from production")
      forbid (principal, action in Action::"inference", resource) unless { context.facts.production };
      @id("only from a patched host")
      forbid (principal, action in Action::"inference", resource) when { context.facts.host.patchAgeDays > 30 };
      @id("only from an approved region")
      forbid (principal, action in Action::"inference", resource)
      unless { context.facts.place has region && context.facts.place.region == "eu-central" };
`
}

function startAgent(
  workload: string,
  where: { configFile: string; dataDir: string; cwd: string },
  environment: Readonly<Record<string, string>>,
): Agent {
  const words = [
    bin,
    '--config',
    where.configFile,
    '--data',
    where.dataDir,
    'run',
    '--as',
    workload,
    '--',
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    fileURLToPath(new URL('agent.ts', import.meta.url)),
  ]
  const child = spawn(process.execPath, words, { cwd: where.cwd, stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...environment } })
  const waiting = new Map<number, { resolve: (answer: Answer) => void; progress: (n: number) => void }>()
  const said: string[] = []
  let next = 1
  child.stderr.on('data', (text: Buffer) => said.push(text.toString()))
  createInterface({ input: child.stdout }).on('line', (line) => {
    const message = JSON.parse(line)
    const waiter = waiting.get(message.id)
    if (message.progress !== undefined) return waiter?.progress(message.progress)
    waiting.delete(message.id)
    waiter?.resolve(message)
  })
  child.on('exit', (code) => {
    for (const waiter of waiting.values())
      waiter.resolve({ ok: false, error: `the agent ended with ${code}: ${said.join('').slice(-500)}` })
    waiting.clear()
  })
  return {
    child,
    said,
    ask: (task, more = {}, progress = () => {}) =>
      new Promise((resolve) => {
        if (child.exitCode !== null) return resolve({ ok: false, error: `the agent has ended: ${said.join('').slice(-500)}` })
        const id = next++
        waiting.set(id, { resolve, progress })
        child.stdin.write(`${JSON.stringify({ id, do: task, ...more })}\n`)
      }),
    end: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null) return resolve()
        child.once('exit', () => resolve())
        child.stdin.end()
        setTimeout(() => child.kill('SIGKILL'), 3_000).unref()
      }),
  }
}

function ask(socketPath: string, method: string, path: string, body?: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ socketPath, method, path, headers: { 'content-type': 'application/json' } }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        resolve(answer.headers['content-type']?.includes('json') ? JSON.parse(text) : text)
      })
    })
    asked.on('error', reject)
    asked.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

async function ready(admin: (method: string, path: string) => Promise<unknown>, dead: () => string | null): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const log = dead()
    if (log !== null) throw new Error(`Ostiary ended at its start:\n${log}`)
    const status = (await admin('GET', '/status').catch(() => null)) as { ready?: boolean } | null
    if (status?.ready === true) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('Ostiary did not become ready within 10 s')
}
