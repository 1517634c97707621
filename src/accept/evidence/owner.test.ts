// One search for many: each is answered as if it had been asked alone.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fstatSync, readdirSync, readlinkSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { findOwners } from './owner.ts'

const skip = process.platform !== 'linux' && 'there is no /proc here'
const uid = process.geteuid?.() ?? 0
const inodeOf = (socket: Socket): number => fstatSync((socket as unknown as { _handle: { fd: number } })._handle.fd).ino

test('hundreds of sockets of one process, one of another, and one of nobody, in one search', { skip }, async (context) => {
  const server = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const mine = await Promise.all(
    Array.from({ length: 300 }, async () => {
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      return socket
    }),
  )
  const child = spawn(process.execPath, ['-e', `require('net').connect(${port}, '127.0.0.1', () => console.log('there'))`])
  context.after(() => {
    for (const socket of mine) socket.destroy()
    child.kill()
    server.close()
  })
  await once(child.stdout, 'data')
  const folder = `/proc/${child.pid}/fd`
  const theirs = readdirSync(folder)
    .map((name) => Number(/^socket:\[(\d+)\]$/.exec(readlinkSync(`${folder}/${name}`))?.[1] ?? 0))
    .filter((inode) => inode > 0)
  const sought = [...mine.map(inodeOf), ...theirs, 1].map((inode) => ({ uid, inode }))
  for (const roots of [[], [child.pid as number], [process.pid], [child.pid as number, process.pid]]) {
    const found = findOwners(sought, roots)
    assert.equal(found.length, sought.length)
    for (let at = 0; at < mine.length; at++) assert.equal(found[at]?.process?.pid, process.pid, found[at]?.why ?? '')
    // A pair of sockets between parent and child has an inode at each end: these are the child's.
    for (let at = mine.length; at < sought.length - 1; at++) assert.equal(found[at]?.process?.pid, child.pid, found[at]?.why ?? '')
    assert.equal(found.at(-1)?.process, null)
    assert.match(found.at(-1)?.why ?? '', /no process of uid/)
  }
})

test('a socket of another uid than its process is nobody’s', { skip }, async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const inode = inodeOf(server as unknown as Socket)
  const [wrong] = findOwners([{ uid: uid + 1, inode }], [process.pid])
  assert.equal(wrong?.process, null)
  assert.match(wrong?.why ?? '', /holds a socket of uid/)
  server.close()
})
