// Real processes, real sockets: each way in which a connection may have other owners than it seems.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { systemClock } from '../../model/clock.ts'
import { limits } from '../../model/limits.ts'
import { kernelIsAsked } from '../../net/kernel.ts'
import { createGather, type Gathered } from './peer.ts'
import { readStat } from './proc.ts'

const python = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3'
const noPython = spawnSync(python, ['-c', 'import ctypes, socket']).status !== 0 && 'no python3 here'
const noOther = (process.getuid?.() !== 0 || noPython) && 'only root can be another user'

let roots: number[] = []
const lines: string[] = []
const log = { debug() {}, info() {}, warn() {}, error: (what: string) => void lines.push(what) }
const gather = createGather({ candidates: () => roots, clock: systemClock, limits, log, reader: null })
const children: ChildProcess[] = []
let server: Server
let port = 0
let accepted: (socket: Socket) => void = () => {}

before(async () => {
  server = createServer((socket) => {
    socket.on('error', () => {})
    accepted(socket)
  }).unref()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as { port: number }).port
})

after(async () => {
  // Each leads a group of its own, so that what it forked goes too.
  for (const child of children) {
    try {
      process.kill(-(child.pid as number), 'SIGKILL')
    } catch {}
  }
  server.close()
  await gather.close()
  assert.deepEqual(lines, [])
})

interface Case {
  readonly child: ChildProcess
  readonly socket: Socket
  /** Resolves with the child's next line. */
  line(): Promise<string>
}

const prelude = `
import ctypes, os, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def say(word): print(word, flush=True)
`

interface AgentOptions {
  readonly uid?: number
  readonly env?: NodeJS.ProcessEnv
  /** Words before the interpreter. */
  readonly under?: readonly string[]
}

/** Runs a Python program that connects to PORT; resolves once it did and said "ready". */
async function agent(program: string, options: AgentOptions = {}): Promise<Case> {
  const socket = new Promise<Socket>((resolve) => {
    accepted = resolve
  })
  const text = `${prelude}\nPORT = ${port}\n${program}`
  const { under = [], ...rest } = options
  const words = [...under, python, '-c', text]
  const child = spawn(words[0] as string, words.slice(1), { stdio: ['pipe', 'pipe', 'inherit'], cwd: '/', detached: true, ...rest })
  children.push(child)
  const waiting: ((line: string) => void)[] = []
  const said: string[] = []
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    for (const word of chunk.split('\n').filter(Boolean)) {
      const next = waiting.shift()
      if (next === undefined) said.push(word)
      else next(word)
    }
  })
  const line = (): Promise<string> => {
    const word = said.shift()
    return word === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(word)
  }
  assert.equal(await line(), 'ready')
  const connection = await socket
  connection.unref()
  return { child, socket: connection, line }
}

const plainAgent = `s = socket.create_connection(('127.0.0.1', PORT)); say('ready'); sys.stdin.read()`

async function gathered(socket: Socket): Promise<Gathered> {
  const found = await gather(socket)
  socket.destroy()
  return found
}

test('the right process is found, with the facts of its executable', { skip: noPython }, async () => {
  const { child, socket } = await agent(plainAgent)
  const { peer, unchanged } = await gather(socket)
  assert.equal(peer.why, '')
  assert.equal(peer.process?.pid, child.pid)
  assert.equal(peer.process?.startTicks, readStat(child.pid as number)?.startTicks)
  assert.match(peer.process?.executable ?? '', /python3/)
  assert.match(peer.process?.executableSha256 ?? '', /^[0-9a-f]{64}$/)
  assert.match(peer.process?.pidNamespace ?? '', /^\d+$/)
  assert.equal(peer.process?.ancestors[0], `${process.pid}:${readStat(process.pid)?.startTicks}`)
  assert.equal(peer.uid, process.getuid?.())
  assert.equal(peer.loopback, true)
  assert.equal(unchanged(), true)
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await ended
  assert.equal(unchanged(), false)
  socket.destroy()
})

test('among few candidates the search is short', { skip: noPython }, async () => {
  const { child, socket } = await agent(plainAgent)
  roots = [child.pid as number]
  await gather(socket)
  const times: number[] = []
  for (let turn = 0; turn < 9; turn++) {
    const began = performance.now()
    const { peer } = await gather(socket)
    times.push(performance.now() - began)
    assert.equal(peer.process?.pid, child.pid)
  }
  roots = []
  socket.destroy()
  const median = times.sort((a, b) => a - b)[4] as number
  assert.ok(median < 30, `${median} ms`) // 1-2 ms on an idle machine; the rest is room for a busy one
})

