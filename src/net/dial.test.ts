import assert from 'node:assert/strict'
import { createServer, type Server, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Refusal } from '../model/refusal.ts'
import { createDial, type DialOptions } from './dial.ts'
import { createResolve } from './resolve.ts'

async function listen(context: TestContext, address = '127.0.0.1', port = 0): Promise<{ readonly port: number; readonly seen: Socket[] }> {
  const seen: Socket[] = []
  const server: Server = createServer((socket) => {
    socket.on('error', () => {})
    seen.push(socket)
  })
  await new Promise<void>((done) => server.listen(port, address, done))
  context.after(() => {
    for (const socket of seen) socket.destroy()
    server.close()
  })
  return { port: (server.address() as { port: number }).port, seen }
}

/** Each question takes the next answer. */
function resolver(...answers: readonly (readonly string[])[]) {
  const left = [...answers]
  const asked: string[] = []
  return {
    asked,
    resolve: async (host: string): Promise<readonly string[]> => {
      asked.push(host)
      return left.shift() ?? []
    },
  }
}

const plain = { fixed: () => null, ownPorts: () => [], ownAddresses: () => new Set<string>() } satisfies Omit<DialOptions, 'resolve'>

const code = (wanted: string) => (error: unknown) => error instanceof Refusal && error.code === wanted

test('the address that was vetted is the one that is dialled, whatever the name says next', async (context) => {
  const { port, seen } = await listen(context)
  const names = resolver(['127.0.0.1'], ['169.254.169.254'])
  const dial = createDial({ ...plain, resolve: names.resolve })
  const { socket, address, fixed } = await dial('api.test', port, { allowPrivate: true })
  assert.equal(address, '127.0.0.1')
  assert.equal(fixed, false)
  assert.equal(socket.remoteAddress, '127.0.0.1')
  assert.deepEqual(names.asked, ['api.test'], 'asked once')
  socket.destroy()
  await assert.rejects(dial('api.test', port, { allowPrivate: true }), code('forward.address_refused'))
  assert.equal(seen.length, 1)
})

test('one answer that may not be dialled refuses them all', async (context) => {
  const { port, seen } = await listen(context)
  for (const answers of [['127.0.0.1'], ['8.8.8.8', '127.0.0.1'], ['::ffff:127.0.0.1'], ['64:ff9b::7f00:1']])
    await assert.rejects(createDial({ ...plain, resolve: async () => answers })('api.test', port), code('forward.address_refused'))
  for (const answers of [['127.0.0.1', '169.254.169.254'], ['fd00:ec2::254'], ['fe80::1'], ['0.0.0.0'], ['::ffff:a9fe:a9fe']])
    await assert.rejects(
      createDial({ ...plain, resolve: async () => answers })('api.test', port, { allowPrivate: true }),
      code('forward.address_refused'),
    )
  assert.equal(seen.length, 0)
})

test('our own listeners are never dialled, an address of this machine only where private ones may be', async (context) => {
  const { port, seen } = await listen(context)
  const own = { ...plain, ownPorts: () => [port], ownAddresses: () => new Set(['10.1.2.3', '8.8.4.4']) }
  for (const address of ['127.0.0.1', '127.0.0.2', '::1', '10.1.2.3', '::ffff:10.1.2.3'])
    await assert.rejects(
      createDial({ ...own, resolve: async () => [address] })('api.test', port, { allowPrivate: true }),
      code('forward.address_refused'),
    )
  await assert.rejects(createDial({ ...own, resolve: async () => ['8.8.4.4'] })('api.test', port + 1), code('forward.address_refused'))
  await assert.rejects(
    createDial({ ...own, resolve: async () => [], fixed: () => ({ address: '127.0.0.1', port }) })('api.test', 443),
    code('forward.address_refused'),
  )
  assert.equal(seen.length, 0)
})

test('a fixed address replaces resolution, with its own port, and says so; metadata it is not', async (context) => {
  const { port } = await listen(context)
  const names = resolver()
  const fixed = (host: string) => (host === 'api.test' ? { address: '127.0.0.1', port } : { address: '169.254.169.254', port: 80 })
  const dial = createDial({ ...plain, resolve: names.resolve, fixed })
  const dialled = await dial('api.test', 443)
  assert.equal(dialled.fixed, true)
  assert.equal(dialled.socket.remotePort, port)
  assert.deepEqual(names.asked, [])
  dialled.socket.destroy()
  await assert.rejects(dial('other.test', 443), code('forward.address_refused'))
})

test('the next address is tried where one refuses; what fails in the end is forward.connect', async (context) => {
  const { port } = await listen(context, '127.0.0.3')
  const dial = createDial({ ...plain, resolve: async () => ['127.0.0.2', '127.0.0.3'] })
  const { socket, address } = await dial('api.test', port, { allowPrivate: true })
  assert.equal(address, '127.0.0.3')
  socket.destroy()
  const none = createDial({ ...plain, resolve: async () => ['127.0.0.2'] })
  await assert.rejects(none('api.test', port, { allowPrivate: true }), code('forward.connect'))
  await assert.rejects(none('api.test', port, { allowPrivate: true, signal: AbortSignal.abort() }), code('forward.connect'))
})

test('names: literals are not asked for, spellings of numbers are vetted as what they become', async () => {
  const resolve = createResolve(null)
  assert.deepEqual(await resolve('127.0.0.1'), ['127.0.0.1'])
  await assert.rejects(resolve('no-such-name.invalid'), code('forward.resolve'))
  const dial = createDial({ ...plain, resolve })
  for (const host of ['2130706433', '0x7f000001', '127.1', 'localhost'])
    await assert.rejects(dial(host, 1), (error: Refusal) => error.code === 'forward.address_refused' || error.code === 'forward.resolve')
})

test('a named server is asked instead of the system', async () => {
  const resolve = createResolve('127.0.0.1:1')
  await assert.rejects(resolve('localhost'), code('forward.resolve'))
})
