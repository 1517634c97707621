// The same checks on every way in: CONNECT, the base URL, HTTP/2 and WebSocket on both, and the absolute form. A way in that checks less is the way of an attack.
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { startWire, type Told, type Wire } from './wire.test-kit.ts'

const host = 'api.openai.com'
const body = '{"model":"gpt-5","input":"hi"}'
const own = 'Authorization: Bearer PLACEHOLDER(OPENAI_API_KEY)'

let stage: Stage
let wire: Wire | undefined

before(async () => {
  stage = await setStage(Date.now())
})
// Alerts suspend a run, so no run tries more than two attacks: each must fail for its own reason.
let used = 0
const ended: Promise<void>[] = []
const renew = async (): Promise<void> => {
  // The old one may end while the new one starts.
  if (wire !== undefined) ended.push(wire.end())
  wire = startWire(stage)
  used = 0
}
beforeEach(async () => {
  if (wire === undefined || used++ >= 2) await renew()
})
after(async () => {
  await wire?.end()
  await Promise.all(ended)
  await stage?.close()
})

const send = (told: Told) => (wire as Wire).send(told)

interface Asked {
  readonly fields?: readonly string[]
  readonly path?: string
}

const ways = ['connect', 'base', 'connect h2', 'base h2', 'connect websocket', 'base websocket'] as const
/** What a well-formed call is answered. */
const well = (way: string): number => (way.endsWith('websocket') ? 101 : 200)

function build(way: (typeof ways)[number] | 'absolute', { fields = [own], path = '/v1/responses' }: Asked): Told {
  const [via, over] = way.split(' ') as ['connect' | 'base' | 'absolute', string | undefined]
  const [target, to, more] = {
    connect: [path, host, []],
    base: [`POINTER/openai${path}`, 'BASEHOST', []],
    absolute: [`https://${host}${path}`, host, ['PROXYAUTH']],
  }[via] as [string, string, string[]]
  const told = { via: via === 'absolute' ? 'proxy' : via, h2: over === 'h2', host } as const
  if (over === 'websocket') {
    const key = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']
    // It stays open where it is permitted: a moment is enough to see that.
    return { ...told, raw: `${[`GET ${target} HTTP/1.1`, `Host: ${to}`, ...more, ...fields, ...key].join('\r\n')}\r\n\r\n`, waitMs: 1_500 }
  }
  const raw = [
    `POST ${target} HTTP/1.1`,
    `Host: ${to}`,
    ...more,
    ...fields,
    'Content-Type: application/json',
    'Connection: close',
    `Content-Length: ${body.length}`,
  ]
  return { ...told, raw: `${raw.join('\r\n')}\r\n\r\n${body}` }
}

const calls = (): number => stage.vendors.seen.filter((one) => !one.path.includes('oauth')).length + stage.vendors.upgraded.length

const attacks: readonly (readonly [string, Asked, RegExp])[] = [
  ['no placeholder', { fields: [] }, /^inject\.no_placeholder$/],
  ['a foreign key', { fields: [`Authorization: Bearer sk-proj-${'A'.repeat(40)}`] }, /^inject\.foreign_credential$/],
  ['the placeholder and a foreign key', { fields: [own, `X-Api-Key: sk-ant-api03-${'A'.repeat(40)}`] }, /^inject\.foreign_/],
  [
    'the placeholder of another service',
    { fields: ['Authorization: Bearer PLACEHOLDER(ANTHROPIC_API_KEY)'] },
    /^inject\.foreign_placeholder$/,
  ],
  ['the placeholder in another field', { fields: [own, 'X-Debug: PLACEHOLDER(OPENAI_API_KEY)'] }, /^inject\.foreign_placeholder$/],
  ['the placeholder in the query', { path: '/v1/responses?k=PLACEHOLDER(OPENAI_API_KEY)' }, /^inject\.foreign_placeholder$/],
  ['a foreign key in the query', { path: `/v1/responses?api_key=sk-proj-${'A'.repeat(40)}` }, /^inject\.foreign_credential$/],
  ['what policy does not permit', { path: '/v1/files' }, /^decide\.(?:denied|socket)$/],
]

