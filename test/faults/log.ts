// The log alone under fire: killed at random and at each of its system calls, its disk full and failing. Thousands of entries a
// second, so that segments rotate and tiles and checkpoints are under way when it happens.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { openAudit } from '../../src/audit/audit.ts'
import { entries } from '../../src/audit/read.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { systemClock } from '../../src/model/clock.ts'
import { limits } from '../../src/model/limits.ts'
import type { Fault, Ground } from './fault.ts'
import { randomFrom } from './kill.test-kit.ts'
import { fill, mountTmpfs, strace, unmount } from './machine.ts'
import { pause } from './server.test-kit.ts'

const appender = fileURLToPath(new URL('./appender.ts', import.meta.url))
const origin = 'faults.example/test/0'

interface Bench {
  readonly dir: string
  readonly log: string
  readonly keyFile: string
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  readonly acknowledged: Set<string>
  checkpoint: string | null
  /** First entry of the log that is yet to be looked at. */
  looked: number
  readonly seen: Set<string>
}

function setBench(dir = mkdtempSync(join(tmpdir(), 'ostiary-faults-'))): Bench {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const keyFile = join(dir, 'key')
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  return {
    dir,
    log: join(dir, 'log'),
    keyFile,
    privateKey,
    publicKey,
    acknowledged: new Set(),
    checkpoint: null,
    looked: 0,
    seen: new Set(),
  }
}

interface Ended {
  readonly acknowledged: number
  readonly said: string
}

/** Runs the appender behind `before` (words of a tracer) until `enough` says so, then kills it; or until it ends. */
async function append(bench: Bench, round: string, before: readonly string[], enough: (acknowledged: number) => boolean): Promise<Ended> {
  const words = [...before, process.execPath, '--disable-warning=ExperimentalWarning', appender, bench.log, bench.keyFile, round, '5']
  const child = spawn(words[0] as string, words.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  // The whole group: a tracer that is killed would leave what it traced.
  const kill = (): void => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid as number), 'SIGKILL')
  }
  let said = ''
  let acknowledged = 0
  child.stderr.on('data', (text: Buffer) => {
    said += text
  })
  const late = setTimeout(kill, 60_000)
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => {
    bench.acknowledged.add(line)
    acknowledged += 1
    if (enough(acknowledged)) kill()
  })
  await Promise.all([once(child, 'close'), once(lines, 'close')])
  clearTimeout(late)
  return { acknowledged, said }
}

/** The log verifies against its last checkpoint, opens, and has each acknowledged entry once. */
async function look(bench: Bench): Promise<void> {
  const found = async () => {
    const since = bench.checkpoint === null ? {} : { since: bench.checkpoint }
    const { findings } = await verifyLog({ dir: bench.log, publicKey: bench.publicKey, origin, ...since })
    assert.deepEqual(findings, [], 'the log verifies')
  }
  if (existsSync(join(bench.log, 'checkpoint'))) await found()
  const errors: string[] = []
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: (what: string) => void errors.push(what) }
  const audit = await openAudit({ dir: bench.log, origin, clock: systemClock, limits, log, key: bench.privateKey })
  await audit.close()
  assert.deepEqual(errors, [])
  // Killed before its first entry it has no checkpoint, and nothing that could be verified.
  if (audit.status().size === 0) return assert.equal(bench.acknowledged.size, 0)
  await found()
  bench.checkpoint = readFileSync(join(bench.log, 'checkpoint'), 'utf8')
  for await (const { index, kind, call } of entries(bench.log, bench.looked)) {
    bench.looked = index + 1
    if (kind !== 'intent' || call === undefined) continue
    assert.ok(!bench.seen.has(call), `${call} is there twice`)
    bench.seen.add(call)
  }
  assert.deepEqual(
    [...bench.acknowledged].filter((call) => !bench.seen.has(call)),
    [],
    'what was acknowledged is there',
  )
}

async function withBench(run: (bench: Bench) => Promise<string>): Promise<string> {
  const bench = setBench()
  try {
    return await run(bench)
  } finally {
    rmSync(bench.dir, { recursive: true, force: true })
  }
}

const killed: Fault = {
  name: 'kill-log',
  fault: 'kill -9 of a log that is written as fast as it goes',
  happens: 'every acknowledged entry is there once, the log verifies against the checkpoint before',
  run: ({ rounds, seed, tell }: Ground) =>
    withBench(async (bench) => {
      const random = randomFrom(seed)
      for (let round = 0; round < rounds; round++) {
        tell(`kill-log ${round + 1}/${rounds}`)
        const wanted = 1 + Math.floor(random() * 3_000)
        const { acknowledged, said } = await append(bench, `r${round}`, [], (count) => count === wanted)
        assert.ok(acknowledged >= wanted, `it was killed too late or never: ${said}`)
        await look(bench)
      }
      return `${rounds} kills, ${bench.acknowledged.size} acknowledged entries, ${bench.looked} in the log`
    }),
}

