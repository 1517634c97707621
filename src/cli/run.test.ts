import assert from 'node:assert/strict'
import { test } from 'node:test'
import { notHere, runCommand } from './run.ts'

test('where the kernel is another: one line that says what works, exit code 2, and nothing is started', async (context) => {
  assert.equal(notHere('linux'), null)
  assert.match(notHere('darwin') ?? '', /^macOS: .*`ostiary run` needs Linux/)
  const platform = Object.getOwnPropertyDescriptor(process, 'platform') as PropertyDescriptor
  Object.defineProperty(process, 'platform', { ...platform, value: 'darwin' })
  context.after(() => Object.defineProperty(process, 'platform', platform))
  const said: string[] = []
  context.mock.method(process.stderr, 'write', (text: string) => said.push(text) > 0)
  assert.equal(await runCommand(['touch', '/nonexistent/never'], { dataDir: '/nonexistent' }), 2)
  assert.equal(said.length, 1)
})
