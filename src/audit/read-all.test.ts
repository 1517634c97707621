import assert from 'node:assert/strict'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Entry } from '../model/entry.ts'
import type { Audit } from './audit.ts'
import { logName, logsIn } from './logs.ts'
import { recordsAll, showAll, sinceAll, tailAll } from './read-all.ts'
import { verifyLogs } from './verify-all.ts'
import { openLog, privateKey, publicKey, tempDir } from './workshop.test-kit.ts'

const origin = (n: number): string => `acme.example/test/${n}`
const open = (dataDir: string, n: number): Promise<Audit> => openLog(join(dataDir, logName(n)), { origin: origin(n), key: privateKey })
const intent = (call: string, time: number): Entry => ({ kind: 'intent', call, time, host: 'api.example', method: 'GET', path: '/' })
const outcome = (call: string, time: number): Entry => ({ kind: 'outcome', call, time, status: 200 })

test('logs are found by their names, and nothing else is taken for one', (t) => {
  const dir = tempDir(t)
  for (const name of ['audit-2', 'audit', 'audit-10', 'audit-0', 'audit-x', 'audit-1000', 'auditor']) mkdirSync(join(dir, name))
  for (const name of ['audit-key', 'audit.pub', 'audit-3']) writeFileSync(join(dir, name), '')
  assert.deepEqual(
    logsIn(dir).map(({ n }) => n),
    [0, 2, 10],
  )
  assert.deepEqual(logsIn(join(dir, 'nothing')), [])
})

test('several logs read as one, by time, and each call whole', async (t) => {
  const dir = tempDir(t)
  const [zero, one] = [await open(dir, 0), await open(dir, 1)]
  await zero.append({ kind: 'administration', time: 10, by: 'test', what: 'start' })
  await one.append(intent('a', 20))
  await zero.append({ kind: 'administration', time: 30, by: 'test', what: 'reload' })
  await one.append(outcome('a', 40))
  const logs = () => logsIn(dir)
  const times = async (from: AsyncGenerator<{ readonly time: number; readonly log: number }>): Promise<string> =>
    (await Array.fromAsync(from)).map(({ log, time }) => `${log}:${time}`).join(' ')
  assert.equal(await times(tailAll(logs, 100)), '0:10 1:20 0:30 1:40')
  assert.equal(await times(tailAll(logs, 3)), '1:20 0:30 1:40')
  assert.equal(await times(tailAll(logs, 0)), '')
  assert.equal(await times(sinceAll(logs(), 25)), '0:30 1:40')
  const records = await Array.fromAsync(recordsAll(logs()))
  assert.deepEqual(
    records.map(({ log, kind, outcome }) => [log, kind, outcome]),
    [
      [0, 'administration', null],
      [1, 'call', 'answered'],
      [0, 'administration', null],
    ],
  )
  const shown = await showAll(logs(), 'a')
  assert.deepEqual([shown?.log, shown?.record.status, shown?.entries.length], [1, 200, 2])
  assert.equal(await showAll(logs(), 'b'), null)
  await Promise.all([zero.close(), one.close()])
})

test('what comes is followed, in a log that begins meanwhile too, and nothing comes twice', async (t) => {
  const dir = tempDir(t)
  const zero = await open(dir, 0)
  await zero.append({ kind: 'administration', time: 10, by: 'test', what: 'old' })
  const ends = new AbortController()
  const seen: string[] = []
  const following = (async () => {
    for await (const { log, time } of tailAll(() => logsIn(dir), 0, ends.signal)) {
      seen.push(`${log}:${time}`)
      if (seen.length === 3) ends.abort()
    }
  })()
  await new Promise((resolve) => setTimeout(resolve, 50))
  await zero.append({ kind: 'administration', time: 20, by: 'test', what: 'new' })
  const one = await open(dir, 1)
  await one.append(intent('a', 30))
  await one.append(outcome('a', 40))
  await following
  assert.deepEqual(seen.sort(), ['0:20', '1:30', '1:40'])
  await Promise.all([zero.close(), one.close()])
})

test('one key verifies all; a log that was taken away, put in the place of another or cut short is found', async (t) => {
  const dir = tempDir(t)
  for (const n of [0, 1, 2]) {
    const log = await openLog(join(dir, logName(n)), { origin: origin(n), key: privateKey, publicKeyFile: join(dir, `${logName(n)}.pub`) })
    await log.append({ kind: 'administration', time: n, by: 'test', what: 'start' })
    await log.close()
  }
  const verify = (since?: string) => verifyLogs({ dataDir: dir, publicKey, origin: origin(0), ...(since === undefined ? {} : { since }) })
  const oks = async (): Promise<readonly boolean[]> => (await verify()).map(({ ok }) => ok)
  assert.deepEqual(await oks(), [true, true, true])
  const text = `${origin(1)}\n`
  assert.equal((await verify(text))[1]?.findings[0]?.at, 'earlier checkpoint', 'it is held against the log that it names')
  assert.deepEqual((await verify(text))[2]?.findings, [])
  await assert.rejects(verify(`${origin(7)}\n`), /none of the logs here/)
  rmSync(join(dir, 'audit-1'), { recursive: true })
  assert.deepEqual(await oks(), [true, true, false], 'in the order: those that are there, then what is missed')
})
