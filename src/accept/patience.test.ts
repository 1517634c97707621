// An agent that waits for ten minutes is not cut, whatever it came by, and its connection is good for the next request; on a clock
// that runs ahead.
import assert from 'node:assert/strict'
import http2 from 'node:http2'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { FlowSource } from '../http/flow.ts'
import type { Call } from '../model/call.ts'
import { limits } from '../model/limits.ts'
import { noEdits } from '../model/message.ts'
import { dial, openDoor, read, responseHead, tunnelled } from './fake-agent.ts'

let ms = 1_000_000
const clock = { now: () => Date.now(), monotonic: () => ms }
async function pass(seconds: number): Promise<void> {
  for (let step = 0; step < seconds; step += 60) {
    ms += 60_000
    await sleep(15)
  }
}

/** A head after ten minutes, an event, and another one ten minutes later. */
async function slowly(call: Call): Promise<void> {
  await pass(600)
  const source = new FlowSource(-1, { paused() {}, resumed() {}, cancelled() {} })
  const answered = call.answer(responseHead(200), noEdits, source)
  source.data(Buffer.from('one'))
  await pass(600)
  source.data(Buffer.from('two'))
  source.end([])
  await answered
}

// Only how often is looked comes from headMs: the look is each 10 ms.
const options = { onCall: slowly, clock, shorter: { headMs: 40 } }

test('an answer of twenty minutes in the base URL and in a tunnel, over HTTP/1.1', async () => {
  const door = await openDoor(options)
  for (const [open, path, host] of [
    [() => dial(door.basePort), '/openai/v1/x', `127.0.0.1:${door.basePort}`],
    [() => tunnelled(door.proxyPort), '/v1/x', 'api.openai.test'],
  ] as const) {
    const socket = await open()
    for (let turn = 0; turn < 2; turn++) {
      const answer = read(socket, (text) => text.endsWith('0\r\n\r\n'))
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
      assert.match(await answer, /^HTTP\/1\.1 200 .*3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n$/s)
    }
    socket.destroy()
  }
  await door.accept.stop()
  assert.deepEqual([door.defects, door.refused], [[], []])
})

test('and over HTTP/2', async () => {
  const door = await openDoor(options)
  const session = http2.connect(`http://127.0.0.1:${door.basePort}`)
  session.on('error', () => {})
  for (let turn = 0; turn < 2; turn++) {
    const stream = session.request({ ':path': '/openai/v1/x' })
    let text = ''
    for await (const chunk of stream) text += chunk
    assert.deepEqual([text, stream.rstCode], ['onetwo', 0])
  }
  session.destroy()
  await door.accept.stop()
  assert.deepEqual(door.defects, [])
})

test('no limit of this side is below what the clients of the vendors wait for', () => {
  for (const name of ['idleMs', 'bodyStallMs', 'answerHeadMs', 'answerStallMs', 'callMs'] as const) assert.ok(limits[name] >= 600_000, name)
})
