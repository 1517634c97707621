// A signed token as evidence: presented by a client itself, and by `ostiary run --evidence` for a command that never sees it.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Ended } from '../../examples/story/ended.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { createFakeIssuer, type FakeIssuer } from '../fakes/issuer.ts'

let stage: Stage
let issuer: FakeIssuer
const claims = { sub: 'system:serviceaccount:agents:triage' }

before(async () => {
  stage = await setStage(Date.now())
  issuer = await createFakeIssuer({ url: 'https://issuer.story.example', audience: 'https://ostiary.story.example', now: () => Date.now() })
  writeFileSync(join(stage.dir, 'config', 'jwks.json'), JSON.stringify(await issuer.jwks()))
  const text = readFileSync(stage.configFile, 'utf8').replace(
    'workloads:\n',
    `trustProviders:\n  cluster: { oidc: { issuer: "https://issuer.story.example", jwks: jwks.json, algorithms: [ES256] } }\nworkloads:\n  ci-agent:\n    groups: [story]\n    labels: { stage: production, region: eu-central }\n    run: { startedBy: ["${process.getuid?.()}"] }\n    identify: { oidc: { issuer: cluster, subject: { prefix: "system:serviceaccount:agents:" } } }\n`,
  )
  writeFileSync(stage.configFile, text)
  const reloaded = await stage.admin('POST', '/reload')
  assert.equal(reloaded.ok, true, JSON.stringify(reloaded))
})
after(() => stage?.close())

const run = (words: readonly string[]): Promise<Ended> => stage.inWork(words)

const ask = `fetch('https://api.openai.com/v1/responses',{method:'POST',headers:{'content-type':'application/json',authorization:'Bearer '+process.env.OPENAI_API_KEY},body:JSON.stringify({model:'gpt-5',input:'hi'})}).then(async r=>console.log(r.status,(await r.text()).slice(0,200)),e=>console.log('failed',e.cause?.message??e.message))`

test('the launcher presents the token, the command cannot read it, and the log does not hold it', async () => {
  const file = join(stage.dir, 'work', 'token')
  writeFileSync(file, await issuer.token(claims))
  const done = await run([
    'run',
    '--as',
    'ci-agent',
    '--evidence',
    file,
    '--',
    process.execPath,
    '-e',
    `console.log('token:', require('fs').existsSync('${file}') ? require('fs').readFileSync('${file}','utf8').length : 0); ${ask}`,
  ])
  assert.match(done.out, /token: 0\n200 /, done.out + done.err)
  const lines = (await stage.cli(['audit', 'export', '--json'])).out.trimEnd().split('\n')
  assert.ok(lines.map((line) => JSON.parse(line)).some((one) => one.workload === 'ci-agent' && one.decision === 'permit'))
  assert.doesNotMatch(lines.join('\n'), /eyJ/)
})

test('a workload that demands a token gets nothing without one, or with one of somebody else', async () => {
  const without = await run(['run', '--as', 'ci-agent', '--', process.execPath, '-e', ask])
  assert.match(without.out, /^403 .*identify\./, without.out + without.err)
  const file = join(stage.dir, 'work', 'other')
  writeFileSync(file, await issuer.token({ sub: 'system:serviceaccount:others:x' }))
  const other = await run(['run', '--as', 'ci-agent', '--evidence', file, '--', process.execPath, '-e', ask])
  assert.match(other.out, /^403 .*identify\./, other.out + other.err)
})

test('identify --token says whose it is and binds it to nobody: the agent presents it afterwards', async () => {
  const file = join(stage.dir, 'work', 'asked')
  writeFileSync(file, await issuer.token(claims))
  const asked = await stage.cli(['identify', '--token', file, '--json'])
  assert.equal(asked.code, 0, asked.err)
  const { workload, attributes, weak, rule } = JSON.parse(asked.out)
  assert.deepEqual([workload, attributes.sub], ['ci-agent', claims.sub])
  assert.ok(weak.includes('iss') && !weak.includes('sub'))
  assert.match(rule.join('\n'), /issuer: cluster, subject: "system:serviceaccount:agents:triage"/)
  assert.doesNotMatch(asked.out, /eyJ/)
  const done = await run(['run', '--as', 'ci-agent', '--evidence', file, '--', process.execPath, '-e', ask])
  assert.match(done.out, /^200 /, done.out + done.err)
  writeFileSync(file, `${await issuer.token(claims)}x`)
  const broken = await stage.cli(['identify', '--token', file])
  assert.equal(broken.code, 1)
  assert.match(broken.out, /no workload .*identify\.token_/)
})
