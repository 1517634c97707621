// Whatever our reader accepts, llhttp accepts as the same messages; `npm run fuzz` goes on with it for longer.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import {
  agree,
  answer,
  closePeers,
  disturb,
  nodeAsClient,
  nodeAsServer,
  openPeers,
  ours,
  request,
  withNoise,
} from './differential.test-kit.ts'

before(openPeers)
after(closePeers)

const timeMs = 2_500

test('requests: what we accept, llhttp accepts as the same messages', async () => {
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), withNoise, async (requests, places) => {
      const bytes = disturb(requests.join(''), places)
      const mine = ours(bytes, 'request')
      if (mine.length === 0) return
      accepted += mine.length
      agree(mine, await nodeAsServer(bytes), bytes)
    }),
    { numRuns: 100_000, interruptAfterTimeLimit: timeMs, markInterruptAsFailure: false },
  )
  assert.ok(accepted > 50, `only ${accepted} messages were accepted: the test tests nothing`)
})

test('answers: what we accept, llhttp accepts as the same messages', async () => {
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(answer, withNoise, fc.constantFrom('GET', 'GET', 'HEAD'), async (text, places, method) => {
      const bytes = disturb(text, places)
      const mine = ours(bytes, 'answer', method)
      if (mine.length === 0) return
      accepted += mine.length
      agree(mine, await nodeAsClient(bytes, method), bytes)
    }),
    { numRuns: 100_000, interruptAfterTimeLimit: timeMs, markInterruptAsFailure: false },
  )
  assert.ok(accepted > 50, `only ${accepted} messages were accepted: the test tests nothing`)
})
