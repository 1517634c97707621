// The first hour: who is that, what was refused, let it through; runs in runs, and a workload that is only observed.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Ended } from '../../examples/story/ended.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
let stage: Stage

before(async () => {
  stage = await setStage(Date.now())
})
after(() => stage?.close())

/** `ostiary run WORDS` on the stage. */
const ostiaryRun = (words: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  stage.inWork(['run', ...words], environment)

/** A client that asks for each URL and says what came. */
const asks = (...urls: readonly string[]): readonly string[] => [
  process.execPath,
  '-e',
  `(async () => { for (const url of ${JSON.stringify(urls)}) {
     const headers = { authorization: 'Bearer ' + process.env.OPENAI_API_KEY, 'content-type': 'application/json' }
     const post = url.includes('/responses')
     const answer = await fetch(url, post ? { method: 'POST', headers, body: '{"model":"m","input":"x"}' } : {}).catch((error) => error)
     console.log(url, answer.status ?? 'failed')
   } })()`,
]

test('identify: what the kernel says of a process, weak facts marked, and the rule that would match', async () => {
  const { code, out } = await stage.cli(['identify', String(process.pid), '--json'])
  const found = JSON.parse(out)
  assert.equal(code, 1, 'no workload of the story matches by its process')
  assert.equal(found.attributes.uid, String(process.getuid?.()))
  assert.equal(found.attributes.executable, process.execPath)
  assert.ok(found.weak.includes('executable') && !found.weak.includes('user'))
  assert.match(found.rule.join('\n'), /identify: \{ process: \{ .*user: \S+ \} \}/)
  assert.match(found.why, /identify\.no_workload/)
  const text = await stage.cli(['identify', '--here'])
  assert.match(text.out, /executable .* weak: only narrows a rule/)
  assert.equal((await stage.cli(['identify', '2147483000'])).code, 1)
  assert.equal((await stage.cli(['identify', 'x'])).code, 2)
  assert.equal((await stage.cli(['identify'])).code, 2)
})

test('a host that is blocked in a run is listed at its end, in `refused` and in `watch`, each with the command that allows it', async (t) => {
  const watching = spawn(process.execPath, stage.words(['watch']))
  t.after(() => watching.kill('SIGKILL'))
  let watched = ''
  watching.stdout.on('data', (text: Buffer) => {
    watched += text
  })
  await new Promise((resolve) => watching.stdout.once('data', resolve))
  const { err } = await ostiaryRun(['--as', 'story-agent', '--', ...asks('https://docs.example.org/a', 'https://docs.example.org/b')])
  assert.match(err, /blocked in this run.*\n.*docs\.example\.org tunnel: accept\.host_unmanaged \(2 times\)/)
  assert.match(err, /ostiary allow docs\.example\.org --for story-agent/)
  const quiet = await ostiaryRun(['--as', 'story-agent', '--', 'true'])
  assert.doesNotMatch(quiet.err, /blocked/)
  // Equal refusals of one sender within a second become one entry with a count, written when the second is over.
  await new Promise((resolve) => setTimeout(resolve, 1_200))
  const { refused } = JSON.parse((await stage.cli(['refused', '--since', '10m', '--json'])).out)
  const group = refused.find((one: { host: string }) => one.host === 'docs.example.org')
  assert.deepEqual([group.workload, group.code, group.count], ['story-agent', 'accept.host_unmanaged', 2])
  assert.equal(group.allow, 'ostiary allow docs.example.org --for story-agent')
  assert.equal((await stage.cli(['refused', '--since', 'soon'])).code, 2)
  watching.kill('SIGTERM')
  assert.match(watched, /story-agent {2}CONNECT docs\.example\.org.* {2}refused accept\.host_unmanaged\n.*ostiary allow docs\.example\.org/)
})

test('allow writes the line, keeps every comment, and it is in force; inside a run it is refused', async () => {
  const inside = await ostiaryRun([
    '--as',
    'story-agent',
    '--',
    process.execPath,
    bin,
    '--data',
    stage.dataDir,
    'allow',
    'evil.example.org',
    '--yes',
  ])
  assert.equal(inside.code, 2, inside.err)
  assert.match(inside.err, /refused inside a run/)
  assert.equal((await stage.cli(['allow', 'docs.example.org'])).code, 2, 'it asks first, and nobody is there to answer')
  const before = readFileSync(stage.configFile, 'utf8')
  const done = await stage.cli(['allow', 'docs.example.org', '--yes'])
  assert.equal(done.code, 0, done.err)
  assert.match(done.out, /^\+.*docs-example-org: \{ hosts: \[docs\.example\.org\], credential: none, methods: \[GET, HEAD\] \}$/m)
  const after = readFileSync(stage.configFile, 'utf8')
  assert.match(after, /@id\("story-agent may call at docs\.example\.org"\)/)
  const kept = after.split('\n')
  assert.deepEqual(
    before.split('\n').filter((line) => !kept.includes(line)),
    [],
    'nothing that was there is written anew',
  )
  const { out } = await ostiaryRun(['--as', 'story-agent', '--', ...asks('https://docs.example.org/a')])
  assert.match(out, /docs\.example\.org\/a 502/, 'allowed, and no such host can be reached from here')
  assert.match((await stage.cli(['allow', 'docs.example.org', '--yes'])).out, /written already/)
  assert.equal((await stage.cli(['allow', 'bad host', '--yes'])).code, 2)
  assert.equal((await stage.cli(['allow', 'a.example.org', '--for', 'nobody', '--yes'])).code, 2)
  const none = await stage.cli(['allow', 'api.openai.com', '--action', 'nothing', '--yes'])
  assert.equal(none.code, 2)
  const pinned = await stage.cli(['allow', 'pins.example.org', '--tunnel', 'pins its certificate', '--yes'])
  assert.equal(pinned.code, 0, pinned.err)
  assert.equal((await stage.cli(['allow', 'api.openai.com', '--tunnel', 'no', '--yes'])).code, 2)
  assert.equal((await stage.cli(['check'])).code, 0)
})

/** Workloads more in the configuration of the story, in force at once. */
async function addWorkloads(yaml: string): Promise<void> {
  const text = readFileSync(stage.configFile, 'utf8')
  writeFileSync(stage.configFile, text.replace(/^workloads:\n/m, `workloads:\n${yaml}`), { mode: 0o600 })
  const done = await stage.admin('POST', '/reload')
  assert.equal(done.ok, true, JSON.stringify(done))
}

/** What the log has of the last seconds. */
async function records(): Promise<readonly Record<string, unknown>[]> {
  const { out } = await stage.cli(['audit', 'export'])
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

const ask = 'https://api.openai.com/v1/responses'
const nested = (as: string, ...words: readonly string[]): readonly string[] => [process.execPath, bin, 'run', '--as', as, '--', ...words]

test('a run inside a run is of the same workload or of one that lists it, never of another', async () => {
  const uid = process.getuid?.()
  await addWorkloads(
    `  narrow: { labels: { stage: production, region: eu-central }, run: { within: [story-agent] } }\n  other: { run: { startedBy: ["${uid}"] } }\n`,
  )
  const outside = await ostiaryRun(['--as', 'narrow', '--', 'true'])
  assert.equal(outside.code, 4, 'only inside of another')
  const inner = await ostiaryRun(['--as', 'story-agent', '--label', 'ticket=OPS-7', '--', ...nested('narrow', ...asks(ask))])
  assert.match(inner.out, /responses 403/, inner.err)
  assert.match(inner.err, /ostiary allow api\.openai\.com --for narrow --action inference/)
  const own = await ostiaryRun(['--as', 'story-agent', '--', ...nested('story-agent', ...asks(ask))])
  assert.match(own.out, /responses 200/, own.err)
  for (const [outer, as] of [
    ['story-agent', 'other'],
    ['other', 'narrow'],
    ['other', 'story-agent'],
  ] as const) {
    const refused = await ostiaryRun(['--as', outer, '--', ...nested(as, 'echo', 'it ran')])
    assert.equal(refused.code, 4, `${as} inside ${outer}: ${refused.err}`)
    assert.doesNotMatch(refused.out, /it ran/)
  }
  const wider = await ostiaryRun(['--as', 'story-agent', '--', ...nested('narrow', ...nested('story-agent', 'echo', 'it ran'))])
  assert.equal(wider.code, 4, wider.err)
  // The inner one knows the pointer and the placeholder of the outer one, and they are worth nothing to it.
  const borrow = `fetch(process.argv[1] + '/openai/v1/models', { headers: { authorization: 'Bearer ' + process.argv[2] } })
    .then(async (answer) => console.log(answer.status, (await answer.json()).code))`
  const inside = nested('narrow', process.execPath, '-e', borrow).map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
  const thief = ['sh', '-c', `exec ${inside.join(' ')} "$OSTIARY_BASE_URL" "$OPENAI_API_KEY"`]
  const borrowed = await ostiaryRun(['--as', 'story-agent', '--', ...thief])
  assert.match(borrowed.out, /^403 identify\.not_in_run$/m, borrowed.err)
  const record = (await records()).find((one) => one['workload'] === 'narrow')
  assert.deepEqual([record?.['code'], record?.['runLabels']], ['decide.denied', { ticket: 'OPS-7' }])
  const { runs } = await stage.admin('GET', '/runs')
  const run = runs.find((one: { workload: string }) => one.workload === 'narrow')
  assert.deepEqual([run.calls, run.blocked, run.state], [1, 1, 'ended'])
  assert.equal(runs.find((one: { id: string }) => one.id === run.parent).workload, 'story-agent')
})

test('revoke run ends it and what was started inside of it', async () => {
  const waiting = spawn(process.execPath, stage.words(['run', '--as', 'story-agent', '--', ...nested('narrow', 'sleep', '30')]), {
    cwd: `${stage.dir}/work`,
    stdio: 'ignore',
  })
  const open = async (): Promise<readonly { id: string; workload: string }[]> => (await stage.admin('GET', '/status')).runs
  for (let tries = 0; tries < 100 && !(await open()).some((one) => one.workload === 'narrow'); tries++)
    await new Promise((resolve) => setTimeout(resolve, 100))
  const outer = (await open()).find((one) => one.workload === 'story-agent')
  assert.equal((await open()).length, 2)
  const listed = await stage.cli(['runs'])
  assert.match(listed.out, new RegExp(`in ${outer?.id} .*narrow .*open`))
  assert.equal((await stage.cli(['revoke', 'run', outer?.id ?? ''])).code, 0)
  assert.deepEqual(await open(), [])
  waiting.kill('SIGKILL')
})

test('explain and status tell a revocation that is in force, and how to take it back', async () => {
  const asked = ['explain', 'POST https://api.openai.com/v1/responses', '--as', 'story-agent', '--body', '{"model":"m"}']
  assert.equal((await stage.cli(asked)).code, 0)
  for (const [what, name, code] of [
    ['workload', 'story-agent', 'flow.revoked'],
    ['credential', 'openai-story', 'obtain.revoked'],
  ] as const) {
    await stage.cli(['revoke', what, name])
    const undo = `ostiary revoke ${what} ${name} --undo`
    const told = await stage.cli(asked)
    assert.equal(told.code, 1)
    assert.match(told.out, new RegExp(`refused {2}${code}\\n[^]*${what} ${name} was revoked at \\d{4}-.*Z; .${undo}. takes that back`))
    assert.match((await stage.cli(['status'])).out, new RegExp(`revoked ${what} ${name}: ${undo}`))
    await stage.cli(['revoke', what, name, '--undo'])
    assert.equal((await stage.cli(asked)).code, 0, 'taken back')
  }
  const later = await stage.cli([...asked.slice(0, -1), '{"model":"m","background":true}'])
  assert.equal(later.code, 1)
  assert.match(later.out, /needs `deferred` too/)
})

test('a policy file that comes to fit a pattern is in force by itself', async () => {
  const more = `${stage.dir}/config/more`
  mkdirSync(more, { mode: 0o700 })
  writeFileSync(`${more}/a.cedar`, '', { mode: 0o600 })
  const config = readFileSync(stage.configFile, 'utf8')
  writeFileSync(stage.configFile, config.replace('\npolicies:\n', '\npolicies:\n  - more/*.cedar\n'))
  assert.equal((await stage.cli(['reload'])).code, 0)
  const asked = ['explain', 'POST https://api.openai.com/v1/responses', '--as', 'story-agent']
  assert.equal((await stage.cli(asked)).code, 0)
  writeFileSync(`${more}/b.cedar`, '@id("added") forbid (principal, action in Action::"inference", resource);', { mode: 0o600 })
  for (let tries = 0; (await stage.cli(asked)).code === 0; tries++) assert.ok(tries < 40, 'it never came into force')
  assert.match((await stage.cli(asked)).out, /refused {2}decide.forbidden\n[\s\S]*"added" forbids it/)
  rmSync(`${more}/b.cedar`)
  for (let tries = 0; (await stage.cli(asked)).code !== 0; tries++) assert.ok(tries < 40, 'it never went')
  writeFileSync(stage.configFile, config)
  assert.equal((await stage.cli(['reload'])).code, 0)
})

test('a program that hands over to one that already runs is noticed', async () => {
  const { err } = await ostiaryRun(['--as', 'story-agent', '--', 'sh', '-c', 'exit 0'])
  assert.doesNotMatch(err, /handed over/)
  writeFileSync(`${stage.dir}/work/code`, '#!/bin/sh\nexit 0\n', { mode: 0o755 })
  const code = await ostiaryRun(['--as', 'story-agent', '--', `${stage.dir}/work/code`])
  assert.match(code.err, /code ended at once: it may have handed over.*\n.*ostiary env --for vscode/)
})

test('an observed workload passes, each record says what would have been refused; the rest is refused still', async () => {
  const uid = process.getuid?.()
  const soon = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10)
  const credential = readFileSync(stage.configFile, 'utf8').replace(
    'for: [story], openai-federation',
    'for: [story, newcomer], openai-federation',
  )
  writeFileSync(stage.configFile, credential, { mode: 0o600 })
  await addWorkloads(
    `  newcomer: { labels: { stage: production, region: eu-central }, run: { startedBy: ["${uid}"] }, observe: { until: ${soon} } }\n`,
  )
  const mint = 'https://api.openai.com/v1/realtime/client_secrets'
  const { out } = await ostiaryRun(['--as', 'newcomer', '--', ...asks(ask, 'https://unlisted.example.org/', mint)])
  assert.match(out, /responses 200/)
  assert.match(out, /unlisted.* failed/)
  assert.match(out, /client_secrets 403/)
  const record = (await records()).find((one) => one['workload'] === 'newcomer' && one['outcome'] === 'answered')
  assert.deepEqual([record?.['observed'], record?.['decision']], ['decide.denied', 'permit'])
  const { refused } = JSON.parse((await stage.cli(['refused', '--json'])).out)
  const group = refused.find((one: { workload: string; observed: boolean }) => one.workload === 'newcomer' && one.observed)
  assert.equal(group.allow, 'ostiary allow api.openai.com --for newcomer --action inference')
  const status = await stage.admin('GET', '/status')
  assert.ok(status.warnings.some((one: string) => one.includes(`newcomer is only observed until ${soon}`)))
  const past = readFileSync(stage.configFile, 'utf8').replace(`until: ${soon} } }`, 'until: 2026-01-31 } }')
  writeFileSync(`${stage.configFile}.past`, past)
  const checked = await stage.cli(['check', '--config', `${stage.configFile}.past`])
  assert.equal(checked.code, 1)
  assert.match(checked.err, /newcomer was to be observed until 2026-01-31 only/)
})

test('env: settings that put what an IDE starts into a run, and variables without a pointer for the rest', async () => {
  const vscode = await stage.cli(['env', '--for', 'vscode', '--as', 'story-agent'])
  const profile = JSON.parse(vscode.out)['terminal.integrated.profiles.linux'].ostiary
  assert.deepEqual([profile.path, ...profile.args], ['ostiary', 'run', '--as', 'story-agent', '--', 'bash'])
  const { out } = await stage.cli(['env', '--for', 'direnv'])
  assert.match(out, /^export HTTPS_PROXY=http:\/\/127\.0\.0\.1:\d+$/m)
  assert.doesNotMatch(out, /run-|OSTIARY_/)
  assert.equal(spawnSync('sh', ['-n'], { input: out }).status, 0, 'a shell reads it')
  for (const what of ['cursor', 'jetbrains', 'docker']) assert.equal((await stage.cli(['env', '--for', what])).code, 0)
  assert.equal((await stage.cli(['env', '--for', 'emacs'])).code, 2)
})

test('status names agents that do not pass through Ostiary', async () => {
  writeFileSync(`${stage.dir}/work/aider.js`, 'setTimeout(() => {}, 60_000)')
  const agent = spawn(process.execPath, [`${stage.dir}/work/aider.js`], { stdio: 'ignore' })
  const brokered = ostiaryRun(['--as', 'story-agent', '--', process.execPath, `${stage.dir}/work/aider.js`])
  for (let tries = 0; tries < 100 && (await stage.admin('GET', '/status')).runs.length === 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 100))
  await new Promise((resolve) => setTimeout(resolve, 500))
  const { unbrokered, runs } = JSON.parse((await stage.cli(['status', '--json'])).out)
  assert.deepEqual(
    unbrokered.filter((one: { agent: string }) => one.agent === 'aider'),
    [{ pid: agent.pid, agent: 'aider' }],
    'the one in a run is none of them',
  )
  await stage.cli(['revoke', 'run', runs[0].id])
  process.kill(Number(runs[0].root.split(':')[0]), 'SIGTERM')
  await brokered
  agent.kill('SIGKILL')
})

