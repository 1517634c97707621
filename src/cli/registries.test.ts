// The tools are played here; that the real ones say it in these words is shown in test/scenarios/registries.test.ts.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { parse } from 'yaml'
import { type Ask, findRegistries, yamlOf } from './registries.ts'

const home = mkdtempSync(join(tmpdir(), 'ostiary-registries-'))
after(() => rmSync(home, { recursive: true, force: true }))

function tools(said: Readonly<Record<string, string>>): Ask {
  return async (command, words) => said[[command, ...words].join(' ')] ?? null
}

const urls = (found: Awaited<ReturnType<typeof findRegistries>>): readonly string[] =>
  found.named.map(({ tool, url }) => `${tool} ${url.href}`)

test('each tool is asked in its own words', async () => {
  writeFileSync(join(home, 'npmrc'), '//npm.acme.example/team/:_authToken=abcdef\n')
  mkdirSync(join(home, '.cargo/registry/index/index.crates.example-1949cf8c6b5b557f'), { recursive: true })
  writeFileSync(join(home, '.cargo/config.toml'), '[registries.acme]\nindex = "sparse+https://cargo.acme.example/index/"\n')
  const found = await findRegistries(
    tools({
      'npm config list --json': JSON.stringify({
        registry: 'https://npm.acme.example/',
        '@team:registry': 'https://team.acme.example:8443/npm/',
        userconfig: join(home, 'npmrc'),
        'metrics-registry': 'https://not.acme.example/',
      }),
      'go env GOPROXY GOSUMDB': 'https://go.acme.example|https://go2.acme.example,direct\nsum.acme.example+abc https://sums.acme.example\n',
    }),
    home,
    { CARGO_REGISTRIES_OTHER_INDEX: 'sparse+https://cargo2.acme.example/' },
  )
  assert.deepEqual(urls(found), [
    'npm https://npm.acme.example/',
    'npm https://team.acme.example:8443/npm/',
    'go https://go.acme.example/',
    'go https://go2.acme.example/',
    'go https://sums.acme.example/',
    'cargo https://cargo.acme.example/index/',
    'cargo https://cargo2.acme.example/',
    'cargo https://index.crates.example/',
  ])
  assert.ok(found.notes.some((note) => note.includes('a token for npm.acme.example')) && !found.notes.join().includes('abcdef'))
})

test('pip: what is configured, else its own; what a tool has no word for is nothing', async () => {
  const help =
    '  -i, --index-url <url>       Base URL of the Python Package Index (default\n                              https://py.acme.example/simple). This\n'
  const empty = { HOME: home, CARGO_HOME: join(home, 'none') }
  assert.deepEqual(urls(await findRegistries(tools({ 'pip install --help': help }), home, empty)), ['pip https://py.acme.example/simple'])
  const list =
    "global.extra-index-url='https://a.acme.example/s\\nhttps://b.acme.example/s'\nglobal.index-url='https://c.acme.example/s'\n:env:.cert='/x'\n"
  assert.deepEqual(urls(await findRegistries(tools({ 'pip install --help': help, 'pip config list': list }), home, empty)), [
    'pip https://c.acme.example/s',
    'pip https://a.acme.example/s',
    'pip https://b.acme.example/s',
  ])
  assert.deepEqual(urls(await findRegistries(tools({}), home, empty)), [])
})

test('a password in a URL is left out and said; odd URLs are left out', async () => {
  const found = await findRegistries(
    tools({
      'npm config list --json': JSON.stringify({
        registry: 'https://ann:s3cret@npm.acme.example/',
        '@x:registry': 'file:///tmp/x',
        '@y:registry': 'http://[::1]:4873/',
      }),
      'go env GOPROXY GOSUMDB': 'off\noff\n',
    }),
    home,
    { CARGO_HOME: join(home, 'none') },
  )
  assert.deepEqual(urls(found), ['npm https://npm.acme.example/'])
  assert.ok(!JSON.stringify(found).includes('s3cret') && found.notes.some((note) => note.includes('slot: basic')))
  assert.equal(found.notes.length, 2)
})

test('the lines are a configuration: no credential, reading only', () => {
  const text = yamlOf([
    { name: 'npm', hosts: ['npm.acme.example', 'team.acme.example'], scheme: 'https', port: 443, tools: ['npm'], private: false },
    { name: 'go', hosts: ['go.acme.example'], scheme: 'http', port: 8081, tools: ['go', 'pip'], private: true },
  ]).join('\n')
  assert.deepEqual(parse(text).services, {
    npm: { hosts: ['npm.acme.example', 'team.acme.example'], credential: 'none', methods: ['GET', 'HEAD'] },
    go: {
      hosts: ['go.acme.example'],
      scheme: 'http',
      port: 8081,
      credential: 'none',
      methods: ['GET', 'HEAD'],
      allowPrivateAddresses: true,
    },
  })
  assert.match(parse(text).policies[0].cedar, /resource == Service::"go"/)
})
