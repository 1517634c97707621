// Killed under load, five times: whatever reached a vendor is on record, and the log can be verified. `npm run test:faults` has 200 rounds.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { killRounds } from '../faults/kill.test-kit.ts'
import { clearStage } from '../faults/server.test-kit.ts'

let stage: Stage

before(async () => {
  stage = await setStage(Date.now())
  await clearStage(stage)
})
after(() => stage?.close())

test('kill -9 under load, five rounds: every request that went out has its record, and the log verifies', async () => {
  const seed = Math.floor(Math.random() * 2 ** 32)
  const killed = await killRounds(stage, { rounds: 5, seed }).catch((error: Error) => assert.fail(`seed ${seed}: ${error.message}`))
  assert.ok(killed.sent >= 5, `${killed.sent} went out`)
})
