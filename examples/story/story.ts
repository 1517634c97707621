// `npm start`: the main job on embedded defaults. An agent without a key calls OpenAI, Anthropic and Gemini, then attacks.
// Exit code 0 only if every line held. `--json` prints one document, `--keep` leaves everything running.
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attacks, findSecret } from './attacks.ts'
import { createPrinter, ending, type Printer } from './print.ts'
import { type Agent, type Stage, setStage } from './stage.ts'

if (Number(process.versions.node.split('.')[0]) < 26) {
  process.stderr.write(`This needs Node 26, which comes with \`npm ci\`; ${process.version} is running. Start it as \`npm start\`.\n`)
  process.exit(2)
}
const args = new Set(process.argv.slice(2))
for (const arg of args) {
  if (['--json', '--keep'].includes(arg)) continue
  process.stderr.write(
    `Usage: npm start [-- --json] [-- --keep]\n  --json  one JSON document with \`ok\` and \`checks\`\n  --keep  leave everything running, with three commands to try\n`,
  )
  process.exit(arg === '--help' ? 0 : 2)
}

const started = performance.now()
const print = createPrinter(args.has('--json'))
let stage: Stage | null = null
try {
  print.progress('starting Ostiary and three stand-ins for the vendors ...')
  stage = await setStage(Date.now())
  await story(stage, print)
  if (args.has('--keep')) keep(stage)
} catch (error) {
  print.check('the story runs', false, String(error instanceof Error ? error.stack : error))
} finally {
  if (!args.has('--keep')) await stage?.close()
}
const ok = print.checks.length > 20 && print.checks.every((check) => check.ok)
const seconds = Math.round((performance.now() - started) / 100) / 10
if (args.has('--json')) process.stdout.write(`${JSON.stringify({ ok, seconds, checks: print.checks }, null, 2)}\n`)
else process.stdout.write(ending(print.checks, seconds, args.has('--keep')))
process.exitCode = ok ? 0 : 1

async function story(stage: Stage, print: Printer): Promise<void> {
  const stored = await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)
  print.title('The stage')
  print.check(
    'secret',
    stored.code === 0,
    stored.code === 0 ? 'Gemini offers no federation: its key is sealed, for Gemini alone.' : stored.err,
  )
  print.check('federation', true, 'OpenAI and Anthropic: no key is stored; Ostiary signs a statement about the agent and exchanges it.')
  print.progress('starting the agent ...')
  const agent = await stage.startAgent('story-agent', { OPENAI_API_KEY: 'sk-proj-inherited-and-to-be-removed-0123456789abcdef' })
  const environment = await agent.ask('environment')
  if (!environment.ok) throw new Error(environment.error)
  print.check(
    'no inherited key',
    agent.said.join('').includes('OPENAI_API_KEY'),
    `The launcher removed what the agent would have inherited: ${/removed from the environment: (.*)/.exec(agent.said.join(''))?.[1] ?? 'nothing'}.`,
  )
  for (const vendor of ['openai', 'anthropic', 'gemini'] as const)
    for (const stream of [false, true]) await call(stage, agent, vendor, stream)
  await otherWays(stage, agent, print)
  await attacks({ stage, agent, print })
  await agent.end()
  await verifies(stage, print)
}

async function call(stage: Stage, agent: Agent, vendor: 'openai' | 'anthropic' | 'gemini', stream: boolean): Promise<void> {
  const names = { openai: 'OpenAI', anthropic: 'Anthropic', gemini: 'Gemini' }
  print.progress(`calling ${names[vendor]} ...`)
  const answer = await agent.ask(vendor, { stream })
  print.title(`${names[vendor]}, ${stream ? 'streaming' : 'one answer'}, by the official SDK`)
  const got = stage.vendors.seen.filter((one) => one.vendor === vendor).at(-1)
  const record = await lastRecord(stage, vendor)
  const slot = { openai: 'authorization', anthropic: 'authorization', gemini: 'x-goog-api-key' }[vendor]
  const received = got?.headers[slot] ?? ''
  const secret = [...stage.vendors.secrets].find((one) => received.includes(one))
  const held =
    (await agent.ask('environment')).value?.variables?.[
      { openai: 'OPENAI_API_KEY', anthropic: 'ANTHROPIC_API_KEY', gemini: 'GEMINI_API_KEY' }[vendor]
    ] ?? ''
  // biome-ignore lint/suspicious/noExplicitAny: a record is JSON of the product
  const of = record as any
  print.detail(
    'proven',
    `${of?.spiffeId} by ${of?.provider}: ${Object.entries(of?.process ?? {})
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}, custody ${of?.custody}`,
  )
  print.detail('allowed by', `"${(of?.policies ?? []).join('", "')}" for ${of?.action}`)
  print.detail(
    'credential',
    `${of?.credential} (${of?.credentialKind}), ends in ${Math.round((Date.parse(of?.expiry) - Date.now()) / 60_000)} min`,
  )
  print.detail('agent held', `${held.slice(0, 24)}... (placeholder)`)
  print.detail(
    'vendor got',
    `${slot}: ${secret === undefined ? received.slice(0, 30) : received.replace(secret, `${secret.slice(0, 14)}...`)}`,
  )
  const expected = `Hello from ${names[vendor]}`
  const clean = findSecret(JSON.stringify(answer), stage.vendors.secrets) === null
  const ok =
    answer.ok && answer.value?.text === expected && secret !== undefined && held.includes('Ost1ary') && of?.decision === 'permit' && clean
  print.check(
    `${vendor}${stream ? ' streaming' : ''}`,
    ok,
    answer.ok ? `"${answer.value?.text}" in ${answer.ms} ms` : `failed: ${answer.error}`,
    { record: of, received: slot },
  )
}