test('a descendant of a candidate is found, however deep', { skip: noPython }, async () => {
  const { child, socket, line } = await agent(`
if os.fork() == 0:
  if os.fork() == 0:
    s = socket.create_connection(('127.0.0.1', PORT)); say('ready'); say(str(os.getpid())); time.sleep(30)
  os.wait()
sys.stdin.read()`)
  roots = [child.pid as number]
  const { peer } = await gathered(socket)
  roots = []
  assert.equal(String(peer.process?.pid), await line())
  assert.ok(peer.process?.ancestors.some((one) => one.startsWith(`${child.pid}:`)))
})

const namespaced = ['unshare', '-Urmpf', '--mount-proc', '--']
const noNamespace =
  (noOther || spawnSync('unshare', [...namespaced.slice(1), 'true'], { uid: 65_532 }).status !== 0) && 'no user namespaces here'

test('a user finds a process of its own in namespaces below its own', { skip: noNamespace }, async () => {
  const { child, socket } = await agent(plainAgent, { uid: 65_532, under: namespaced })
  roots = [child.pid as number]
  process.seteuid?.(65_532)
  try {
    const { peer } = await gather(socket)
    assert.equal(peer.why, '')
    assert.equal(peer.uid, 65_532)
    assert.notEqual(peer.process?.pid, child.pid)
    assert.ok(peer.process?.ancestors.some((one) => one.startsWith(`${child.pid}:`)))
    assert.notEqual(peer.process?.pidNamespace, '')
    assert.match(peer.process?.executable ?? '', /python3/)
  } finally {
    process.seteuid?.(0)
    roots = []
  }
  socket.destroy()
})

test('two processes that share the descriptor are refused, searched as candidates and by uid', { skip: noPython }, async () => {
  const { child, socket } = await agent(`
s = socket.create_connection(('127.0.0.1', PORT))
if os.fork() == 0: time.sleep(30); os._exit(0)
say('ready'); sys.stdin.read()`)
  for (roots of [[child.pid as number], []]) {
    const { peer } = await gather(socket)
    assert.equal(peer.process, null)
    assert.equal(peer.uid, null)
    assert.match(peer.why, /2 processes hold the socket/)
  }
  socket.destroy()
})

test('a fork that lets go at once is no second owner', { skip: noPython }, async () => {
  const { child, socket } = await agent(`
s = socket.create_connection(('127.0.0.1', PORT))
if os.fork() == 0: time.sleep(0.015); os.execv('/bin/sleep', ['sleep', '30'])
say('ready'); sys.stdin.read()`)
  const { peer } = await gathered(socket)
  assert.equal(peer.process?.pid, child.pid, peer.why)
})

test('a descriptor in flight has no owner: refused', { skip: noPython }, async () => {
  const { socket } = await agent(`
a, b = socket.socketpair()
s = socket.create_connection(('127.0.0.1', PORT))
socket.send_fds(a, [b'x'], [s.fileno()])
s.close()
say('ready'); sys.stdin.read()`)
  const { peer } = await gathered(socket)
  assert.equal(peer.process, null)
  assert.equal(peer.uid, null)
  assert.match(peer.why, /no process of uid/)
})

test('a thread with a descriptor table of its own is found', { skip: noPython }, async () => {
  const { child, socket, line } = await agent(`
def own():
  if libc.unshare(0x400) != 0: say('ready'); say('refused'); return
  global s
  s = socket.create_connection(('127.0.0.1', PORT)); say('ready'); say('unshared'); time.sleep(30)
threading.Thread(target=own, daemon=True).start()
sys.stdin.read()`)
  assert.equal(await line(), 'unshared')
  const { peer } = await gathered(socket)
  assert.equal(peer.process?.pid, child.pid, peer.why)
})

