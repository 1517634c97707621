// Bodies that flow: nothing before start, nothing while paused, one end, in order.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Sink } from '../model/message.ts'
import { collect, emptyFlow, FlowSource, wholeFlow } from './flow.ts'

interface Scene {
  readonly said: string[]
  readonly source: FlowSource
  readonly sink: Sink & { more: boolean }
}

function scene(length = -1): Scene {
  const said: string[] = []
  const source = new FlowSource(length, {
    started: () => said.push('started'),
    paused: () => said.push('paused'),
    resumed: () => said.push('resumed'),
    cancelled: () => said.push('cancelled'),
  })
  const sink = {
    more: true,
    data(chunk: Buffer): boolean {
      said.push(`data ${chunk}`)
      return sink.more
    },
    end: (trailers: readonly (readonly [string, string])[]): void => void said.push(`end ${trailers.length}`),
    fail: (error: Error): void => void said.push(`fail ${error.message}`),
  }
  return { said, source, sink }
}

test('what comes before start waits', () => {
  const { said, source, sink } = scene()
  source.data(Buffer.from('a'))
  source.data(Buffer.from('b'))
  source.end([['x', 'y']])
  assert.deepEqual(said, [])
  source.start(sink)
  assert.deepEqual(said, ['started', 'data a', 'data b', 'end 1'])
})

test('a sink that is full pauses its owner, and gets the rest in order', () => {
  const { said, source, sink } = scene()
  source.start(sink)
  sink.more = false
  source.data(Buffer.from('a'))
  source.data(Buffer.from('b'))
  source.data(Buffer.from('c'))
  source.end([])
  assert.deepEqual(said, ['started', 'resumed', 'data a', 'paused'])
  source.resume()
  assert.deepEqual(said.slice(4), ['data b', 'paused'])
  sink.more = true
  source.resume()
  assert.deepEqual(said.slice(6), ['data c', 'end 0'])
  source.resume()
  source.data(Buffer.from('late'))
  source.fail(new Error('late'))
  source.cancel()
  assert.deepEqual(said.slice(8), [])
})

test('a failure comes at once, before or after start, and is the last word', () => {
  const early = scene()
  early.source.data(Buffer.from('a'))
  early.source.fail(new Error('broken'))
  early.source.start(early.sink)
  assert.deepEqual(early.said, ['started', 'fail broken'])
  const late = scene()
  late.source.start(late.sink)
  late.source.pause()
  late.source.data(Buffer.from('a'))
  late.source.fail(new Error('broken'))
  late.source.end([])
  late.source.resume()
  assert.deepEqual(late.said, ['started', 'resumed', 'paused', 'fail broken'])
})

test('an owner that does not stop when paused fails its flow', () => {
  const { said, source, sink } = scene()
  for (let count = 0; count < 9; count++) source.data(Buffer.alloc(1024 * 1024))
  source.data(Buffer.from('late'))
  assert.deepEqual(said, ['cancelled'])
  source.start(sink)
  assert.deepEqual(said, ['cancelled', 'started', 'fail more was sent than waits'])
})

test('a cancelled flow says nothing more', () => {
  const { said, source, sink } = scene()
  source.start(sink)
  source.cancel()
  source.cancel()
  source.data(Buffer.from('a'))
  source.end([])
  assert.deepEqual(said, ['started', 'resumed', 'cancelled'])
})

test('a sink may pause, resume and cancel from within', () => {
  const { said, source } = scene()
  const sink: Sink = {
    data(chunk) {
      said.push(`data ${chunk}`)
      source.pause()
      source.resume()
      if (chunk.toString() === 'b') source.cancel()
      return true
    },
    end: () => said.push('end'),
    fail: () => said.push('fail'),
  }
  for (const text of ['a', 'b', 'c']) source.data(Buffer.from(text))
  source.end([])
  source.start(sink)
  assert.deepEqual(
    said.filter((word) => !/paused|resumed/.test(word)),
    ['started', 'data a', 'data b', 'cancelled'],
  )
})

test('collect takes a body up to its bound', async () => {
  assert.equal((await collect(emptyFlow, 0)).length, 0)
  assert.equal((await collect(wholeFlow(Buffer.from('abc')), 3)).toString(), 'abc')
  await assert.rejects(collect(wholeFlow(Buffer.from('abc')), 2), RangeError)
  await assert.rejects(collect(scene(4).source, 3), RangeError)
  const exact = scene()
  const collected = collect(exact.source, 3)
  exact.source.data(Buffer.from('ab'))
  exact.source.data(Buffer.from('c'))
  exact.source.end([])
  assert.equal((await collected).toString(), 'abc')
  const over = scene()
  const rejected = collect(over.source, 3)
  over.source.data(Buffer.from('abcd'))
  await assert.rejects(rejected, RangeError)
  assert.equal(over.said.at(-1), 'cancelled')
  const broken = scene()
  const failed = collect(broken.source, 3)
  broken.source.fail(new Error('broken'))
  await assert.rejects(failed, /broken/)
})
