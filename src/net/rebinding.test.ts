// Names that lie, asked of a real resolver: DNS rebinding, mixed answers, aliases that lead inside, and addresses in every wrapping.
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { type TestContext, test } from 'node:test'
import { Refusal } from '../model/refusal.ts'
import { createDial, type Dial } from './dial.ts'
import { type DnsRecord, fakeDns, type Says } from './fake-dns.ts'
import { createResolve } from './resolve.ts'

const code = (wanted: string) => (error: unknown) => error instanceof Refusal && error.code === wanted

async function dialler(context: TestContext, says: Says, ownPorts: readonly number[] = []): Promise<Dial> {
  return createDial({ resolve: createResolve(await fakeDns(context, says)), fixed: () => null, ownPorts: () => ownPorts })
}

/** A server on all addresses of this machine that counts who comes. */
async function target(context: TestContext, host = '127.0.0.1') {
  const seen: (string | undefined)[] = []
  const server = createServer((socket) => {
    seen.push(socket.remoteAddress)
    socket.on('error', () => {}).resume()
  })
  await new Promise<void>((done) => server.listen(0, host, done))
  context.after(() => server.close())
  return { port: (server.address() as { port: number }).port, seen }
}

test('a name that flips (TTL 0) is asked once a connection, and each answer is vetted anew', async (context) => {
  const { port, seen } = await target(context)
  const flips = ['127.0.0.1', '169.254.169.254', '0.0.0.0', '127.0.0.1']
  const dial = await dialler(context, (name, type, times) => (type === 'A' ? [['A', name, flips[times - 1] as string]] : []))
  const first = await dial('rebind.test', port, { allowPrivate: true })
  assert.equal(first.socket.remoteAddress, '127.0.0.1')
  first.socket.destroy()
  await assert.rejects(dial('rebind.test', port, { allowPrivate: true }), code('forward.address_refused'))
  await assert.rejects(dial('rebind.test', port, { allowPrivate: true }), code('forward.address_refused'))
  // Where private addresses are not allowed the last one is refused too.
  await assert.rejects(dial('rebind.test', port), code('forward.address_refused'))
  await new Promise((done) => setTimeout(done, 20))
  assert.equal(seen.length, 1)
})

test('what was vetted is what is dialled: a second answer that would come is never asked for', async (context) => {
  const { port, seen } = await target(context)
  let questions = 0
  const dial = await dialler(context, (name, type, times) => {
    questions++
    return type === 'A' ? [['A', name, times === 1 ? '127.0.0.1' : '127.0.0.9']] : []
  })
  const { socket, address } = await dial('once.test', port, { allowPrivate: true })
  assert.deepEqual([address, socket.remoteAddress, questions], ['127.0.0.1', '127.0.0.1', 2])
  socket.destroy()
  assert.equal(seen.length, 1)
})

const inner: readonly (readonly [string, readonly DnsRecord[]])[] = [
  [
    'a public and a private one',
    [
      ['A', 'x.test', '8.8.8.8'],
      ['A', 'x.test', '10.0.0.1'],
    ],
  ],
  [
    'a public A and an AAAA of loopback',
    [
      ['A', 'x.test', '8.8.8.8'],
      ['AAAA', 'x.test', '::1'],
    ],
  ],
  ['mapped', [['AAAA', 'x.test', '::ffff:7f00:1']]],
  ['NAT64', [['AAAA', 'x.test', '64:ff9b::a9fe:a9fe']]],
  ['6to4', [['AAAA', 'x.test', '2002:7f00:1::1']]],
  ['Teredo', [['AAAA', 'x.test', '2001:0:808:808::80ff:fffe']]],
  ['ISATAP', [['AAAA', 'x.test', '2606:4700::5efe:7f00:1']]],
  ['compatible', [['AAAA', 'x.test', '::7f00:1']]],
  [
    'an alias that leads inside',
    [
      ['CNAME', 'x.test', 'inner.corp.test'],
      ['A', 'inner.corp.test', '10.1.2.3'],
    ],
  ],
  [
    'a chain of aliases to metadata',
    [
      ['CNAME', 'x.test', 'a.test'],
      ['CNAME', 'a.test', 'metadata.google.internal'],
      ['A', 'metadata.google.internal', '169.254.169.254'],
    ],
  ],
  [
    'carrier-grade NAT, multicast, broadcast',
    [
      ['A', 'x.test', '100.64.0.1'],
      ['A', 'x.test', '224.0.0.1'],
      ['A', 'x.test', '255.255.255.255'],
    ],
  ],
]
for (const [what, records] of inner)
  test(`refused, and nobody is dialled: ${what}`, async (context) => {
    const dial = await dialler(context, (_name, type) => records.filter(([kind]) => kind === 'CNAME' || kind === type))
    await assert.rejects(dial('x.test', 443, { timeoutMs: 300 }), code('forward.address_refused'))
  })

test('aliases in a circle, no answer of either kind, a server that fails: no address is no connection', async (context) => {
  const circle = await dialler(context, () => [
    ['CNAME', 'x.test', 'y.test'],
    ['CNAME', 'y.test', 'x.test'],
  ])
  await assert.rejects(circle('x.test', 443), code('forward.resolve'))
  await assert.rejects((await dialler(context, () => []))('x.test', 443), code('forward.resolve'))
  await assert.rejects((await dialler(context, () => null))('x.test', 443), code('forward.resolve'))
  // One kind fails and the other leads inside.
  const half = await dialler(context, (name, type) => (type === 'A' ? null : [['AAAA', name, '::1']]))
  await assert.rejects(half('x.test', 443), code('forward.address_refused'))
})

test('hosts of metadata are refused whatever a service allows, by name and by every spelling', async (context) => {
  const dial = await dialler(context, (name, type) => (type === 'A' ? [['A', name, '169.254.169.254']] : [['AAAA', name, 'fd00:ec2::254']]))
  for (const host of [
    'metadata.google.internal',
    'metadata',
    'instance-data',
    '169.254.169.254',
    'fd00:ec2::254',
    '::ffff:169.254.169.254',
    '100.100.100.200',
  ])
    await assert.rejects(dial(host, 80, { allowPrivate: true, timeoutMs: 300 }), code('forward.address_refused'), host)
})

test('our own ports are reached by no local address, by name or as a literal', async (context) => {
  const { port, seen } = await target(context, '0.0.0.0')
  const local = Object.values(networkInterfaces())
    .flatMap((all) => all ?? [])
    .map((one) => one.address)
  const dial = await dialler(
    context,
    (name, type) => (type === 'A' && name.startsWith('own') ? [['A', name, local.find((one) => one.includes('.')) as string]] : []),
    [port],
  )
  for (const host of [
    ...local,
    '127.0.0.1',
    '127.0.0.53',
    '127.1.2.3',
    '::1',
    '::ffff:127.0.0.1',
    '0.0.0.0',
    '::',
    'localhost',
    'own.test',
  ])
    await assert.rejects(
      dial(host, port, { allowPrivate: true, timeoutMs: 300 }),
      (error: Refusal) => /^forward\.(?:address_refused|resolve)$/.test(error.code),
      host,
    )
  await new Promise((done) => setTimeout(done, 20))
  assert.equal(seen.length, 0)
})
