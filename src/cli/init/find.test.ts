import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { heldLogins } from '../logins.ts'
import { findKeys, said } from './find.ts'
import { body, planted, prepareHome } from './home.test-kit.ts'
import { masked, spot } from './keys.ts'

const dir = mkdtempSync(join(tmpdir(), 'ostiary-find-'))
after(() => rmSync(dir, { recursive: true, force: true }))
let homes = 0
const newHome = (): string => {
  const home = join(dir, `home${homes++}`)
  mkdirSync(home)
  return home
}

test('twelve planted keys are found, and none of the decoys', () => {
  const home = newHome()
  const { environment, project } = prepareHome(home)
  const { keys, left } = findKeys({ home, cwd: project, environment, own: [] })
  assert.deepEqual(left, [])
  assert.deepEqual(keys.map((key) => key.value).sort(), Object.values(planted).sort())
  assert.equal(keys.length, 12)
})

test('each key is known once, with every place and its service', () => {
  const home = newHome()
  const { environment, project } = prepareHome(home)
  const { keys } = findKeys({ home, cwd: project, environment, own: [] })
  const found = (value: string) => keys.find((key) => key.value === value)
  const env = found(planted.openaiEnv)
  assert.deepEqual(env?.standings.map(({ kind }) => kind).sort(), ['env file', 'transcript'])
  assert.match(env?.standings.find(({ kind }) => kind === 'env file')?.exposure.join() ?? '', /readable by everybody \(644\)/)
  assert.equal(env?.standings.find(({ kind }) => kind === 'env file')?.line, 3)
  const history = found(planted.anthropicHistory)
  assert.deepEqual(
    history?.standings.map(({ kind, times }) => [kind, times]),
    [['shell history', 2]],
  )
  const services = Object.fromEntries(keys.map((key) => [key.value, key.service]))
  assert.equal(services[planted.geminiStart], 'gemini')
  assert.equal(services[planted.setUpToken], 'anthropic')
  assert.equal(found(planted.setUpToken)?.setUpToken, true)
  assert.equal(found(planted.deepseekFish)?.vendor, 'deepseek')
  for (const other of [planted.deepseekFish, planted.slackMcp, planted.mistralEnv, planted.awsSecret]) assert.equal(services[other], null)
})

test('what may be printed holds no value', () => {
  const home = newHome()
  const { environment, project } = prepareHome(home)
  const { keys } = findKeys({ home, cwd: project, environment, own: [] })
  const text = JSON.stringify([...keys.map(said), ...heldLogins(home)])
  for (const value of Object.values(planted))
    assert.ok(!text.includes(value.slice(-12)) && !text.includes(value.slice(0, 20)), masked(value))
  assert.equal(masked(planted.openaiEnv), `sk-proj-…${planted.openaiEnv.slice(-4)}`)
  assert.equal(masked(planted.mistralEnv), `…${planted.mistralEnv.slice(-4)}`)
})

test('logins that agents hold are recognised and are no finds', () => {
  const home = newHome()
  prepareHome(home)
  assert.deepEqual(
    heldLogins(home).map(({ agent }) => agent),
    ['codex', 'claude'],
  )
  writeFileSync(join(home, '.codex', 'auth.json'), 'not JSON')
  writeFileSync(join(home, '.claude', '.credentials.json'), '[]')
  assert.deepEqual(heldLogins(home), [])
})

test('forms in which a key stands', () => {
  const key = `sk-proj-${body('form', 50)}`
  const forms = [
    `K=${key}`,
    `"K": "${key}"`,
    `{\\"K\\":\\"${key}\\"}`,
    `Bearer ${key}`,
    `text\\n${key}\\n`,
    `(${key}).`,
    `'${key}'`,
    `\\u001b[1m${key}\\u001b[0m`,
    `?key=${key}&x`,
  ]
  for (const form of forms) {
    const found = spot(form)
    assert.deepEqual(
      found.map(({ value, start }) => [value, form.slice(start, start + value.length)]),
      [[key, key]],
      form,
    )
  }
  const plain = body('mistral', 32)
  for (const form of [
    `MISTRAL_API_KEY=${plain}`,
    `MISTRAL_API_KEY: '${plain}'`,
    `"MISTRAL_API_KEY" : "${plain}"`,
    `{\\"MISTRAL_API_KEY\\":\\"${plain}\\"}`,
    `set -x MISTRAL_API_KEY ${plain}`,
  ])
    assert.deepEqual(
      spot(form).map(({ value }) => value),
      [plain],
      form,
    )
  for (const form of [
    `MISTRAL_API_KEY=\nA_NAME_THAT_IS_LONG_1`,
    `MY_MISTRAL_API_KEY_ID=${plain}`,
    `MISTRAL_API_KEY=$OTHER_VARIABLE_NAME_2`,
    `see ${plain}`,
  ])
    assert.deepEqual(spot(form), [], form)
})

