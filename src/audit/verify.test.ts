import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { compareRows } from './compare.ts'
import { segmentName } from './journal.ts'
import { openCheckpoint, signCheckpoint } from './note.ts'
import { splitBundle } from './tiles.ts'
import { createTree, leafHash } from './tree.ts'
import { type Verification, verifyLog } from './verify.ts'
import { entry, openLog, origin, privateKey, publicKey } from './workshop.test-kit.ts'

// One log of 700 entries (two full bundles, one partial), with a checkpoint at 300; each attack works on a copy of its files.
const root = join(import.meta.dirname, `.verify-${process.pid}`)
const whole = join(root, 'whole')
let since = ''
let copies = 0

before(async () => {
  mkdirSync(root)
  const audit = await openLog(whole)
  const some = (from: number, to: number) => Promise.all(Array.from({ length: to - from }, (_, i) => audit.append(entry(`c${from + i}`))))
  await some(0, 300)
  await audit.checkpoint()
  since = readFileSync(join(whole, 'checkpoint'), 'utf8')
  await some(300, 600)
  await audit.checkpoint()
  await some(600, 700)
  await audit.close()
})

after(() => rmSync(root, { recursive: true, force: true }))

function copy(): string {
  copies += 1
  const dir = join(root, `copy${copies}`)
  cpSync(whole, dir, { recursive: true })
  return dir
}

const bundlePath = ['tile/entries/000', 'tile/entries/001', 'tile/entries/002.p/188'] as const
const tilePath = ['tile/0/000', 'tile/0/001', 'tile/0/002.p/188'] as const

function change(dir: string, bundle: number, edit: (entries: Buffer[]) => Buffer[]): void {
  const path = join(dir, bundlePath[bundle] as string)
  const entries = edit(splitBundle(readFileSync(path)).entries)
  writeFileSync(path, Buffer.concat(entries.flatMap((one) => [Buffer.from([one.length >> 8, one.length & 255]), one])))
}

function flip(path: string, at = -1): void {
  const bytes = readFileSync(path)
  const place = at < 0 ? Math.floor(bytes.length / 2) : at
  bytes[place] = (bytes[place] as number) ^ 1
  writeFileSync(path, bytes)
}

const swapped = (list: Buffer[], i: number, j: number) =>
  list.map((one, k) => (k === i ? (list[j] as Buffer) : k === j ? (list[i] as Buffer) : one))
const named = (verification: Verification) => verification.findings.map(({ kind, at }) => `${kind} ${at}`)
const check = (dir: string, earlier?: string) => verifyLog({ dir, publicKey, ...(earlier === undefined ? {} : { since: earlier }) })

test('an untouched log: what is proven without and with an earlier checkpoint', async () => {
  const alone = await check(whole)
  assert.deepEqual([alone.ok, alone.entries, alone.checkpointSize, alone.findings], [true, 700, 700, []])
  assert.equal(alone.proved.length, 1)
  assert.match(alone.proved[0] as string, /^internal: all 700/)
  assert.ok(alone.notes.some((note) => note.includes('--since')))
  const both = await check(whole, since)
  assert.equal(both.ok, true)
  assert.match(both.proved[1] as string, /^against an earlier checkpoint: its 300/)
})

