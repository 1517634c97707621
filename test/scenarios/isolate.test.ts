// `ostiary run --isolate`: whatever the command dials ends in the proxy or nowhere. Addresses of the tests are those of
// documentation (RFC 5737, RFC 3849): were the isolation to fail, nobody would be called.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Ended, ended } from '../../examples/story/ended.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { probeSandbox } from '../../src/launch/sandbox.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const probe = probeSandbox(process.getuid?.() ?? 0, true)
const skip = probe.custody === 'namespace' ? false : `no namespaces here: ${probe.why}`
/** As the relay looks for it: with it every port leads to the proxy. */
const nft = ['nft', '/usr/sbin/nft', '/sbin/nft'].some((program) => spawnSync(program, ['--version']).error === undefined)
let stage: Stage

before(async () => {
  if (skip !== false) return
  stage = await setStage(Date.now())
  const stored = await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)
  assert.equal(stored.code, 0, stored.err)
})
after(() => stage?.close())

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
  request.on('error', (error) => resolve({ error: error.code ?? '', says: error.message })).on('timeout', () => request.destroy(new Error('silent')))
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

const ostiary = (words: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  stage.inWork(words, environment)

// biome-ignore lint/suspicious/noExplicitAny: what a script says is the test's own
const said = ({ out, err }: Ended): readonly any[] => {
  assert.notEqual(out, '', err)
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

// biome-ignore lint/suspicious/noExplicitAny: entries of the log as JSON
async function entries(): Promise<readonly any[]> {
  const { out } = await stage.cli(['audit', 'tail', '--json', '-n', '100'])
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

test('a client that knows no proxy lands in it by SNI, over IPv6 too; base URLs work; the records say isolated', { skip }, async () => {
  const done = await inside(`
    const headers = { authorization: 'Bearer ' + key }
    const http = require('node:http')
    say(await get('https://api.openai.com/v1/models', headers))
    say(await get('https://api.openai.com/v1/models', headers, { lookup: (name, options, done) => options.all ? done(null, [{ address: '2001:db8::1', family: 6 }]) : done(null, '2001:db8::1', 6) }))
    const base = new URL(process.env.OSTIARY_BASE_URL)
    http.request({ host: base.hostname, port: base.port, path: base.pathname + '/openai/v1/models', headers, agent: new http.Agent() }, (answer) => { say(answer.statusCode); answer.resume() }).end()`)
  const [four, six, base] = said(done)
  assert.deepEqual([four.status, six.status, base, done.code], [200, 200, 200, 0], JSON.stringify([four, six]))
  const intents = (await entries()).filter((entry) => entry.kind === 'intent').slice(-3)
  assert.deepEqual(
    intents.map(({ way, custody, host, port }) => `${way} ${custody} ${host}:${port}`),
    [
      'transparent namespace+isolated api.openai.com:443',
      'transparent namespace+isolated api.openai.com:443',
      'base-url namespace+isolated api.openai.com:443',
    ],
  )
})

test('what names two hosts, none, or a host that nobody manages is refused where it can be read, and recorded', { skip }, async () => {
  const done = await inside(`
    const headers = { authorization: 'Bearer ' + key }
    say(await get('https://api.openai.com/v1/models', { ...headers, host: 'api.anthropic.com' }, { servername: 'api.openai.com' }))
    say(await get('https://nobody.example/'))
    say(await get('https://api.openai.com/', {}, { servername: '' }))
    say(await raw('192.0.2.1', 443, 'SSH-2.0-x\\r\\n\\r\\n'))
    say(await raw('192.0.2.1', 80, 'GET /v1/models HTTP/1.1\\r\\nHost: api.openai.com\\r\\nAuthorization: Bearer ' + key + '\\r\\n\\r\\n'))
    say(await raw('192.0.2.1', 80, 'GET / HTTP/1.1\\r\\nHost: api.openai.com:443\\r\\n\\r\\n'))
    say(await raw('192.0.2.1', 80, 'GET http://api.openai.com/ HTTP/1.1\\r\\nHost: api.openai.com\\r\\n\\r\\n'))
    say(await raw('192.0.2.1', 80, 'CONNECT api.openai.com:443 HTTP/1.1\\r\\nHost: api.openai.com:443\\r\\n\\r\\n'))`)
  const [twoHosts, nobody, noName, ssh, plain, otherPort, absolute, connect] = said(done)
  assert.deepEqual([twoHosts.status, twoHosts.code], [421, 'accept.disagree'])
  assert.equal(nobody.status, 403, JSON.stringify(nobody))
  assert.match(noName.says, /unrecognized name/)
  assert.equal(ssh.code, 'http.malformed')
  assert.equal(plain.code, 'accept.host_unmanaged')
  assert.equal(otherPort.code, 'accept.disagree')
  assert.equal(absolute.code, 'accept.disagree')
  assert.match(connect.text, /^HTTP\/1\.1 501 /)
  const refused = (await entries()).filter((entry) => entry.way === 'transparent' && entry.decision === 'refuse')
  for (const code of ['accept.disagree', 'accept.not_tls', 'http.malformed', 'accept.host_unmanaged'])
    assert.ok(
      refused.some((entry) => entry.code === code),
      code,
    )
})

test('where there is nft, every other port of every address lands in the proxy too', {
  skip: skip || (!nft && 'no nft on this machine'),
}, async () => {
  const done = await inside(`
    const get8443 = (url) => get(url, {}, { lookup: (name, options, found) => options.all ? found(null, [{ address: '2001:db8::7', family: 6 }]) : found(null, '2001:db8::7', 6) })
    say(await raw('192.0.2.1', 25, 'HELO mail.example\\r\\n\\r\\n'))
    say(await raw('192.0.2.9', 8080, 'GET /x HTTP/1.1\\r\\nHost: intern.example:8080\\r\\n\\r\\n'))
    say(await get8443('https://nobody.example:8443/'))
    say(await get8443('https://api.openai.com:8443/v1/models'))
    const dev = net.createServer((socket) => socket.end('the run itself')).listen(0, '::')
    await require('node:events').once(dev, 'listening')
    for (const address of ['127.0.0.1', '::1', '127.9.9.9']) say(await raw(address, dev.address().port, 'x'))
    process.exit(0)`)
  const [smtp, plain, tls, managed, ...own] = said(done)
  assert.equal(smtp.code, 'http.method_unknown', done.err)
  assert.equal(plain.code, 'accept.host_unmanaged')
  assert.equal(tls.code, 'accept.bad_authority', JSON.stringify(tls))
  assert.equal(managed.code, 'accept.host_unmanaged', JSON.stringify(managed))
  assert.deepEqual(
    own.map((one) => one.text),
    Array(3).fill('the run itself'),
  )
  const recorded = (await entries()).filter((entry) => entry.way === 'transparent' && entry.decision === 'refuse')
  for (const port of [25, 8080, 8443])
    assert.ok(
      recorded.some((entry) => entry.port === port),
      String(port),
    )
  assert.doesNotMatch(done.err, /without a record/)
})

test('nothing else leads out: other ports, the host itself, UDP, its abstract sockets, its namespaces', { skip }, async () => {
  let knocked = 0
  const host = createServer((socket) => {
    knocked++
    socket.end('the host')
  })
  const abstract = createServer((socket) => socket.end('the host'))
  const udp = createSocket('udp4')
  udp.on('message', () => knocked++)
  for (const one of [host, abstract, udp]) one.unref()
  await Promise.all([
    new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve)),
    new Promise<void>((resolve) => abstract.listen('\0ostiary-isolate-test', resolve)),
    new Promise<void>((resolve) => udp.bind(0, '127.0.0.1', resolve)),
  ])
  const { port } = host.address() as AddressInfo
  const done = await inside(`
    say(await raw('127.0.0.1', ${port}, 'x'))
    say(await raw('192.0.2.1', 25, 'HELO x\\r\\n\\r\\n'))
    say(await raw('2001:db8::1', 8443, 'HELO x\\r\\n\\r\\n'))
    say(await new Promise((resolve) => net.connect({ path: '\\0ostiary-isolate-test' }).on('connect', () => resolve('connected')).on('error', (error) => resolve(error.code))))
    const udp = (address, port) => new Promise((resolve) => {
      const socket = dgram.createSocket('udp4')
      socket.on('error', (error) => resolve(error.code)).on('message', () => resolve('answered'))
      socket.connect(port, address, () => socket.send('x'))
      setTimeout(() => resolve('silent'), 500)
    })
    say(await udp('192.0.2.1', 9999))
    say(await udp('127.0.0.1', ${(udp.address() as AddressInfo).port}))
    const { spawnSync } = require('node:child_process')
    const found = []
    for (const pid of fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)) {
      for (const flag of ['--net', '--mount', '--user']) {
        if (spawnSync('nsenter', ['--target', pid, flag, '--', 'true']).status === 0) found.push(flag + pid)
        if (spawnSync('unshare', ['-Ur', 'nsenter', '--target', pid, flag, '--', 'true']).status === 0 && flag !== '--user') found.push('nested ' + flag + pid)
      }
      for (const name of ['root', 'fd', 'environ', 'mem', 'cwd']) {
        try { name === 'fd' ? fs.readdirSync('/proc/' + pid + '/fd').map((fd) => fs.openSync('/proc/' + pid + '/fd/' + fd)) : name === 'root' || name === 'cwd' ? fs.readdirSync('/proc/' + pid + '/' + name) : fs.readFileSync('/proc/' + pid + '/' + name); found.push(name + pid) } catch {}
      }
    }
    say(found)
    say(fs.readFileSync('/proc/net/dev', 'utf8').split('\\n').slice(2).map((line) => line.split(':')[0].trim()).filter(Boolean))
    say(spawnSync('sh', ['-c', 'ip route add default dev lo || ip link add x type veth']).status)
    process.exit(0)`)
  const [toHost, mail, six, socket, udpOut, udpHost, found, interfaces, ip] = said(done)
  assert.equal(toHost.error, 'ECONNREFUSED')
  for (const one of [mail, six]) assert.equal(nft ? one.code : one.error, nft ? 'http.method_unknown' : 'ECONNREFUSED')
  assert.equal(socket, 'ECONNREFUSED')
  assert.deepEqual([udpOut, udpHost], ['ECONNREFUSED', 'ECONNREFUSED'])
  assert.deepEqual(found, [])
  assert.deepEqual(
    interfaces.filter((name: string) => name !== 'lo' && !/^(?:sit|tunl|ip6tnl|gre|erspan|ip_vti|ip6)/.test(name)),
    [],
  )
  assert.notEqual(ip, 0)
  assert.equal(knocked, 0)
  host.close()
  abstract.close()
  udp.close()
})

test('names are answered inside: any has an address, none an HTTPS or SVCB record, and over TCP too', { skip }, async () => {
  const done = await inside(`
    const resolver = new dns.promises.Resolver()
    say(await resolver.resolve4('api.openai.com'))
    for (const type of ['SVCB', 'HTTPS', 'TXT', 'AAAA', 'MX']) {
      const query = Buffer.concat([Buffer.from([7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]), ...'api.openai.com'.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])), Buffer.from([0, 0, { SVCB: 64, HTTPS: 65, TXT: 16, AAAA: 28, MX: 15 }[type], 0, 1])])
      const length = Buffer.alloc(2); length.writeUInt16BE(query.length)
      say(await new Promise((resolve) => net.connect(53, '192.0.2.53').on('data', (answer) => resolve([answer[2], answer[5] & 15, answer.readUInt16BE(8)])).write(Buffer.concat([length, query]))))
    }
    say((await dns.promises.lookup('localhost')).address)
    process.exit(0)`)
  const [addresses, ...rest] = said(done)
  assert.deepEqual(addresses, ['198.18.0.1'])
  for (const answer of rest.slice(0, 5)) assert.deepEqual(answer, [7, 0, 0])
  assert.match(rest[5], /^(?:127\.0\.0\.1|::1)$/)
})

test('another run is not to be had: its pointer is worthless here, and the doors of the broker are not there', { skip }, async () => {
  const other = spawn(process.execPath, stage.words(['run', '--as', 'story-agent', '--', 'sh', '-c', 'echo $HTTPS_PROXY; sleep 30']), {
    cwd: `${stage.dir}/work`,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [proxy] = (await once(other.stdout, 'data')) as [Buffer]
  const pointer = new URL(proxy.toString().trim()).username
  const done = await inside(`
    const proxy = Number(new URL('${proxy.toString().trim()}').port)
    const auth = Buffer.from('${pointer}:x').toString('base64')
    say(await raw('127.0.0.1', proxy, 'GET http://api.openai.com/ HTTP/1.1\\r\\nHost: api.openai.com\\r\\nProxy-Authorization: Basic ' + auth + '\\r\\n\\r\\n'))
    say(await new Promise((resolve) => {
      const socket = net.connect(proxy, '127.0.0.1', () => socket.write('CONNECT api.openai.com:443 HTTP/1.1\\r\\nHost: api.openai.com:443\\r\\nProxy-Authorization: Basic ' + auth + '\\r\\n\\r\\n'))
      socket.once('data', () => { const secure = tls.connect({ socket, servername: 'api.openai.com', ca }, () => secure.write('GET /v1/models HTTP/1.1\\r\\nHost: api.openai.com\\r\\nAuthorization: Bearer ' + key + '\\r\\n\\r\\n')); secure.on('data', (text) => resolve(/"code":"([a-z_.]+)"/.exec(text)?.[1])) })
    }))
    say(['door/run.sock', 'door/inside.sock', '../data/admin.sock'].map((name) => fs.existsSync('${stage.dataDir}.run/' + name)))
    process.exit(0)`)
  other.kill('SIGTERM')
  const [absolute, connect, sockets] = said(done)
  assert.equal(absolute.code, 'accept.host_unmanaged')
  assert.equal(connect, 'identify.not_in_run')
  assert.deepEqual(sockets, [false, false, false])
})

test('an agent that kills its relay has no network at all', { skip }, async () => {
  const done = await inside(`
    const relay = fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).find((pid) => { try { return fs.readFileSync('/proc/' + pid + '/cmdline', 'latin1').includes('isolate-relay.ts\\0') } catch { return false } })
    say(relay !== undefined)
    process.kill(Number(relay), 'SIGKILL')
    await new Promise((resolve) => setTimeout(resolve, 200))
    say(await raw('192.0.2.1', 443, 'x'))
    say(await dns.promises.lookup('api.openai.com').then((found) => found.address, (error) => error.code))`)
  const [found, direct, name] = said(done)
  assert.equal(found, true)
  assert.equal(direct.error, 'ECONNREFUSED')
  assert.match(name, /EAI_AGAIN|ENOTFOUND/)
})

test('--publish and --reach cross, are recorded, and reach nothing of Ostiary or of the cloud', { skip }, async () => {
  const database = createServer((socket) => socket.on('data', (bytes) => socket.end(`database: ${bytes}`))).unref()
  await new Promise<void>((resolve) => database.listen(0, '127.0.0.1', resolve))
  const { port } = database.address() as AddressInfo
  const free = await freePort()
  const started = inside(
    `
    say(await raw('localhost', ${port}, 'hello'))
    const server = net.createServer((socket) => socket.on('data', (bytes) => socket.end('agent: ' + bytes))).listen(${free}, '127.0.0.1', () => say('listens'))
    setTimeout(() => process.exit(0), 2500)`,
    ['--publish', String(free), '--reach', `localhost:${port}`],
  )
  let answer = ''
  for (let tries = 0; tries < 60 && answer === ''; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    answer = await hear(free, 'hello')
  }
  assert.equal(answer, 'agent: hello')
  const done = await started
  assert.equal(said(done)[0].text, 'database: hello')
  assert.equal(done.err.includes('relay'), false, done.err)
  database.close()
  const whats = (await entries()).filter((entry) => entry.kind === 'administration').map((entry) => entry.what)
  assert.ok(
    whats.some((what) => what.endsWith(`crosses its network: publish 127.0.0.1:${free}`)),
    whats.join('\n'),
  )
  assert.ok(
    whats.some((what) => what.includes(`crosses its network: reach localhost:${port} at `)),
    whats.join('\n'),
  )
  const { listeners } = await stage.admin('GET', '/status')
  const proxy: string = listeners.find((one: { name: string }) => one.name === 'proxy').address
  for (const where of [proxy, proxy.replace('127.0.0.1', 'localhost'), '169.254.169.254:80', '0.0.0.0:80', '[fe80::1]:80']) {
    const refused = await ostiary(['run', '--as', 'story-agent', '--isolate', '--reach', where, '--', 'true'])
    assert.equal(refused.code, 4, `${where}: ${refused.err}`)
  }
})

test('wrong use and a machine without namespaces: exit 2, a sentence, nothing started', { skip }, async () => {
  const started = join(stage.dir, 'work', 'started')
  const run = (...words: string[]): Promise<Ended> => ostiary(['run', '--as', 'story-agent', ...words, '--', 'touch', started])
  for (const [words, sentence] of [
    [['--publish', '3000'], /add --isolate/],
    [['--isolate', '--no-namespace'], /leave out --no-namespace/],
    [['--isolate', '--publish', '70000'], /1 to 65535/],
    [['--isolate', '--publish', '443'], /leads to the proxy/],
    [['--isolate', '--reach', 'nowhere'], /HOST:PORT/],
  ] as const) {
    const done = await run(...words)
    assert.equal(done.code, 2, words.join(' '))
    assert.match(done.err, sentence)
  }
  const tools = mkdtempSync(join(stage.dir, 'tools-'))
  for (const name of ['unshare', 'nsenter']) {
    writeFileSync(join(tools, name), '#!/bin/sh\necho "Operation not permitted" >&2\nexit 1\n', { mode: 0o755 })
    const done = await ostiary(['run', '--as', 'story-agent', '--isolate', '--', 'touch', started], {
      PATH: `${tools}:${process.env['PATH']}`,
    })
    assert.equal(done.code, 2, done.err)
    assert.match(done.err, /Nothing was started/)
    rmSync(join(tools, name))
  }
  assert.equal(existsSync(started), false)
  assert.equal((await ostiary(['run', '--as', 'story-agent', '--isolate', '--', 'sh', '-c', 'exit 7'])).code, 7)
})

test('an ordinary user of a broker of another user has the same, and gets nothing of the relay', { skip }, async (t) => {
  if (process.getuid?.() !== 0) return t.skip('the others ran as an ordinary user')
  const as = ['--reuid', '1', '--regid', '1', '--clear-groups']
  if (spawnSync('setpriv', [...as, process.execPath, bin, '--version']).status !== 0) return t.skip('another user cannot read this clone')
  if (spawnSync('setpriv', [...as, 'unshare', '-Urn', 'true']).status !== 0) return t.skip('no user namespaces for ordinary users here')
  writeFileSync(stage.configFile, readFileSync(stage.configFile, 'utf8').replace('startedBy: ["0"]', 'startedBy: ["0", "1"]'))
  assert.equal((await stage.admin('POST', '/reload')).ok, true)
  const home = mkdtempSync(join(stage.dir, 'home-'))
  chownSync(home, 1, 1)
  const script = `
    say(process.getuid())
    say((await get('https://api.openai.com/v1/models', { authorization: 'Bearer ' + key })).status)
    say(await raw('192.0.2.1', 25, 'HELO x\\r\\n\\r\\n').then(({ code, error }) => code ?? error))
    const { spawnSync } = require('node:child_process')
    const relay = fs.readdirSync('/proc').find((pid) => { try { return fs.readFileSync('/proc/' + pid + '/cmdline', 'latin1').includes('isolate-relay.ts\\0') } catch { return false } })
    say(['--net', '--user', '--mount'].map((flag) => spawnSync('nsenter', ['--target', relay, flag, 'true']).status))
    try { fs.readdirSync('/proc/' + relay + '/root/'); say('seen') } catch (error) { say(error.code) }
    process.kill(Number(relay), 'SIGKILL')
    await new Promise((resolve) => setTimeout(resolve, 900))
    say((await raw('192.0.2.1', 443, 'x')).error)`
  const words = [
    '--data',
    stage.dataDir,
    'run',
    '--as',
    'story-agent',
    '--isolate',
    '--',
    process.execPath,
    '-e',
    `${prelude};(async () => {${script}})()`,
  ]
  const done = await ended('setpriv', [...as, process.execPath, bin, ...words], { cwd: home, env: { ...process.env, HOME: home } })
  const [uid, status, mail, entered, root, afterwards] = said(done)
  assert.deepEqual(
    [uid, status, mail, root, afterwards],
    [1, 200, nft ? 'http.method_unknown' : 'ECONNREFUSED', 'EACCES', 'ECONNREFUSED'],
    done.err,
  )
  assert.equal(entered.includes(0), false)
  assert.match(done.err, /the relay of this run ended/)
})

test('no run inside an isolated run, where another may hold one', { skip }, async () => {
  const before = readFileSync(stage.configFile, 'utf8')
  const inner = '  inner:\n    run: { startedBy: ["65533"], within: [story-agent] }\nservices:\n'
  writeFileSync(stage.configFile, before.replace('services:\n', inner))
  assert.equal((await stage.admin('POST', '/reload')).ok, true)
  const command = [process.execPath, bin, '--data', stage.dataDir, 'run', '--as', 'inner', '--no-namespace', '--', 'echo', 'inside']
  const plain = await ostiary(['run', '--as', 'story-agent', '--', ...command])
  assert.match(plain.out, /inside/, plain.err)
  const isolated = await ostiary(['run', '--as', 'story-agent', '--isolate', '--', ...command])
  assert.doesNotMatch(isolated.out, /inside/)
  assert.equal(isolated.code, 4, isolated.err)
  // From inside a run the door of isolated runs is not to be had: no half isolation.
  const late = await ostiary(['run', '--as', 'story-agent', '--', ...command.slice(0, -4), '--isolate', '--', 'echo', 'inside'])
  assert.doesNotMatch(late.out, /inside/)
  assert.equal(late.code, 2, late.err)
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function hear(port: number, says: string): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(says))
    socket.on('data', (bytes) => {
      text += bytes
    })
    socket.on('error', () => resolve('')).on('close', () => resolve(text))
  })
}
