// `ostiary init` from end to end: a prepared home, stand-ins for the vendors, the real server. Keys are blanked only after the
// vendor took them through the proxy.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { planted, prepareHome } from '../../src/cli/init/home.test-kit.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { startVendors, type Vendors } from '../fakes/vendors.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const now = Date.now()
// Below the home: a run has its own /tmp, and what lies in a folder that everybody may write is not believed.
const dir = mkdtempSync(join(homedir(), '.ostiary-init-test-'))
chmodSync(dir, 0o711)
const vendorCa = createRootAuthority({ commonName: 'Stand-in vendors', now, years: 1 })
const servers: ChildProcess[] = []
let vendors: Vendors

before(async () => {
  vendors = await startVendors({
    certificate: (hosts) => {
      const leaf = issueLeaf(vendorCa, hosts, now, 24 * 3_600_000)
      return { cert: leaf.certPem, key: leaf.keyPem }
    },
    geminiKey: planted.geminiStart,
    keys: { openai: planted.openaiVariable, setUpToken: planted.setUpToken },
    jwks: async () => ({ openai: { keys: [] }, anthropic: { keys: [] } }),
    expectedAudience: { openai: '', anthropic: '' },
  })
})

after(async () => {
  for (const server of servers) server.kill('SIGTERM')
  await Promise.all(servers.map((server) => (server.exitCode === null ? new Promise((done) => server.once('exit', done)) : null)))
  await vendors.close()
  rmSync(dir, { recursive: true, force: true })
})

interface Place {
  readonly home: string
  readonly project: string
  readonly environment: Readonly<Record<string, string>>
  readonly configFile: string
  readonly dataDir: string
}

let places = 0
function place(): Place {
  const home = join(dir, `home${places++}`)
  mkdirSync(home)
  const { environment, project } = prepareHome(home)
  const path = { PATH: process.env['PATH'] ?? '' }
  const dataDir = join(home, '.local', 'share', 'ostiary')
  return { home, project, dataDir, configFile: join(home, '.config', 'ostiary', 'ostiary.yaml'), environment: { ...environment, ...path } }
}

function ostiary(at: Place, words: readonly string[], more: Readonly<Record<string, string>> = {}) {
  return new Promise<{ code: number | null; out: string }>((resolve) => {
    const child = spawn(process.execPath, [bin, ...words], {
      cwd: at.project,
      env: { ...at.environment, ...more },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let out = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text: Buffer) => {
        out += text
      })
    child.on('close', (code) => resolve({ code, out }))
  })
}

/** As a user would write it, with the stand-ins behind the vendors' names. */
function configure(at: Place, anthropicSlot: string): void {
  mkdirSync(join(at.home, '.config', 'ostiary'), { recursive: true, mode: 0o700 })
  const until = new Date(now + 30 * 86_400_000).toISOString().slice(0, 10)
  const fixed = Object.entries(vendors.hosts).flatMap(([vendor, hosts]) =>
    hosts.map(
      (host) => `    - { host: ${host}, address: "127.0.0.1:${vendors.ports[vendor as 'openai']}", reason: stand-ins, until: ${until} }`,
    ),
  )
  writeFileSync(join(at.home, '.config', 'ostiary', 'ca.pem'), vendorCa.certPem, { mode: 0o600 })
  writeFileSync(
    at.configFile,
    `trustDomain: init.example
listen: { proxy: 127.0.0.1:0, baseUrl: 127.0.0.1:0 }
egress:
  extraCa: ca.pem
  dangerouslyFixedAddresses:
${fixed.join('\n')}
workloads:
  coder: { run: { startedBy: ["${process.getuid?.()}"] } }
services: { openai: {}, anthropic: {}, gemini: {} }
credentials:
  openai: { service: openai, for: [coder], static-key: { secret: openai } }
  anthropic: { service: anthropic, for: [coder], static-key: { secret: claude${anthropicSlot} } }
  gemini: { service: gemini, for: [coder], static-key: { secret: gemini } }
policies:
  - cedar: |
      @id("models")
      permit (principal == Workload::"coder", action in Action::"inference", resource);
`,
    { mode: 0o600 },
  )
}

async function start(at: Place): Promise<ChildProcess> {
  const server = spawn(process.execPath, [bin, 'start'], { cwd: at.home, env: at.environment, stdio: ['ignore', 'pipe', 'pipe'] })
  servers.push(server)
  let said = ''
  for (const stream of [server.stdout, server.stderr])
    stream.on('data', (text: Buffer) => {
      said += text
    })
  const { code } = await ostiary(at, ['status', '--wait', '20'])
  assert.equal(code, 0, said)
  return server
}

function textsOf(home: string): string {
  return readdirSync(home, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile() && !/\/\.local\/share\/ostiary|\/\.cache/.test(one.parentPath))
    .map((one) => join(one.parentPath, one.name))
    .sort()
    .map((path) => readFileSync(path, 'latin1'))
    .join('\n')
}

