// Everything that reads files of our own, which somebody may have damaged or changed: the audit log and the store.
import assert from 'node:assert/strict'
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto'
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { openAudit } from '../../src/audit/audit.ts'
import { putFrame } from '../../src/audit/journal.ts'
import { readFrames } from '../../src/audit/journal-read.ts'
import { openCheckpoint, readVerifierKey, signCheckpoint, verifierKey } from '../../src/audit/note.ts'
import { records } from '../../src/audit/read.ts'
import { splitBundle } from '../../src/audit/tiles.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { open, seal } from '../../src/crypto/seal.ts'
import { limits } from '../../src/model/limits.ts'
import { Secret } from '../../src/model/secret.ts'
import { createSealedValues } from '../../src/store/sealed-values.ts'
import { openDatabase } from '../../src/store/sqlite.ts'
import { nearly, outcome, type Target, target } from './target.ts'

// PKCS #8 of an Ed25519 key (RFC 8410 section 7) that is always the same, as its cases are by their seed.
const privateKey = createPrivateKey({
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 7)]),
  format: 'der',
  type: 'pkcs8',
})
const publicKey = createPublicKey(privateKey)
const origin = 'fuzz.example/test/0'
const clock = { now: () => 1_800_000_000_000, monotonic: () => 0 }
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const entryMax = limits.entryBytesMax

function framed(...all: readonly string[]): Buffer {
  const bytes = Buffer.alloc(all.join('').length + 8 * all.length)
  all.reduce((at, line) => putFrame(line, bytes, at), 0)
  return bytes
}

function bundled(...lines: readonly string[]): Buffer {
  return Buffer.concat(lines.flatMap((line) => [Buffer.from([line.length >> 8, line.length & 255]), Buffer.from(line)]))
}

const lines = [
  '{"kind":"intent","time":1,"call":"a"}',
  '{"kind":"outcome","time":2,"call":"a","status":200}',
  '{"kind":"alert","time":3,"alert":"x"}',
]
const frames = [framed(...lines), Buffer.concat([framed(...lines), Buffer.alloc(200)]), framed('x'.repeat(4_000), ...lines)]
const note = signCheckpoint({ origin, size: 300, root: createHash('sha256').update('x').digest() }, privateKey)
const changeToken = ['\0\0\0\0', '\xff\xff\xff\xff', '{"kind":', '\n\n', '\n', '— ', '+', '=', '\0']

let dir = ''
let logFiles: string[] = []
let log = ''
let database = ''
const keyKey = Buffer.alloc(32, 7)
const sealedValue = seal(keyKey, Buffer.from('a secret of some length'), 'for this')

async function openLog(): Promise<void> {
  dir = mkdtempSync(join(tmpdir(), 'ostiary-fuzz-'))
  log = join(dir, 'log')
  const audit = await openAudit({ dir: log, origin, clock, limits, log: quiet, key: privateKey })
  for (let i = 0; i < 300; i++) audit.write({ kind: 'intent', time: 1, call: `call-${i}`, host: 'api.example' })
  await audit.append({ kind: 'alert', time: 1, alert: 'end' })
  await audit.checkpoint()
  await audit.append({ kind: 'alert', time: 1, alert: 'above the checkpoint' })
  cpSync(log, join(dir, 'sound'), { recursive: true })
  await audit.close()
  rmSync(log, { recursive: true })
  // The zeros at the end of a segment are 4 MB, of which a few do.
  const segment = join(dir, 'sound', 'journal', '0000000000000000')
  truncateSync(segment, readFileSync(segment).findLastIndex((byte) => byte !== 0) + 300)
  logFiles = globSync('**/*', { cwd: join(dir, 'sound') })
    .filter((name) => statSync(join(dir, 'sound', name)).isFile())
    .sort()
}

/** One file of a sound log is changed: verify and the readers answer, and what lies below the checkpoint is never called sound. */
async function changedLog([which, place, how]: readonly [number, number, number]): Promise<void> {
  const name = logFiles[which % logFiles.length] as string
  const sound = readFileSync(join(dir, 'sound', name))
  // Of a segment that is mostly zeros the part that holds something is meant.
  const end = name.startsWith('journal') ? sound.findLastIndex((byte) => byte !== 0) + 40 : sound.length
  const at = place % Math.max(1, end)
  const bytes = how % 4 === 0 ? sound.subarray(0, at) : Buffer.from(sound)
  if (how % 4 === 1) bytes[at] = (bytes[at] as number) ^ (1 << (how % 8))
  if (how % 4 === 2) bytes.fill(0, at, Math.min(end, at + how))
  const changed = how % 4 === 3 ? Buffer.concat([sound.subarray(0, at), Buffer.alloc(how % 50, how), sound.subarray(at)]) : bytes
  cpSync(join(dir, 'sound'), log, { recursive: true })
  writeFileSync(join(log, name), changed)
  try {
    const { ok, findings } = await verifyLog({ dir: log, publicKey, origin })
    assert.equal(ok, findings.length === 0)
    if (!changed.equals(sound) && !name.startsWith('journal') && name !== 'checkpoint') assert.ok(!ok, `a changed ${name} is found`)
    for await (const one of records(log)) assert.ok(typeof one.kind === 'string')
    // Opening writes a whole segment: not for each.
    if (place % 8 !== 0) return
    const opened = await openAudit({ dir: log, origin, clock, limits, log: quiet, key: privateKey }).catch((error: Error) => error)
    if (opened instanceof Error) assert.ok(opened.constructor === Error || 'code' in opened, `a sentence: ${opened.stack}`)
    else await opened.close()
  } finally {
    rmSync(log, { recursive: true, force: true })
  }
}

