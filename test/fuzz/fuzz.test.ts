// A short pass of `npm run fuzz` belongs to every test run: each target, a few hundred cases, another seed each time.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { targets } from './targets.ts'

for (const one of targets)
  test(`fuzz: ${one.name}`, { timeout: 60_000 }, async () => {
    await one.open?.()
    try {
      const property = fc.asyncProperty(one.cases, async (value) => one.check(value))
      const done = await fc.check(property, { numRuns: 300, interruptAfterTimeLimit: 400, markInterruptAsFailure: false })
      if (done.failed && done.counterexample !== null) assert.fail(fc.defaultReportMessage(done))
    } finally {
      await one.close?.()
    }
  })
