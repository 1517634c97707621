// A browser in a run: it trusts the CA, goes through the proxy, still reaches a dev server, and leaves nothing of it behind. And an MCP
// server on its client's pipes, which is in the run like any other child.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { ended } from '../../examples/story/ended.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { probeSandbox } from '../../src/launch/sandbox.ts'

const names = ['chromium', 'chromium-browser', 'google-chrome', 'chromium-headless-shell']
const folders = (process.env['PATH'] ?? '').split(':')
const browsers = names.flatMap((name) => folders.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? [])
const playwright = [
  process.env['OSTIARY_TEST_PLAYWRIGHT'] ?? '',
  fileURLToPath(new URL('../../node_modules/playwright-core', import.meta.url)),
]
  .filter((path) => path !== '')
  .find((path) => existsSync(join(path, 'index.mjs')))
const custody = probeSandbox(process.getuid?.() ?? -1)
const noBrowser = browsers.length === 0 ? 'no Chromium on this machine' : custody.custody === 'namespace' ? false : custody.why

let stage: Stage
let site: Server
/** Below the real one: a home in /tmp is not there in a run. */
let home = ''
let visits: string[] = []

before(async () => {
  const now = Date.now()
  stage = await setStage(now)
  home = mkdtempSync(join(homedir(), '.ostiary-browsers-'))
  const root = createRootAuthority({ commonName: 'Site', now, years: 1 })
  const leaf = issueLeaf(root, ['site.vendor.example'], now, 3_600_000)
  site = createServer({ cert: leaf.certPem, key: leaf.keyPem }, (request, response) => {
    visits.push(`${request.method} ${request.url}`)
    response.setHeader('content-type', 'text/html')
    response.end('<title>site</title><p>the site itself</p>')
  })
  await new Promise<void>((done) => site.listen(0, '127.0.0.1', done))
  writeFileSync(
    join(stage.dir, 'config', 'vendors-ca.pem'),
    `${readFileSync(join(stage.dir, 'config', 'vendors-ca.pem'), 'utf8')}\n${root.certPem}`,
  )
  const { port } = site.address() as AddressInfo
  writeFileSync(
    stage.configFile,
    readFileSync(stage.configFile, 'utf8')
      .replace(
        'dangerouslyFixedAddresses:\n',
        `dangerouslyFixedAddresses:\n    - { host: site.vendor.example, address: "127.0.0.1:${port}", reason: test, until: 2099-01-01 }\n`,
      )
      .replace('services:\n', 'services:\n  site: { hosts: [site.vendor.example], credential: none }\n')
      .replace(
        '  - cedar: |\n',
        '  - cedar: |\n      @id("site")\n      permit (principal in Group::"story", action, resource == Service::"site");\n',
      ),
  )
  const reload = await stage.cli(['reload'])
  assert.equal(reload.code, 0, reload.out + reload.err)
})
after(async () => {
  await stage?.close()
  site?.close()
  if (home !== '') rmSync(home, { recursive: true, force: true })
})

/** What a program of Node says in a run. */
async function inRun(code: string, words: readonly string[] = []): Promise<string> {
  mkdirSync(join(home, 'work'), { recursive: true })
  const run = ['run', '--as', 'story-agent', ...words, '--', process.execPath, '--input-type=module', '-e', code]
  const {
    code: status,
    out,
    err,
  } = await ended(process.execPath, stage.words(run), {
    cwd: join(home, 'work'),
    env: { ...process.env, HOME: home },
    kill: { afterMs: 60_000, signal: 'SIGKILL' },
  })
  return status === 0 ? out : `${status}: ${out}${err}`
}

const devServer = `
import { createServer } from 'node:http'
const dev = createServer((_, response) => response.end('<p>the dev server</p>'))
await new Promise((done) => dev.listen(0, 'localhost', done))
const local = 'http://localhost:' + dev.address().port + '/'
`
const dump = (path: string): string => `${devServer}
import { spawn } from 'node:child_process'
for (const url of ['https://site.vendor.example/', 'https://elsewhere.vendor.example/', local]) {
  const flags = ['--headless', '--disable-gpu', '--user-data-dir=/tmp/profile', ...(process.getuid() === 0 ? ['--no-sandbox'] : []), '--dump-dom', url]
  const browser = spawn('${path}', flags, { stdio: ['ignore', 'pipe', 'ignore'] })
  let text = ''
  browser.stdout.on('data', (chunk) => { text += chunk })
  await new Promise((done) => browser.on('close', done))
  console.log(/the site itself|the dev server|ERR_[A-Z_]+/.exec(text)?.[0] ?? (text.trim() || 'nothing'))
}
process.exit(0)
`

for (const words of [[], ['--isolate']])
  test(`a browser in a run ${words.join('')}`, { skip: noBrowser }, async () => {
    for (const path of browsers) {
      visits = []
      assert.equal(await inRun(dump(path), words), 'the site itself\nnothing\nthe dev server\n', path)
      assert.ok(visits.includes('GET /'), path)
    }
    assert.deepEqual(readdirSync(join(home, '.pki', 'nssdb')), [], 'the user’s own browsers trust nothing more than before')
  })

test('Playwright', {
  skip: noBrowser || (playwright === undefined && 'no playwright-core here (OSTIARY_TEST_PLAYWRIGHT names one)'),
}, async () => {
  const said = await inRun(`${devServer}
    import { chromium } from '${pathToFileURL(join(playwright ?? '', 'index.mjs')).href}'
    const browser = await chromium.launch({ executablePath: '${browsers[0]}', chromiumSandbox: process.getuid() !== 0 })
    const page = await browser.newPage()
    for (const url of ['https://site.vendor.example/', local]) { await page.goto(url); console.log(await page.textContent('p')) }
    await page.goto('https://elsewhere.vendor.example/').catch((error) => console.log(/ERR_[A-Z_]+/.exec(error.message)?.[0]))
    await browser.close()
    process.exit(0)
  `)
  assert.equal(said, 'the site itself\nthe dev server\nERR_TUNNEL_CONNECTION_FAILED\n')
})

test('an MCP server on the pipes of its client asks through the run of its client', async () => {
  const server = `
    import { createInterface } from 'node:readline'
    for await (const line of createInterface({ input: process.stdin })) {
      const { id, method, params } = JSON.parse(line)
      if (method === 'initialize') console.log(JSON.stringify({ jsonrpc: '2.0', id, result: { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'fetch', version: '1' } } }))
      if (method === 'tools/call') {
        const text = await (await fetch(params.arguments.url)).text()
        console.log(JSON.stringify({ jsonrpc: '2.0', id, result: { content: [{ type: 'text', text }] } }))
      }
    }`
  const said = await inRun(`
    import { spawn } from 'node:child_process'
    import { createInterface } from 'node:readline'
    const server = spawn(process.execPath, ['--input-type=module', '-e', ${JSON.stringify(server)}], { stdio: ['pipe', 'pipe', 'inherit'] })
    const ask = (id, method, params) => server.stdin.write(JSON.stringify({ jsonrpc: '2.0', id, method, params }) + '\\n')
    ask(1, 'initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'client', version: '1' } })
    for await (const line of createInterface({ input: server.stdout })) {
      const { id, result } = JSON.parse(line)
      if (id === 1) ask(2, 'tools/call', { name: 'fetch', arguments: { url: 'https://site.vendor.example/' } })
      else { console.log(/the site itself/.exec(result.content[0].text)?.[0]); process.exit(0) }
    }
  `)
  assert.equal(said, 'the site itself\n')
})
