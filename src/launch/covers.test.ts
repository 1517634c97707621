import assert from 'node:assert/strict'
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Machine, planCovers, unknownExposed } from './covers.ts'
import { doors } from './doors.ts'
import { keepFree } from './later.ts'

/** Outside /tmp, which a run never sees. */
function home(t: TestContext, files: Readonly<Record<string, string>> = {}): string {
  const base = mkdtempSync('/var/tmp/ostiary-covers-')
  t.after(() => rmSync(base, { recursive: true, force: true }))
  for (const [path, text] of Object.entries({ 'project/x': '', 'run/x': '', ...files })) {
    mkdirSync(dirname(join(base, path)), { recursive: true })
    writeFileSync(join(base, path), text)
  }
  return base
}

function planOf(base: string, more: Partial<Machine> = {}) {
  const machine = { uid: process.getuid?.() ?? 1, home: base, workingDir: join(base, 'project'), exposed: [], ...more }
  const environment = { XDG_RUNTIME_DIR: join(base, 'run'), ...more.environment }
  const plan = planCovers({ ...machine, environment, own: more.own ?? { hidden: [], readOnly: [], blank: [], kept: [] } })
  // The machine's own services are not the test's.
  const shut = plan.shut.filter((name) => !['docker', 'podman', 'containerd', 'dbus', 'x11', 'tmux', 'screen', 'ide'].includes(name))
  return { ...plan, shut, has: (what: string, path: string) => plan.steps.some((step) => step[0] === what && step[1] === join(base, path)) }
}

test('secrets are covered by what they are: folders, JSON, other files; one door opens one of them', (t) => {
  const base = home(t, {
    '.aws/credentials': 'k',
    '.codex/auth.json': '{"k":1}',
    '.netrc': 'k',
    'project/.env': 'K=1',
    'project/.env.example': '',
  })
  const plan = planOf(base)
  assert.ok(
    plan.has('hidden', '.aws') && plan.has('json', '.codex/auth.json') && plan.has('blank', '.netrc') && plan.has('blank', 'project/.env'),
  )
  assert.ok(!plan.has('blank', 'project/.env.example'))
  assert.deepEqual(plan.shut, ['aws', 'netrc', 'codex-login', 'dotenv'])
  const open = planOf(base, { exposed: ['aws'] })
  assert.ok(!open.has('hidden', '.aws') && open.has('blank', '.netrc'))
})

test('a file that may hold a token is covered only when it does', (t) => {
  const plain = planOf(home(t, { '.npmrc': 'registry=https://mirror.example/\n', '.ssh/id.pub': 'ssh-ed25519 AAAA' }))
  assert.deepEqual(plain.shut, [])
  const base = home(t, { '.npmrc': '//mirror.example/:_authToken=x\n', '.ssh/id': `-----BEGIN OPENSSH ${'PRIVATE'} KEY-----` })
  assert.ok(planOf(base).has('blank', '.npmrc') && planOf(base).has('blank', '.ssh/id') && planOf(base).has('ro', '.ssh'))
})

test('variables that name files are followed, and XDG_CONFIG_HOME is a second ~/.config', (t) => {
  const base = home(t, { 'k/config': 'k', 'xdg/gh/hosts.yml': 'k', 'xdg/fish/config.fish': '' })
  const plan = planOf(base, { environment: { KUBECONFIG: join(base, 'k/config'), XDG_CONFIG_HOME: join(base, 'xdg') } })
  assert.ok(plan.has('blank', 'k/config') && plan.has('hidden', 'xdg/gh') && plan.has('ro', 'xdg/fish'))
})

test('every parent of what is covered, that the user could rename, is a mount point before it', (t) => {
  const base = home(t, { '.config/fish/config.fish': '', '.local/share/keyrings/k': '' })
  const { steps, has } = planOf(base)
  const at = (what: string, path: string): number => steps.findIndex((step) => step[0] === what && step[1] === join(base, path))
  assert.ok(has('pin', '.config') && has('pin', '.local') && has('pin', '.local/share'))
  assert.ok(at('pin', '.config') < at('ro', '.config/fish') && at('pin', '.local/share') < at('hidden', '.local/share/keyrings'))
})