async function openStore(): Promise<void> {
  dir = mkdtempSync(join(tmpdir(), 'ostiary-fuzz-'))
  const file = join(dir, 'store.db')
  const base = openDatabase(file)
  const values = createSealedValues(base, keyKey)
  await values.put('secret', 'openai', 'for openai', new Secret('a secret of some length'), 1)
  values.close()
  base.close()
  database = file
}

/** A record of the store is changed: it does not open, or is what it was. */
async function changedStore([which, place, bit, grow]: readonly [number, number, number, boolean]): Promise<void> {
  const file = join(dir, 'changed.db')
  cpSync(database, file)
  const bytes = readFileSync(file)
  const at = which % 3 === 0 ? place % 100 : place % bytes.length
  bytes[at] = (bytes[at] as number) ^ (1 << (bit % 8))
  writeFileSync(file, grow ? Buffer.concat([bytes, Buffer.alloc(512)]) : which % 5 === 0 ? bytes.subarray(0, at) : bytes)
  try {
    const base = outcome(() => openDatabase(file), Error)
    if (base instanceof Error) return assert.ok(base.message.length > 20 && !(base instanceof TypeError), String(base.stack))
    try {
      const values = outcome(() => createSealedValues(base, keyKey), Error)
      if (values instanceof Error) return assert.ok(!(values instanceof TypeError), String(values.stack))
      const got = await values.get('secret', 'openai', 'for openai').catch((error: Error) => error)
      if (got instanceof Error) assert.ok(!(got instanceof TypeError || got instanceof RangeError), String(got.stack))
      else if (got instanceof Secret) assert.equal(got.reveal().toString(), 'a secret of some length')
    } finally {
      base.close()
    }
  } finally {
    for (const end of ['', '-wal', '-shm', '-journal']) rmSync(`${file}${end}`, { force: true })
  }
}

const close = async (): Promise<void> => rmSync(dir, { recursive: true, force: true })
const number = fc.nat(1_000_000)

export const fileTargets: readonly Target[] = [
  target('audit-frames', nearly(frames, changeToken), (bytes) => {
    const { entries, good, wrong } = readFrames(bytes, entryMax)
    assert.ok(good <= bytes.length && (good < bytes.length || wrong === ''))
    assert.deepEqual(
      framed(...entries.map((one) => one.toString('latin1'))),
      Buffer.from(bytes.subarray(0, good)),
      'what is good is what was written',
    )
  }),
  target('audit-bundle', nearly([bundled(...lines), bundled('x'.repeat(300))], changeToken), (bytes) => {
    const { entries, rest } = splitBundle(bytes)
    assert.equal(entries.reduce((sum, one) => sum + one.length + 2, 0) + rest, bytes.length)
  }),
  target('audit-note', nearly([Buffer.from(note)], [...changeToken, origin, '301', 'AAAA']), (bytes) => {
    const text = bytes.toString('utf8')
    const opened = openCheckpoint(text, publicKey)
    // Lines of other signers may stand beside ours; the text that is signed is one.
    if ('checkpoint' in opened && opened.signed)
      assert.equal(text.slice(0, text.lastIndexOf('\n\n')), note.slice(0, note.lastIndexOf('\n\n')))
  }),
  target('audit-key', nearly([verifierKey(origin, publicKey)], ['+', '=', ' ', '\n', 'AQ']), (bytes) => {
    const read = outcome(() => readVerifierKey(bytes.toString('utf8')), Error)
    if (read instanceof Error) assert.equal(read.constructor, Error, String(read.stack))
  }),
  target('audit-log', fc.tuple(number, number, fc.nat(250)), changedLog, { open: openLog, close }),
  target('seal', nearly([sealedValue], ['\0', '\xff']), (bytes) => {
    const plain = outcome(() => open(keyKey, bytes, 'for this'), Error)
    if (plain instanceof Error) assert.ok(plain.message.length > 0)
    else assert.deepEqual(bytes, sealedValue, 'nothing but what was sealed opens')
  }),
  target('store', fc.tuple(number, number, fc.nat(7), fc.boolean()), changedStore, { open: openStore, close }),
]