test('another program in the same process is another peer', { skip: noPython }, async () => {
  const { child, socket, line } = await agent(`
s = socket.create_connection(('127.0.0.1', PORT)); s.set_inheritable(True); say('ready'); sys.stdin.readline()
say('going'); os.execv('/bin/sleep', ['sleep', '30'])`)
  const { peer, unchanged } = await gather(socket)
  assert.equal(peer.process?.pid, child.pid)
  assert.equal(unchanged(), true)
  child.stdin?.write('\n')
  assert.equal(await line(), 'going')
  const until = Date.now() + 5_000
  while (unchanged() && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.equal(unchanged(), false)
  const again = await gathered(socket)
  assert.match(again.peer.process?.executable ?? '', /sleep|coreutils|busybox/)
})

test('LD_PRELOAD and a false name change nothing: the facts are the executable’s', { skip: noPython }, async () => {
  const { socket } = await agent(`libc.prctl(15, b'sleep) S 1 (', 0, 0, 0)\n${plainAgent}`, {
    env: { LD_PRELOAD: 'libm.so.6', PATH: '/usr/bin:/bin' },
  })
  const { peer } = await gathered(socket)
  assert.match(peer.process?.executable ?? '', /python3/)
  assert.equal(peer.process?.ancestors[0]?.startsWith(`${process.pid}:`), true)
})

test('a deleted executable has no name and no hash', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ostiary-peer-'))
  const copy = join(folder, 'agent')
  copyFileSync('/bin/bash', copy)
  chmodSync(copy, 0o755)
  const socket = new Promise<Socket>((resolve) => {
    accepted = resolve
  })
  const child = spawn(copy, ['-c', `exec 9<>/dev/tcp/127.0.0.1/${port}; read x`], { stdio: ['pipe', 'ignore', 'inherit'], detached: true })
  children.push(child)
  const connection = await socket
  assert.equal((await gather(connection)).peer.process?.executable, copy)
  rmSync(folder, { recursive: true })
  const { peer } = await gathered(connection)
  assert.equal(peer.process?.pid, child.pid)
  assert.deepEqual([peer.process?.executable, peer.process?.executableSha256], ['', ''])
})

test('a well-known path that another file was laid over is not believed', { skip: noOther }, async () => {
  const { socket } = await agent(`
if libc.unshare(0x20000) != 0: os._exit(1)
libc.mount(b'none', b'/', None, 0x44000, None)
if libc.mount(b'${python}', b'/usr/bin/env', None, 0x1000, None) != 0: os._exit(2)
code = "import socket,sys; s=socket.create_connection(('127.0.0.1',%d)); print('ready',flush=True); sys.stdin.read()" % PORT
os.execv('/usr/bin/env', ['env', '-c', code])`)
  const { peer } = await gathered(socket)
  assert.notEqual(peer.process, null)
  assert.equal(peer.process?.executable, '')
})

test('a holder of another user that may not be read: its uid counts, and nothing is guessed', { skip: noOther }, async () => {
  const { socket } = await agent(plainAgent, { uid: 65_533 })
  const { peer } = await gather(socket)
  assert.equal(peer.process?.uid, 65_533)
  process.seteuid?.(65_532)
  try {
    const closed = await gather(socket)
    assert.deepEqual([closed.peer.process, closed.peer.uid], [null, 65_533])
    assert.match(closed.peer.why, /may not be read/)
  } finally {
    process.seteuid?.(0)
  }
  socket.destroy()
})

test('a holder that hides from its own user is nobody', { skip: noOther }, async () => {
  const { socket } = await agent(`libc.prctl(4, 0, 0, 0, 0)\n${plainAgent}`, { uid: 65_532 })
  process.seteuid?.(65_532)
  try {
    const { peer } = await gather(socket)
    assert.deepEqual([peer.process, peer.uid], [null, null])
  } finally {
    process.seteuid?.(0)
  }
  socket.destroy()
})

test('a socket that root made and a dropped user holds belongs to nobody', { skip: noOther }, async () => {
  const { socket } = await agent(
    `s = socket.create_connection(('127.0.0.1', PORT)); os.setresuid(65533, 65533, 65533); say('ready'); sys.stdin.read()`,
  )
  const { peer } = await gathered(socket)
  assert.deepEqual([peer.process, peer.uid], [null, null])
})

test('the peer of a Unix socket is known by its credentials', { skip: !kernelIsAsked() && 'no node:ffi here' }, async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'ostiary-peer-')), 's')
  const taken = new Promise<Socket>((resolve) => {
    const listener = createServer((socket) => {
      listener.close()
      resolve(socket)
    })
    listener.listen(path, () => void connect(path).unref())
  })
  const socket = await taken
  const { peer, unchanged } = await gather(socket)
  assert.equal(peer.transport, 'unix')
  assert.equal(peer.process?.pid, process.pid)
  assert.equal(unchanged(), true)
  socket.destroy()
})

test('a peer of another host has no process and no uid', async () => {
  const socket = { remoteAddress: '::ffff:10.1.2.3', remotePort: 5, localAddress: '10.1.2.4', localPort: 6 } as Socket
  const { peer } = await gather(socket)
  assert.deepEqual([peer.address, peer.loopback, peer.uid, peer.process], ['10.1.2.3', false, null, null])
  const tunnelled = await gather({ ...socket, remoteAddress: '2002:7f00:1::' } as Socket)
  assert.equal(tunnelled.peer.loopback, false)
})

test('a connection that is gone is nobody’s', async () => {
  const socket = { remoteAddress: '127.0.0.1', remotePort: 1, localAddress: '127.0.0.1', localPort: 2 } as Socket
  const { peer, unchanged } = await gather(socket)
  assert.deepEqual([peer.uid, peer.process, unchanged()], [null, null, false])
})
