// The way out through a corporate network: a real squid that passes, one that wants a login and one that reads, with the vendors'
// own SDKs in a run on the other side.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { after, before, type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { type Agent, type Answer, type Stage, setStage } from '../../examples/story/stage.ts'
import { noSquid, type Squid, type SquidWanted, startSquid } from './squid.test-kit.ts'

let stage: Stage
let agent: Agent
let plain = ''
/** Why the vendors cannot stand at their port here. */
let noPort: string | null = null
const relays: Server[] = []
const squids: Squid[] = []
const addresses: Record<string, string> = {}

/** The vendors' own port, on addresses of loopback that only squid is told. */
async function relay(address: string, port: number): Promise<void> {
  const server = createServer((socket: Socket) => {
    const vendor = connect(port, '127.0.0.1')
    for (const [one, other] of [
      [socket, vendor],
      [vendor, socket],
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
      one.pipe(other)
    }
  })
  relays.push(server)
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(443, address, resolve))
}

before(async () => {
  stage = await setStage(Date.now())
  plain = readFileSync(stage.configFile, 'utf8').replace(/ {2}dangerouslyFixedAddresses:\n(?: {4}- .*\n)+/, '')
  try {
    for (const [at, [vendor, hosts]] of Object.entries(stage.vendors.hosts).entries()) {
      const address = `127.0.0.${77 + at}`
      await relay(address, stage.vendors.ports[vendor as 'openai'])
      for (const host of hosts) addresses[host] = address
    }
    addresses['pinned.vendor.example'] = '127.0.0.77'
  } catch (error) {
    noPort = `port 443 cannot be had on loopback (${(error as NodeJS.ErrnoException).code})`
  }
  agent = await stage.startAgent('story-agent')
})
after(async () => {
  await stage?.close()
  for (const squid of squids) await squid.stop()
  for (const server of relays) server.close()
})

async function behind(context: TestContext, mode: SquidWanted['mode'], port?: number): Promise<Squid | null> {
  const why = noSquid(mode === 'bump') ?? noPort
  if (why !== null) {
    context.skip(why)
    return null
  }
  const trusts = readFileSync(`${stage.dir}/config/vendors-ca.pem`, 'utf8')
  const squid = await startSquid(stage.dir, { mode, hosts: addresses, trusts, ...(port === undefined ? {} : { port }) })
  squids.push(squid)
  return squid
}

/** Nobody answers names here, as behind many a corporate proxy. */
async function wayOut(lines: readonly string[], extra = ''): Promise<void> {
  writeFileSync(`${stage.dir}/config/extra.pem`, `${readFileSync(`${stage.dir}/config/vendors-ca.pem`, 'utf8')}\n${extra}`)
  const egress = ['resolver: "127.0.0.1:1"', ...lines].map((line) => `  ${line}\n`).join('')
  const text = plain.replace('  extraCa: vendors-ca.pem\n', `  extraCa: extra.pem\n${egress}`)
  writeFileSync(stage.configFile, `${text}tunnels: [{ host: pinned.vendor.example, reason: test }]\n`)
  const reload = await stage.cli(['reload'])
  assert.equal(reload.code, 0, reload.out + reload.err)
  const seal = await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)
  assert.equal(seal.code, 0, seal.err)
}

// biome-ignore lint/suspicious/noExplicitAny: lines of the log
async function entries(): Promise<any[]> {
  const { out } = await stage.cli(['--json', 'audit', 'tail', '--count', '12'])
  return out
    .trim()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
}

/** squid writes down what has ended, when it has. */
async function logged(squid: Squid, word: string): Promise<void> {
  for (let tries = 0; tries < 100 && !squid.log().includes(word); tries++) await pause(50)
}

const refusedWith = (answer: Answer, code: string): void => {
  assert.equal(answer.ok, false, JSON.stringify(answer))
  assert.ok(JSON.stringify(answer).includes(code), JSON.stringify(answer))
}