test('--json lists twelve keys, and it and --dry-run change nothing', { timeout: 60_000 }, async () => {
  const at = place()
  const before = textsOf(at.home)
  const listed = await ostiary(at, ['init', '--json'])
  assert.equal(listed.code, 0, listed.out)
  const said = JSON.parse(listed.out)
  assert.equal(said.keys.length, 12)
  assert.deepEqual(said.logins.map((one: { agent: string }) => one.agent).sort(), ['claude', 'codex'])
  const planned = await ostiary(at, ['init', '--dry-run'])
  assert.equal(planned.code, 0, planned.out)
  assert.match(planned.out, /would seal sk-proj-….{4} for openai/)
  const unasked = await ostiary(at, ['init'])
  assert.equal(unasked.code, 2)
  assert.ok(textsOf(at.home) === before)
  for (const { out } of [listed, planned, unasked]) for (const value of Object.values(planted)) assert.ok(!out.includes(value.slice(8, 28)))
})

test('without a server: the configuration is written and holds, keys are sealed, and nothing is blanked', { timeout: 60_000 }, async () => {
  const at = place()
  const done = await ostiary(at, ['init', '--yes'])
  assert.equal(done.code, 0, done.out)
  assert.match(done.out, /not tried and not blanked yet: `ostiary start`/)
  const checked = await ostiary(at, ['check', '--json'])
  assert.equal(checked.code, 0, checked.out)
  assert.equal(statSync(at.configFile).mode & 0o777, 0o600)
  const secrets = JSON.parse((await ostiary(at, ['secret', 'list', '--json'])).out).secrets
  assert.deepEqual(secrets.map((one: { name: string }) => one.name).sort(), ['anthropic', 'gemini', 'github', 'openai'])
  for (const [name, value] of Object.entries(planted)) if (name !== 'openaiVariable') assert.ok(textsOf(at.home).includes(value), name)
  const written = readFileSync(at.configFile, 'utf8')
  const again = await ostiary(at, ['init', '--yes'])
  assert.equal(again.code, 0, again.out)
  assert.equal(readFileSync(at.configFile, 'utf8'), written)
})

test('tried through the proxy, then blanked: only what the vendor took', { timeout: 90_000 }, async () => {
  const at = place()
  configure(at, ', slot: bearer')
  // Of the two keys of Anthropic only the set-up token has a way here.
  writeFileSync(join(at.home, '.bash_history'), `OPENAI_API_KEY=${planted.openaiVariable} x\n`)
  chmodSync(join(at.home, '.bash_history'), 0o640)
  await start(at)
  const done = await ostiary(at, ['init', '--yes'])
  const texts = textsOf(at.home)
  for (const gone of [planted.openaiVariable, planted.geminiStart, planted.setUpToken]) assert.ok(!texts.includes(gone), done.out)
  for (const left of [planted.openaiEnv, planted.githubMcp, planted.mistralEnv, planted.slackMcp]) assert.ok(texts.includes(left), done.out)
  assert.equal(statSync(join(at.home, '.bash_history')).mode & 0o777, 0o640)
  assert.match(done.out, /unset OPENAI_API_KEY/)
  assert.match(done.out, /Delete the lines that set it/)
  assert.match(done.out, /has no way to an agent of yours for github/)
  assert.equal(done.code, 1)
  const token = vendors.seen.find((one) => one.vendor === 'anthropic' && one.path === '/v1/models')
  assert.equal(token?.headers['authorization'], `Bearer ${planted.setUpToken}`)
  assert.equal(token?.headers['anthropic-beta'], 'oauth-2025-04-20')
  assert.equal(token?.headers['x-api-key'], undefined)
  assert.ok(!readdirSync(at.home, { recursive: true }).some((name) => String(name).endsWith('.ostiary')))
  // The next key of OpenAI is another one: it is not put over the one that is sealed.
  const again = await ostiary(at, ['init', '--yes'], { OPENAI_API_KEY: '' })
  assert.match(again.out, /sealed already, with another value/)
  assert.ok(textsOf(at.home).includes(planted.openaiEnv))
})

test('what the vendor does not take stays; when all is blanked a second round finds nothing', { timeout: 90_000 }, async () => {
  const at = place()
  rmSync(at.home, { recursive: true })
  mkdirSync(at.project, { recursive: true })
  configure(at, '')
  await start(at)
  const env = join(at.project, '.env')
  const bad = `A=1\nOPENAI_API_KEY=${planted.openaiEnv}\n`
  writeFileSync(env, bad)
  writeFileSync(join(at.home, '.zshrc'), `export GEMINI_API_KEY=${planted.geminiStart}\n`)
  const first = await ostiary(at, ['init', '--yes'], { OPENAI_API_KEY: '' })
  assert.equal(first.code, 1)
  assert.match(first.out, /the vendor answered 401/)
  assert.match(first.out, /not blanked sk-proj-\S+ of openai: the vendor does not take this key; it still stands where it stood/)
  assert.equal(readFileSync(env, 'utf8'), bad)
  assert.equal(readFileSync(join(at.home, '.zshrc'), 'utf8'), 'export GEMINI_API_KEY=sealed-by-ostiary\n')
  rmSync(env)
  const second = await ostiary(at, ['init', '--yes'], { OPENAI_API_KEY: '' })
  assert.equal(second.code, 0, second.out)
  assert.match(second.out, /^No static key was found\.$/m)
})

