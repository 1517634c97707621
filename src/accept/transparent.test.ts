import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Refusal } from '../model/refusal.ts'
import {
  bodyOf,
  clientHello,
  type Door,
  type DoorOptions,
  handshake,
  openDoor,
  portOf,
  read,
  type TunnelCall,
  wholeAnswer,
  withExtension,
} from './fake-agent.ts'

type Inside = (line: string) => Promise<Socket>

/** A door whose Unix socket is dialled with this first line. */
async function inside(part: DoorOptions, work: (dial: Inside, door: Door) => Promise<void>): Promise<void> {
  const door = await openDoor(part)
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-inside-'))
  await door.accept.listenInside(join(dir, 's'))
  try {
    await work(async (line) => {
      const socket = connect(join(dir, 's'))
      socket.on('error', () => {})
      await new Promise((resolve) => socket.once('connect', resolve))
      socket.write(line)
      return socket
    }, door)
  } finally {
    await door.accept.stop()
    rmSync(dir, { recursive: true })
  }
}

const get = (host: string): string => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`

test('a managed host is intercepted by its SNI, and Host must be the same', async () => {
  const ways: string[] = []
  const onCall = (call: Parameters<NonNullable<DoorOptions['onCall']>>[0]): void => {
    ways.push(`${call.target.way} ${call.target.host}:${call.target.port}`)
    call.cut()
  }
  await inside({ onCall }, async (dial, door) => {
    const secure = await handshake(await dial('transparent 443\n'), 'api.openai.test')
    const cut = read(secure)
    secure.write(get('api.openai.test'))
    await cut
    assert.deepEqual(ways, ['transparent api.openai.test:443'])
    const other = await handshake(await dial('transparent 443\n'), 'api.openai.test')
    const answer = read(other, wholeAnswer)
    other.write(get('docs.test'))
    assert.equal(bodyOf(await answer)['code'], 'accept.disagree')
    assert.equal(door.refused.at(-1)?.about.way, 'transparent')
  })
})

test('a managed host at another port is refused inside TLS, never tunnelled', async () => {
  const onTunnel = (): void => assert.fail('tunnelled')
  await inside({ onTunnel }, async (dial, door) => {
    const secure = await handshake(await dial('transparent 8443\n'), 'api.openai.test')
    const answer = read(secure, wholeAnswer)
    secure.write(get('api.openai.test:8443'))
    assert.equal(bodyOf(await answer)['code'], 'accept.host_unmanaged')
    assert.equal(door.refused.at(-1)?.refusal.detail, 'a managed host at another port or scheme')
  })
})

test('a permitted tunnel begins with the hello itself; ECH is not relayed', async () => {
  const taken: Socket[] = []
  const origin = createServer((socket) => {
    taken.push(socket)
    socket.on('error', () => {}).once('data', (bytes) => socket.end(`${bytes.length}`))
  })
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
  let dialled = 0
  let refused = ''
  const onTunnel = (call: TunnelCall): void => {
    assert.equal(call.target.way, 'transparent')
    call
      .relay(async () => {
        dialled++
        return connect(portOf(origin), '127.0.0.1')
      })
      .catch((error: Refusal) => {
        refused = error.detail
        call.refuse(error, call.id)
      })
  }
  const hello = await clientHello('origin.test')
  await inside({ onTunnel }, async (dial) => {
    const socket = await dial('transparent 443\n')
    const answer = read(socket)
    socket.write(hello)
    assert.equal(await answer, String(hello.length))
    const hidden = await dial('transparent 443\n')
    const nothing = read(hidden)
    hidden.write(withExtension(hello, 0xfe0d))
    assert.equal(await nothing, '')
    assert.deepEqual([refused, dialled], ['ECH', 1])
  })
  origin.close()
  for (const socket of taken) socket.destroy()
})

test('a first line that is none of ours, too long or too late is cut', async () => {
  await inside({ shorter: { handshakeMs: 100 } }, async (dial) => {
    for (const line of [
      'admin\n',
      'transparent 0\n',
      'transparent 70000\n',
      'transparent 443',
      `${'p'.repeat(40)}\n`,
      get('api.openai.test'),
    ])
      assert.equal(await read(await dial(line)), '', line)
    // No TLS, no head, nothing: cut as well.
    assert.equal(await read(await dial('transparent 443\n')), '')
  })
})

test('an end before the first byte is no refusal; a byte-wise first line and hello are read', async () => {
  const hello = await clientHello('nobody.test')
  let tunnels = 0
  const onTunnel = (call: TunnelCall): void => {
    tunnels++
    call.cut()
  }
  await inside({ onTunnel }, async (dial, door) => {
    ;(await dial('transparent 443\n')).destroy()
    const socket = await dial('')
    const cut = read(socket)
    for (const byte of [...Buffer.from('transparent 443\n'), ...hello]) socket.write(Buffer.from([byte]))
    await cut
    assert.equal(tunnels, 1)
    assert.equal(door.refused.length, 0)
  })
})