test('through a proxy that passes: token endpoint, API, HTTP/2; the record says via', async (context) => {
  const squid = await behind(context, 'plain')
  if (squid === null) return
  await wayOut([`proxy: http://127.0.0.1:${squid.port}`, 'inspects: true'])
  for (const vendor of ['openai', 'anthropic', 'gemini']) {
    const answer = await agent.ask(vendor)
    assert.equal(answer.ok, true, `${vendor}: ${JSON.stringify(answer)}`)
  }
  await logged(squid, 'CONNECT auth.openai.com:443')
  assert.match(squid.log(), /CONNECT auth.openai.com:443/, 'it writes down a tunnel that has ended')
  assert.ok(!squid.log().includes('/v1'), 'it reads nothing')
  assert.equal(stage.vendors.seen.filter((one) => one.vendor === 'anthropic').at(-1)?.httpVersion, '2.0')
  const calls = (await entries()).filter((one) => one.kind === 'intent')
  assert.deepEqual(
    calls.map((one) => [one.host, one.via]),
    ['api.openai.com', 'api.anthropic.com', 'generativelanguage.googleapis.com'].map((host) => [host, `127.0.0.1:${squid.port}`]),
  )
})

test('a certificate that only an added CA knows: no credential, unless the proxy may read', async (context) => {
  const squid = await behind(context, 'plain')
  if (squid === null) return
  await wayOut([`proxy: http://127.0.0.1:${squid.port}`])
  const before = stage.vendors.seen.length
  refusedWith(await agent.ask('gemini'), 'forward.inspected')
  // The token endpoint would have seen a statement.
  refusedWith(await agent.ask('openai'), 'obtain.exchange_failed')
  assert.equal(stage.vendors.seen.length, before, 'no vendor got a byte of HTTP')
})

test('an inspecting proxy: refused until it is said that it may read, and then it reads', async (context) => {
  const squid = await behind(context, 'bump')
  if (squid === null) return
  await wayOut([`proxy: http://127.0.0.1:${squid.port}`, 'inspects: true'])
  refusedWith(await agent.ask('gemini'), 'forward.certificate')
  await wayOut([`proxy: http://127.0.0.1:${squid.port}`], squid.ca)
  const before = stage.vendors.seen.length
  refusedWith(await agent.ask('gemini'), 'forward.inspected')
  assert.equal(stage.vendors.seen.length, before)
  assert.ok(!squid.log().includes('generateContent'), squid.log())
  await wayOut([`proxy: http://127.0.0.1:${squid.port}`, 'inspects: true'], squid.ca)
  for (const vendor of ['gemini', 'openai', 'anthropic']) {
    const answer = await agent.ask(vendor)
    assert.equal(answer.ok, true, `${vendor}: ${JSON.stringify(answer)}`)
  }
  await logged(squid, 'generateContent')
  assert.match(squid.log(), /generateContent/)
})

test('a proxy that wants a login, one that is away, and back again', async (context) => {
  const login = await behind(context, 'login')
  if (login === null) return
  await wayOut([`proxy: http://127.0.0.1:${login.port}`, 'inspects: true'])
  refusedWith(await agent.ask('gemini'), 'forward.proxy_authentication')
  await login.stop()
  refusedWith(await agent.ask('gemini'), 'forward.proxy')
  assert.ok((await entries()).some((one) => one.code === 'forward.proxy' && /ECONNREFUSED/.test(one.detail)))
  assert.ok((await behind(context, 'plain', login.port)) !== null)
  assert.equal((await agent.ask('gemini')).ok, true)
})

test('an exception goes directly, and what is vetted here is vetted still', async (context) => {
  const squid = await behind(context, 'plain')
  if (squid === null) return
  await wayOut([`proxy: http://127.0.0.1:${squid.port}`, 'noProxy: [googleapis.com]', 'inspects: true'])
  refusedWith(await agent.ask('gemini'), 'forward.resolve')
  assert.ok(!squid.log().includes('CONNECT'))
})

test('a tunnel goes the same way', async (context) => {
  const squid = await behind(context, 'plain')
  if (squid === null) return
  await wayOut([`proxy: http://127.0.0.1:${squid.port}`, 'inspects: true'])
  writeFileSync(
    stage.configFile,
    readFileSync(stage.configFile, 'utf8').replace(
      '  - cedar: |\n',
      '  - cedar: |\n      @id("tunnels")\n      permit (principal in Group::"story", action == Action::"tunnel", resource);\n',
    ),
  )
  assert.equal((await stage.cli(['reload'])).code, 0)
  const answer = await agent.ask('request', { url: 'https://pinned.vendor.example/' })
  // The vendor's own certificate came, which Ostiary does not vouch for.
  assert.match(answer.error ?? '', /verify|certificate/)
  await logged(squid, 'CONNECT pinned.vendor.example:443')
  assert.match(squid.log(), /CONNECT pinned.vendor.example:443/, JSON.stringify(answer))
  assert.ok((await entries()).some((one) => one.host === 'pinned.vendor.example' && one.via === `127.0.0.1:${squid.port}`))
})
