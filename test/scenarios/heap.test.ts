// After leases end, the heap of Ostiary's process holds their secrets nowhere; and the process is not dumpable.
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { setStage } from '../../examples/story/stage.ts'

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
/** Leases are wiped five seconds after their end, for the calls that still use them. */
const wipedAfterMs = 6_500

test('a heap snapshot after the end of the leases holds no secret', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-heap-'))
  const stage = await setStage(Date.now(), [
    '--heapsnapshot-signal=SIGUSR2',
    `--diagnostic-dir=${dir}`,
    '--disable-warning=ExperimentalWarning',
    main,
  ])
  try {
    const { pid } = await stage.admin('GET', '/status')
    assert.equal((await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)).code, 0)
    const agent = await stage.startAgent('story-agent')
    for (const vendor of ['openai', 'anthropic', 'gemini'] as const)
      for (const stream of [false, true]) assert.ok((await agent.ask(vendor, { stream })).ok)
    assert.ok(stage.vendors.secrets.size >= 3)
    for (const name of ['openai-story', 'anthropic-story', 'gemini-story'])
      assert.equal((await stage.cli(['revoke', 'credential', name])).code, 0)
    await new Promise((resolve) => setTimeout(resolve, wipedAfterMs))
    assert.ok(!(await agent.ask('openai')).ok)
    process.kill(pid, 'SIGUSR2')
    const text = await snapshot(dir)
    assert.ok(text.includes('story-agent'), 'the snapshot holds what it should')
    for (const secret of stage.vendors.secrets)
      for (const form of [secret, Buffer.from(secret).toString('base64').replace(/=+$/, '')])
        assert.ok(!text.includes(form), `found ${form.slice(0, 8)}… in the heap`)
  } finally {
    await stage.close()
    rmSync(dir, { recursive: true, force: true })
  }
})

async function snapshot(dir: string): Promise<string> {
  for (let tries = 0; tries < 300; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    const [file] = readdirSync(dir)
    const text = file === undefined ? '' : readFileSync(join(dir, file), 'latin1')
    if (text.trimEnd().endsWith(']}')) return text
  }
  throw new Error('no heap snapshot came')
}
