// The first hour: who is that, what was refused, let it through; runs in runs, and a workload that is only observed.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Stage, setStage } from '../../examples/story/stage.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
let stage: Stage

before(async () => {
  stage = await setStage(Date.now())
})
after(() => stage?.close())

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** `ostiary run WORDS` on the stage. */
function ostiaryRun(words: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [bin, '--config', stage.configFile, '--data', stage.dataDir, 'run', ...words], {
      cwd: `${stage.dir}/work`,
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let out = ''
    let err = ''
    child.stdout.on('data', (text: Buffer) => {
      out += text
    })
    child.stderr.on('data', (text: Buffer) => {
      err += text
    })
    child.on('close', (code) => resolve({ code, out, err }))
  })
}

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
  const watching = spawn(process.execPath, [bin, '--config', stage.configFile, '--data', stage.dataDir, 'watch'])
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
  assert.match(done.out, /^\+.*docs-example-org: \{ hosts: \[ docs\.example\.org \], credential: none, methods: \[ GET, HEAD \] \}$/m)
  const after = readFileSync(stage.configFile, 'utf8')
  assert.match(after, /@id\("story-agent may call at docs\.example\.org"\)/)
  for (const line of before.split('\n').filter((one) => one.includes('@id'))) assert.ok(after.includes(line))
  const { out } = await ostiaryRun(['--as', 'story-agent', '--', ...asks('https://docs.example.org/a')])
  assert.match(out, /docs\.example\.org\/a 502/, 'allowed, and no such host can be reached from here')
  assert.equal((await stage.cli(['allow', 'bad host', '--yes'])).code, 2)
  assert.equal((await stage.cli(['allow', 'a.example.org', '--for', 'nobody', '--yes'])).code, 2)
  const none = await stage.cli(['allow', 'api.openai.com', '--action', 'nothing', '--yes'])
  assert.equal(none.code, 2)
  const pinned = await stage.cli(['allow', 'pins.example.org', '--tunnel', 'pins its certificate', '--yes'])
  assert.equal(pinned.code, 0, pinned.err)
  assert.equal((await stage.cli(['allow', 'api.openai.com', '--tunnel', 'no', '--yes'])).code, 2)
  assert.equal((await stage.cli(['check'])).code, 0)
})