test('a set-up token: the run holds its shape, the wire has the token, betas are merged', { timeout: 90_000 }, async () => {
  const at = place()
  configure(at, ', slot: bearer')
  await start(at)
  const sealed = await ostiary(at, ['secret', 'set', 'claude', '--for', 'anthropic', '--from-env', 'TOKEN'], { TOKEN: planted.setUpToken })
  assert.equal(sealed.code, 0, sealed.out)
  const script = `fetch('https://api.anthropic.com/v1/messages', { method: 'POST', body: '{"model":"m","max_tokens":1}', headers: {
    authorization: 'Bearer ' + process.env.CLAUDE_CODE_OAUTH_TOKEN, 'anthropic-version': '2023-06-01', 'anthropic-beta': 'one-2026-01-01, two-2026-01-01' } })
    .then((a) => console.log(a.status, process.env.CLAUDE_CODE_OAUTH_TOKEN, process.env.ANTHROPIC_API_KEY))`
  const ran = await ostiary(at, ['run', '--', process.execPath, '-e', script])
  assert.match(ran.out, /^200 sk-ant-oat01-Ost1ary\S+ undefined$/m, ran.out)
  const seen = vendors.seen.findLast((one) => one.path === '/v1/messages')
  assert.equal(seen?.headers['authorization'], `Bearer ${planted.setUpToken}`)
  assert.equal(seen?.headers['anthropic-beta'], 'one-2026-01-01, two-2026-01-01,oauth-2025-04-20')
})

test('a set-up token is not sealed for the slot of a key', { timeout: 60_000 }, async () => {
  const at = place()
  configure(at, '')
  const sealed = await ostiary(at, ['secret', 'set', 'claude', '--for', 'anthropic', '--from-env', 'TOKEN'], { TOKEN: planted.setUpToken })
  assert.equal(sealed.code, 1)
  assert.match(sealed.out, /slot: bearer/)
  const early = await ostiary(at, ['secret', 'set', 'other', '--for', 'anthropic', '--from-env', 'TOKEN'], { TOKEN: planted.setUpToken })
  assert.equal(early.code, 0, early.out)
})

test('a login that cannot be brokered: hidden with a sentence, or agent-held in the record and refusable', {
  timeout: 90_000,
}, async (t) => {
  const at = place()
  configure(at, ', slot: bearer')
  writeFileSync(
    at.configFile,
    `${readFileSync(at.configFile, 'utf8')}
      @id("no login of its own")
      forbid (principal, action, resource == Service::"gemini") when { context.custody like "*agent-held*" };
`,
  )
  await start(at)
  for (const [secret, service, value] of [
    ['openai', 'openai', planted.openaiVariable],
    ['gemini', 'gemini', planted.geminiStart],
  ] as const)
    assert.equal((await ostiary(at, ['secret', 'set', secret, '--for', service, '--from-env', 'KEY'], { KEY: value })).code, 0)
  const command = join(at.project, 'codex')
  const script = `const get = (url, headers) => fetch(url, { headers }).then((a) => a.status)
    Promise.all([get('https://api.openai.com/v1/models', { authorization: 'Bearer ' + process.env.CODEX_API_KEY }),
      get('https://generativelanguage.googleapis.com/v1beta/models', { 'x-goog-api-key': process.env.GEMINI_API_KEY })])
      .then((all) => console.log('status', ...all, 'login', require('fs').readFileSync(process.env.HOME + '/.codex/auth.json').length))`
  writeFileSync(command, `#!${process.execPath}\n${script}\n`, { mode: 0o755 })
  const hidden = await ostiary(at, ['run', '--', command])
  if (/shared-user/.test(hidden.out)) return t.skip('no namespace on this machine')
  assert.match(hidden.out, /Codex's ChatGPT login is hidden from the command. Instead: .*--expose codex-login/)
  assert.match(hidden.out, /status 200 200 login \d\n/)
  const held = await ostiary(at, ['run', '--expose', 'codex-login', '--', command])
  assert.match(held.out, /agent-held: Codex's ChatGPT login is in the hands of the command/)
  assert.match(held.out, /status 200 403 login \d{2,}\n/)
  const records = await ostiary(at, ['audit', 'export'])
  assert.match(records.out, /"custody":"agent-held\(codex-login\)"/)
})

test('refused inside a run and with variables that could carry a secret away', { timeout: 60_000 }, async () => {
  const at = place()
  for (const more of [{ OSTIARY_RUN: 'run-1' }, { NODE_OPTIONS: '--no-warnings' }, { LD_PRELOAD: '/nowhere/evil.so' }]) {
    const { code, out } = await ostiary(at, ['init', '--yes'], more)
    assert.equal(code, 2, out)
  }
  assert.ok(!existsSync(at.configFile))
})
