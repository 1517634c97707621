// The reader with the uid and capabilities of its unit, asked by the uid of the broker about processes of an agent's uid.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { limits } from '../../model/limits.ts'
import type { Found } from './owner.ts'
import { readStat } from './proc.ts'
import { both, noOthers, startReader, uids } from './reader.test-kit.ts'
import { parseQuestion } from './reader.ts'
import { createReader } from './reader-client.ts'

const skip = noOthers()
const folder = mkdtempSync(join(tmpdir(), 'ostiary-reader-'))
chmodSync(folder, 0o755)
const children: ChildProcess[] = []
let agentPid = 0
let agentInode = 0

function node(program: string, uid: number): ChildProcess {
  const words = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program]
  const child = spawn(process.execPath, words, { uid, gid: uid, cwd: '/', stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(child)
  return child
}

const nextLine = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => child.stdout?.once('data', (text: Buffer) => resolve(text.toString().trim())))

before(async () => {
  if (skip !== false) return
  const agent = node(
    `import { createServer } from 'node:net'; import { fstatSync } from 'node:fs'
    const server = createServer().listen(0, '127.0.0.1', () => console.log(fstatSync(server._handle.fd).ino))`,
    uids.agent,
  )
  agentInode = Number(await nextLine(agent))
  agentPid = agent.pid as number
})

