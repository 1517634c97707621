// Text that attacks its reader: what an agent chose (paths, executables, models, reasons) and what lies in a changed log, through
// every command that prints records. No byte of it may move a cursor, colour a line, turn it around or begin another one.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openAudit } from '../../src/audit/audit.ts'
import type { Entry } from '../../src/model/entry.ts'
import { limits } from '../../src/model/limits.ts'

const bin = fileURLToPath(new URL('../../bin/ostiary.mjs', import.meta.url))
const dataDir = mkdtempSync(join(tmpdir(), 'ostiary-hostile-'))
after(() => rmSync(dataDir, { recursive: true, force: true }))

/** Clears the screen, sets the title, C1 controls, a link, a return over the line, a second line, turned around, hidden, wide. */
const hostile = `\x1b[2J\x1b]0;owned\x07\x9b31m\x1b]8;;https://evil.test\x1b\\x\r\nFAKE 00:00:00 permitted\u202e\u2066\u200b\u{e0041}\u2028`

const silent = (): void => {}
const clock = { now: () => Date.now(), monotonic: () => performance.now() }

const one: Omit<Entry, 'kind'> = {
  time: Date.now(),
  call: 'call-1',
  workload: `w${hostile}`,
  run: `r${hostile}`,
  runLabels: { [`l${hostile}`]: hostile },
  custody: hostile,
  process: { pid: 1, executable: `/opt/${hostile}/agent` },
  address: hostile,
  way: hostile,
  service: hostile,
  host: `h${hostile}`,
  method: `GET${hostile}`,
  path: `/${hostile}`,
  action: hostile,
  model: hostile,
  detail: hostile,
  notes: [hostile],
  by: hostile,
}

async function write(): Promise<void> {
  const audit = await openAudit({
    dir: join(dataDir, 'audit'),
    origin: 'acme.example/hostile/0',
    clock,
    limits,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    keyFile: join(dataDir, 'audit.key'),
    publicKeyFile: join(dataDir, 'audit.pub'),
  })
  await audit.append({ ...one, kind: 'intent', observed: hostile })
  await audit.append({ ...one, kind: 'outcome', decision: 'refuse', code: hostile, status: 403 })
  await audit.append({ ...one, kind: 'alert', alert: hostile, what: hostile })
  await audit.append({ ...one, kind: 'administration', what: hostile })
  await audit.close()
}
before(write)

function output(args: readonly string[], endAfterMs: number | null): Promise<string> {
  // As in a terminal that takes colours: ours are all that may come.
  const child = spawn(process.execPath, [bin, '--data', dataDir, ...args], { env: { ...process.env, FORCE_COLOR: '1', NO_COLOR: '' } })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')))
  if (endAfterMs !== null) setTimeout(() => child.kill('SIGTERM'), endAfterMs)
  return new Promise((resolve) => child.on('close', () => resolve(text)))
}

for (const [name, args, endAfterMs] of [
  ['audit tail', ['audit', 'tail'], null],
  ['audit tail --json', ['audit', 'tail', '--json'], null],
  ['audit show', ['audit', 'show', 'call-1'], null],
  ['audit show --json', ['audit', 'show', 'call-1', '--json'], null],
  ['audit export', ['audit', 'export'], null],
  ['refused', ['refused'], null],
  ['refused --json', ['refused', '--json'], null],
  ['audit verify', ['audit', 'verify'], null],
  ['audit tail --follow', ['audit', 'tail', '--follow', '--count', '9'], 2_500],
] as const)
  test(`${name} escapes what it prints`, async () => {
    const rest = plain(await output(args, endAfterMs))
    if (name !== 'audit verify') assert.match(rest, /\\u001b\[2J/, 'it is there, as text')
    if (args.includes('--json' as never) && name !== 'audit tail --json') JSON.parse(rest)
  })

test('watch escapes what comes while it runs', async () => {
  const child = spawn(process.execPath, [bin, '--data', dataDir, 'watch'], { env: { ...process.env, FORCE_COLOR: '1', NO_COLOR: '' } })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')))
  await once(child.stdout, 'data')
  await write()
  for (let tries = 0; tries < 100 && !text.includes('ALERT'); tries++) await new Promise((done) => setTimeout(done, 100))
  child.kill('SIGTERM')
  await once(child, 'close')
  assert.match(plain(text), /ALERT \\u001b\[2J/)
})

/** Without colours of our own; throws where something else is left that a terminal obeys. */
function plain(text: string): string {
  const rest = text.replaceAll(/\x1b\[\d{1,2}m/g, '')
  assert.doesNotMatch(rest, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069]/, JSON.stringify(rest))
  assert.doesNotMatch(rest, /[\u{e0000}-\u{e007f}]/u)
  for (const line of rest.split('\n')) assert.doesNotMatch(line, /^FAKE/)
  return rest
}
