import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const story = fileURLToPath(new URL('../../examples/story/story.ts', import.meta.url))

test('the story holds, line by line, in under 30 seconds', () => {
  const done = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', story, '--json'], {
    encoding: 'utf8',
    timeout: 90_000,
  })
  const said = JSON.parse(done.stdout)
  for (const check of said.checks) assert.ok(check.ok, `${check.name}: ${check.says}`)
  assert.equal(said.ok, true)
  assert.equal(done.status, 0)
  assert.ok(said.seconds < 30, `${said.seconds} s`)
})