for (const via of ways) {
  test(`${via}: the well-formed call is answered`, async () => {
    const heard = await send(build(via, {}))
    assert.equal(heard.status, well(via), JSON.stringify(heard))
  })
  for (const [name, asked, code] of attacks) {
    test(`${via}: refused: ${name}`, async () => {
      const before = calls()
      const heard = await send(build(via, asked))
      assert.match(heard.code ?? '', code, JSON.stringify(heard))
      assert.equal(calls(), before, 'nothing was passed on')
    })
  }
}

for (const via of ['connect', 'base', 'connect h2', 'base h2'] as const) {
  test(`${via}: a cookie does not go out`, async () => {
    const heard = await send(build(via, { fields: [own, `Cookie: session=sk-proj-${'A'.repeat(40)}`] }))
    const raw = stage.vendors.seen.at(-1)?.raw ?? ''
    assert.ok(heard.status === 403 || (heard.status === 200 && !raw.includes('AAAA')), `${heard.status}: ${raw}`)
  })

  test(`${via}: the slot twice goes out once, or not at all`, async () => {
    const before = calls()
    const heard = await send(build(via, { fields: [own, own] }))
    if (heard.status !== 200) return assert.equal(calls(), before)
    const raw = stage.vendors.seen.at(-1)?.raw ?? ''
    assert.equal(raw.match(/^authorization:/gim)?.length, 1, 'one credential')
    assert.ok(!raw.includes('Ost1ary'))
  })
}

test('base: a web page is refused, and told nothing of CORS', async () => {
  const before = calls()
  for (const field of ['Origin: https://evil.example', 'Sec-Fetch-Site: cross-site']) {
    const heard = await send(build('base', { fields: [own, field] }))
    assert.equal(heard.code, 'accept.browser')
    assert.doesNotMatch(heard.text, /access-control/i)
  }
  assert.equal(calls(), before)
})

test('alerts suspend the run on every way in', async () => {
  for (let trip = 0; trip < 5; trip++) await send(build('connect', { path: '/v1/responses?k=PLACEHOLDER(OPENAI_API_KEY)' }))
  for (const via of ways) assert.equal((await send(build(via, {}))).code, 'identify.suspended', via)
  await renew()
})

test('absolute form: whatever it is answered, no attack passes', async () => {
  const plain = await send(build('absolute', {}))
  for (const [name, asked] of attacks) {
    const before = calls()
    if (used++ >= 2) await renew()
    const heard = await send(build('absolute', asked))
    assert.ok(heard.status >= 400 && heard.code !== null, `${name}: ${JSON.stringify(heard)}`)
    assert.equal(calls(), before, name)
  }
  assert.ok(plain.status === 200 || plain.status >= 400, JSON.stringify(plain))
})

test('a fact that turns refuses on each way in, also on a connection that was permitted before', async () => {
  await stage.setFacts({ stage: 'test' })
  for (const via of ways) assert.equal((await send(build(via, {}))).code, 'decide.forbidden', via)
  await stage.setFacts({ stage: 'production' })
  for (const via of ways) assert.equal((await send(build(via, {}))).status, well(via), via)
})

test('a process that is not in the run gets nothing by its pointer, on no way in', async () => {
  const before = calls()
  const { run } = (await stage.admin('GET', '/runs')).runs.map((one: { id?: string; run?: string }) => ({ run: one.id ?? one.run })).at(-1)
  const { listeners } = await stage.admin('GET', '/status')
  for (const { address } of listeners.filter((one: { address: string }) => /^127\.0\.0\.1:/.test(one.address))) {
    const answer = await fetch(`http://${address}/r/${run}/openai/v1/responses`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
    })
    assert.ok(answer.status >= 400, `${address}: ${answer.status}`)
  }
  assert.equal(calls(), before)
})
