import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createRefusals } from './refusals.ts'
import { entry, fakeLog } from './workshop.test-kit.ts'

function opened(t: TestContext, sendersMax = 10) {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const written: string[] = []
  const refusals = createRefusals({
    windowMs: 1_000,
    sendersMax,
    log: fakeLog().log,
    write: ({ call, count }) => written.push(count === undefined ? `${call}` : `${call} x${count}`),
    fits: () => true,
  })
  const refuse = (call: string, sender = 'one'): void => refusals.add(entry(call, { kind: 'outcome', code: 'decide.denied' }), sender)
  return { written, refuse, refusals }
}

test('a flood is one entry a window, with its count; only the first of all stands alone and at once', (t) => {
  const { written, refuse, refusals } = opened(t)
  for (let second = 0; second < 5; second += 1) {
    for (let i = 0; i < 100; i += 1) refuse(`${second}.${i}`)
    if (second === 0) assert.deepEqual(written, ['0.0'])
    t.mock.timers.tick(1_000)
  }
  assert.deepEqual(written, ['0.0', '0.99 x99', '1.99 x100', '2.99 x100', '3.99 x100', '4.99 x100'])
  t.mock.timers.tick(1_000)
  refuse('later')
  assert.equal(written.at(-1), 'later', 'after a window without any the next is written at once')
  refuse('last')
  refusals.close()
  t.mock.timers.tick(5_000)
  assert.deepEqual(written.slice(6), ['later', 'last x1'])
})

test('one that comes alone is followed by nothing, and the windows that are open are bounded', (t) => {
  const { written, refuse } = opened(t, 3)
  refuse('alone')
  t.mock.timers.tick(3_000)
  assert.deepEqual(written.splice(0), ['alone'])
  for (const sender of ['a', 'b', 'c']) for (let i = 0; i < 2; i += 1) refuse(sender, sender)
  refuse('d', 'd')
  assert.deepEqual(written, ['a', 'b', 'c', 'a x1', 'b x1', 'c x1', 'd'], 'all are closed, so that none is held too many')
})
