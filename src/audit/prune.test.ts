import assert from 'node:assert/strict'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { limits } from '../model/limits.ts'
import { createPruner } from './prune.ts'
import { entries, records, show, since, tail } from './read.ts'
import { splitBundle, tilePath } from './tiles.ts'
import { verifyLog } from './verify.ts'
import { entry, fakeLog, movableClock, openLog, publicKey, tempDir } from './workshop.test-kit.ts'

const dayMs = 86_400_000
const keepDays = 30
const bundle = (dir: string, index: number): string => join(dir, tilePath('entries', index, 256))
const check = (dir: string, earlier?: string) => verifyLog({ dir, publicKey, ...(earlier === undefined ? {} : { since: earlier }) })

async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; !isSo(); tries++) {
    assert.ok(tries < 500, 'it did not come to that')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** 700 entries of long ago, 400 of now, and a round of pruning in between; `earlier` is a checkpoint over 300. */
async function pruned(t: TestContext): Promise<{ readonly dir: string; readonly earlier: string; readonly before: string }> {
  const dir = join(tempDir(t), 'log')
  const before = join(tempDir(t), 'before')
  const clock = movableClock()
  const some = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => entry(`c${from + i}`, { time: clock.now() }))
  const old = await openLog(dir, { clock })
  await Promise.all(some(0, 300).map(old.append))
  await old.checkpoint()
  const earlier = readFileSync(join(dir, 'checkpoint'), 'utf8')
  await Promise.all(some(300, 700).map(old.append))
  await old.close()
  cpSync(dir, before, { recursive: true })
  clock.wall += 31 * dayMs
  const audit = await openLog(dir, { clock, keepDays })
  await until(() => !existsSync(bundle(dir, 1)))
  await Promise.all(some(700, 1_100).map(audit.append))
  await audit.close()
  return { dir, earlier, before }
}

test('whole bundles that are too old go, the tree holds, and verify says that they were pruned', async (t) => {
  const { dir, earlier, before } = await pruned(t)
  assert.deepEqual([existsSync(bundle(dir, 0)), existsSync(bundle(dir, 1)), existsSync(bundle(dir, 2))], [false, false, true])
  const found = await check(dir, earlier)
  assert.deepEqual([found.ok, found.entries, found.pruned, found.findings], [true, 1_102, 512, []])
  assert.equal(found.proved.length, 2, 'from before what was pruned too')
  assert.ok(found.notes.some((note) => note.startsWith('entries 0 to 511 were pruned, as the log itself says')))
  assert.deepEqual((await check(before)).pruned, 0)
  // What is kept is read as before, and the journal holds nothing that was pruned.
  const all = await Array.fromAsync(entries(dir))
  assert.deepEqual([all[0]?.index, all.at(-1)?.index, all.length], [512, 1_101, 590])
  assert.equal(all.find((one) => one.kind === 'pruned')?.count, 512)
  assert.deepEqual(
    (await Array.fromAsync(tail(dir, 2))).map(({ call }) => call),
    ['c1098', 'c1099'],
  )
  assert.equal((await Array.fromAsync(since(dir, 0))).length, 590)
  assert.equal((await Array.fromAsync(records(dir))).length, 590)
  assert.deepEqual([await show(dir, 'c5'), (await show(dir, 'c600'))?.entries.length], [null, 1])
  assert.equal(readdirSync(join(dir, 'journal')).length, 1)
  // A copy without its journal, too.
  rmSync(join(dir, 'journal'), { recursive: true })
  assert.equal((await Array.fromAsync(entries(dir)))[0]?.index, 512)
})

