// The protocol by itself: what a parent says, and a small parent that really passes sockets.
import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { test } from 'node:test'
import { passedSockets } from './activation.ts'

const known = ['proxy', 'base-url']
const env = (count: string, names: string | undefined, pid = '7'): Record<string, string | undefined> => ({
  LISTEN_PID: pid,
  LISTEN_FDS: count,
  LISTEN_FDNAMES: names,
  HOME: '/x',
})

test('descriptors from 3, in the order of their names, and no child hears of them', () => {
  const said = env('2', 'base-url:proxy')
  assert.deepEqual(
    [...passedSockets(said, known, 7)],
    [
      ['base-url', 3],
      ['proxy', 4],
    ],
  )
  assert.deepEqual(said, { HOME: '/x' })
})

test('what is meant for another process is not ours, and is unset all the same', () => {
  for (const pid of ['8', '', '07', '7 ']) {
    const said = env('1', 'proxy', pid)
    assert.equal(passedSockets(said, known, 7).size, 0, pid)
    assert.deepEqual(said, { HOME: '/x' })
  }
  assert.equal(passedSockets({}, known, 7).size, 0)
  assert.equal(passedSockets({ LISTEN_PID: '7' }, known, 7).size, 0)
})

for (const [what, count, names, says] of [
  ['fewer names than sockets', '2', 'proxy', /2 sockets were passed with 1 names/],
  ['more names than sockets', '1', 'proxy:base-url', /1 sockets were passed with 2/],
  ['no names', '1', undefined, /FileDescriptorName=/],
  ['a name that nobody serves', '1', 'ostiary.socket', /"ostiary.socket" was passed: it must be proxy or base-url/],
  ['a name twice', '2', 'proxy:proxy', /two sockets named proxy/],
  ['no number', '-1', 'proxy', /LISTEN_FDS is "-1"/],
  ['too many', '17', 'proxy', /a number up to 16/],
] as const)
  test(`refused: ${what}`, () => {
    const said = env(count, names)
    assert.throws(() => passedSockets(said, known, 7), says)
    assert.deepEqual(said, { HOME: '/x' })
  })

const child = `
import { createServer } from 'node:net'
import { spawnSync } from 'node:child_process'
const { passedSockets } = await import(process.env.ACTIVATION)
const passed = passedSockets(process.env, ['proxy'])
if (passed.size === 0) { console.log('none'); process.exit() }
const server = createServer((socket) => { socket.end('served'); server.close() }).listen({ fd: passed.get('proxy') }, () => {
  const { stdout } = spawnSync('sh', ['-c', 'echo LISTEN=$LISTEN_FDS$LISTEN_PID$LISTEN_FDNAMES; readlink /proc/$$/fd/3'], { encoding: 'utf8' })
  console.log('ready ' + stdout.trim())
})
`

/** As systemd does it: keeps descriptor 3, and starts a server with it for each line that it is told. */
const keeper = `while read -r pid; do sh -c 'LISTEN_PID='"$pid"' LISTEN_FDS=1 LISTEN_FDNAMES=proxy exec "$0" --input-type=module -e "$1"' "$0" "$1"; done`

async function keep() {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle
  const stdio = ['pipe', 'pipe', 'inherit', fd] as const
  const env = { ...process.env, ACTIVATION: new URL('./activation.ts', import.meta.url).href }
  const parent = spawn('sh', ['-c', keeper, process.execPath, child], { stdio: [...stdio], env }) as ChildProcessByStdio<
    Writable,
    Readable,
    null
  >
  server.close()
  const lines = createInterface({ input: parent.stdout })[Symbol.asyncIterator]()
  return {
    port,
    async start(pid: string): Promise<string> {
      parent.stdin.write(`${pid}\n`)
      return (await lines.next()).value ?? ''
    },
    end: () => void parent.stdin.end(),
  }
}

const asked = (port: number): Promise<string> =>
  new Promise((resolve) => {
    let text = ''
    connect(port, '127.0.0.1')
      .on('data', (chunk) => {
        text += chunk
      })
      .on('error', (error) => resolve(String(error)))
      .on('close', () => resolve(text))
  })

const listens = (port: number): Promise<string> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve('taken')))
  })

test('while the server is away callers wait, nobody else can take the port, and no child inherits it', async () => {
  const { port, start, end } = await keep()
  try {
    for (let turn = 0; turn < 2; turn++) {
      assert.equal(await listens(port), 'EADDRINUSE')
      const waits = asked(port)
      assert.equal(await start('$$'), 'ready LISTEN=')
      assert.equal(await waits, 'served')
    }
  } finally {
    end()
  }
})

test('with the pid of another process the socket is left alone', async () => {
  const { start, end } = await keep()
  assert.equal(await start('1'), 'none')
  end()
})