const attacks: readonly { name: string; does: (dir: string) => void; finds: readonly string[] }[] = [
  { name: 'a byte of an entry', does: (dir) => flip(join(dir, bundlePath[1]), 40), finds: ['edit entry 256'] },
  {
    name: 'an edit of equal length',
    does: (dir) => change(dir, 0, (list) => list.with(17, Buffer.from((list[17] as Buffer).toString().replace('c17', 'x17')))),
    finds: ['edit entry 17'],
  },
  { name: 'an entry deleted', does: (dir) => change(dir, 1, (list) => list.toSpliced(10, 1)), finds: ['removal entry 266'] },
  { name: 'three entries deleted', does: (dir) => change(dir, 0, (list) => list.toSpliced(10, 3)), finds: ['removal entry 10'] },
  { name: 'the first deleted', does: (dir) => change(dir, 0, (list) => list.slice(1)), finds: ['removal entry 0'] },
  { name: 'two neighbours swapped', does: (dir) => change(dir, 1, (list) => swapped(list, 4, 5)), finds: ['swap entry 260'] },
  { name: 'two far ones swapped', does: (dir) => change(dir, 1, (list) => swapped(list, 4, 200)), finds: ['swap entry 260'] },
  {
    name: 'an entry repeated',
    does: (dir) => change(dir, 2, (list) => list.toSpliced(8, 0, list[7] as Buffer)),
    finds: ['duplicate entry 520'],
  },
  {
    name: 'an entry overwritten by a copy',
    does: (dir) => change(dir, 1, (list) => list.with(20, list[3] as Buffer)),
    finds: ['duplicate entry 276'],
  },
  {
    name: 'an entry overwritten by a copy of an early one',
    does: (dir) => {
      const first = splitBundle(readFileSync(join(dir, bundlePath[0]))).entries[5] as Buffer
      change(dir, 1, (list) => list.with(20, first))
    },
    finds: ['duplicate entry 276'],
  },
  {
    name: 'a foreign entry put in',
    does: (dir) => change(dir, 1, (list) => list.toSpliced(20, 0, Buffer.from('{"kind":"intent"}'))),
    finds: ['edit entry 276'],
  },
  {
    name: 'the last entries cut off the bundle',
    does: (dir) => change(dir, 2, (list) => list.slice(0, -2)),
    finds: ['truncation entry 698'],
  },
  { name: 'the bundle cut in an entry', does: (dir) => truncateSync(join(dir, bundlePath[2]), 1_000), finds: ['edit', 'truncation'] },
  { name: 'the last bundle gone', does: (dir) => rmSync(join(dir, bundlePath[2])), finds: ['truncation entry 512'] },
  { name: 'a middle bundle gone', does: (dir) => rmSync(join(dir, bundlePath[1])), finds: ['removal entry 256'] },
  {
    name: 'two bundles exchanged',
    does: (dir) => {
      renameSync(join(dir, bundlePath[0]), join(dir, 'x'))
      renameSync(join(dir, bundlePath[1]), join(dir, bundlePath[0]))
      renameSync(join(dir, 'x'), join(dir, bundlePath[1]))
    },
    finds: ['swap entry 0'],
  },
  { name: 'a byte of a leaf tile', does: (dir) => flip(join(dir, tilePath[1])), finds: ['edit tile/0/001'] },
  { name: 'a byte of an upper tile', does: (dir) => flip(join(dir, 'tile/1/000.p/2')), finds: ['edit tile/1/000.p/2'] },
  {
    name: 'a byte of an earlier partial bundle',
    does: (dir) => flip(join(dir, 'tile/entries/002.p/88')),
    finds: ['edit tile/entries/002.p/88'],
  },
  { name: 'a byte of an earlier partial tile', does: (dir) => flip(join(dir, 'tile/0/002.p/88')), finds: ['edit tile/0/002.p/88'] },
  { name: 'a leaf tile gone', does: (dir) => rmSync(join(dir, tilePath[0])), finds: ['removal tile/0/000'] },
  {
    name: 'an entry and its leaf hash changed together',
    does: (dir) => {
      change(dir, 0, (list) => list.with(3, Buffer.from('{"kind":"intent","time":1}')))
      const tile = readFileSync(join(dir, tilePath[0]))
      tile.set(leafHash(Buffer.from('{"kind":"intent","time":1}')), 3 * 32)
      writeFileSync(join(dir, tilePath[0]), tile)
    },
    finds: ['edit checkpoint', 'edit tile/1/000.p/2'],
  },
  {
    name: 'the checkpoint changed',
    does: (dir) => writeFileSync(join(dir, 'checkpoint'), readFileSync(join(dir, 'checkpoint'), 'utf8').replace('\n700\n', '\n690\n')),
    finds: ['signature checkpoint'],
  },
  { name: 'the checkpoint gone', does: (dir) => rmSync(join(dir, 'checkpoint')), finds: ['removal checkpoint'] },
  { name: 'the checkpoint garbled', does: (dir) => writeFileSync(join(dir, 'checkpoint'), 'x'), finds: ['edit checkpoint'] },
  { name: 'the journal gone', does: (dir) => rmSync(join(dir, 'journal'), { recursive: true }), finds: ['removal journal'] },
  {
    name: 'the journal cut below the checkpoint',
    does: (dir) => truncateSync(join(dir, 'journal', segmentName(0)), 5_000),
    finds: ['truncation journal entry'],
  },
  {
    name: 'a byte of the journal',
    does: (dir) => flip(join(dir, 'journal', segmentName(0)), 20_000),
    finds: ['edit journal entry', 'truncation journal entry'],
  },
]

for (const { name, does, finds } of attacks) {
  test(`named: ${name}`, async () => {
    const dir = copy()
    does(dir)
    const verification = await check(dir)
    const kinds = named(verification)
    assert.equal(verification.ok, false)
    for (const one of finds)
      assert.ok(
        kinds.some((kind) => kind.startsWith(one)),
        `${one} in ${JSON.stringify(verification.findings)}`,
      )
    assert.ok(!verification.proved.some((one) => one.startsWith('internal')))
    if (finds.length === 1 && !/checkpoint|journal/.test(finds[0] as string))
      assert.equal(kinds.filter((kind) => !kind.includes('tile/')).length, finds[0]?.includes('tile/') ? 0 : 1, JSON.stringify(kinds))
  })
}

test('named: signed again with another key', async () => {
  const dir = copy()
  const other = generateKeyPairSync('ed25519')
  const opened = openCheckpoint(readFileSync(join(dir, 'checkpoint'), 'utf8'), publicKey)
  assert.ok('checkpoint' in opened && opened.signed)
  writeFileSync(join(dir, 'checkpoint'), signCheckpoint(opened.checkpoint, other.privateKey))
  assert.deepEqual(named(await check(dir)), ['signature checkpoint'])
  assert.deepEqual(named(await verifyLog({ dir: whole, publicKey, origin: 'acme.example/other' })), ['signature checkpoint'])
})

