// Broken, ambiguous and hostile input against a started Ostiary: a refusal each, nothing passed on, the process lives.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { startWire, type Wire } from './wire.test-kit.ts'

const openai = 'api.openai.com'
const body = '{"model":"gpt-5","input":"hi"}'
const key = 'Authorization: Bearer PLACEHOLDER(OPENAI_API_KEY)'
const length = `Content-Length: ${body.length}`
const type = 'Content-Type: application/json'
const head = (...lines: readonly string[]): string => `${lines.join('\r\n')}\r\n\r\n`
const post = 'POST /v1/responses HTTP/1.1'
const host = `Host: ${openai}`
const rest = [key, type, 'Connection: close', length] as const

let stage: Stage
let wire: Wire

before(async () => {
  stage = await setStage(Date.now())
  wire = startWire(stage)
})
after(async () => {
  await wire?.end()
  await stage?.close()
})

const seen = (): number => stage.vendors.seen.filter((one) => !one.path.includes('oauth')).length

test('the same bytes, well formed, are answered: the attacks below fail for the reason that they name', async () => {
  const heard = await wire.send({ via: 'connect', host: openai, raw: head(post, host, ...rest) + body })
  assert.equal(heard.status, 200, JSON.stringify(heard))
  assert.equal(seen(), 1)
})

const attacks: readonly (readonly [string, string, readonly number[], string?])[] = [
  ['Host names another service', head(post, 'Host: api.anthropic.com', ...rest) + body, [421]],
  ['Host names nobody', head(post, 'Host: evil.example', ...rest) + body, [421]],
  ['Host with another port', head(post, `${host}:8443`, ...rest) + body, [421]],
  ['two Host fields', head(post, host, 'Host: evil.example', ...rest) + body, [400]],
  ['two Host fields, both right', head(post, host, host, ...rest) + body, [400]],
  ['no Host', head(post, ...rest) + body, [400]],
  ['SNI of another service', head(post, host, ...rest) + body, [421], 'api.anthropic.com'],
  ['length with chunks', `${head(post, host, ...rest, 'Transfer-Encoding: chunked')}0\r\n\r\n`, [400]],
  ['two lengths', head(post, host, ...rest, 'Content-Length: 3') + body, [400]],
  ['length with a sign', head(post, host, key, type, 'Content-Length: +30') + body, [400]],
  ['bare LF', `${post}\n${host}\n${key}\n${length}\n\n${body}`, [400]],
  ['bare CR in a value', head(post, host, ...rest, 'X-A: b\rc') + body, [400]],
  ['NUL in a value', head(post, host, ...rest, 'X-A: b\0c') + body, [400]],
  ['folded field', head(post, host, ...rest, 'X-A: b', ' c: d') + body, [400]],
  ['blank before the colon', head(post, host, ...rest, 'X-A : b') + body, [400]],
  ['a head of 200 KiB', head(post, host, ...rest, `X-A: ${'a'.repeat(200_000)}`) + body, [431]],
  ['a target of 70 KiB', head(`POST /v1/responses?q=${'a'.repeat(70_000)} HTTP/1.1`, host, ...rest) + body, [414, 431]],
  ['chunk with a bad size', `${head(post, host, key, type, 'Transfer-Encoding: chunked')}zz\r\nab\r\n0\r\n\r\n`, [400]],
  ['TRACE', head('TRACE /v1/responses HTTP/1.1', host, key), [501, 403]],
  ['HTTP/1.0', head('POST /v1/responses HTTP/1.0', host, ...rest) + body, [505]],
  ...['/v1/%2e%2e/responses', '/v1/x/../responses', '/v1%2fresponses', '/v1//responses', '/v1/responses;a', '/v1/%252e/x', '/v1/a\\b'].map(
    (path) => [`the path ${path}`, head(`POST ${path} HTTP/1.1`, host, ...rest) + body, [400]] as const,
  ),
]

