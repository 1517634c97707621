// Claude Code, Codex and Gemini CLI, unmodified, in a run: with the configuration that `ostiary init` writes each of them talks to
// its model, pushes to GitHub, installs a package and calls a tool of an MCP server, and none of them ever holds a key.
// The packages are large: the test installs them once, into a cache of its own, where a registry can be reached.
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { homedir, tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Ended, ended } from '../../examples/story/ended.ts'
import { writeConfiguration } from '../../src/cli/init/configuration.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { probeSandbox } from '../../src/launch/sandbox.ts'
import { type AgentVendors, agentHosts, startAgentVendors } from '../fakes/agent-vendors.ts'
import { type GitHost, startGitHost } from '../fakes/git-host.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const mcpServer = fileURLToPath(new URL('../fakes/mcp-server.ts', import.meta.url))
const random = (size: number): string => randomBytes(size).toString('base64url').replace(/[-_]/g, 'x')
const keys = {
  anthropic: `sk-ant-api03-${random(70).slice(0, 93)}AA`,
  openai: `sk-proj-${random(36)}T3BlbkFJ${random(36)}`,
  gemini: `AIza${random(40).slice(0, 35)}`,
  github: `ghp_${random(40).slice(0, 36)}`,
}
const setUpToken = `sk-ant-oat01-${random(70).slice(0, 93)}AA`
const secrets = [...Object.values(keys), setUpToken]
const missing = ['git', 'npm'].find((name) => spawnSync(name, ['--version']).error !== undefined)
const registryHost = 'packages.acme.example'
const dir = mkdtempSync(join(tmpdir(), 'ostiary-agents-'))
const work = join(dir, 'work')
// Below the working folder: of /tmp a run sees nothing else.
const home = join(work, 'home')
const configFile = join(dir, 'config', 'ostiary.yaml')
let vendors: AgentVendors
let host: GitHost
let registry: Server
let server: ChildProcess
const log: string[] = []

interface Agent {
  readonly name: string
  readonly version: string
  readonly service: 'anthropic' | 'openai' | 'gemini'
  /** The program, below the folder of its package. */
  readonly program: string
  readonly words: readonly string[]
  /** In an isolated run: set up as docs/guide/agents.md says for a person at a terminal. */
  readonly asAtTerminal: readonly string[]
  /** Calls of its own that are refused. */
  readonly refused: readonly string[]
}

const task = 'Do the task.'
const agents: readonly Agent[] = [
  {
    name: '@anthropic-ai/claude-code',
    version: '2.1.330',
    service: 'anthropic',
    program: `@anthropic-ai/claude-code-linux-${process.arch}/claude`,
    words: ['-p', task, '--allowedTools', 'Bash', 'mcp__tiny__tell', '--mcp-config', join(home, 'mcp.json')],
    asAtTerminal: ['--settings', '{"apiKeyHelper":"printenv ANTHROPIC_API_KEY"}'],
    refused: [],
  },
  {
    name: '@openai/codex',
    version: '0.169.0',
    service: 'openai',
    program: '@openai/codex/bin/codex.js',
    words: ['exec', '--skip-git-repo-check', '--dangerously-bypass-approvals-and-sandbox', task],
    asAtTerminal: ['-c', 'model_provider="brokered"'],
    refused: ['chatgpt.com accept.host_unmanaged', 'ab.chatgpt.com accept.host_unmanaged'],
  },
  {
    name: '@google/gemini-cli',
    version: '0.61.0',
    service: 'gemini',
    program: '@google/gemini-cli/bundle/gemini.js',
    words: ['--skip-trust', '--approval-mode', 'yolo', '-p', task],
    asAtTerminal: [],
    refused: ['play.googleapis.com accept.host_unmanaged'],
  },
]

const ostiary = (words: readonly string[], input = '', timeoutMs = 60_000): Promise<Ended> =>
  ended(process.execPath, [bin, '--config', configFile, '--data', join(dir, 'data'), ...words], {
    cwd: work,
    env: { PATH: `${dirname(process.execPath)}:${process.env['PATH']}`, HOME: home, LANG: 'C.UTF-8' },
    input,
    kill: { afterMs: timeoutMs, signal: 'SIGTERM' },
  })

