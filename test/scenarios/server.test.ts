// Ostiary on a server, as `ostiary install` leaves it: broker, reader and agents are three users. systemd is not asked to run
// anything: what its units say (command, uid, capabilities, sockets, mounts) is done here by setpriv, unshare and a parent.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { asUnit, both, listenAt, noOthers, passing, startReader, uids } from '../../src/accept/evidence/reader.test-kit.ts'
import { must } from '../../src/cli/admin-client.ts'
import { places } from '../../src/deploy/units.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const noSystemd = spawnSync('systemd-sysusers', ['--version']).error !== undefined && 'no systemd-sysusers on this machine'
const noUnshare = spawnSync('unshare', ['--mount', '--net', 'true']).status !== 0 && 'no mount and net namespace can be made here'
const skip = noOthers() || noSystemd || noUnshare
const root = mkdtempSync(join(tmpdir(), 'ostiary-server-'))
chmodSync(root, 0o755)
const at = (path: string): string => join(root, path)
const factsSocket = at('/run/ostiary-facts.sock')
const children = new Set<ChildProcess>()
let doors: { proxy: Server; 'base-url': Server }
let baseUrl = ''
let broker: ChildProcess
let reader: ChildProcess
let said = ''

function portOf(server: Server): number {
  return (server.address() as { port: number }).port
}

function configuration(proxyPort: number, baseUrlPort: number): string {
  return `trustDomain: server.test
listen: { proxy: 127.0.0.1:${proxyPort}, baseUrl: 127.0.0.1:${baseUrlPort} }
egress:
  dangerouslyFixedAddresses:
    - { host: docs.acme.example, address: 127.0.0.1:9, until: 2099-01-01, reason: nobody answers there }
workloads:
  by-program: { identify: { process: { user: ${uids.agent}, executable: ${at(places.node)} } } }
  by-uid: { identify: { process: { user: ${uids.stranger} } } }
  started: { run: { startedBy: ["${uids.agent}"] } }
services: { docs: { hosts: [docs.acme.example], credential: none, methods: [GET] } }
policies:
  - cedar: |
      @id("all")
      permit (principal, action, resource);
`
}

