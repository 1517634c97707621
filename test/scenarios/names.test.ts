// Names whose servers do not answer: who calls them waits, and nobody else; and threads enough that no file waits for names.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { limits } from '../../src/model/limits.ts'
import { fakeDns } from '../../src/net/fake-dns.ts'
import { type Heard, startWire, type Wire } from './wire.test-kit.ts'

const inEach = process.env['OSTIARY_TEST_PROCESSES'] !== undefined && 'the share is of each process'
const dead = Array.from({ length: 20 }, (_, n) => `dead-${n}.example`)

async function configure(stage: Stage, resolver: string): Promise<void> {
  const text = readFileSync(stage.configFile, 'utf8')
    .replace('egress:\n', `egress:\n  resolver: "${resolver}"\n`)
    .replace('workloads:\n', `workloads:\n  neighbour: { run: { startedBy: ["${process.getuid?.()}"] } }\n`)
    .replace(
      '  gemini: {}\n',
      `  gemini: {}
  dead: { hosts: [${dead.join(', ')}], scheme: http, credential: none }
  live: { hosts: [live.example], scheme: http, credential: none }
`,
    )
  const policies = `
      @id("names") permit (principal, action == Action::"call", resource) when { resource in [Service::"dead", Service::"live"] };
`
  writeFileSync(stage.configFile, `${text}${policies}`, { mode: 0o600 })
  const reload = await stage.cli(['reload'])
  assert.equal(reload.code, 0, reload.err)
}

function get(wire: Wire, host: string): Promise<Heard> {
  const raw = `GET http://${host}/ HTTP/1.1\r\nHost: ${host}\r\nPROXYAUTH\r\nConnection: close\r\n\r\n`
  return wire.send({ via: 'proxy', raw, waitMs: 60_000 })
}

function threadsOf(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`)
  return tasks.filter((task) => readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim() === 'libuv-worker').length
}

test('one workload calls twenty dead names: the names of another are found at once', {
  timeout: 120_000,
  skip: inEach,
}, async (context) => {
  const asked = new Set<string>()
  const resolver = await fakeDns(context, (name, type) => {
    asked.add(name)
    if (name.startsWith('dead')) return 'silence'
    return type === 'A' ? [['A', name, '10.0.0.1']] : []
  })
  const stage = await setStage(Date.now())
  context.after(() => stage.close())
  await configure(stage, resolver)
  const bad = startWire(stage)
  const good = startWire({ dir: stage.dir, words: (args) => stage.words(args.map((one) => (one === 'story-agent' ? 'neighbour' : one))) })
  try {
    // Found, and refused for where it leads.
    assert.equal((await get(good, 'live.example')).code, 'forward.address_refused')
    const waits = dead.map((host) => get(bad, host))
    while (asked.size < 1 + limits.lookupsPerSenderMax) await new Promise((done) => setTimeout(done, 20))
    let over = 0
    for (const one of waits) one.then(() => over++)
    for (let n = 0; n < 10; n++) assert.equal((await get(good, 'live.example')).code, 'forward.address_refused')
    assert.equal(over, 0, 'the dead names still wait')
    assert.equal(asked.size, 1 + limits.lookupsPerSenderMax)
    const codes = (await Promise.all(waits)).map(({ code, text }) => code ?? text)
    assert.deepEqual([...new Set(codes)].sort(), ['forward.busy', 'forward.resolve'])
    const { pid } = await stage.admin('GET', '/status')
    if (existsSync(`/proc/${pid}/task`)) assert.equal(threadsOf(pid), limits.poolThreads)
  } finally {
    await Promise.all([bad.end(), good.end()])
  }
})

/** Where resolv.conf names a server that is silent, and hosts has one name: how long that name takes while others hang. */
const program = `
const silent = require('node:dgram').createSocket('udp4')
process.env.UV_THREADPOOL_SIZE = '${limits.poolThreads}'
silent.on('error', (error) => { console.log('no server: ' + error.code); process.exit() })
silent.bind(53, '127.0.0.77', async () => {
  const { createResolve } = await import('${fileURLToPath(new URL('../../src/net/resolve.ts', import.meta.url))}')
  const resolve = createResolve(null)
  for (let n = 0; n < 40; n++) resolve('dead-' + n + '.example', 'bad').catch(() => {})
  setTimeout(async () => {
    const found = await resolve('live.example', 'good').catch((error) => [error.detail])
    require('node:fs').promises.writeFile('/dev/null', 'x').then(() => {
      require('node:fs').writeSync(1, found.join())
      // An exit would wait for the threads.
      process.kill(process.pid, 'SIGKILL')
    })
  }, 100)
})
`

const mounts = 'mount --bind "$1/resolv.conf" /etc/resolv.conf && mount --bind "$1/hosts" /etc/hosts && shift && exec "$@"'

test('the threads of the system are not all given to the dead names of one sender', { timeout: 60_000 }, (context) => {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-names-'))
  context.after(() => rmSync(dir, { recursive: true, force: true }))
  writeFileSync(join(dir, 'resolv.conf'), 'nameserver 127.0.0.77\n')
  writeFileSync(join(dir, 'hosts'), '192.0.2.7 live.example\n')
  const inside = (words: readonly string[]) =>
    spawnSync('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', mounts, 'sh', dir, ...words], { encoding: 'utf8' })
  if (inside(['true']).status !== 0) return context.skip('no mount namespace can be made here, or no resolv.conf is there')
  const { stdout, stderr } = inside([process.execPath, '--disable-warning=ExperimentalWarning', '-e', program])
  if (stdout.startsWith('no server')) return context.skip(stdout)
  assert.equal(stdout.trim(), '192.0.2.7', stderr)
})