test('named: rolled back to an older state, seen only with a later checkpoint', async () => {
  const dir = join(root, 'old')
  const audit = await openLog(dir)
  await Promise.all(Array.from({ length: 300 }, (_, i) => audit.append(entry(`c${i}`))))
  await audit.close()
  const newest = readFileSync(join(whole, 'checkpoint'), 'utf8')
  assert.equal((await check(dir)).ok, true)
  assert.deepEqual(named(await check(dir, newest)), ['rollback checkpoint', 'truncation entry 300'])
})

test('a log that nothing was ever signed of says so; what was taken from one is named still', async () => {
  const dir = join(root, 'killed')
  mkdirSync(join(dir, 'journal'), { recursive: true })
  const journal = join(dir, 'journal', segmentName(0))
  // As a process leaves it that is killed before its first entry: a file of zeros.
  writeFileSync(journal, Buffer.alloc(4_096))
  const empty = await check(dir)
  assert.deepEqual([empty.ok, empty.entries, empty.checkpointSize, empty.findings, empty.proved], [true, 0, 0, [], []])
  assert.match(empty.notes.at(-1) as string, /^the log is empty: .* Nothing is proven, and nothing is missing$/)
  // And before its first checkpoint.
  cpSync(join(whole, 'journal', segmentName(0)), journal)
  const begun = await check(dir)
  assert.deepEqual([begun.ok, begun.entries, begun.proved], [true, 700, []])
  assert.match(begun.notes.at(-1) as string, /^none of the 700 entries is signed yet/)
  assert.deepEqual(named(await check(dir, since)), ['rollback checkpoint'])
  writeFileSync(journal, '')
  assert.deepEqual(named(await check(dir, since)), ['rollback checkpoint', 'truncation entry 0'])
  cpSync(join(whole, 'tile'), join(dir, 'tile'), { recursive: true })
  assert.deepEqual(named(await check(dir)), ['removal checkpoint'])
  rmSync(join(dir, 'tile'), { recursive: true })
  cpSync(journal, join(dir, 'journal', segmentName(512)))
  rmSync(journal)
  assert.deepEqual(named(await check(dir)), ['removal journal entry 0'])
})

test('named: only the checkpoint rolled back', async () => {
  const dir = copy()
  writeFileSync(join(dir, 'checkpoint'), since)
  assert.deepEqual(named(await check(dir, readFileSync(join(whole, 'checkpoint'), 'utf8'))), ['rollback checkpoint'])
})

test('named: a fork, built and signed by whoever holds the key', async () => {
  const dir = join(root, 'fork')
  const audit = await openLog(dir)
  await Promise.all(Array.from({ length: 700 }, (_, i) => audit.append(entry(i === 100 ? 'forged' : `c${i}`))))
  await audit.close()
  assert.equal((await check(dir)).ok, true)
  assert.deepEqual(named(await check(dir, since)), ['fork entry 299'])
  assert.deepEqual(named(await check(dir, readFileSync(join(whole, 'checkpoint'), 'utf8'))), ['fork entry 699'])
})

test('an earlier checkpoint that is not of this log proves nothing', async () => {
  const other = generateKeyPairSync('ed25519')
  const text = signCheckpoint({ origin, size: 0, root: createTree().root() }, other.privateKey)
  assert.deepEqual(named(await check(whole, text)), ['signature earlier checkpoint'])
  const foreign = signCheckpoint({ origin: 'elsewhere', size: 0, root: createTree().root() }, privateKey)
  assert.deepEqual(named(await check(whole, foreign)), ['signature earlier checkpoint'])
})

test('every single flipped byte of bundles, tiles and checkpoint is found', { timeout: 60_000 }, async () => {
  const dir = join(root, 'small')
  const audit = await openLog(dir)
  for (let i = 0; i < 3; i += 1) await audit.append(entry(`c${i}`))
  await audit.close()
  const files = ['checkpoint', 'tile/0/000.p/3', 'tile/entries/000.p/3', `journal/${segmentName(0)}`]
  for (const file of files) {
    const bytes = readFileSync(join(dir, file))
    for (let at = 0; at < bytes.length; at += file === 'checkpoint' ? 1 : 3) {
      flip(join(dir, file), at)
      assert.equal((await check(dir)).ok, false, `${file} at ${at}`)
      writeFileSync(join(dir, file), bytes)
    }
  }
  assert.equal((await check(dir)).ok, true)
  assert.ok(readdirSync(dir).includes('checkpoint'))
})

test('rows that differ are always named', () => {
  const should = [...'abcdefghij']
  for (const is of [
    '',
    'a',
    'abcdefghi',
    'jabcdefghi',
    'abcdefghijj',
    'xbcdefghij',
    'abxdefghij',
    'abcdefghix',
    'bacdefghij',
    'abcabcdefghij',
    'jihgfedcba',
    'xyz',
    'abcxefgzhij',
    'acdefghijb',
  ]) {
    assert.ok(compareRows([...is], should, 0).length > 0, is)
  }
  assert.deepEqual(compareRows(should, should, 0), [])
})