test('a text that an agent made long outgrows nothing', () => {
  for (const text of ['-xoxb-'.repeat(2e6), '-eyJ'.repeat(1e6), '\\'.repeat(4e6), '-SG.aaaaaaaaaaaaaaaaaaaa'.repeat(2e5)])
    assert.deepEqual(spot(text), [])
  const key = `sk-proj-${body('many', 40)}`
  assert.equal(spot(`${key} `.repeat(5_000)).length, 1_000)
})

test('git: committed, ignored, neither, and once', (t) => {
  if (spawnSync('git', ['--version']).status !== 0) return t.skip('no git on this machine')
  const home = newHome()
  const repository = join(home, 'src', 'repo')
  mkdirSync(repository, { recursive: true })
  const git = (...words: string[]): void => {
    const done = spawnSync('git', ['-C', repository, '-c', 'user.name=a', '-c', 'user.email=a@b', ...words], { encoding: 'utf8' })
    assert.equal(done.status, 0, done.stderr)
  }
  const put = (name: string, seed: string): void =>
    writeFileSync(join(repository, name), `OPENAI_API_KEY=sk-proj-${body(seed, 50)}\n`, { mode: 0o600 })
  git('init', '-q')
  put('.env', 'g1')
  put('.env.once', 'g2')
  git('add', '.env', '.env.once')
  git('commit', '-qm', 'keys')
  git('rm', '-q', '--cached', '.env.once')
  git('commit', '-qm', 'no')
  writeFileSync(join(repository, '.gitignore'), '.env.ignored\n')
  put('.env.ignored', 'g3')
  put('.env.loose', 'g4')
  const { keys } = findKeys({ home, cwd: home, environment: {}, own: [] })
  const says = Object.fromEntries(keys.map((key) => [key.standings[0]?.path?.split('/').at(-1), key.standings[0]?.exposure.join()]))
  assert.match(says['.env'] ?? '', /^committed to git/)
  assert.match(says['.env.once'] ?? '', /^was committed to git once/)
  assert.match(says['.env.ignored'] ?? '', /ignored$/)
  assert.match(says['.env.loose'] ?? '', /from a commit$/)
})

test("a repository's own programs are not started", (t) => {
  if (spawnSync('git', ['--version']).status !== 0) return t.skip('no git on this machine')
  const home = newHome()
  const repository = join(home, 'evil')
  mkdirSync(repository)
  spawnSync('git', ['-C', repository, 'init', '-q'])
  const trap = join(home, 'trap.sh')
  writeFileSync(trap, `#!/bin/sh\ntouch ${home}/sprung\n`)
  chmodSync(trap, 0o755)
  for (const name of ['core.fsmonitor', 'core.pager', 'diff.external', 'gpg.program'])
    spawnSync('git', ['-C', repository, 'config', name, trap])
  writeFileSync(join(repository, '.env'), `OPENAI_API_KEY=sk-proj-${body('evil', 50)}\n`)
  assert.equal(findKeys({ home, cwd: home, environment: {}, own: [] }).keys.length, 1)
  assert.notEqual(spawnSync('test', ['-e', join(home, 'sprung')]).status, 0)
})

test('what cannot be read is said; pipes, loops and own folders are passed over', () => {
  const home = newHome()
  spawnSync('mkfifo', [join(home, '.bash_history')])
  symlinkSync('.zshrc', join(home, '.zshrc'))
  symlinkSync(home, join(home, 'loop'))
  mkdirSync(join(home, '.config', 'ostiary'), { recursive: true })
  writeFileSync(join(home, '.config', 'ostiary', 'x.yaml'), `a: sk-proj-${body('own', 50)}\n`)
  mkdirSync(join(home, 'real'))
  writeFileSync(join(home, 'real', 'x'), `OPENAI_API_KEY=sk-proj-${body('linked', 50)}\n`)
  symlinkSync(join(home, 'real', 'x'), join(home, '.env'))
  const { keys, left } = findKeys({ home, cwd: home, environment: {}, own: [join(home, '.config', 'ostiary')] })
  assert.deepEqual(left, [])
  assert.deepEqual(
    keys.map((key) => key.standings.map(({ path }) => path)),
    [[join(home, '.env')]],
  )
})