/** Where the package is, installed now if need be; or why it cannot be had. */
function install({ name, version, program }: Agent): { readonly program: string } | { readonly why: string } {
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  const folder = join(cache, 'ostiary-tests', `${name.replace(/[^a-z0-9]+/g, '-').slice(1)}-${version}`)
  const path = join(folder, 'node_modules', program)
  if (existsSync(join(folder, 'complete'))) return { program: path }
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{"private":true}')
  // Scripts of a package are not needed: each ships its program.
  const words = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--save-exact', `${name}@${version}`]
  const done = spawnSync('npm', words, { cwd: folder, encoding: 'utf8', timeout: 90_000 })
  if (done.status !== 0) return { why: `${name} cannot be had: ${(done.stderr || String(done.error)).trim().split('\n')[0]}` }
  if (!existsSync(path)) return { why: `${name} has no program for this machine` }
  writeFileSync(join(folder, 'complete'), '')
  return { program: path }
}

async function startRegistry(certificate: { readonly cert: string; readonly key: string }): Promise<number> {
  const folder = join(dir, 'tiny')
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: '@acme/tiny', version: '1.0.0' }))
  execFileSync('npm', ['pack', '--silent'], { cwd: folder })
  const packed = readFileSync(join(folder, 'acme-tiny-1.0.0.tgz'))
  const dist = { tarball: `https://${registryHost}/tiny.tgz`, integrity: `sha512-${createHash('sha512').update(packed).digest('base64')}` }
  const versions = { '1.0.0': { name: '@acme/tiny', version: '1.0.0', dist } }
  const about = JSON.stringify({ name: '@acme/tiny', 'dist-tags': { latest: '1.0.0' }, versions })
  registry = createServer(certificate, (request, response) => {
    if (request.url === '/tiny.tgz') response.end(packed)
    else if (request.url === '/@acme%2ftiny') response.setHeader('content-type', 'application/json').end(about)
    else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve))
  return (registry.address() as AddressInfo).port
}

/** What `ostiary init` writes for the four keys; beside it the stand-ins' addresses, and the registry as `ostiary registries` would. */
function configure(ports: Readonly<Record<string, number>>): void {
  const wanted = ['anthropic', 'openai', 'gemini', 'github'].map((service) => ({ service, setUpToken: false }))
  writeConfiguration(configFile, wanted, userInfo().username)
  const until = new Date(Date.now() + 86_400_000 * 9).toISOString().slice(0, 10)
  const fixed = Object.entries(ports).map(
    ([name, port]) => `    - { host: ${name}, address: "127.0.0.1:${port}", reason: stand-in, until: ${until} }\n`,
  )
  const own = `  acme: { hosts: [${registryHost}], credential: none, methods: [GET, HEAD] }\n`
  const stands = `listen: { proxy: 127.0.0.1:0, baseUrl: 127.0.0.1:0 }\negress:\n  extraCa: ca.pem\n  dangerouslyFixedAddresses:\n`
  // A second person, with a subscription of Claude.
  const subscriber = `  subscriber: { run: { startedBy: [${JSON.stringify(userInfo().username)}] } }\n`
  const held = '  subscription: { service: anthropic, for: [subscriber], static-key: { secret: subscription, slot: bearer } }\n'
  const written = readFileSync(configFile, 'utf8')
    .replace('workloads:\n', `workloads:\n${subscriber}`)
    .replace('services:\n', `services:\n${own}`)
    .replace('credentials:\n', `credentials:\n${held}`)
  writeFileSync(configFile, `${written}${stands}${fixed.join('')}`)
  writeFileSync(
    join(dirname(configFile), 'policies', 'packages.cedar'),
    '@id("coder may install packages")\npermit (principal == Workload::"coder", action == Action::"call", resource == Service::"acme");\n@id("subscriber may ask Claude")\npermit (principal == Workload::"subscriber", action in Action::"inference", resource == Service::"anthropic");\n',
  )
}

/** The whole of Codex with the key variable of a run, at a terminal too. */
const provider = `[model_providers.brokered]
name = "OpenAI"
base_url = "https://api.openai.com/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
supports_websockets = true
`

