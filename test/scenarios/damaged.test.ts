// A damaged data directory: Ostiary says what is wrong and does not start, or starts and loses nothing; it never begins anew in silence.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cpSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Stage, setStage } from '../../examples/story/stage.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
let stage: Stage

before(async () => {
  stage = await setStage(Date.now())
  assert.equal((await stage.cli(['secret', 'set', 'gemini', '--for', 'gemini', '--stdin'], stage.geminiKey)).code, 0)
  assert.equal((await stage.cli(['stop'])).code, 0)
  for (let tries = 0; tries < 100 && existsSync(`${stage.dataDir}/admin.sock`); tries++)
    await new Promise((resolve) => setTimeout(resolve, 50))
})
after(() => stage?.close())

/** Starts on a copy; resolves when it is ready or has ended. */
function start(dataDir: string): Promise<{ ready: boolean; code: number | null; said: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [bin, '--config', stage.configFile, '--data', dataDir, '--json', 'start'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let said = ''
    let ready = false
    const late = setTimeout(() => child.kill('SIGKILL'), 8_000)
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text: Buffer) => {
        said += text
        if (!ready && said.includes('"ready":true')) {
          ready = true
          child.kill('SIGTERM')
        }
      })
    child.on('close', (code) => {
      clearTimeout(late)
      resolve({ ready, code, said })
    })
  })
}

test('an untouched copy starts: the damages below fail for their own reason', async () => {
  const dir = `${stage.dir}/copy`
  cpSync(stage.dataDir, dir, { recursive: true, filter: (path) => !path.endsWith('.sock') })
  const { ready, said } = await start(dir)
  assert.ok(ready, said)
})

for (const [name, damage] of [
  [
    'a store that is no database',
    (dir: string) => writeFileSync(`${dir}/ostiary.db`, 'this is a letter to my mother, and no database at all'.repeat(100)),
  ],
  [
    'a store of a future version',
    (dir: string) => {
      const db = new DatabaseSync(`${dir}/ostiary.db`)
      db.exec('PRAGMA user_version = 9999')
      db.close()
    },
  ],
  [
    'a store of another program',
    (dir: string) => {
      rmSync(`${dir}/ostiary.db`)
      const db = new DatabaseSync(`${dir}/ostiary.db`)
      db.exec('CREATE TABLE recipes (name TEXT); PRAGMA application_id = 42; PRAGMA user_version = 1')
      db.close()
    },
  ],
  ['a key file that was cut', (dir: string) => truncateSync(`${dir}/key`, 7)],
  ['a key file that is another', (dir: string) => writeFileSync(`${dir}/key`, readFileSync(`${dir}/key`).reverse())],
  ['a key file that is gone', (dir: string) => rmSync(`${dir}/key`)],
] as const) {
  test(`${name}: said, not started, nothing overwritten`, async () => {
    const dir = `${stage.dir}/damaged`
    rmSync(dir, { recursive: true, force: true })
    cpSync(stage.dataDir, dir, { recursive: true, filter: (path) => !path.endsWith('.sock') })
    for (const end of ['-wal', '-shm']) rmSync(`${dir}/ostiary.db${end}`, { force: true })
    damage(dir)
    const key = existsSync(`${dir}/key`) ? readFileSync(`${dir}/key`, 'hex') : null
    const { ready, code, said } = await start(dir)
    assert.equal(ready, false, said)
    assert.ok(code !== 0 && code !== null, `${code}: ${said}`)
    assert.ok(said.length > 20 && !/\n {4}at /.test(said), `a sentence, no stack: ${said}`)
    assert.equal(existsSync(`${dir}/key`) ? readFileSync(`${dir}/key`, 'hex') : null, key, 'the key file is as it was')
  })
}
