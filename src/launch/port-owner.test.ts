import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { launch } from './launch.ts'
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

/** Another user listens; resolves with its port. */
async function stranger(): Promise<{ readonly port: string; end(): void }> {
  const program = `require('net').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port) })`
  const child = spawn(process.execPath, ['-e', program], { uid: other, gid: other, cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] })
  const port = await new Promise<string>((resolve, reject) => {
    child.once('error', reject)
    child.stdout.once('data', (text: Buffer) => resolve(text.toString().trim()))
  })
  return { port, end: () => void child.kill() }
}

const skip = own !== 0 && 'only root can be another user'

test('another user at the port is named', { skip }, async () => {
  const { port, end } = await stranger()
  assert.match((await strangerAtPort(`127.0.0.1:${port}`, 64_902)) ?? '', /uid 64901 holds .* and Ostiary is uid 64902/)
  assert.equal(await strangerAtPort(`127.0.0.1:${port}`, other), null)
  assert.match((await strangerAtPort(`127.0.0.1:${port}`, null)) ?? '', /does not say/)
  end()
})

test('nothing is started when another user holds the port', { skip }, async () => {
  const { port, end } = await stranger()
  const folder = mkdtempSync(join(tmpdir(), 'ostiary-port-'))
  const door = createServer((socket) => socket.write(`${JSON.stringify({ run: { proxy: `127.0.0.1:${port}` } })}\n`))
  await new Promise<void>((resolve) => door.listen(join(folder, 'door'), resolve))
  const started = join(folder, 'started')
  try {
    const launched = launch({
      door: join(folder, 'door'),
      workload: null,
      command: ['touch', started],
      evidenceFile: null,
      environment: {},
      looksLikeKey: () => null,
      say: () => {},
      plain: true,
      exposed: [],
      whenBlocked: () => {},
      isolate: null,
      labels: {},
    })
    await assert.rejects(launched, { code: 'launch.port', message: /uid 64901 holds 127\.0\.0\.1/ })
    assert.equal(existsSync(started), false)
  } finally {
    end()
    door.close()
    rmSync(folder, { recursive: true })
  }
})
