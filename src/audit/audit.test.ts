import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../model/clock.ts'
import type { Refusal } from '../model/refusal.ts'
import { putFrame, segmentName } from './journal.ts'
import { entries, type Numbered } from './read.ts'
import { verifyLog } from './verify.ts'
import { entry, fakeLog, movableClock, openLog, publicKey, tempDir, watchedDisk } from './workshop.test-kit.ts'

async function all(dir: string): Promise<Numbered[]> {
  const list: Numbered[] = []
  for await (const one of entries(dir)) list.push(one)
  return list
}

const calls = (list: readonly Numbered[]) => list.map((one) => one.call)
const segmentPath = (dir: string, first = 0) => join(dir, 'journal', segmentName(first))
const refusal = (code: string) => (error: Refusal) => error.code === code

test('what was appended is read, and verifies', async (t) => {
  const dir = tempDir(t)
  const audit = await openLog(dir)
  await audit.append(entry('a'))
  audit.write(entry('a', { kind: 'outcome', status: 200 }))
  await audit.close()
  assert.deepEqual(calls(await all(dir)), ['a', 'a'])
  assert.deepEqual((await verifyLog({ dir, publicKey })).findings, [])
  assert.equal(audit.status().size, 2)
  assert.equal(audit.status().failed, false)
  await assert.rejects(audit.append(entry('late')), refusal('audit.unavailable'))
})

test('an acknowledgement comes after its bytes are durable, never before', async (t) => {
  const disk = watchedDisk()
  const audit = await openLog(tempDir(t), { disk })
  disk.held = []
  let acknowledged = false
  const waiting = audit.append(entry('a')).then(() => {
    acknowledged = true
    disk.events.push('acknowledged')
  })
  await sleep(50)
  assert.equal(acknowledged, false, 'on its way: not acknowledged')
  assert.deepEqual(
    disk.events.map((event) => event.split(' ')[0]),
    ['write'],
  )
  for (const go of disk.held) go()
  disk.held = null
  await waiting
  assert.deepEqual(
    disk.events.map((event) => event.split(' ')[0]),
    ['write', 'written', 'acknowledged'],
  )
  await audit.close()
})

