// `ostiary audit export | something slow`: every line arrives, although the command has long read its last record.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openAudit } from '../../src/audit/audit.ts'
import { systemClock } from '../../src/model/clock.ts'
import { limits } from '../../src/model/limits.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const silent = { debug() {}, info() {}, warn() {}, error() {} }

test('a reader that begins late gets all of an export', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-slow-reader-'))
  try {
    const audit = await openAudit({ dir: join(dir, 'audit'), origin: 'slow/reader/0', clock: systemClock, limits, log: silent })
    for (let at = 0; at < 2_000; at++) audit.write({ kind: 'alert', time: at, alert: 'test', what: 'x'.repeat(200) })
    await audit.close()
    const child = spawn(process.execPath, [bin, '--data', dir, 'audit', 'export', '--json'], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => child.once('close', resolve))
    await pause(1_000)
    let text = ''
    for await (const bytes of child.stdout) text += bytes
    assert.equal(await ended, 0)
    assert.equal(text.trimEnd().split('\n').length, 2_000)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
