// The preload in another Node process, against a proxy that answers as told.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { nodePreload } from './node-preload.ts'

const dir = mkdtempSync(join(tmpdir(), 'ostiary preload-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const file = join(dir, 'node-preload.cjs')
writeFileSync(file, nodePreload())

/** What the program printed, and the heads that the proxy got. */
async function played(script: string, answer: string, environment: Readonly<Record<string, string>> = {}) {
  const heads: string[] = []
  const proxy = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', (bytes: Buffer) => {
      heads.push(bytes.toString('latin1'))
      socket.end(answer)
    })
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const address = `http://run-1:x@127.0.0.1:${(proxy.address() as AddressInfo).port}`
  const child = spawn(process.execPath, ['-e', script], {
    env: { PATH: process.env['PATH'], NODE_OPTIONS: `--require=${JSON.stringify(file)}`, https_proxy: address, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let out = ''
  child.stdout.on('data', (text: Buffer) => {
    out += text
  })
  await new Promise((resolve) => child.on('close', resolve))
  proxy.close()
  return { heads, out }
}

const dial = (words: string): string =>
  `require('tls').connect(${words}).on('error', (error) => { console.log(error.message.slice(0, 60)); process.exit() }).on('close', () => process.exit())`

test('each way to say where: CONNECT with the credentials of the proxy, and its no is an error', async () => {
  for (const words of ["{ host: 'a.example', port: 443 }", "443, 'a.example', {}", "443, 'a.example'", "'443', 'a.example', () => {}"]) {
    const { heads, out } = await played(dial(words), 'HTTP/1.1 403 Forbidden\r\n\r\n')
    assert.deepEqual(heads, ['CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: Basic cnVuLTE6eA==\r\n\r\n'])
    assert.equal(out, 'the proxy refused a.example: HTTP/1.1 403 Forbidden\n')
  }
})

test('another port, a host of no_proxy, a socket of the caller, no proxy: as without it', async () => {
  for (const [words, environment] of [
    ["{ host: '127.0.0.1', port: 1 }", {}],
    ["{ host: 'localhost', port: 443 }", { no_proxy: 'b.example, localhost' }],
    ["{ host: 'a.localhost', port: 443 }", { no_proxy: '.localhost' }],
    ["{ host: '127.0.0.1', port: 443 }", { no_proxy: '*' }],
    ["{ host: 'a.example', port: 443, socket: require('net').connect(1, '127.0.0.1') }", {}],
    ["{ host: '127.0.0.1', port: 443 }", { https_proxy: '' }],
    ["{ host: '127.0.0.1', port: 443 }", { https_proxy: 'socks5://127.0.0.1:1' }],
  ] as const) {
    const { heads } = await played(`setTimeout(process.exit, 3000);${dial(words)}`, 'HTTP/1.1 200 OK\r\n\r\n', environment)
    assert.deepEqual(heads, [], words)
  }
})

test('what is no proxy is an error, and the client is never left waiting', async () => {
  for (const answer of ['', 'SSH-2.0-x\r\n\r\n', 'x'.repeat(70_000), 'HTTP/1.1 200 OK\r\n\r\n']) {
    const { heads } = await played(dial("{ host: 'a.example', port: 443 }"), answer)
    assert.equal(heads.length, 1)
  }
})
