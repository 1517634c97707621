import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { hear } from './arrivals.ts'

/** Two ends of one connection. */
async function pair(t: TestContext): Promise<{ readonly near: Socket; readonly far: Socket }> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const far = connect(typeof address === 'object' ? (address?.port ?? 0) : 0, '127.0.0.1')
  const [near] = (await once(server, 'connection')) as [Socket]
  t.after(() => {
    near.destroy()
    far.destroy()
    server.close()
  })
  return { near, far }
}

const numbered = (from: number, to: number): string => Array.from({ length: to - from }, (_, at) => `${from + at},`).join('')

test('every byte arrives once and in order, however often it is paused, from inside and outside', async (t) => {
  const { near, far } = await pair(t)
  let heard = ''
  let pauses = 0
  hear(near, (chunk) => {
    heard += chunk
    if (heard.length % 3 === 0) {
      pauses += 1
      near.pause()
      setTimeout(() => near.resume(), 1)
    }
  })
  const wanted = numbered(0, 300_000)
  const ended = once(near, 'end')
  far.write(wanted.slice(0, 1_000_000))
  while (heard.length < 300_000) await sleep(1)
  near.pause()
  far.end(wanted.slice(1_000_000))
  await sleep(20)
  near.resume()
  await ended
  assert.equal(heard, wanted)
  assert.ok(pauses > 0)
})

test('a paused socket takes no more than a buffer, and is slow towards who sends', async (t) => {
  const { near, far } = await pair(t)
  let heard = 0
  hear(near, (chunk) => {
    heard += chunk.length
    near.pause()
  })
  far.write(Buffer.alloc(64 * 1_024 * 1_024))
  await sleep(200)
  assert.ok(heard <= 65_536, `${heard}`)
  assert.ok(near.readableLength <= 131_072, `${near.readableLength}`)
  assert.ok(far.writableLength > 0, 'the sender waits')
})

test('what was undone hears nothing more, and the next who listens misses nothing', async (t) => {
  const { near, far } = await pair(t)
  const first: string[] = []
  const second: string[] = []
  const undo = hear(near, (chunk) => {
    first.push(String(chunk))
    near.pause()
    undo()
  })
  far.write('a')
  while (first.length === 0) await sleep(1)
  far.write('b')
  await sleep(20)
  near.on('data', (chunk: Buffer) => second.push(String(chunk)))
  near.resume()
  while (second.length === 0) await sleep(1)
  assert.deepEqual([first, second], [['a'], ['b']])
})

test('the stream machinery is passed by while the socket flows', async (t) => {
  const { near, far } = await pair(t)
  let heard = ''
  hear(near, (chunk) => {
    heard += chunk
  })
  let emitted = 0
  near.prependListener('data', () => emitted++)
  far.write('x')
  while (heard === '') await sleep(1)
  assert.equal(emitted, 0, 'no event: if there is one, the pinned Node has changed its way and this file has lost its reason')
})