test('what was taken out beside it is a removal still, and nobody prunes by a forged word', async (t) => {
  const { dir, before } = await pruned(t)
  const named = async (of: string) => (await check(of)).findings.map(({ kind, at }) => `${kind} ${at}`)
  rmSync(bundle(before, 0))
  assert.deepEqual(await named(before), ['removal entry 0'])
  // The last entry in force is made to say it.
  const path = join(before, 'tile', 'entries', '002.p', '188')
  const lines = splitBundle(readFileSync(path)).entries.with(5, Buffer.from('{"kind":"pruned","time":1,"count":256}'))
  writeFileSync(path, Buffer.concat(lines.flatMap((one) => [Buffer.from([one.length >> 8, one.length & 255]), one])))
  assert.ok((await named(before)).includes('edit entry 517'))
  const tile = join(dir, tilePath(0, 1, 256))
  const bytes = readFileSync(tile)
  rmSync(tile)
  assert.ok((await named(dir)).includes(`removal ${tilePath(0, 1, 256)}`), 'hashes are never pruned')
  writeFileSync(tile, bytes)
  assert.deepEqual(await named(dir), [])
  rmSync(bundle(dir, 3))
  assert.ok((await named(dir)).includes('removal entry 768'))
})

test('a prune that was broken off is no damage, and the next one ends it', async (t) => {
  const { dir, before } = await pruned(t)
  cpSync(bundle(before, 1), bundle(dir, 1))
  assert.deepEqual((await check(dir)).findings, [])
  const clock = movableClock()
  clock.wall += 31 * dayMs
  const audit = await openLog(dir, { clock, keepDays })
  await until(() => !existsSync(bundle(dir, 1)))
  await audit.close()
  assert.deepEqual([(await check(dir)).ok, (await check(dir)).pruned], [true, 512])
})

test('nothing goes before a signed checkpoint covers the entry that says so', async (t) => {
  const { before: dir } = await pruned(t)
  const clock = movableClock()
  clock.wall += 31 * dayMs
  const { log, lines } = fakeLog()
  const fine = { dir, keepDays, clock, log, covered: () => 700, append: async () => {}, checkpoint: async () => {}, rotate: () => {} }
  for (const broken of [
    { append: () => Promise.reject(new Error('no space')) },
    { checkpoint: () => Promise.reject(new Error('no space')) },
  ]) {
    const pruner = createPruner({ ...fine, ...broken })
    await until(() => lines.length > 0)
    await pruner.stop()
    assert.match(lines.splice(0).join('\n'), /warn audit not pruned, tried again later .*no space/)
    assert.ok(existsSync(bundle(dir, 0)))
  }
  clock.wall -= 2 * dayMs
  const early = createPruner(fine)
  await early.stop()
  assert.ok(existsSync(bundle(dir, 0)), 'none is old enough')
})

test('the newest checkpoint is put elsewhere, and never over one that covers more', async (t) => {
  const dir = join(tempDir(t), 'log')
  const elsewhere = tempDir(t)
  const away = join(elsewhere, 'away')
  const { log, lines } = fakeLog()
  const copy = join(elsewhere, 'acme.example_test_0-2023-11-14.checkpoint')
  const write = async (count: number) => {
    const audit = await openLog(dir, { log, copies: [away, elsewhere] })
    await Promise.all(Array.from({ length: count }, (_, i) => audit.append(entry(`c${i}`))))
    await audit.checkpoint()
    await audit.append(entry('last'))
    await audit.close()
  }
  await write(9)
  assert.equal(readFileSync(copy, 'utf8'), readFileSync(join(dir, 'checkpoint'), 'utf8'))
  assert.equal(lines.filter((line) => line.includes('the checkpoint is not copied')).length, 1, 'said once')
  assert.match(lines.join('\n'), /error the checkpoint is not copied .*away.*ENOENT/)
  // Rolled back by whoever holds the disk: the copy stays, and tells.
  rmSync(dir, { recursive: true })
  lines.length = 0
  await write(3)
  assert.match(lines.join('\n'), /covers 10 entries and the log \d: was it rolled back/)
  const told = await check(dir, readFileSync(copy, 'utf8'))
  assert.deepEqual(
    told.findings.map(({ kind }) => kind),
    ['rollback', 'truncation'],
  )
  assert.ok(limits.copyWaitMs < limits.drainMs)
})
