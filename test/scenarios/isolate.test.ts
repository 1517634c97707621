// `ostiary run --isolate`: whatever the command dials ends in the proxy or nowhere. Addresses of the tests are those of
// documentation (RFC 5737, RFC 3849): were the isolation to fail, nobody would be called.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { probeSandbox } from '../../src/launch/sandbox.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const probe = probeSandbox(process.getuid?.() ?? 0, true)
const skip = probe.custody === 'namespace' ? false : `no namespaces here: ${probe.why}`
let stage: Stage

before(async () => {
  if (skip !== false) return
  stage = await setStage(Date.now())
  const stored = await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)
  assert.equal(stored.code, 0, stored.err)
})
after(() => stage?.close())

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** What runs inside finds these by name; it prints one line of JSON for each thing it says. */
const prelude = `
const net = require('node:net'), tls = require('node:tls'), https = require('node:https'), dns = require('node:dns'), dgram = require('node:dgram'), fs = require('node:fs')
for (const name of Object.keys(process.env)) if (/_proxy$/i.test(name)) delete process.env[name]
const say = (value) => console.log(JSON.stringify(value))
const key = process.env.OPENAI_API_KEY
const ca = fs.readFileSync(process.env.NODE_EXTRA_CA_CERTS)
// Direct: no agent that knows a proxy.
const get = (url, headers = {}, more = {}) => new Promise((resolve) => {
  const request = https.request(url, { headers, agent: new https.Agent(), timeout: 8000, ...more }, (answer) => {
    let text = ''
    answer.on('data', (chunk) => { text += chunk }).on('end', () => resolve({ status: answer.statusCode, text, code: /"code":"([a-z_.]+)"/.exec(text)?.[1] ?? null }))
  })
  request.on('error', (error) => resolve({ error: error.code ?? error.message })).on('timeout', () => request.destroy(new Error('silent')))
  request.end()
})
// Plain TCP: what comes back, or how it fails.
const raw = (host, port, bytes, waitMs = 3000) => new Promise((resolve) => {
  let text = ''
  const socket = net.connect({ host, port })
  const timer = setTimeout(() => done('silent'), waitMs)
  const done = (error) => { clearTimeout(timer); socket.destroy(); resolve({ text, error, code: /"code":"([a-z_.]+)"/.exec(text)?.[1] ?? null }) }
  socket.on('connect', () => socket.write(bytes)).on('data', (chunk) => { text += chunk.toString('latin1') }).on('error', (error) => done(error.code)).on('close', () => done(''))
})
`

function inside(script: string, words: readonly string[] = []): Promise<Ended> {
  const command = [process.execPath, '-e', `${prelude};(async () => {${script}})()`]
  return ostiary(['run', '--as', 'story-agent', '--isolate', ...words, '--', ...command])
}

function ostiary(words: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [bin, '--config', stage.configFile, '--data', stage.dataDir, ...words], {
      cwd: `${stage.dir}/work`,
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

// biome-ignore lint/suspicious/noExplicitAny: what a script says is the test's own
const said = ({ out, err }: Ended): readonly any[] => {
  assert.notEqual(out, '', err)
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

test('a client that knows no proxy lands in it by SNI, one that does by its variables; the record says isolated', { skip }, async () => {
  const done = await inside(`
    const headers = { authorization: 'Bearer ' + key }
    say(await get('https://api.openai.com/v1/models', headers))
    const proxy = require('node:http').request({ host: '127.0.0.1', port: new URL(process.env.OSTIARY_BASE_URL).port, path: new URL(process.env.OSTIARY_BASE_URL).pathname + '/openai/v1/models', headers, agent: new (require('node:http').Agent)() }, (answer) => { say(answer.statusCode); answer.resume() })
    proxy.end()`)
  const [direct, base] = said(done)
  assert.equal(direct.status, 200, JSON.stringify(direct))
  assert.equal(base, 200)
  assert.equal(done.code, 0)
  const { out } = await stage.cli(['audit', 'tail', '--json'])
  const intents = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter((entry) => entry.kind === 'intent')
  assert.deepEqual(
    intents.slice(-2).map(({ way, custody, host }) => [way, custody, host]),
    [
      ['transparent', 'namespace+isolated', 'api.openai.com'],
      ['base-url', 'namespace+isolated', 'api.openai.com'],
    ],
  )
})
