// HTTP/2 end to end: what agents speak by themselves, to a vendor that offers it and to one that does not.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import { type Stage, setStage } from '../../examples/story/stage.ts'

let stage: Stage

before(async () => {
  stage = await setStage(Date.now())
})
after(() => stage.close())

async function inRun(words: readonly string[]): Promise<string> {
  const run = ['run', '--as', 'story-agent', '--', ...words]
  const { code, out, err } = await stage.inWork(run, {}, { afterMs: 30_000, signal: 'SIGTERM' })
  assert.equal(code, 0, err)
  return out
}

const ask = (url: string): string =>
  `curl -sS --http2 -w '\\n%{http_version} %{http_code}' -H "Authorization: Bearer $OPENAI_API_KEY" ${url}`
const asked = `--json '{"model":"gpt-5","input":"hi"}'`

test('curl --http2: inside CONNECT, to a vendor of HTTP/1.1', async (context) => {
  if (spawnSync('curl', ['--version']).stdout?.includes('HTTP2') !== true) return context.skip('no curl with HTTP/2 on this machine')
  const out = await inRun(['sh', '-c', `${ask('https://api.openai.com/v1/responses')} ${asked}`])
  assert.match(out, /Hello from OpenAI[\s\S]*\n2 200$/)
  assert.equal(stage.vendors.seen.at(-1)?.httpVersion, '1.1')
})

test('curl with prior knowledge: on the base-URL listener', async (context) => {
  if (spawnSync('curl', ['--version']).stdout?.includes('HTTP2') !== true) return context.skip('no curl with HTTP/2 on this machine')
  const out = await inRun(['sh', '-c', `${ask('$OSTIARY_BASE_URL/openai/v1/responses')} --http2-prior-knowledge --noproxy '*' ${asked}`])
  assert.match(out, /Hello from OpenAI[\s\S]*\n2 200$/)
})

test("Node's fetch and the official SDK: HTTP/2 both ways, whole and streamed, and many at once", async () => {
  const script = `
    const { default: Anthropic } = await import(${JSON.stringify(import.meta.resolve('@anthropic-ai/sdk'))})
    const client = new Anthropic({ maxRetries: 0 })
    const asked = { model: 'claude-sonnet-4-5', max_tokens: 64, messages: [{ role: 'user', content: 'Say hello.' }] }
    const texts = await Promise.all(Array.from({ length: 20 }, async () => (await client.messages.create(asked)).content[0].text))
    let text = ''
    for await (const event of await client.messages.create({ ...asked, stream: true })) text += event.delta?.text ?? ''
    console.log(JSON.stringify([new Set(texts).size, texts[0], text]))`
  const before = stage.vendors.seen.length
  const out = await inRun([process.execPath, '--input-type=module', '-e', script])
  assert.deepEqual(JSON.parse(out), [1, 'Hello from Anthropic', 'Hello from Anthropic'])
  const calls = stage.vendors.seen.slice(before).filter(({ vendor, path }) => vendor === 'anthropic' && path.startsWith('/v1/messages'))
  assert.equal(calls.length, 21)
  assert.deepEqual([...new Set(calls.map(({ httpVersion }) => httpVersion))], ['2.0'])
  const verified = await stage.cli(['audit', 'verify'])
  assert.equal(verified.code, 0, verified.err)
})