test('folders of PATH are read-only outside the project; a home in PATH is said', (t) => {
  const base = home(t, { 'bin/x': '', 'project/node_modules/.bin/x': '' })
  const plan = planOf(base, { environment: { PATH: `${base}/bin:${base}/project/node_modules/.bin:${base}:relative` } })
  assert.ok(plan.has('ro', 'bin') && !plan.has('ro', 'project/node_modules/.bin'))
  assert.match(plan.notes.join(), /PATH names .*, which cannot be read-only/)
})

test('hooks that the global configuration of git names are read-only', (t) => {
  const base = home(t, { '.gitconfig': '[core]\n\thooksPath = ~/hooks\n[init]\n  templateDir = "~/tpl"\n', 'hooks/x': '', 'tpl/x': '' })
  assert.ok(planOf(base).has('ro', 'hooks') && planOf(base).has('ro', 'tpl'))
})

test('a socket that no list names is covered while it is there; its path exposes it', async (t) => {
  const base = home(t, { 'unheard/x': '' })
  const path = join(base, 'unheard/of.sock')
  const server = createServer().listen(path)
  await new Promise((resolve) => server.once('listening', resolve))
  t.after(() => server.close())
  assert.ok(planOf(base).has('blank', 'unheard/of.sock'))
  assert.ok(!planOf(base, { exposed: [path] }).has('blank', 'unheard/of.sock'))
})

test('below /tmp and the runtime folder nothing needs a cover, and what is exposed is carried over', (t) => {
  const base = home(t, { 'run/bus': '' })
  assert.ok(planOf(base).has('replace', 'run') && !planOf(base).has('keep', 'run/bus'))
  assert.ok(planOf(base, { exposed: ['dbus'] }).has('keep', 'run/bus'))
})

test('what is exposed has a name, or is the path of a socket', () => {
  assert.deepEqual(unknownExposed(['docker', '/run/x.sock', 'dokcer', 'a b', '/x;y']), ['dokcer', 'a b', '/x;y'])
  for (const { name } of doors) assert.match(name, /^[a-z0-9-]{2,16}$/)
  assert.equal(new Set(doors.map(({ name }) => name)).size, doors.length)
})

test('what appears during a run is set aside with a word, a replaced link comes back, nothing is deleted', (t) => {
  const base = home(t, { dotfiles: 'mine' })
  symlinkSync('dotfiles', join(base, '.zshrc'))
  const plan = planOf(base)
  const said: string[] = []
  const later = keepFree(plan.watched, 'run-1', (line) => said.push(line), 60_000)
  writeFileSync(join(base, '.bash_profile'), 'evil')
  mkdirSync(join(base, '.config/autostart'), { recursive: true })
  unlinkSync(join(base, '.zshrc'))
  writeFileSync(join(base, '.zshrc'), 'evil')
  later.stop()
  assert.ok(!existsSync(join(base, '.bash_profile')) && !existsSync(join(base, '.config/autostart')))
  assert.ok(existsSync(join(base, '.config')), 'a folder that only holds others is left alone')
  assert.ok(lstatSync(join(base, '.zshrc')).isSymbolicLink() && readlinkSync(join(base, '.zshrc')) === 'dotfiles')
  assert.equal(said.length, 3)
  for (const line of said) assert.ok(existsSync(/set aside as (\S+)/.exec(line)?.[1] ?? ''), line)
})

test('a link on the way to what appears is set aside itself, and what it leads to stays', (t) => {
  const base = home(t, { 'elsewhere/autostart/mine.desktop': '' })
  const later = keepFree(planOf(base).watched, 'run-1', () => {}, 60_000)
  symlinkSync('elsewhere', join(base, '.config'))
  later.stop()
  assert.ok(!existsSync(join(base, '.config')) && existsSync(join(base, 'elsewhere/autostart/mine.desktop')))
})