/** What a user has in the home: git's name, and each agent's own list of MCP servers. */
function prepareHome(): void {
  const tiny = { command: process.execPath, args: [mcpServer] }
  for (const name of ['.codex', '.gemini']) mkdirSync(join(home, name), { recursive: true })
  writeFileSync(join(home, '.gitconfig'), '[user]\n\tname = Coder\n\temail = coder@acme.example\n[init]\n\tdefaultBranch = main\n')
  writeFileSync(join(home, 'mcp.json'), JSON.stringify({ mcpServers: { tiny } }))
  // Codex gives a server what is named, and little else.
  writeFileSync(
    join(home, '.codex', 'config.toml'),
    `[mcp_servers.tiny]\ncommand = ${JSON.stringify(tiny.command)}\nargs = ${JSON.stringify(tiny.args)}\nenv_vars = ["HTTPS_PROXY", "NODE_USE_ENV_PROXY", "NODE_EXTRA_CA_CERTS", "GH_TOKEN", "OSTIARY_WORKLOAD"]\n\n${provider}`,
  )
}

before(async () => {
  if (missing !== undefined) return
  chmodSync(dir, 0o711)
  for (const name of ['data', 'config', 'work', 'work/home', 'repositories']) mkdirSync(join(dir, name), { mode: 0o755 })
  for (const name of ['data', 'config']) chmodSync(join(dir, name), 0o700)
  const ca = createRootAuthority({ commonName: 'Stand-ins', now: Date.now(), years: 1 })
  writeFileSync(join(dir, 'config', 'ca.pem'), ca.certPem, { mode: 0o600 })
  const hosts = [...Object.values(agentHosts), 'github.com', 'api.github.com', registryHost]
  const leaf = issueLeaf(ca, hosts, Date.now(), 86_400_000)
  const certificate = { cert: leaf.certPem, key: leaf.keyPem }
  vendors = await startAgentVendors({
    certificate,
    keys,
    setUpToken,
    steps: [
      {
        shell:
          'git clone -q git@github.com:acme/site.git site && git -C site -c user.name=Coder -c user.email=coder@acme.example commit -q --allow-empty -m "by an agent" && git -C site push origin HEAD:refs/heads/$OSTIARY_RUN',
      },
      {
        shell: `npm install --no-update-notifier --prefix site --no-audit --no-fund --@acme:registry=https://${registryHost}/ @acme/tiny && ls site/node_modules/@acme`,
      },
      { mcp: 'tell' },
    ],
    last: 'The task is done.',
  })
  host = await startGitHost({ certificate, folder: join(dir, 'repositories'), token: keys.github, open: [] })
  host.create('acme/site')
  const github = { 'github.com': host.port, 'api.github.com': host.port }
  const models = Object.fromEntries(Object.values(agentHosts).map((name) => [name, vendors.port]))
  configure({ ...models, ...github, [registryHost]: await startRegistry(certificate) })
  prepareHome()
  for (const [name, key] of [...Object.entries(keys), ['subscription', setUpToken] as const]) {
    const sealed = await ostiary(['secret', 'set', name, '--for', name === 'subscription' ? 'anthropic' : name, '--stdin'], key)
    assert.equal(sealed.code, 0, sealed.err)
  }
  server = spawn(process.execPath, [bin, '--config', configFile, '--data', join(dir, 'data'), 'start'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  for (const stream of [server.stdout, server.stderr]) stream?.on('data', (text: Buffer) => log.push(text.toString()))
  assert.equal((await ostiary(['status', '--wait', '20'])).code, 0, log.join(''))
})
after(async () => {
  if (server !== undefined) {
    server.kill('SIGTERM')
    await new Promise((resolve) => server.once('exit', resolve))
  }
  await vendors?.close()
  await host?.close()
  registry?.close()
  rmSync(dir, { recursive: true, force: true })
})

const geminiAtTerminal = { security: { auth: { selectedType: 'gemini-api-key' } }, privacy: { usageStatisticsEnabled: false } }

/** Gemini CLI keeps the proxy and the placeholders from a server: `ostiary run` gives them back. */
function settingsOfGemini(more: Readonly<Record<string, unknown>>): void {
  const tiny = { command: process.execPath, args: [bin, 'run', '--', process.execPath, mcpServer] }
  writeFileSync(join(home, '.gemini', 'settings.json'), JSON.stringify({ mcpServers: { tiny }, ...more }))
}

const all = process.env['OSTIARY_TEST_AGENTS'] === '1'
const probe = probeSandbox(process.getuid?.() ?? 0, true)

function whyNot(agent: Agent, isolate: boolean): string | null {
  if (missing !== undefined) return `no ${missing} on this machine`
  if (isolate && probe.custody !== 'namespace') return `no namespaces here: ${probe.why}`
  return all || agent === agents[0] ? null : 'the agents are three and large: OSTIARY_TEST_AGENTS=1 runs each'
}

for (const agent of agents)
  for (const isolate of [false, true])
    test(`${agent.name} ${isolate ? 'in an isolated run' : 'in a run'}`, { timeout: 240_000 }, async (t) => {
      const not = whyNot(agent, isolate)
      if (not !== null) return t.skip(not)
      const found = install(agent)
      if ('why' in found) return t.skip(found.why)
      vendors.results.length = 0
      settingsOfGemini(isolate ? geminiAtTerminal : {})
      rmSync(join(work, 'site'), { recursive: true, force: true })
      const done = await ostiary([
        'run',
        '--as',
        'coder',
        ...(isolate ? ['--isolate'] : []),
        '--',
        found.program,
        ...agent.words,
        ...(isolate ? agent.asAtTerminal : []),
      ])
      assert.equal(done.code, 0, done.out + done.err)
      assert.match(done.out, /The task is done\./)
      // Each step was carried out, and its result came back to the model.
      const [push = '', install_ = '', mcp = '', ...more] = vendors.results
      assert.deepEqual(more, [])
      assert.match(push, /new branch/)
      assert.match(install_, /added 1 package.*tiny/)
      assert.match(mcp, /workload coder, own call 200/)
      const run = /HEAD -> (run-\w+)/.exec(push)?.[1] ?? ''
      const branches = execFileSync('git', ['-C', join(dir, 'repositories/acme/site.git'), 'branch'], { encoding: 'utf8' })
      assert.ok(branches.includes(run), branches)
      await judgeRecords(agent, run, isolate)
      // Whatever it wrote down, and whatever it said, no key is in it.
      const kept = spawnSync('grep', ['-rlF', ...secrets.flatMap((key) => ['-e', key]), work], { encoding: 'utf8' })
      assert.equal(kept.stdout, '')
      for (const key of secrets) assert.ok(!`${done.out}${done.err}`.includes(key))
    })

async function judgeRecords(agent: Agent, run: string, isolate: boolean): Promise<void> {
  const lines = (await ostiary(['audit', 'export'])).out.trim().split('\n')
  const calls = lines.map((line) => JSON.parse(line)).filter((one) => one.run === run && one.decision !== null)
  const permitted = new Set(calls.filter((one) => one.decision === 'permit').map((one) => `${one.service} ${one.action}`))
  for (const one of [`${agent.service} inference`, 'github git.fetch', 'github git.push', 'acme call'])
    assert.ok(permitted.has(one), `${one} is not among ${[...permitted]}`)
  assert.deepEqual([...new Set(calls.map((one) => one.custody))], [isolate ? 'namespace+isolated' : 'namespace'])
  // What it calls of its own accord and is refused, without harm: docs/guide/agents.md says what each is.
  const refused = new Set(calls.filter((one) => one.decision === 'refuse').map((one) => `${one.host} ${one.code}`))
  const silenced = isolate && agent.service === 'gemini'
  for (const one of refused) assert.ok(!silenced && agent.refused.includes(one), `${one} is refused too`)
}

test('Claude Code with a set-up token', async (t) => {
  const [agent] = agents as [Agent]
  const not = whyNot(agent, false)
  if (not !== null) return t.skip(not)
  const found = install(agent)
  if ('why' in found) return t.skip(found.why)
  const said = await ostiary([
    'run',
    '--as',
    'subscriber',
    '--',
    'sh',
    '-c',
    'printenv CLAUDE_CODE_OAUTH_TOKEN; printenv ANTHROPIC_API_KEY',
  ])
  assert.match(said.out, /^sk-ant-oat01-Ost1ary\w+\n$/)
  const done = await ostiary(['run', '--as', 'subscriber', '--', found.program, '-p', task, '--tools', ''])
  assert.equal(done.code, 0, done.out + done.err)
  assert.match(done.out, /The task is done\./)
  assert.ok(!done.err.includes('blocked'), done.err)
})
