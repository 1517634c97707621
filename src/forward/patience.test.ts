// Answers of ten minutes, on a clock that runs ahead: what the vendors' clients wait for (600 s), this side waits for too.
import assert from 'node:assert/strict'
import type { ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { noEdits } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import { ended, type FakeApi, fakeApi, take, until } from './fake-api.ts'

function fastClock() {
  let ms = 1_000_000
  return {
    now: () => ms,
    monotonic: () => ms,
    /** In steps, with time in between for pings and for the look at what is late. */
    async pass(seconds: number): Promise<void> {
      for (let step = 0; step < seconds; step += 10) {
        ms += 10_000
        await sleep(25)
      }
    },
  }
}

interface Slow {
  readonly api: FakeApi
  readonly clock: ReturnType<typeof fastClock>
  head(): void
  event(text: string): void
  end(): void
  asked(): boolean
}

async function overHttp1(context: TestContext): Promise<Slow> {
  const clock = fastClock()
  let socket: Socket | null = null
  const api = await fakeApi(
    context,
    (one) => {
      socket = one
    },
    { clock },
  )
  const write = (text: string): void => void socket?.write(text)
  return {
    api,
    clock,
    head: () => write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'),
    event: (text) => write(`${text.length.toString(16)}\r\n${text}\r\n`),
    end: () => write('0\r\n\r\n'),
    asked: () => socket !== null,
  }
}

async function overHttp2(context: TestContext): Promise<Slow> {
  const clock = fastClock()
  let stream: ServerHttp2Stream | null = null
  const api = await fakeApi(context, () => {}, {
    clock,
    h2: (server) =>
      server.on('stream', (one) => {
        stream = one as ServerHttp2Stream
        stream.on('error', () => {})
      }),
  })
  return {
    api,
    clock,
    head: () => stream?.respond({ ':status': 200 }),
    event: (text) => void stream?.write(text),
    end: () => void stream?.end(),
    asked: () => stream !== null,
  }
}

for (const [name, start] of [
  ['HTTP/1.1', overHttp1],
  ['HTTP/2', overHttp2],
] as const) {
  test(`${name}: a head after ten minutes, and ten minutes of silence between two events`, async (context) => {
    const slow = await start(context)
    const answer = slow.api.forward.forward(slow.api.call(), noEdits, null)
    await until(slow.asked)
    await slow.clock.pass(600)
    slow.head()
    const taken = take((await answer).body)
    slow.event('one')
    await until(() => taken.text === 'one')
    await slow.clock.pass(600)
    slow.event('two')
    await until(() => taken.text === 'onetwo')
    slow.end()
    assert.deepEqual((await ended(taken)).failed, null)
  })

  test(`${name}: longer than that is waited for in vain, and said so`, async (context) => {
    const late = await start(context)
    const answer = late.api.forward.forward(late.api.call(), noEdits, null)
    const refused = assert.rejects(answer, (error: Refusal) => error.code === 'forward.timeout')
    await until(late.asked)
    await late.clock.pass(650)
    await refused
    const still = await start(context)
    const begun = still.api.forward.forward(still.api.call(), noEdits, null)
    await until(still.asked)
    still.head()
    const taken = take((await begun).body)
    await still.clock.pass(650)
    assert.ok((await ended(taken)).failed instanceof Refusal)
  })
}
