// `ostiary run` before a command, and nothing else: the environment shows no secret, the official SDKs of Python work.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findSecret } from '../../examples/story/attacks.ts'
import type { Ended } from '../../examples/story/ended.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { probeSandbox } from '../../src/launch/sandbox.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const python = process.env['OSTIARY_TEST_PYTHON'] ?? ''
let stage: Stage

before(async () => {
  stage = await setStage(Date.now())
  const stored = await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)
  assert.equal(stored.code, 0, stored.err)
})
after(() => stage?.close())

const ostiaryRun = (words: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  stage.inWork(['run', '--as', 'story-agent', '--', ...words], environment)

test('`ostiary run -- env` shows placeholders and no secret', async () => {
  const { code, out, err } = await ostiaryRun(['env'], {
    OPENAI_API_KEY: 'sk-proj-0123456789abcdefghij0123456789',
    DATABASE_URL: 'postgres://u:p4ssw0rd@db/x',
    GITHUB_TOKEN: 'ghp_0123456789012345678901234567890123ab',
  })
  assert.equal(code, 0, err)
  assert.match(out, /^OPENAI_API_KEY=sk-proj-Ost1ary/m)
  assert.doesNotMatch(out, /0123456789|p4ssw0rd/)
  assert.match(err, /removed from the environment: DATABASE_URL, GITHUB_TOKEN, OPENAI_API_KEY/)
  assert.equal(findSecret(out, [...stage.vendors.secrets]), null)
})

test('exit code, signal death and a command that does not exist pass through', async () => {
  assert.equal((await ostiaryRun(['sh', '-c', 'exit 42'])).code, 42)
  assert.equal((await ostiaryRun(['sh', '-c', 'kill -TERM $$'])).code, 143)
  assert.equal((await ostiaryRun(['no-such-command-here'])).code, 127)
})

test('a run ends with its first process: its pointer is dead', async () => {
  const { out } = await ostiaryRun(['sh', '-c', 'echo $HTTPS_PROXY'])
  const { runs } = await stage.admin('GET', '/runs')
  assert.equal(runs.at(-1).state, 'ended')
  const pointer = /\/\/(run-[0-9a-f]+):/.exec(out)?.[1] ?? ''
  const status = await fetch(`http://${(await stage.admin('GET', '/status')).listeners[1].address}/r/${pointer}/openai/v1/models`)
  assert.equal(status.status, 403)
  assert.match(((await status.json()) as { code: string }).code, /^identify\./)
})

test('the official Python SDKs of all three vendors, with nothing but `ostiary run` before the command', {
  skip: python === '' && (process.env['OSTIARY_TEST_PYTHON_WHY'] || 'no Python environment was made'),
}, async () => {
  const { code, out, err } = await ostiaryRun([python, `${root}examples/python/agent.py`])
  assert.equal(code, 0, err)
  assert.deepEqual(out.trim().split('\n'), [
    'openai: Hello from OpenAI',
    'openai streaming: Hello from OpenAI',
    'anthropic: Hello from Anthropic',
    'anthropic streaming: Hello from Anthropic',
    'gemini: Hello from Gemini',
    'gemini streaming: Hello from Gemini',
  ])
  const slots = stage.vendors.seen.filter((one) => one.vendor === 'anthropic').map((one) => one.headers['x-api-key'])
  assert.ok(
    slots.length > 0 && slots.every((value) => value === undefined),
    'the Python SDK sends its placeholder as x-api-key, and it ends as Bearer',
  )
})

test('a launcher that is killed takes its command with it, daemons included', async (t) => {
  if (probeSandbox(process.getuid?.() ?? -1).custody === 'shared-user') return t.skip('no namespaces here')
  const mark = `${stage.dir}/work/alive`
  const beat = `setInterval(() => require('node:fs').writeFileSync(${JSON.stringify(mark)}, String(Date.now())), 50)`
  const launcher = spawn(
    process.execPath,
    stage.words(['run', '--as', 'story-agent', '--', 'sh', '-c', 'setsid "$0" -e "$1" & exec sleep 60', process.execPath, beat]),
    { cwd: `${stage.dir}/work`, stdio: 'ignore' },
  )
  for (let tries = 0; !existsSync(mark); tries++) {
    assert.ok(tries < 200, 'the daemon never started')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  launcher.kill('SIGKILL')
  await new Promise((resolve) => setTimeout(resolve, 500))
  const last = readFileSync(mark, 'utf8')
  await new Promise((resolve) => setTimeout(resolve, 300))
  assert.equal(readFileSync(mark, 'utf8'), last, 'it is still writing')
})

test('what every run trusts and loads cannot be written in one, by no name', async (t) => {
  if (probeSandbox(process.getuid?.() ?? -1).custody === 'shared-user') return t.skip('no namespaces here')
  const script = `d=$(dirname "$NODE_EXTRA_CA_CERTS"); for file in "$d"/*; do [ -d "$file" ] || echo >> "$file" && [ ! -d "$file" ] && echo "wrote $file"; done
    touch "$d/new" && echo made; mv "$d/ca.pem" "$d/other" && echo moved; mv "$d" "$d.other" && echo 'moved all'; ls "$d"`
  const { out } = await ostiaryRun(['sh', '-c', script])
  assert.deepEqual(out.trim().split('\n').sort(), ['bundle.jks', 'bundle.pem', 'ca.pem', 'cert9.db', 'door', 'node-preload.cjs'])
})