/** Up to the how manieth: the tracer counts for each thread alone, and four of them share the work. */
const calls = { pwrite64: 24, fdatasync: 24, fsync: 12, rename: 8, unlink: 2, mkdir: 3 } as const

const killedAtCall: Fault = {
  name: 'kill-call',
  fault: 'kill -9 at the nth write, sync, rename, unlink, mkdir of the log',
  happens: 'the same, whatever was under way: a rotation or a checkpoint too',
  async run({ rounds, seed, tell }) {
    if (!strace()) return { skipped: 'no strace on this machine' }
    return withBench(async (bench) => {
      const random = randomFrom(seed)
      let hit = 0
      for (let round = 0; round < rounds; round++) {
        const [name, span] = Object.entries(calls)[round % Object.keys(calls).length] as [string, number]
        const nth = 1 + Math.floor(random() * span)
        tell(`kill-call ${round + 1}/${rounds} ${name} ${nth}`)
        const before = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${name}`, '-e', `inject=${name}:signal=KILL:when=${nth}`]
        const most = 4_000
        const { acknowledged } = await append(bench, `c${round}`, before, (count) => count === most)
        if (acknowledged < most) hit += 1
        await look(bench)
      }
      return `${rounds} kills (${hit} at the call), ${bench.acknowledged.size} acknowledged entries`
    })
  },
}

const failing: Fault = {
  name: 'io-error-log',
  fault: 'EIO, ENOSPC, EROFS or EMFILE from the nth write, sync, rename or open of the log',
  happens: 'it refuses from then on, or goes on whole; nothing acknowledged is lost, the next start is clean',
  async run({ rounds, seed, tell }) {
    if (!strace()) return { skipped: 'no strace on this machine' }
    return withBench(async (bench) => {
      const random = randomFrom(seed ^ 0x5eed)
      let refused = 0
      const count = Math.ceil(rounds / 2)
      for (let round = 0; round < count; round++) {
        const name = (['pwrite64', 'fdatasync', 'fsync', 'rename', 'openat'] as const)[round % 5] as string
        const error = name === 'openat' ? 'EMFILE' : (['EIO', 'ENOSPC', 'EROFS'] as const)[Math.floor(random() * 3)]
        const nth = name === 'openat' ? 60 + Math.floor(random() * 40) : 1 + Math.floor(random() * 16)
        tell(`io-error-log ${round + 1}/${count} ${name} ${error} ${nth}`)
        const before = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${name}`, '-e', `inject=${name}:error=${error}:when=${nth}`]
        const { said } = await append(bench, `e${round}`, before, (acknowledged) => acknowledged === 8_000)
        if (said.includes('every call is refused until the restart')) refused += 1
        await look(bench)
      }
      return `${count} errors, ${refused} times it refused from then on, ${bench.acknowledged.size} acknowledged entries`
    })
  },
}

const full: Fault = {
  name: 'disk-full-log',
  fault: 'the disk of the log fills up to its last byte, in tiles or in the journal',
  happens: 'it refuses from then on; with space again the next start is clean',
  async run({ rounds, seed, tell }) {
    const dir = mkdtempSync(join(tmpdir(), 'ostiary-faults-'))
    if (!mountTmpfs(dir, 24)) {
      rmSync(dir, { recursive: true })
      return { skipped: 'no file system can be mounted (root is needed)' }
    }
    try {
      const random = randomFrom(seed)
      const bench = setBench(dir)
      const count = Math.max(1, Math.ceil(rounds / 20))
      for (let round = 0; round < count; round++) {
        tell(`disk-full-log ${round + 1}/${count}`)
        const ballast = join(dir, 'ballast')
        const { said } = await append(bench, `f${round}`, [], (acknowledged) => {
          if (acknowledged === 200) fill(ballast, Math.floor(random() * 3 * 1024 * 1024))
          return false
        })
        assert.match(said, /every call is refused until the restart/)
        rmSync(ballast, { force: true })
        // What the log holds stays; a larger disk is what a person would give it.
        spawnSync('mount', ['-o', `remount,size=${24 * (round + 2)}m`, dir])
        await pause(20)
        await look(bench)
      }
      return `${count} times full, ${bench.acknowledged.size} acknowledged entries`
    } finally {
      unmount(dir)
      rmSync(dir, { recursive: true, force: true })
    }
  },
}

export const logFaults: readonly Fault[] = [killed, killedAtCall, failing, full]
