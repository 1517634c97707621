import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ending } from '../../examples/story/print.ts'

const root = new URL('../../', import.meta.url)
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

test('a story that held ends with what to do next, in 80 columns; one that did not, with how many lines did not', () => {
  const check = { name: 'x', ok: true, says: '' }
  const text = ending([check, check], 9.5, false)
  assert.match(text, /^\nAll 2 lines held, 9\.5 s\.\n\nNext:\n/)
  for (const line of text.split('\n')) assert.ok(line.length <= 80, line)
  const named = text.match(/[a-z/-]+\.(?:mjs|md)/g) ?? []
  assert.equal(named.length, 2)
  for (const path of named) assert.ok(existsSync(new URL(path, root)), path)
  assert.equal(ending([check, { ...check, ok: false }], 1, false), '\n1 of 2 lines did not hold, 1 s.\n')
  assert.equal(ending([check], 2, true), '\nAll 1 lines held, 2 s.\n')
})