test('doctor --fix mends modes and left-over sockets, and leaves a running server alone', async () => {
  const { out } = await stage.cli(['doctor', '--fix', '--json'])
  assert.equal(
    JSON.parse(out).findings.find((one: { what: string }) => one.what === 'socket'),
    undefined,
  )
  const dir = `${stage.dir}/killed`
  mkdirSync(dir)
  chmodSync(dir, 0o755)
  writeFileSync(`${dir}/key`, '', { mode: 0o644 })
  const socket = spawnSync(process.execPath, [
    '-e',
    `require('node:net').createServer().listen(${JSON.stringify(`${dir}/admin.sock`)}, () => process.kill(process.pid, 'SIGKILL'))`,
  ])
  assert.equal(socket.signal, 'SIGKILL')
  const findings = async (...words: readonly string[]): Promise<readonly { what: string; ok: boolean; says: string }[]> =>
    JSON.parse((await stage.cli(['doctor', ...words, '--json', '--data', dir])).out).findings
  const wrong = (await findings()).filter((one) => !one.ok && one.says.includes(dir))
  assert.equal(wrong.length, 3)
  assert.ok(wrong.every((one) => one.says.includes('doctor --fix')))
  assert.equal((await findings('--fix')).filter((one) => one.says.startsWith('mended: ')).length, 3)
  assert.equal(statSync(dir).mode & 0o777, 0o700)
  assert.ok(!existsSync(`${dir}/admin.sock`))
})
