import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { watchFiles } from './watch-files.ts'

test('a file that changes is noticed, and one that comes to fit a pattern, also when it is written on; others are not', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-watch-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const file = (name: string): string => join(dir, name)
  writeFileSync(file('o.yaml'), 'a')
  writeFileSync(file('a.cedar'), 'a')
  let noticed = 0
  const watched = { files: [file('o.yaml'), file('a.cedar')], patterns: [file('*.cedar'), file('absent/**/*.cedar')] }
  const watcher = watchFiles(
    () => watched,
    async () => void noticed++,
  )
  const settled = () => new Promise((resolve) => setTimeout(resolve, 100))
  const after = async (change: () => void): Promise<number> => {
    await settled()
    const before = noticed
    change()
    t.mock.timers.tick(1_000)
    await settled()
    return noticed - before
  }
  assert.equal(await after(() => {}), 0)
  assert.equal(await after(() => writeFileSync(file('o.yaml'), 'ab')), 1)
  assert.equal(await after(() => writeFileSync(file('b.cedar'), '')), 1, 'a new one')
  // It could not be read yet, so that no configuration names it.
  assert.equal(await after(() => writeFileSync(file('b.cedar'), 'whole')), 1, 'now it is whole')
  assert.equal(await after(() => writeFileSync(file('b.cedar.swp'), 'x')), 0, 'fits no pattern')
  assert.equal(await after(() => rmSync(file('b.cedar'))), 1, 'it goes')
  assert.equal(await after(() => {}), 0)
  watcher.close()
  assert.equal(await after(() => writeFileSync(file('o.yaml'), 'abc')), 0, 'closed')
})
