// Package installs in a run: the preset of `ostiary registries`, the machine's own tools, and a registry that is really there.
// Without one the same is played against a stand-in registry, so that the preset is shown everywhere.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { type Ended, ended } from '../../examples/story/ended.ts'
import { type RegistryService, yamlOf } from '../../src/cli/registries.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { classifyAddress } from '../../src/net/address.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'ostiary-registries-'))
const work = join(dir, 'work')
const standIn = 'packages.acme.example'
const servers: Server[] = []
let server: ChildProcess
const log: string[] = []

/** What the machine's tools name, and of it what answers. */
let found: readonly RegistryService[] = []
const reached = new Set<string>()

const finished = (
  command: string,
  words: readonly string[],
  cwd = work,
  environment: Readonly<Record<string, string>> = {},
): Promise<Ended> => ended(command, words, { cwd, env: { ...process.env, ...environment } })

const cargo = { CARGO_HOME: join(work, 'cargo') }
const ostiary = (...words: string[]): Promise<Ended> =>
  finished(process.execPath, [bin, '--config', join(dir, 'config', 'ostiary.yaml'), '--data', join(dir, 'data'), ...words], work, cargo)
const inRun = (command: string, environment: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  finished(
    process.execPath,
    [bin, '--config', join(dir, 'config', 'ostiary.yaml'), '--data', join(dir, 'data'), 'run', '--', 'sh', '-c', command],
    work,
    { npm_config_cache: join(work, 'cache'), npm_config_update_notifier: 'false', ...environment },
  )

/** Where a name of this machine's leads to an address that no proxy may dial, a relay of ours stands before it. */
async function relay(host: string): Promise<string | null> {
  const answer = await lookup(host).catch(() => null)
  const alive =
    answer !== null &&
    (await new Promise<boolean>((resolve) => {
      const probe = connect({ host: answer.address, port: 443, timeout: 2_000 })
      const done = (is: boolean) => (): void => {
        probe.destroy()
        resolve(is)
      }
      probe.once('connect', done(true)).once('error', done(false)).once('timeout', done(false))
    }))
  if (!alive) return null
  reached.add(host)
  if (classifyAddress(answer.address) === 'public') return null
  const through = createServer((socket) => {
    const far = connect(443, answer.address)
    socket.pipe(far).pipe(socket)
    for (const one of [socket, far]) one.on('error', () => [socket, far].map((each) => each.destroy()))
  })
  return `    - { host: ${host}, address: "127.0.0.1:${await listening(through)}", reason: relay, until: ${soon} }`
}

const soon = new Date(Date.now() + 86_400_000 * 9).toISOString().slice(0, 10)

async function listening(one: Server): Promise<number> {
  servers.push(one)
  await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve))
  return (one.address() as AddressInfo).port
}

/** ustar, one file: what `npm pack` makes. */
function tarball(name: string, text: string): Buffer {
  const header = Buffer.alloc(512)
  header.write(name, 0)
  header.write('0000644\0', 100)
  header.write(`${Buffer.byteLength(text).toString(8).padStart(11, '0')}\0`, 124)
  header.write('00000000000\0', 136)
  header.write('        ', 148)
  header.write('0', 156)
  header.write('ustar\u000000', 257)
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  )
  const body = Buffer.alloc(Math.ceil(Buffer.byteLength(text) / 512) * 512)
  body.write(text)
  return gzipSync(Buffer.concat([header, body, Buffer.alloc(1024)]))
}

async function standInRegistry(ca: ReturnType<typeof createRootAuthority>): Promise<number> {
  const packed = tarball('package/package.json', JSON.stringify({ name: '@acme/tiny', version: '1.0.0' }))
  const integrity = `sha512-${createHash('sha512').update(packed).digest('base64')}`
  const dist = { tarball: `https://${standIn}/tiny.tgz`, integrity }
  const about = {
    name: '@acme/tiny',
    'dist-tags': { latest: '1.0.0' },
    versions: { '1.0.0': { name: '@acme/tiny', version: '1.0.0', dist } },
  }
  const leaf = issueLeaf(ca, [standIn], Date.now(), 86_400_000)
  const https = createHttpsServer({ cert: leaf.certPem, key: leaf.keyPem }, (request, response) => {
    if (request.url === '/tiny.tgz') response.end(packed)
    else if (request.url === '/@acme%2ftiny') response.setHeader('content-type', 'application/json').end(JSON.stringify(about))
    else response.writeHead(404).end()
  })
  return listening(https)
}

