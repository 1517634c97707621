// Clients of others over WebSocket, unmodified but for what each needs to use a proxy: Node's own, OpenAI's SDK, Google's SDK.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type Stage, setStage } from '../../examples/story/stage.ts'

const packages = pathToFileURL(fileURLToPath(new URL('../../node_modules/', import.meta.url))).href

let stage: Stage

before(async () => {
  stage = await setStage(Date.now())
  const stored = await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)
  assert.equal(stored.code, 0, stored.err)
})
after(() => stage?.close())

/** What a program says in a run. */
async function inRun(code: string): Promise<string> {
  const run = ['run', '--as', 'story-agent', '--', process.execPath, '--input-type=module', '-e', code]
  const { code: status, out, err } = await stage.inWork(run, {}, { afterMs: 15_000, signal: 'SIGKILL' })
  return status === 0 ? out : `${status}: ${out}${err}`
}

test("Node's own WebSocket, which heeds the proxy variables", async () => {
  const said = await inRun(`
    const ws = new WebSocket('wss://api.openai.com/v1/realtime?model=gpt-realtime',
      ['realtime', 'openai-insecure-api-key.' + process.env.OPENAI_API_KEY])
    ws.onerror = (event) => { console.log('error', event.error ?? event.message ?? event.type); process.exit(1) }
    ws.onopen = () => ws.send('{"type":"response.create"}')
    ws.onmessage = ({ data }) => { if (data.includes('response.done')) { console.log(ws.protocol, 'done'); ws.close() } }
    ws.onclose = () => process.exit(0)
  `)
  assert.equal(said, 'realtime done\n')
})

test("OpenAI's SDK: realtime on Node's WebSocket", async () => {
  const said = await inRun(`
    import OpenAI from '${packages}openai/index.mjs'
    import { OpenAIRealtimeWebSocket } from '${packages}openai/realtime/websocket.mjs'
    const rt = new OpenAIRealtimeWebSocket({ model: 'gpt-realtime', dangerouslyAllowBrowser: true }, new OpenAI({ dangerouslyAllowBrowser: true }))
    rt.socket.addEventListener('open', () => rt.send({ type: 'response.create' }))
    rt.on('error', (error) => { console.log(error.message); process.exit(1) })
    rt.on('response.output_text.delta', (event) => console.log(event.delta))
    rt.on('response.done', () => { rt.close(); setTimeout(() => process.exit(0), 100) })
  `)
  assert.equal(said, 'Hello from OpenAI\n')
})

test("Google's SDK: Live by the base URL, since its `ws` heeds no proxy variable", async () => {
  const said = await inRun(`
    import { GoogleGenAI } from '${packages}@google/genai/dist/node/index.mjs'
    const ai = new GoogleGenAI({ apiKey: process.env.GEMINI_API_KEY, httpOptions: { baseUrl: process.env.OSTIARY_BASE_URL + '/gemini' } })
    const session = await ai.live.connect({ model: 'gemini-live-2.5', config: {}, callbacks: {
      onmessage: (message) => {
        if (message.serverContent?.turnComplete) { console.log(message.serverContent.modelTurn.parts[0].text); session.close(); setTimeout(() => process.exit(0), 100) }
      },
      onerror: (event) => { console.log('error', event.message); process.exit(1) },
      onclose: (event) => { if (event.code !== 1005 && event.code !== 1000) console.log('closed', event.code, event.reason) },
    } })
    session.sendClientContent({ turns: 'hi', turnComplete: true })
  `)
  const { out } = await stage.cli(['audit', 'tail', '-n', '3'])
  assert.equal(said, 'Hello from Gemini\n', out)
})
