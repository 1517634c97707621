import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  descriptorOf,
  isLoopback,
  kernelIsAsked,
  peerOfUnixSocket,
  pinPeer,
  pinProcess,
  sharesDescriptors,
  socketOwner,
  socketOwnerByProc,
} from './kernel.ts'

// Nothing that a failed test leaves open may keep the process alive.
const unref = (socket: Socket): Socket => socket.unref()

async function pair(host: string): Promise<{ client: Socket; server: Socket; close: () => void }> {
  const listener = createServer().unref()
  await new Promise<void>((resolve) => listener.listen(0, host, resolve))
  const accepted = new Promise<Socket>((resolve) => listener.once('connection', resolve))
  const client = unref(connect((listener.address() as { port: number }).port, host))
  const server = unref(await accepted)
  return {
    client,
    server,
    close: () => {
      client.destroy()
      server.destroy()
      listener.close()
    },
  }
}

const tupleOf = (server: Socket) => ({
  localAddress: server.remoteAddress as string,
  localPort: server.remotePort as number,
  remoteAddress: server.localAddress as string,
  remotePort: server.localPort as number,
})

for (const host of ['127.0.0.1', '::1']) {
  test(`sock_diag and /proc agree on who owns the client's socket (${host})`, async () => {
    const { server, close } = await pair(host)
    const owner = socketOwner(tupleOf(server))
    assert.ok(owner !== null && owner.inode > 0)
    assert.equal(owner.uid, process.getuid?.())
    assert.deepEqual(owner, socketOwnerByProc(tupleOf(server)))
    close()
  })
}

test('a dual-stack listener sees a mapped address and still finds the owner', async () => {
  const listener = createServer().unref()
  await new Promise<void>((resolve) => listener.listen(0, '::', resolve))
  const accepted = new Promise<Socket>((resolve) => listener.once('connection', resolve))
  const client = unref(connect((listener.address() as { port: number }).port, '127.0.0.1'))
  const server = unref(await accepted)
  assert.match(server.remoteAddress as string, /^::ffff:/)
  assert.ok(socketOwner(tupleOf(server)) !== null)
  client.destroy()
  server.destroy()
  listener.close()
})

test('a four-tuple that does not exist has no owner', () => {
  assert.equal(socketOwner({ localAddress: '127.0.0.1', localPort: 1, remoteAddress: '127.0.0.1', remotePort: 2 }), null)
})

test('the peer of a Unix socket is known by the kernel', { skip: !kernelIsAsked() && 'no node:ffi here' }, async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'ostiary-peer-')), 's')
  const listener = createServer().unref()
  await new Promise<void>((resolve) => listener.listen(path, resolve))
  const accepted = new Promise<Socket>((resolve) => listener.once('connection', resolve))
  const client = unref(connect(path))
  const server = unref(await accepted)
  assert.deepEqual(peerOfUnixSocket(server), { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() })
  assert.deepEqual(peerOfUnixSocket(descriptorOf(server)), peerOfUnixSocket(server))
  const pinned = pinPeer(server)
  if (pinned !== null) assert.equal(pinned.pid(), process.pid) // Linux 6.5
  pinned?.close()
  client.destroy()
  listener.close()
})

test('a pin notices the end of its process', { skip: !kernelIsAsked() && 'no node:ffi here' }, async () => {
  const child = spawn('sleep', ['60'])
  const pinned = pinProcess(child.pid as number)
  assert.equal(pinned?.pid(), child.pid)
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await ended
  assert.equal(pinned?.pid(), -1)
  pinned?.close()
})

test('the threads of this process share its descriptors', { skip: !kernelIsAsked() && 'no node:ffi here' }, () => {
  const answers = readdirSync('/proc/self/task').map((thread) => sharesDescriptors(process.pid, Number(thread)))
  assert.ok(answers.every((one) => one !== false))
})

test('a listener at the port of a closed client is not taken for it', async () => {
  const listener = createServer().unref()
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as { port: number }
  const tuple = { localAddress: '127.0.0.1', localPort: port, remoteAddress: '127.0.0.1', remotePort: 1 }
  assert.equal(socketOwner(tuple), null)
  assert.equal(socketOwnerByProc(tuple), null)
  listener.close()
})

test('loopback is what cannot come from another host', () => {
  for (const here of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) assert.equal(isLoopback(here), true, here)
  for (const elsewhere of ['10.0.0.1', '2002:7f00:1::', '64:ff9b::7f00:1', '::ffff:10.127.0.1', '10.127.0.1', 'fe80::1%lo', '', 'x127.'])
    assert.equal(isLoopback(elsewhere), false, elsewhere)
})