before(async () => {
  chmodSync(dir, 0o711)
  for (const name of ['data', 'config', 'work']) mkdirSync(join(dir, name), { mode: name === 'work' ? 0o755 : 0o700 })
  const ca = createRootAuthority({ commonName: 'Stand-in registry', now: Date.now(), years: 1 })
  writeFileSync(join(dir, 'config', 'ca.pem'), ca.certPem, { mode: 0o600 })
  const frame = `trustDomain: packages.example\nlisten: { proxy: 127.0.0.1:0, baseUrl: 127.0.0.1:0 }\nworkloads:\n  coder: { run: { startedBy: ["${process.getuid?.()}"] } }\n`
  writeFileSync(join(dir, 'config', 'ostiary.yaml'), frame, { mode: 0o600 })
  // cargo names what it has used.
  await finished('timeout', ['20', 'cargo', 'info', 'itoa'], work, cargo)
  found = JSON.parse((await ostiary('registries', '--json')).out).services
  const port = await standInRegistry(ca)
  const relays = await Promise.all(found.flatMap(({ hosts }) => hosts).map(relay))
  const fixed = [
    `    - { host: ${standIn}, address: "127.0.0.1:${port}", reason: stand-in, until: ${soon} }`,
    ...relays.filter((one) => one !== null),
  ]
  const own = `  acme: { hosts: [${standIn}], credential: none, methods: [GET, HEAD] }`
  const permit = `      permit (principal, action == Action::"call", resource == Service::"acme");`
  const lines = (found.length > 0 ? `${yamlOf(found).join('\n')}\n` : 'services:\npolicies:\n  - cedar: |\n').replace(
    'services:\n',
    `services:\n${own}\n`,
  )
  const egress = `egress:\n  extraCa: ca.pem\n  dangerouslyFixedAddresses:\n${fixed.join('\n')}\n`
  writeFileSync(join(dir, 'config', 'ostiary.yaml'), `${frame}${egress}${lines.replace('cedar: |\n', `cedar: |\n${permit}\n`)}`, {
    mode: 0o600,
  })
  const checked = await ostiary('check')
  assert.equal(checked.code, 0, checked.out + checked.err)
  server = spawn(process.execPath, [bin, '--config', join(dir, 'config', 'ostiary.yaml'), '--data', join(dir, 'data'), 'start'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  for (const stream of [server.stdout, server.stderr]) stream?.on('data', (text: Buffer) => log.push(text.toString()))
  assert.equal((await ostiary('status', '--wait', '20')).code, 0, log.join(''))
})
after(async () => {
  if (server !== undefined) {
    server.kill('SIGTERM')
    await new Promise((resolve) => server.once('exit', resolve))
  }
  for (const one of servers) one.close()
  rmSync(dir, { recursive: true, force: true })
})

/** null: it can be tried. */
function why(service: string): string | null {
  const registry = found.find((one) => one.name === service)
  if (registry === undefined) return `no ${service} on this machine names a registry`
  const missing = registry.hosts.find((host) => !reached.has(host) && !host.startsWith('sum.'))
  return missing === undefined ? null : 'the registry of this machine does not answer'
}

test('npm installs a scoped package from a registry that a credential-less service names', async (t) => {
  if ((await finished('npm', ['--version'])).code !== 0) return t.skip('no npm on this machine')
  const done = await inRun(`npm install --no-audit --no-fund --prefix own --@acme:registry=https://${standIn}/ @acme/tiny`)
  assert.equal(done.code, 0, done.err)
  assert.ok(readdirSync(join(work, 'own/node_modules/@acme/tiny')).includes('package.json'))
  // A token that the user's npm would send goes nowhere, and publishing is no reading.
  const token = await inRun(
    `npm view --@acme:registry=https://${standIn}/ --//${standIn}/:_authToken=abcdefghij0123456789 @acme/tiny version`,
  )
  assert.match(token.err, /403/)
  writeFileSync(join(work, 'package.json'), '{"name":"@acme/mine","version":"1.0.0"}')
  const publish = await inRun(`npm publish --@acme:registry=https://${standIn}/ --//${standIn}/:_authToken=abcdefghij0123456789`)
  assert.notEqual(publish.code, 0)
  rmSync(join(work, 'package.json'))
})

test('npm, pip, cargo and go install from the registries that this machine is configured with', async (t) => {
  const asked: readonly (readonly [service: string, command: string, made: string])[] = [
    ['npm', 'npm install --no-audit --no-fund --prefix real isarray@2.0.5 && ls real/node_modules', 'isarray'],
    ['pip', 'pip download --no-cache-dir --no-deps --no-binary :none: -d wheels six==1.16.0 && ls wheels', 'six'],
    ['cargo', 'cargo info serde@1.0.0', 'serde'],
    [
      'go',
      'GOPATH=$PWD/gopath GOFLAGS=-modcacherw GOTOOLCHAIN=local GONOSUMDB=rsc.io go mod download -json rsc.io/quote@v1.5.2 && ls gopath/pkg/mod',
      'rsc.io',
    ],
  ]
  for (const [service, command, made] of asked) {
    await t.test(service, async (t) => {
      const reason = why(service)
      if (reason !== null) return t.skip(reason)
      const done = await inRun(command, { PIP_NO_INDEX: '', PIP_FIND_LINKS: '', ...cargo })
      assert.equal(done.code, 0, done.out + done.err)
      assert.ok(done.out.includes(made), done.out)
    })
  }
})

test('what lies on no registry is refused by name: headers for node-gyp, a browser', async (t) => {
  if ((await finished('curl', ['--version'])).code !== 0) return t.skip('no curl on this machine')
  const done = await inRun('curl -sS https://headers.acme.example/dist/node-headers.tar.gz')
  assert.match(`${done.out}${done.err}`, /403|accept\.host_unmanaged/)
})