/** The words of the unit, below the staged root. */
function execStart(unit: string): readonly string[] {
  const text = readFileSync(at(`${places.units}/${unit}`), 'utf8')
  const words = (/^ExecStart=(.*)$/m.exec(text)?.[1] ?? '').split(' ')
  return words
    .map((word) => (/^\/(?:opt|etc|var)\//.test(word) ? at(word) : word))
    .map((word) => (word === 'ostiary' ? String(uids.broker) : word))
}

/** ProtectSystem=strict: all is read-only but what is named. Ends with 99 where it would not hold. */
function confined(writable: readonly string[], net: boolean): readonly string[] {
  const script = `umask 077; end=0; for dir in "$@"; do [ "$dir" = -- ] && break; mount --bind "$dir" "$dir"; end=$((end+1)); done
mount -o remount,bind,ro / || exit 98
touch '${root}/touched' 2>/dev/null && { mount --bind '${root}' '${root}'; mount -o remount,bind,ro '${root}'; }
touch '${root}/touched' 2>/dev/null && exit 99
shift $((end+1)); exec "$@"`
  const namespaces = ['unshare', '--mount', '--propagation', 'private', ...(net ? ['--net'] : [])]
  return [...namespaces, 'sh', '-c', script, 'sh', ...writable, '--']
}

function started(child: ChildProcess): ChildProcess {
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

async function startReading(capabilities = both): Promise<ChildProcess> {
  const { child } = await startReader(factsSocket, capabilities, execStart('ostiary-facts.service'), confined([], true))
  return started(child)
}

before(async () => {
  if (skip !== false) return
  doors = { proxy: await listenAt({ host: '127.0.0.1', port: 0 }), 'base-url': await listenAt({ host: '127.0.0.1', port: 0 }) }
  baseUrl = `http://127.0.0.1:${portOf(doors['base-url'])}`
  mkdirSync(at(places.configDir), { recursive: true })
  writeFileSync(at(places.config), configuration(portOf(doors.proxy), portOf(doors['base-url'])))
  const installed = spawnSync(process.execPath, [bin, 'install', '--root', root, '--json'], { encoding: 'utf8' })
  assert.equal(installed.status, 0, installed.stderr + installed.stdout)
  mkdirSync(at('/run'))
  mkdirSync(at(places.cache), { recursive: true })
  for (const dir of [places.data, places.publicData, places.cache]) chownSync(at(dir), uids.broker, uids.broker)
  for (const path of [places.configDir, places.config]) chownSync(at(path), 0, uids.broker)
  reader = await startReading()
  await startBroker()
})

after(async () => {
  for (const child of children) child.kill('SIGKILL')
  await new Promise((done) => setTimeout(done, 50))
  rmSync(root, { recursive: true, force: true })
})

async function startBroker(): Promise<void> {
  const variables = ['env', '-u', 'OSTIARY_RUN', `OSTIARY_FACTS_SOCKET=${factsSocket}`, `XDG_CACHE_HOME=${at('/var/cache')}`]
  const writable = [places.data, places.publicData, places.cache].map(at)
  broker = started(
    passing(doors, [...confined(writable, false), ...asUnit(uids.broker, []), ...variables, ...execStart('ostiary.service')]),
  )
  await new Promise<void>((resolve, reject) => {
    for (const stream of [broker.stdout, broker.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text
        if (said.includes('ready')) resolve()
      })
    broker.once('exit', (code) => reject(new Error(`the broker ended with ${code}: ${said}`)))
  })
}

/** The code of the refusal that an agent of this uid gets. */
async function codeFor(uid: number): Promise<string> {
  const program = `fetch('${baseUrl}/docs/page').then((answer) => answer.json()).then(({ code }) => console.log(code), (error) => console.log(String(error)))`
  return (await output(spawn(at(places.node), ['-e', program], { uid, gid: uid, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] }))).trim()
}

async function output(child: ChildProcess): Promise<string> {
  started(child)
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (more: string) => {
      text += more
    })
  await new Promise((done) => child.once('close', done))
  return text
}

async function cli(words: readonly string[], uid = 0): Promise<string> {
  const all = [at(`${places.program}/bin/ostiary.mjs`), '--data', at(places.data), ...words]
  return output(
    spawn(at(places.node), all, {
      uid,
      gid: uid,
      cwd: '/',
      env: { PATH: process.env['PATH'], HOME: '/' },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  )
}

const factsNow = async () => (await must(at(places.data), 'GET', '/status')).processFacts

async function untilReader(state: string): Promise<void> {
  for (let turn = 0; turn < 50 && (await factsNow()).reader !== state; turn++) await new Promise((done) => setTimeout(done, 100))
  assert.equal((await factsNow()).reader, state)
}

const fieldOf = (pid: number | undefined, field: string): string =>
  new RegExp(`^${field}:\\s*(\\S+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? ''

test('the units hold the sockets that the configuration names', { skip }, () => {
  const unit = readFileSync(at(`${places.units}/ostiary-base-url.socket`), 'utf8')
  assert.match(unit, new RegExp(`^ListenStream=${baseUrl.slice('http://'.length)}$`, 'm'))
})

test('the broker has no capability; the reader has two, and a network of its own that is empty', { skip }, () => {
  for (const set of ['CapEff', 'CapPrm', 'CapBnd', 'CapAmb']) {
    assert.equal(Number.parseInt(fieldOf(broker.pid, set), 16), 0, set)
    assert.equal(Number.parseInt(fieldOf(reader.pid, set), 16), (1 << 2) | (1 << 19), set)
  }
  assert.deepEqual([fieldOf(broker.pid, 'Uid'), fieldOf(reader.pid, 'Uid')], [String(uids.broker), String(uids.reader)])
  assert.notEqual(readlinkSync(`/proc/${reader.pid}/ns/net`), readlinkSync('/proc/self/ns/net'))
  assert.equal(readFileSync(`/proc/${reader.pid}/net/route`, 'utf8').trim().split('\n').length, 1)
  for (const child of [broker, reader]) assert.equal(fieldOf(child.pid, 'NoNewPrivs'), '1')
})

test('with the reader a rule may ask for the program, and a run is a run', { skip }, async () => {
  await untilReader('there')
  assert.match((await factsNow()).says, /of every user, by the reader/)
  assert.match(await codeFor(uids.agent), /^forward\./)
  assert.match(await codeFor(uids.stranger), /^forward\./)
  assert.match(await codeFor(uids.reader), /^identify\./)
  const program = `fetch(process.env.OSTIARY_BASE_URL.replace(/\\/$/, '') + '/docs/page').then((answer) => answer.json()).then(({ code }) => console.log('got', code))`
  assert.match(await cli(['run', '--as', 'started', '--', at(places.node), '-e', program], uids.agent), /got forward\./)
})

test('no agent reaches the data, the configuration, the admin door or the reader', { skip }, async () => {
  const paths = [at(places.data), at(places.config), join(at(places.data), 'key'), join(at(places.data), 'admin.sock')]
  const script = `for path in ${paths.join(' ')}; do cat "$path" 2>&1; done; ls ${at(places.data)} 2>&1; echo > ${at(places.program)}/src/main.ts`
  const text = await output(spawn('sh', ['-c', script], { uid: uids.agent, gid: uids.agent, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] }))
  assert.equal(
    text
      .split('\n')
      .filter((line) => line !== '' && !/denied/.test(line))
      .join('\n'),
    '',
  )
  const knock = `require('net').connect('${factsSocket}').on('error', (error) => console.log(error.code)).on('connect', () => console.log('in'))`
  const door = spawn(at(places.node), ['-e', knock], { uid: uids.agent, gid: uids.agent, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] })
  assert.equal((await output(door)).trim(), 'EACCES')
  assert.match(await cli(['status'], uids.agent), /belongs to another user/)
})

test('the reader is away: only uid rules work, status says so, and it comes back', { skip }, async () => {
  reader.kill('SIGKILL')
  rmSync(factsSocket)
  await untilReader('away')
  assert.match(await cli(['status']), /process facts +of its own user; of other users only uid rules work \(the reader is away/)
  assert.match(await codeFor(uids.agent), /^identify\./)
  assert.match(await codeFor(uids.stranger), /^forward\./)
  for (const [capabilities, state] of [
    [['sys_ptrace'], 'blind'],
    [['dac_read_search'], 'blind'],
    [both, 'there'],
  ] as const) {
    reader = await startReading([...capabilities])
    await untilReader(state)
    assert.match(await codeFor(uids.agent), state === 'there' ? /^forward\./ : /^identify\./, capabilities.join())
    if (state === 'there') break
    reader.kill('SIGKILL')
    rmSync(factsSocket)
    await untilReader('away')
  }
})

test('SIGTERM ends the broker; uninstall leaves data and configuration, --purge does not', { skip }, async () => {
  const ended = new Promise((done) => broker.once('exit', done))
  broker.kill('SIGTERM')
  assert.equal(await ended, 0)
  const words = ['uninstall', '--root', root, '--json']
  assert.equal(spawnSync(process.execPath, [bin, ...words, '--purge'], { encoding: 'utf8', input: '' }).status, 2)
  assert.equal(spawnSync(process.execPath, [bin, ...words]).status, 0)
  assert.deepEqual(left(), [places.config, join(places.data, 'key')])
  assert.equal(spawnSync(process.execPath, [bin, ...words, '--purge', '--yes']).status, 0)
  assert.deepEqual(left(), [])
  assert.doesNotMatch(readFileSync(at('/etc/passwd'), 'utf8'), /^ostiary:/m)
})

function left(): readonly string[] {
  const known = [
    places.config,
    join(places.data, 'key'),
    places.command,
    places.node,
    `${places.units}/ostiary.service`,
    places.users,
    places.owned,
  ]
  return known.filter((path) => spawnSync('test', ['-e', at(path)]).status === 0)
}

test('install refuses what it cannot do, in a sentence', { skip: process.getuid?.() !== 0 && 'only root can be another user' }, (t) => {
  const others = noOthers()
  const here = { encoding: 'utf8', cwd: '/' } as const
  assert.match(spawnSync(process.execPath, [bin, 'install', '--root', 'relative'], here).stderr, /--root takes a folder that is there/)
  assert.match(spawnSync(process.execPath, [bin, 'uninstall', '--yes'], here).stderr, /--yes answers what --purge asks/)
  assert.match(spawnSync(process.execPath, [bin, 'install'], { ...here, env: { ...process.env, OSTIARY_RUN: 'x' } }).stderr, /inside a run/)
  if (others !== false) return t.skip(others)
  const notRoot = spawnSync(process.execPath, [bin, 'install'], { ...here, uid: uids.stranger, gid: uids.stranger })
  assert.equal(notRoot.status, 2)
  assert.match(notRoot.stderr, /only root may do this: write sudo before it, or see what it would do with --dry-run/)
  const shown = spawnSync(process.execPath, [bin, 'install', '--dry-run'], { ...here, uid: uids.stranger, gid: uids.stranger })
  assert.equal(shown.status, 0, shown.stderr)
  assert.match(shown.stdout, /write {4}\/etc\/systemd\/system\/ostiary\.service/)
})
