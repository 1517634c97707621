import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { strangerAtPort } from './port-owner.ts'

const own = process.getuid?.() ?? -1
const other = 64_901

function listening(): Promise<{ readonly port: number; close(): void }> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () =>
      resolve({ port: (server.address() as { port: number }).port, close: () => void server.close() }),
    )
  })
}

test('the port is the broker’s: the kernel knows, whatever it is called', async () => {
  const { port, close } = await listening()
  for (const host of ['127.0.0.1', 'localhost', '0.0.0.0']) assert.equal(await strangerAtPort(`${host}:${port}`, own), null, host)
  close()
  assert.match((await strangerAtPort(`127.0.0.1:${port}`, own)) ?? '', /nobody listens/)
})

test('an address of another host is not ours to judge', async () => {
  assert.equal(await strangerAtPort('192.0.2.1:7070', own), null)
})

test('another user at the port is named, and nothing is started', { skip: own !== 0 && 'only root can be another user' }, async () => {
  const program = `require('net').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port) })`
  const child = spawn(process.execPath, ['-e', program], { uid: other, gid: other, cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const said = await new Promise<string>((resolve, reject) => {
      child.once('error', reject)
      child.stdout.once('data', (text: Buffer) => resolve(text.toString().trim()))
    })
    assert.match((await strangerAtPort(`127.0.0.1:${said}`, 64_902)) ?? '', /uid 64901 holds .* and Ostiary is uid 64902/)
    assert.equal(await strangerAtPort(`127.0.0.1:${said}`, other), null)
    assert.match((await strangerAtPort(`127.0.0.1:${said}`, null)) ?? '', /does not say/)
  } finally {
    child.kill()
  }
})