async function otherWays(stage: Stage, agent: Agent, print: Printer): Promise<void> {
  print.progress('calling by HTTP/2 and WebSocket ...')
  print.title('HTTP/2 and WebSocket: one flow, one log')
  const before = stage.vendors.seen.length
  const many = await agent.ask('http2')
  const got = stage.vendors.seen.slice(before).filter((one) => one.vendor === 'anthropic' && one.path === '/v1/messages')
  print.check(
    'http2',
    many.ok &&
      many.value?.protocol === 'h2' &&
      many.value.texts.length === 8 &&
      got.length === 8 &&
      got.every((one) => one.httpVersion === '2.0'),
    many.ok
      ? `${many.value?.texts.length} calls at once on one connection of HTTP/2, each decided and recorded; HTTP/2 to the vendor too.`
      : `failed: ${many.error}`,
  )
  const talk = await agent.ask('websocket')
  const said: readonly string[] = talk.value?.said ?? []
  const handed = stage.vendors.upgraded.at(-1)
  const slot = JSON.stringify(handed?.headers ?? {})
  print.check(
    'websocket',
    talk.ok && said.some((one) => one.includes('Hello from OpenAI')) && [...stage.vendors.secrets].some((secret) => slot.includes(secret)),
    talk.ok ? 'A realtime session: the placeholder came as a subprotocol, the token went out as a header.' : `failed: ${talk.error}`,
  )
  print.check(
    'websocket scrubbed',
    talk.ok && said.at(-1) === '{"type":"done"}' && findSecret(said.join(''), stage.vendors.secrets) === null,
    'The vendor gave the token back, a character a frame: the agent got none of it.',
  )
}

async function lastRecord(stage: Stage, service: string): Promise<unknown> {
  const exported = await stage.cli(['audit', 'export', '--json'])
  const lines = exported.out
    .trimEnd()
    .split('\n')
    .filter((line) => line.startsWith('{'))
  return lines
    .map((line) => JSON.parse(line))
    .filter((one) => one.service === service && one.decision === 'permit')
    .at(-1)
}

async function verifies(stage: Stage, print: Printer): Promise<void> {
  print.title('The audit log, offline')
  await new Promise((resolve) => setTimeout(resolve, 1_200))
  const copy = join(stage.dir, 'copy')
  for (const name of readdirSync(stage.dataDir).filter((one) => /^audit(-\d+)?(\.pub)?$/.test(one)))
    cpSync(join(stage.dataDir, name), join(copy, name), { recursive: true })
  const verified = await stage.cli(['--data', copy, 'audit', 'verify'])
  print.check('audit verifies', verified.code === 0, verified.out.trim().split('\n').at(-1) ?? '')
  const everything = files(copy)
    .map((path) => readFileSync(path, 'latin1'))
    .join('\n')
  print.check('audit holds no secret', findSecret(everything, stage.vendors.secrets) === null, 'No secret stands in it, in any encoding.')
  const [bundle] = files(copy)
    .filter((path) => path.includes('entries'))
    .sort((a, b) => statSync(b).size - statSync(a).size)
  if (bundle === undefined) return print.check('audit notices', false, 'there is no entry bundle to change')
  const bytes = readFileSync(bundle)
  const at = bytes.indexOf('permit')
  bytes[at] = (bytes[at] as number) ^ 1
  writeFileSync(bundle, bytes)
  const changed = await stage.cli(['--data', copy, 'audit', 'verify'])
  print.check(
    'audit notices',
    at > 0 && changed.code !== 0,
    `One byte of the copy changed: ${
      (changed.out + changed.err)
        .trim()
        .split('\n')
        .find((line) => /edit|entry|hash/i.test(line)) ?? changed.out.trim()
    }`,
  )
}

function files(dir: string): string[] {
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name)
    return statSync(path).isDirectory() ? files(path) : [path]
  })
}

function keep(stage: Stage): void {
  const on = `--config ${stage.configFile} --data ${stage.dataDir}`
  process.stdout.write(`\nEverything is still running; end it with Ctrl-C. Try:
  bin/ostiary.mjs ${on} status
  bin/ostiary.mjs ${on} audit tail
  bin/ostiary.mjs ${on} run --as story-agent -- env\n`)
  const end = (): void => void stage.close().then(() => process.exit(process.exitCode))
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
}