test('the kernel itself makes each write to the journal durable', { skip: process.platform !== 'linux' }, async (t) => {
  const dir = tempDir(t)
  const audit = await openLog(dir)
  const fd = readdirSync('/proc/self/fd').find((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`) === segmentPath(dir)
    } catch {
      return false // that of the listing itself
    }
  })
  const flags = Number.parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8)
  assert.equal(flags & constants.O_DSYNC, constants.O_DSYNC)
  await audit.close()
})

test('a hundred concurrent appends share few writes; those that come during one go with the next', async (t) => {
  const dir = tempDir(t)
  const disk = watchedDisk()
  const audit = await openLog(dir, { disk })
  await Promise.all(Array.from({ length: 100 }, (_, i) => audit.append(entry(`c${i}`))))
  const writes = () => disk.events.filter((event) => event === 'written').length
  assert.ok(writes() <= 2, `${writes()} writes`)
  disk.held = []
  const first = audit.append(entry('x'))
  await sleep(20)
  const later = Promise.all(Array.from({ length: 50 }, (_, i) => audit.append(entry(`y${i}`))))
  await sleep(20)
  const before = disk.held.length
  const { held } = disk
  disk.held = null
  for (const go of held) go()
  await Promise.all([first, later])
  assert.equal(before, 1, 'one write under way at a time')
  assert.ok(writes() <= 4, `${writes()} writes`)
  await audit.close()
  assert.equal((await all(dir)).length, 151)
})

test('whatever number waits while a write is under way, the next one comes', async (t) => {
  const disk = watchedDisk()
  const audit = await openLog(tempDir(t), { disk, clock: systemClock })
  for (let waiting = 0; waiting < 20; waiting += 1) {
    disk.held = []
    const first = audit.append(entry('first'))
    while (disk.held.length === 0) await sleep(1)
    const rest = Array.from({ length: waiting }, (_, i) => audit.append(entry(`w${i}`)))
    audit.write(entry('nobody'))
    const { held } = disk
    disk.held = null
    for (const go of held) go()
    await Promise.all([first, ...rest])
  }
  await audit.close()
})

test('a disk that does not answer is a clear no for who waits and who comes, and no end of the log', async (t) => {
  const dir = tempDir(t)
  const disk = watchedDisk()
  const audit = await openLog(dir, { disk, clock: systemClock }, { journalMs: 60 })
  disk.held = []
  const first = assert.rejects(audit.append(entry('first')), refusal('audit.timeout'))
  while (disk.held.length === 0) await sleep(1)
  await Promise.all([first, assert.rejects(audit.append(entry('behind it')), refusal('audit.timeout'))])
  await assert.rejects(audit.append(entry('not even begun')), refusal('audit.unavailable'))
  audit.write(entry('nobody waits', { kind: 'outcome' }))
  assert.equal(disk.held.length, 1, 'one write, and it is not repeated')
  assert.equal(audit.status().failed, false)
  const { held } = disk
  disk.held = null
  for (const go of held) go()
  while (audit.status().size < 3) await sleep(1)
  await audit.append(entry('after'))
  await audit.close()
  assert.deepEqual(
    (await all(dir)).map((one) => one.call),
    ['first', 'behind it', 'nobody waits', 'after'],
  )
})

test('short writes lose nothing', async (t) => {
  const dir = tempDir(t)
  const disk = watchedDisk()
  disk.bytesMax = 100
  const audit = await openLog(dir, { disk })
  await Promise.all(Array.from({ length: 20 }, (_, i) => audit.append(entry(`c${i}`))))
  await audit.close()
  assert.equal((await all(dir)).length, 20)
})

test('a failed write refuses everything that waits and everything after, and is never repeated', async (t) => {
  const disk = watchedDisk()
  const { lines, log } = fakeLog()
  const audit = await openLog(tempDir(t), { disk, log })
  await audit.append(entry('good'))
  disk.fail = true
  const results = Promise.allSettled([audit.append(entry('a')), audit.append(entry('b'))])
  for (const result of await results) assert.equal(result.status === 'rejected' && result.reason.code, 'audit.unavailable')
  disk.fail = false
  const { length } = disk.events
  await assert.rejects(audit.append(entry('c')), refusal('audit.unavailable'))
  audit.write(entry('d'))
  audit.refusal(entry('e', { code: 'decide.denied' }), 'sender')
  await sleep(30)
  assert.equal(disk.events.length, length, 'no write after the failure')
  assert.equal(audit.status().failed, true)
  assert.ok(lines.some((line) => line.includes('audit failed')))
  assert.ok(lines.some((line) => line.includes('audit entry lost')))
  await audit.close()
})

test('the queue has an end for those who wait, later for those who report', async (t) => {
  const dir = tempDir(t)
  const disk = watchedDisk()
  const audit = await openLog(dir, { disk }, { queuedEntriesMax: 10 })
  disk.held = []
  const waiting = Array.from({ length: 10 }, (_, i) => audit.append(entry(`c${i}`)))
  await assert.rejects(audit.append(entry('over')), refusal('audit.unavailable'))
  for (let i = 0; i < 30; i += 1) audit.write(entry(`w${i}`, { kind: 'outcome' }))
  await sleep(20)
  const { held } = disk
  disk.held = null
  for (const go of held) go()
  await Promise.all(waiting)
  await audit.close()
  assert.equal((await all(dir)).length, 20)
})

test('below the disk reserve intents are refused, outcomes and administration are not', async (t) => {
  const dir = tempDir(t)
  const clock = movableClock()
  let free = 1_000
  let asked = 0
  const diskFree = async () => {
    asked += 1
    return free
  }
  const audit = await openLog(dir, { clock, diskFree }, { auditReserveBytes: 500 })
  await audit.append(entry('a'))
  free = 499
  for (let i = 0; i < 5; i += 1) await audit.append(entry('b'))
  assert.equal(asked, 1, 'asked at most once a second')
  clock.wall += 1_000
  await audit.append(entry('c'))
  await sleep(1)
  await assert.rejects(audit.append(entry('d')), refusal('audit.unavailable'))
  await audit.append(entry('e', { kind: 'administration' }))
  audit.write(entry('f', { kind: 'outcome' }))
  audit.refusal(entry('g', { kind: 'outcome', code: 'decide.denied' }), 'sender')
  free = 5_000
  clock.wall += 1_000
  await assert.rejects(audit.append(entry('h')), refusal('audit.unavailable'))
  await sleep(1)
  await audit.append(entry('i'))
  await audit.close()
  assert.deepEqual(calls(await all(dir)).slice(-3), ['e', 'f', 'i'])
})

test('one workload has a byte rate, the others do not pay for it', async (t) => {
  const clock = movableClock()
  const audit = await openLog(tempDir(t), { clock }, { auditBytesPerSecondPerWorkload: 1_000 })
  const appended = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => audit.append(entry(`c${i}`))))
  const refused = appended.filter((one) => one.status === 'rejected')
  assert.ok(refused.length > 5 && refused.length < 20, String(refused.length))
  assert.equal((refused[0] as PromiseRejectedResult).reason.code, 'audit.too_much')
  await audit.append(entry('x', { workload: 'other' }))
  clock.wall += 1_000
  await audit.append(entry('y'))
  await audit.close()
})

test('equal refusals within the window are counted, different ones stand alone', async (t) => {
  const dir = tempDir(t)
  const audit = await openLog(dir, {}, { refusalWindowMs: 50 })
  const no = (call: string, code: string, host = 'a') => entry(call, { kind: 'outcome', decision: 'refuse', code, host })
  for (let i = 0; i < 100; i += 1) audit.refusal(no(`c${i}`, 'decide.denied'), 'one')
  audit.refusal(no('other-sender', 'decide.denied'), 'two')
  audit.refusal(no('other-host', 'decide.denied', 'b'), 'one')
  audit.refusal(no('other-code', 'decide.forbidden'), 'one')
  await sleep(100)
  audit.refusal(no('next-window', 'decide.denied'), 'one')
  await audit.close()
  const list = await all(dir)
  assert.deepEqual(calls(list), ['c0', 'other-sender', 'other-host', 'other-code', 'c99', 'next-window'])
  assert.deepEqual(
    list.map((one) => one.count ?? 1),
    [1, 1, 1, 1, 99, 1],
  )
})

test('refusals of endless kinds stay within the byte rate of their sender', async (t) => {
  const dir = tempDir(t)
  const audit = await openLog(dir, {}, { auditBytesPerSecondPerWorkload: 2_000, refusalSendersMax: 8 })
  for (let i = 0; i < 500; i += 1) audit.refusal(entry(`c${i}`, { kind: 'outcome', code: 'decide.denied', host: `h${i}` }), 'one')
  await audit.close()
  const list = await all(dir)
  assert.ok(list.length > 5 && list.length < 20, String(list.length))
})

test('many entries: segments rotate and go, partial tiles go, the log verifies at each start', { timeout: 60_000 }, async (t) => {
  const dir = tempDir(t)
  let count = 0
  for (const more of [1, 255, 1, 600, 256 * 3 - 89]) {
    const audit = await openLog(dir)
    for (let i = 0; i < more; i += 100) {
      await Promise.all(
        Array.from({ length: Math.min(100, more - i) }, () => audit.append(entry(`c${count++}`, { kind: 'administration' }))),
      )
      await audit.checkpoint()
    }
    await audit.close()
    const verified = await verifyLog({ dir, publicKey })
    assert.deepEqual(verified.findings, [])
    assert.deepEqual([verified.entries, verified.checkpointSize], [count, count])
  }
  const big = await openLog(dir, {}, { auditBytesPerSecondPerWorkload: 1e9 })
  const what = 'x '.repeat(200)
  for (let i = 0; i < 13_000; i += 500) {
    await Promise.all(Array.from({ length: 500 }, () => big.append(entry(`c${count++}`, { kind: 'administration', what }))))
  }
  await big.close()
  assert.deepEqual((await verifyLog({ dir, publicKey })).findings, [])
  const list = await all(dir)
  assert.deepEqual(
    list.map((one) => one.call),
    Array.from({ length: count }, (_, i) => `c${i}`),
  )
  const segments = readdirSync(join(dir, 'journal'))
  assert.equal(segments.length, 1, 'old segments are gone')
  assert.notEqual(segments[0], segmentName(0))
  assert.equal(existsSync(join(dir, 'tile/entries/000.p')), false, 'partials of full bundles are gone')
})

test('a torn tail is cut at every position, said, and never costs a whole entry', { timeout: 60_000 }, async (t) => {
  const root = tempDir(t)
  const whole = join(root, 'whole')
  const audit = await openLog(whole)
  await audit.append(entry('a', { kind: 'administration' }))
  await audit.checkpoint()
  await audit.append(entry('b'))
  const cutFrom = statSync(segmentPath(whole)).size
  await audit.append(entry('c'))
  const end = statSync(segmentPath(whole)).size
  const files = join(root, 'files')
  cpSync(whole, files, { recursive: true })
  await audit.close()
  for (let at = cutFrom; at <= end; at += 1) {
    const dir = join(root, `cut${at}`)
    cpSync(files, dir, { recursive: true })
    truncateSync(segmentPath(dir), at)
    const again = await openLog(dir)
    await again.append(entry('d'))
    await again.close()
    const list = await all(dir)
    const kept = at === end ? ['a', 'b', 'c'] : ['a', 'b']
    assert.deepEqual(calls(list), [...kept, undefined, 'd'], `cut at ${at}`)
    const recovered = list.at(-2)
    assert.equal(recovered?.kind, 'recovered')
    assert.deepEqual(recovered?.notes, at === end ? ['b', 'c'] : ['b'])
    assert.equal(recovered?.what?.includes('bytes cut after entry 1') === true, at !== end && at > cutFrom + 3, String(recovered?.what))
    // The first three bytes of a short frame are zeros, and zeros are what a disk leaves that grew the file only.
    assert.deepEqual((await verifyLog({ dir, publicKey })).findings, [])
  }
})

test('a damaged frame and what stands behind it are cut, zeros are no damage', async (t) => {
  const dir = tempDir(t)
  const audit = await openLog(dir)
  for (const call of ['a', 'b', 'c']) await audit.append(entry(call, { kind: 'administration' }))
  const bytes = readFileSync(segmentPath(dir))
  // As kill -9 leaves it: no checkpoint yet.
  const left = join(dir, 'left')
  mkdirSync(join(left, 'journal'), { recursive: true })
  bytes[bytes.indexOf('"call":"b"') + 8] = 0x7a
  writeFileSync(segmentPath(left), bytes)
  await audit.close()
  const again = await openLog(left)
  await again.close()
  const list = await all(left)
  assert.deepEqual(calls(list), ['a', undefined])
  assert.match(list[1]?.what ?? '', /does not fit its checksum, whole frames stood behind it, sha256:[0-9a-f]{64}$/)

  const zeros = join(dir, 'zeros')
  mkdirSync(join(zeros, 'journal'), { recursive: true })
  const frame = Buffer.alloc(4_096)
  putFrame('{"kind":"administration","time":1,"call":"z"}', frame, 0)
  writeFileSync(segmentPath(zeros), frame)
  const third = await openLog(zeros)
  await third.append(entry('y', { kind: 'administration' }))
  await third.close()
  assert.deepEqual(calls(await all(zeros)), ['z', 'y'])
})

test('the start refuses where it would have to cut below a checkpoint, and changes nothing', async (t) => {
  const dir = tempDir(t)
  const audit = await openLog(dir)
  for (const call of ['a', 'b', 'c']) await audit.append(entry(call))
  await audit.close()
  const { size } = statSync(segmentPath(dir))
  truncateSync(segmentPath(dir), size - 5)
  await assert.rejects(openLog(dir), /ends at entry 2, below its checkpoint of 3/)
  assert.equal(statSync(segmentPath(dir)).size, size - 5)
})

test('the start refuses a foreign key, another origin, a broken or rewritten checkpoint, missing tiles', async (t) => {
  const dir = tempDir(t)
  const audit = await openLog(join(dir, 'log'))
  for (let i = 0; i < 10; i += 1) await audit.append(entry(`c${i}`))
  await audit.close()
  const copy = (name: string) => {
    cpSync(join(dir, 'log'), join(dir, name), { recursive: true })
    return join(dir, name)
  }
  await assert.rejects(openLog(copy('other'), { origin: 'acme.example/test/1' }), /belongs to acme.example\/test\/0/)
  const foreign = copy('foreign')
  writeFileSync(join(foreign, 'checkpoint'), readFileSync(join(foreign, 'checkpoint'), 'utf8').replace('\n10\n', '\n9\n'))
  await assert.rejects(openLog(foreign), /not signed by its key/)
  const garbage = copy('garbage')
  writeFileSync(join(garbage, 'checkpoint'), 'hello')
  await assert.rejects(openLog(garbage), /cannot be read: it is not a signed note/)
  const gone = copy('gone')
  truncateSync(join(gone, 'tile/0/000.p/10'), 32)
  await assert.rejects(openLog(gone), /tile\/0\/000.p\/10 is missing or too short/)
  const changed = copy('changed')
  const tile = readFileSync(join(changed, 'tile/0/000.p/10'))
  tile[3] = (tile[3] as number) ^ 1
  writeFileSync(join(changed, 'tile/0/000.p/10'), tile)
  await assert.rejects(openLog(changed), /do not hash to its checkpoint/)
})

test('the key is made once, for its owner only, and never anew for a log that exists', async (t) => {
  const dir = tempDir(t)
  const more = { keyFile: join(dir, 'audit-key'), publicKeyFile: join(dir, 'audit.pub') }
  const open = () => openLog(join(dir, 'audit'), { ...more, key: undefined as never })
  const first = await open()
  await first.append(entry('a'))
  await first.close()
  assert.equal(statSync(more.keyFile).mode & 0o777, 0o600)
  const second = await open()
  assert.equal(second.publicKey, first.publicKey)
  assert.equal(readFileSync(more.publicKeyFile, 'utf8'), `${first.publicKey}\n`)
  await second.close()
  writeFileSync(join(dir, 'elsewhere'), '')
  await assert.rejects(openLog(join(dir, 'audit'), { key: undefined as never, keyFile: join(dir, 'nothing') }), /its key .* is gone/)
})

test('kill -9 in ten rounds: every acknowledged entry is there, once, in order', { timeout: 60_000 }, async (t) => {
  const dir = tempDir(t)
  const acknowledged: string[] = []
  const script = join(dir, 'child.ts')
  const here = JSON.stringify(new URL('./workshop.test-kit.ts', import.meta.url).href)
  writeFileSync(
    script.replace('.ts', '.mjs'),
    `const { openLog, entry } = await import(${here})
const { createPrivateKey } = await import('node:crypto')
const { writeSync, readFileSync } = await import('node:fs')
const key = createPrivateKey(readFileSync(process.argv[3]))
const audit = await openLog(process.argv[2], { key }, { checkpointMs: 5 })
let n = 0
await Promise.all(Array.from({ length: 8 }, async () => {
  for (;;) {
    const id = process.argv[4] + '-' + n++
    await audit.append(entry(id))
    writeSync(1, id + '\\n')
    audit.write(entry(id, { kind: 'outcome' }))
  }
}))
`,
  )
  const { privateKey } = await import('./workshop.test-kit.ts')
  writeFileSync(join(dir, 'key'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const log = join(dir, 'log')
  for (let round = 0; round < 10; round += 1) {
    const child = spawn(process.execPath, [script.replace('.ts', '.mjs'), log, join(dir, 'key'), `r${round}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const lines = createInterface({ input: child.stdout })
    const before = acknowledged.length
    lines.on('line', (line) => {
      acknowledged.push(line)
      if (acknowledged.length - before === 50 + round * 37) child.kill('SIGKILL')
    })
    await Promise.all([once(child, 'exit'), once(lines, 'close')])
    assert.ok(acknowledged.length > before, `round ${round} acknowledged something`)
  }
  const audit = await openLog(log)
  await audit.close()
  const list = await all(log)
  const intents = list.filter((one) => one.kind === 'intent').map((one) => one.call as string)
  assert.equal(new Set(intents).size, intents.length, 'none twice')
  const missing = acknowledged.filter((id) => !intents.includes(id))
  assert.deepEqual(missing, [])
  assert.ok(list.filter((one) => one.kind === 'recovered').length >= 9)
  assert.deepEqual((await verifyLog({ dir: log, publicKey })).findings, [])
})

test('without a file descriptor the log waits, and goes on', { timeout: 60_000 }, async (t) => {
  const dir = tempDir(t)
  const here = JSON.stringify(new URL('./workshop.test-kit.ts', import.meta.url).href)
  writeFileSync(
    join(dir, 'child.mjs'),
    `const { openLog, entry } = await import(${here})
const { openSync, closeSync } = await import('node:fs')
const audit = await openLog(process.argv[2])
await audit.append(entry('first'))
await audit.checkpoint()
const taken = []
try { for (;;) taken.push(openSync('/dev/null', 'r')) } catch (error) { console.log(error.code) }
await audit.append(entry('second'))
const checkpoint = audit.checkpoint()
let waits = true
checkpoint.finally(() => { waits = false })
await new Promise((resolve) => setTimeout(resolve, 300))
console.log(waits ? 'waits' : 'does not wait')
for (const fd of taken) closeSync(fd)
await checkpoint
await audit.append(entry('third'))
console.log(audit.status().failed ? 'failed' : 'goes on')
await audit.close()
`,
  )
  const child = spawn('sh', ['-c', 'ulimit -n 128; exec "$@"', 'sh', process.execPath, join(dir, 'child.mjs'), join(dir, 'log')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const said = (await Array.fromAsync(createInterface({ input: child.stdout }))).join(', ')
  assert.equal(said, 'EMFILE, waits, goes on')
})
