// The documented behaviour and what the run of faults looks for are one text; a short round of the log's faults belongs to every test run.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Stage } from '../../examples/story/stage.ts'
import { logFaults } from './log.ts'
import { serverFaults } from './served.ts'

test('the guide says of each fault what the run looks for', () => {
  const guide = readFileSync(new URL('../../docs/guide/faults.md', import.meta.url), 'utf8')
  const rows = [...serverFaults, ...logFaults].map(({ name, fault, happens }) => `| ${name} | ${fault} | ${happens} |`)
  assert.deepEqual(
    guide.split('\n').filter((line) => /^\| [a-z]+(?:-[a-z]+)* \| (?!fault)/.test(line)),
    rows,
  )
})

for (const one of logFaults)
  test(`${one.name}: ${one.fault}`, { timeout: 100_000 }, async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 32)
    const saw = await one
      .run({ stage: {} as Stage, rounds: 4, seed, tell: () => {} })
      .catch((error: Error) => assert.fail(`seed ${seed}: ${error.message}`))
    if (typeof saw !== 'string') t.skip(saw.skipped)
  })
