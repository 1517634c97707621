// The package as a stranger gets it: packed from a copy of this tree (a dist/ beside the sources would be what every other test
// starts), installed into an empty project, and run under the system's own Node, which is older than the one that it brings.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const temporary = mkdtempSync(join(tmpdir(), 'ostiary-pack-'))
after(() => rmSync(temporary, { recursive: true, force: true }))

/** Without what `npm test` and `node` of this clone put in front, and without their npm settings. */
function strangerEnv(home: string): NodeJS.ProcessEnv {
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((dir) => !dir.includes('node_modules'))
  const kept = Object.entries(process.env).filter(([name]) => !/^(npm_(?!config_registry)|NODE_|OSTIARY_|XDG_)/.test(name))
  return { ...Object.fromEntries(kept), PATH: path.join(delimiter), HOME: home }
}

function command(cwd: string, env: NodeJS.ProcessEnv, words: readonly string[], timeoutMs = 60_000) {
  const [file, ...args] = words as [string, ...string[]]
  return spawnSync(file, args, { cwd, env, encoding: 'utf8', timeout: timeoutMs })
}

function copyOfTheTree(): string {
  const copy = join(temporary, 'tree')
  mkdirSync(copy)
  for (const name of ['bin', 'src', 'tools', 'package.json', 'tsconfig.json', 'tsconfig.build.json'])
    cpSync(join(root, name), join(copy, name), { recursive: true })
  for (const name of ['LICENSE', 'README.md', 'SECURITY.md', 'CHANGELOG.md']) cpSync(join(root, name), join(copy, name))
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  return copy
}

test('packed, installed and run under the Node of the system', { timeout: 110_000 }, async (t) => {
  const copy = copyOfTheTree()
  const project = join(temporary, 'project')
  const home = join(temporary, 'home')
  mkdirSync(project)
  mkdirSync(home, { mode: 0o700 })
  // The build needs the Node of this clone; what follows does not get it.
  const packed = command(copy, process.env, ['npm', 'pack', '--pack-destination', project, '--silent'])
  assert.equal(packed.status, 0, packed.stderr)
  const tarball = readdirSync(project).find((name) => name.endsWith('.tgz'))
  assert.ok(tarball !== undefined)

  await t.test('holds what runs, and neither sources nor tests', () => {
    const list = command(project, process.env, ['tar', '-tzf', tarball]).stdout.trim().split('\n')
    assert.ok(list.includes('package/dist/main.js') && list.includes('package/bin/ostiary.mjs'))
    const strange = list.filter((name) =>
      /\.ts$|\.test\.|test-kit|fake|node_modules|^package\/(src|test|bench|examples|tools)\//.test(name),
    )
    assert.deepEqual(strange, [])
  })

  const env = strangerEnv(home)
  if (command(project, env, ['node', '--version']).status !== 0) return t.skip('no Node of the system beside the one of this clone')
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, name: 'stranger', version: '1.0.0' }))
  // The cache of this user, so that a run without a network can still install.
  const cache = command(root, process.env, ['npm', 'config', 'get', 'cache']).stdout.trim()
  const install = ['npm', 'i', `./${tarball}`, '--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=0', '--cache', cache]
  const installed = command(project, env, install, 90_000)
  if (installed.status !== 0 && /ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ENOTCACHED|ENETUNREACH/.test(installed.stderr))
    return t.skip('no registry can be reached')
  assert.equal(installed.status, 0, `${installed.stderr} ${installed.error ?? ''}`)

  await t.test('--version', () => {
    const said = command(project, env, ['npx', '--no-install', 'ostiary', '--version'])
    assert.match(said.stdout, /^\d+\.\d+\.\d+\n$/, said.stderr)
    assert.equal(said.status, 0)
  })
  await t.test('check without a configuration says that everything is refused', () => {
    const said = command(project, env, ['npx', '--no-install', 'ostiary', 'check'])
    assert.equal(said.status, 0, said.stderr)
    assert.match(said.stdout, /everything is refused/)
  })
  await t.test('check with a configuration reads it and its policies', () => {
    const file = join(home, 'ostiary.yaml')
    const policy = 'permit (principal, action in Action::"inference", resource == Service::"openai");'
    const lines = [
      'trustDomain: acme.example',
      `workloads: { coder: { run: { startedBy: [${userInfo().username}] } } }`,
      'services: { openai: {} }',
      `policies: [{ cedar: '${policy}' }]`,
    ]
    writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 })
    const said = command(project, env, ['npx', '--no-install', 'ostiary', 'check', '--config', file, '--json'])
    assert.equal(said.status, 0, said.stdout + said.stderr)
    assert.equal(JSON.parse(said.stdout).policies, 1)
    writeFileSync(file, 'trustDomain: acme.example\nservces: {}\n', { mode: 0o600 })
    assert.equal(command(project, env, ['npx', '--no-install', 'ostiary', 'check', '--config', file]).status, 1)
  })
  await t.test('start, a request, stop: the thread beside it is found too', async () => {
    const file = join(home, 'listening.yaml')
    writeFileSync(file, 'trustDomain: acme.example\nlisten: { proxy: 127.0.0.1:0, baseUrl: 127.0.0.1:0 }\n', { mode: 0o600 })
    const ostiary = join(project, 'node_modules', '.bin', 'ostiary')
    const started = spawn(ostiary, ['start', '--config', file], { cwd: project, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [started.stdout, started.stderr]) stream.on('data', (chunk) => (said += chunk))
    const ended = once(started, 'exit')
    try {
      const status = command(project, env, [ostiary, 'status', '--wait', '15', '--json'])
      assert.equal(status.status, 0, status.stderr + said)
      const proxy = /127\.0\.0\.1:\d+/.exec(status.stdout)?.[0]
      const asked = command(project, env, ['curl', '-sS', '-m', '10', '-x', `http://${proxy}`, 'http://api.acme.example/'])
      if (asked.error === undefined) assert.match(asked.stdout, /"code":\s*"[a-z]+\.[a-z_]+"/, asked.stderr + said)
    } finally {
      started.kill('SIGTERM')
      await ended
    }
    assert.doesNotMatch(said, /owner-worker|search for socket owners failed|ERR_MODULE_NOT_FOUND/)
  })
})
