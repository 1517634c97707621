// After calls, echoes and attacks: no secret in any encoding, in anything that Ostiary wrote or says.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { findSecret } from '../../examples/story/attacks.ts'
import { type Agent, type Stage, setStage } from '../../examples/story/stage.ts'

let stage: Stage
let agent: Agent
const foreign = `sk-proj-${Buffer.from('foreign key of the attacker').toString('hex')}`

before(async () => {
  stage = await setStage(Date.now())
  assert.equal((await stage.cli(['log-level', 'debug'])).code, 0)
  assert.equal((await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)).code, 0)
  agent = await stage.startAgent('story-agent')
  for (const vendor of ['openai', 'anthropic', 'gemini'] as const)
    for (const stream of [false, true]) {
      const answer = await agent.ask(vendor, { stream })
      assert.ok(answer.ok, answer.error ?? '')
    }
  const url = 'https://api.openai.com/v1/chat/completions'
  const type = { 'content-type': 'application/json' }
  const ask = (authorization: string, more = '') =>
    agent.ask('request', {
      url: url + more,
      method: 'POST',
      headers: { ...type, authorization },
      body: '{"model":"echo","messages":[]}',
    })
  assert.equal((await ask('Bearer PLACEHOLDER(OPENAI_API_KEY)')).value?.status, 200)
  // What an agent brings along is a secret of somebody, too.
  assert.equal((await ask(`Bearer ${foreign}`)).value?.status, 403)
  assert.equal((await ask('Bearer PLACEHOLDER(OPENAI_API_KEY)', `?api_key=${foreign}`)).value?.status, 403)
})
after(() => stage?.close())

const secrets = (): readonly string[] => [...stage.vendors.secrets, foreign]

function files(path: string): readonly string[] {
  const at = statSync(path)
  if (at.isDirectory()) return readdirSync(path).flatMap((name) => files(join(path, name)))
  return at.isFile() ? [path] : []
}

test('the search itself finds a secret in each encoding', () => {
  for (const form of [
    stage.geminiKey,
    Buffer.from(`x ${stage.geminiKey} y`).toString('base64'),
    Buffer.from(stage.geminiKey).toString('hex'),
  ])
    assert.equal(findSecret(`before ${form} after`, secrets()), stage.geminiKey)
  assert.ok(secrets().length >= 4, 'a key, two tokens and the attacker’s own')
})

test('no file of the data directory holds a secret', () => {
  const list = [...files(stage.dataDir), ...files(`${stage.dataDir}.run`)]
  assert.ok(list.some((path) => path.includes('ostiary.db')) && list.some((path) => path.includes('audit')), list.join())
  for (const path of list) assert.equal(findSecret(readFileSync(path, 'latin1'), secrets()), null, path)
})

test('no command and no page says a secret', async () => {
  for (const words of [
    ['status', '--json'],
    ['audit', 'export', '--json'],
    ['secret', 'list', '--json'],
    ['credential', 'list', '--json'],
  ]) {
    const { code, out, err } = await stage.cli(words)
    assert.equal(code, 0, `${words.join(' ')}: ${err}`)
    assert.ok(out.length > 2)
    assert.equal(findSecret(out + err, secrets()), null, words.join(' '))
  }
  const metrics = String(await stage.admin('GET', '/metrics'))
  assert.match(metrics, /^# HELP /m)
  assert.equal(findSecret(metrics, secrets()), null)
})

test('the agent sees no secret in its own environment and answers', async () => {
  const { value } = await agent.ask('dump', { paths: [stage.dataDir, stage.configFile] })
  assert.ok(value.text.length > 2_000)
  assert.equal(findSecret(value.text, [...stage.vendors.secrets]), null)
})