after(() => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

interface Asker {
  readonly state: string
  ask(question: object): Promise<Found | null>
}

/** The broker's half, as another uid without capabilities; resolves once it knows what its reader is. */
async function asker(path: string, uid: number = uids.broker): Promise<Asker> {
  const child = node(
    `const { createReader } = await import('${new URL('./reader-client.ts', import.meta.url)}')
    const log = { debug() {}, info() {}, warn() {}, error() {} }
    const reader = createReader('${path}', log)
    for (let turn = 0; turn < 60 && reader.state === 'away'; turn++) await new Promise((done) => setTimeout(done, 50))
    console.log(JSON.stringify(reader.state))
    for await (const line of (await import('node:readline')).createInterface({ input: process.stdin })) console.log(JSON.stringify(await reader.ask(JSON.parse(line))))`,
    uid,
  )
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  const next = async () => JSON.parse((await lines.next()).value ?? 'null')
  return {
    state: await next(),
    ask(question) {
      child.stdin?.write(`${JSON.stringify(question)}\n`)
      return next()
    },
  }
}

async function reader(name: string, capabilities = both) {
  const path = join(folder, name)
  const started = await startReader(path, capabilities)
  children.push(started.child)
  return { path, ...started }
}

test('with its two capabilities: the facts of another user’s process, by socket and by pid', { skip }, async () => {
  const { path } = await reader('both')
  const { state, ask } = await asker(path)
  assert.equal(state, 'there')
  const found = await ask({ uid: uids.agent, inode: agentInode, roots: [] })
  assert.equal(found?.why, '')
  assert.equal(found?.process?.pid, agentPid)
  assert.equal(found?.process?.uid, uids.agent)
  assert.equal(found?.process?.executable, process.execPath)
  assert.match(found?.process?.executableSha256 ?? '', /^[0-9a-f]{64}$/)
  assert.match(found?.process?.pidNamespace ?? '', /^\d+$/)
  const startTicks = readStat(agentPid)?.startTicks ?? ''
  assert.deepEqual(await ask({ pid: agentPid, startTicks }), { ...found, root: 0 })
  assert.match((await ask({ pid: agentPid, startTicks: `${startTicks}1` }))?.why ?? '', /is gone/)
  assert.match((await ask({ uid: uids.stranger, inode: agentInode, roots: [] }))?.why ?? '', /no process of uid 64914 holds/)
})

for (const [what, capabilities] of [
  ['CAP_SYS_PTRACE alone', ['sys_ptrace']],
  ['CAP_DAC_READ_SEARCH alone', ['dac_read_search']],
  ['neither', []],
] as const)
  test(`with ${what} the facts are not to be had, and the broker knows it`, { skip }, async () => {
    const { path } = await reader(what.replaceAll(' ', '-'), [...capabilities])
    const { state, ask } = await asker(path)
    assert.equal(state, 'blind')
    assert.equal(await ask({ uid: uids.agent, inode: agentInode, roots: [] }), null)
  })

test('nobody but its broker is answered, root neither', { skip }, async () => {
  const { path, said } = await reader('only')
  chmodSync(path, 0o666)
  for (const uid of [uids.stranger]) assert.equal((await asker(path, uid)).state, 'away')
  const asRoot = createReader(path, { debug() {}, info() {}, warn() {}, error() {} })
  await new Promise((done) => setTimeout(done, 200))
  assert.equal(asRoot.state, 'away')
  asRoot.close()
  assert.match(said(), /uid 64914 was not answered/)
  assert.match(said(), /uid 0 was not answered/)
})

test('what is no question ends the connection, and the reader answers on', { skip }, async () => {
  const { path } = await reader('wrong')
  const wrong = [
    'no JSON',
    '{}',
    '{"id":1,"pid":1}',
    '{"id":1,"path":"/etc/shadow"}',
    `{"id":1,"pid":1,"startTicks":"../1"}`,
    'x'.repeat(limits.readerQuestionBytesMax + 2),
  ]
  const child = node(
    `import { connect } from 'node:net'
    for (const line of ${JSON.stringify(wrong)}) console.log(await new Promise((done) => {
      let text = ''
      const socket = connect('${path}', () => socket.write(line + '\\n'))
      socket.on('data', (more) => { text += more }).on('error', () => {}).on('close', () => done('closed' + text))
    }))`,
    uids.broker,
  )
  let said = ''
  for await (const text of child.stdout as NodeJS.ReadableStream) said += text
  assert.equal(said, 'closed\n'.repeat(wrong.length))
  assert.equal((await asker(path)).state, 'there')
})

test('a reader that goes away is away, and there again when it is back', { skip }, async () => {
  const { path, child } = await reader('back')
  const { state, ask } = await asker(path)
  assert.equal(state, 'there')
  child.kill('SIGKILL')
  await new Promise((done) => child.once('exit', done))
  rmSync(path)
  const question = { uid: uids.agent, inode: agentInode, roots: [] }
  assert.equal(await ask(question), null)
  await reader('back')
  let found: Found | null = null
  for (let turn = 0; turn < 40 && found === null; turn++) {
    await new Promise((done) => setTimeout(done, 100))
    found = await ask(question)
  }
  assert.equal(found?.process?.pid, agentPid)
})

test('a question is one of two shapes, of numbers within their bounds', () => {
  const right = [
    { pid: 1, startTicks: '2' },
    { uid: 1, inode: 2, roots: [3] },
  ] as const
  for (const question of right) assert.deepEqual(parseQuestion(JSON.stringify({ id: 4, ...question })), { id: 4, question })
  const wrong: readonly unknown[] = [
    null,
    [],
    { id: 1, pid: 1, startTicks: '2', uid: 3 },
    { id: 1, pid: -1, startTicks: '2' },
    { id: 1, pid: '1/../2', startTicks: '2' },
    { id: 1, pid: 1, startTicks: 2 },
    { id: 1, uid: 1, inode: 2 },
    { id: 1, uid: 1.5, inode: 2, roots: [] },
    { id: 1, uid: 1, inode: 2, roots: ['/'] },
    { id: 1, uid: 1, inode: 2, roots: new Array(limits.readerRootsMax + 1).fill(1) },
    { uid: 1, inode: 2, roots: [] },
  ]
  for (const question of wrong) assert.equal(parseQuestion(JSON.stringify(question)), null, JSON.stringify(question))
})

test('who answers nothing, or nonsense, is no reader', { skip: process.platform !== 'linux' && 'Linux only' }, async () => {
  const warned: unknown[] = []
  const log = { debug() {}, info() {}, warn: (_: string, more?: object) => void warned.push(more), error() {} }
  for (const [name, answer] of [
    ['silent', ''],
    ['nonsense', 'hello\n'],
    ['endless', 'x'.repeat(limits.readerAnswerBytesMax + 1)],
    ['other', '{"id":1,"found":{"process":{"pid":1,"uid":0,"executable":"/x"},"likeness":"","why":"","unreadable":false,"root":0}}\n'],
  ] as const) {
    const path = join(folder, name)
    const server = createServer((socket) => socket.on('error', () => {}).write(answer))
    await new Promise<void>((resolve) => server.listen(path, resolve))
    const asked = createReader(path, log, 100)
    await new Promise((done) => setTimeout(done, 200))
    assert.notEqual(asked.state, 'there', name)
    assert.equal(await asked.ask({ pid: 1, startTicks: '1' }), null)
    asked.close()
    server.close()
  }
  assert.deepEqual(warned.length >= 1, true)
})