for (const [name, raw, statuses, sni] of attacks) {
  test(`refused, and nothing is sent: ${name}`, async () => {
    const before = seen()
    const heard = await wire.send({ via: 'connect', host: openai, raw, ...(sni === undefined ? {} : { sni }) })
    const tlsRefused = sni !== undefined && heard.status === 0 && heard.error !== '' && heard.error !== 'silent'
    assert.ok(tlsRefused || statuses.includes(heard.status), JSON.stringify(heard).slice(0, 600))
    assert.equal(seen(), before, 'nothing was passed on')
    assert.equal((await stage.admin('GET', '/status')).ready, true)
  })
}

test('a request hidden behind a body is never a second request to the vendor', async () => {
  const before = seen()
  const hidden = head(post, host, key, type, 'Content-Length: 0')
  await wire.send({
    via: 'connect',
    host: openai,
    raw: `${head(post, host, key, type, 'Content-Length: 3', 'Transfer-Encoding: chunked')}0\r\n\r\n${hidden}`,
  })
  assert.equal(seen(), before)
})

test('a secret that could split a header is not stored, in no place', async () => {
  for (const bad of ['AIza\r\nX-Evil: 1', 'AIza\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'AIza\naaaaaaaaaaaaaaaaaaaaaaaa']) {
    const { code, err } = await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], bad)
    assert.notEqual(code, 0)
    assert.notEqual(err, '')
    assert.ok(!err.includes('aaaaaaaa'), 'what was typed is not said back')
  }
  assert.doesNotMatch((await stage.cli(['secret', 'list'])).out, /^gemini/m)
})

test('a second instance on the same data directory says so and ends; the first one lives', async () => {
  const { code, err, out } = await stage.cli(['start'])
  assert.notEqual(code, 0)
  assert.match(err + out, /already|running|another|in use|lock/i)
  assert.equal((await stage.admin('GET', '/status')).ready, true)
})

test('a broken configuration never comes into force: the last good one stays, status and exit codes say it', async () => {
  const good = readFileSync(stage.configFile, 'utf8')
  const call = async (): Promise<number> =>
    (await wire.send({ via: 'connect', host: openai, raw: head(post, host, ...rest) + body })).status
  for (const [name, bad] of [
    ['broken YAML', `${good}\n  : [`],
    ['an unknown key', `${good}\nsurprise: 1\n`],
    ['a key twice', `${good}\ntrustDomain: other.example\n`],
    ['a policy that does not parse', `${good}  - cedar: "permit (principal, action"\n`],
    ['nothing', ''],
  ] as const) {
    writeFileSync(stage.configFile, bad)
    const reload = await stage.cli(['reload'])
    if (name !== 'nothing') {
      assert.equal(reload.code, 1, `${name}: ${reload.out}${reload.err}`)
      assert.equal((await stage.cli(['check'])).code, 1, name)
      assert.equal(await call(), 200, `${name}: the last good one is in force`)
      assert.match(JSON.stringify(await stage.admin('GET', '/status')), /"warnings":\["|mistake/, name)
    } else if (reload.code === 0) assert.equal(await call(), 403, 'an empty configuration refuses everything')
    else assert.equal(await call(), 200, `${name}: the last good one is in force`)
  }
  writeFileSync(stage.configFile, good)
  assert.equal((await stage.cli(['reload'])).code, 0)
  assert.equal(await call(), 200)
})

test('check names every mistake with its line, all at once', async () => {
  const file = `${stage.dir}/config/seven.yaml`
  const lines = [
    'trustDomain: UPPER.example!',
    'surprise: 1',
    'listen: { proxy: nonsense }',
    'workloads:',
    '  a: { groups: 7 }',
    'services:',
    '  openai: { nonsense: 1 }',
    'credentials:',
    '  c: { service: openai, for: [a], nosuch-provider: {} }',
    'conditions:',
    '  h: { time-window: { zone: Nowhere/City, days: mon-sun, from: "09:00", to: "17:00" } }',
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  const { code, out } = await stage.cli(['--config', file, '--json', 'check'])
  assert.equal(code, 1)
  const named = new Set((JSON.parse(out).mistakes as { line: number }[]).map((mistake) => mistake.line))
  for (const line of [1, 2, 3, 5, 7, 9, 11]) assert.ok(named.has(line), `line ${line}: ${out}`)
})
