import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import type { Asked } from '../../model/facts.ts'
import type { ConditionHost } from '../../model/kind.ts'
import { limits } from '../../model/limits.ts'
import { Refusal } from '../../model/refusal.ts'
import { parsePosture } from './document.ts'
import { collectHere, lastUpgradeIn, pendingSecurity } from './host-collector.ts'
import { posture } from './posture.ts'

const hourMs = 3_600_000
const start = Date.UTC(2026, 10, 24, 12)
const here = { onThisHost: true } as Asked

function written(at: number, more: Record<string, unknown> = {}): Buffer {
  return Buffer.from(
    JSON.stringify({
      at: new Date(at).toISOString(),
      patchAgeDays: 2,
      pendingSecurityUpdates: 1,
      rebootNeeded: false,
      kernel: '6.1',
      ...more,
    }),
  )
}

function world(config: Record<string, unknown>) {
  const state = { now: start, content: written(start) as Buffer | null, reads: 0 }
  const give = async (): Promise<Buffer> => {
    state.reads++
    if (state.content === null) throw new Error('gone')
    return state.content
  }
  const host = {
    clock: { now: () => state.now, monotonic: () => state.now },
    limits,
    log: { warn() {} },
    readFile: give,
    fetch: async () => ({ status: 200, headers: {}, body: await give() }),
  } as unknown as ConditionHost
  const one = posture.start(posture.schema.parse(config), host, 'host')
  const ask = (): Promise<unknown> =>
    one.facts(here, AbortSignal.timeout(1_000)).catch((error: unknown) => (error instanceof Refusal ? error.detail : Promise.reject(error)))
  return { state, ask, one: one as typeof one & { factsNow(asked: Asked): unknown } }
}

test('a file: fresh is stated, stale and future are missing and say how to mend it', async () => {
  const { state, ask } = world({ file: 'p.json', maxAgeMinutes: 60 })
  assert.deepEqual(await ask(), { patchAgeDays: 2, pendingSecurityUpdates: 1, rebootNeeded: false, kernel: '6.1' })
  state.now += hourMs
  assert.equal(typeof (await ask()), 'object')
  state.now += 60_000
  assert.match(String(await ask()), /stale: 61 minutes old, allowed are 60; let your collector write p.json anew/)
  state.content = written(state.now + 10 * 60_000)
  state.now += 2_000
  assert.match(String(await ask()), /future/)
})

test('a file that is gone or changed counts within a second; concurrent questions share one reading', async () => {
  const { state, ask, one } = world({ file: 'p.json' })
  await Promise.all([ask(), ask(), ask()])
  assert.equal(state.reads, 1)
  assert.notEqual(one.factsNow(here), null)
  state.content = written(start, { patchAgeDays: 90 })
  state.now += 1_001
  assert.equal(one.factsNow(here), null)
  assert.equal(((await ask()) as { patchAgeDays: number }).patchAgeDays, 90)
  state.content = null
  state.now += 1_001
  assert.match(String(await ask()), /gone/)
})

test('an address that fails is borne as long as its last statement is not stale', async () => {
  const { state, ask } = world({ url: 'https://cmdb.example/p', maxAgeMinutes: 10 })
  await ask()
  state.content = null
  state.now += 5 * 60_000
  assert.equal(typeof (await ask()), 'object')
  state.now += 6 * 60_000
  assert.equal(typeof (await ask()), 'string')
})

test('a document that is not exactly right is no posture', () => {
  for (const more of [
    { extra: 1 },
    { patchAgeDays: '2' },
    { patchAgeDays: -1 },
    { patchAgeDays: 1.5 },
    { kernel: '' },
    { at: 'yesterday' },
    { rebootNeeded: null },
  ])
    assert.throws(() => parsePosture(written(start, more)), /posture document/, JSON.stringify(more))
  assert.throws(() => parsePosture(Buffer.from('{')), /not JSON/)
  assert.throws(() => parsePosture(Buffer.alloc(65 * 1024, 0x20)), /larger/)
})

test('exactly one source; https only', () => {
  assert.equal(posture.check?.(posture.schema.parse({})).length, 1)
  assert.equal(posture.check?.(posture.schema.parse({ file: 'x', collector: 'host' })).length, 1)
  assert.equal(posture.schema.safeParse({ url: 'http://x.example' }).success, false)
})

test('the collector of this host is silent about workloads elsewhere', async () => {
  const { one } = world({ collector: 'host' })
  const elsewhere = { onThisHost: false } as Asked
  await assert.rejects(one.facts(elsewhere, AbortSignal.timeout(1_000)), /proven to run on this host/)
  assert.throws(() => one.factsNow(elsewhere), Refusal)
})

const history = `
Start-Date: 2026-11-01  10:00:00
Commandline: apt-get upgrade
Upgrade: openssl:amd64 (1, 2)
End-Date: 2026-11-01  10:01:00

Start-Date: 2026-11-20  10:00:00
Commandline: apt-get install x
Install: x:amd64 (1)
End-Date: 2026-11-20  10:01:00

Start-Date: 2026-11-20  11:00:00
Commandline: apt-get install unattended-upgrades
Upgrade: libc6:amd64 (1, 2)
End-Date: 2026-11-20  11:01:00

Start-Date: 2026-11-21  10:00:00
Commandline: apt-get upgrade
Upgrade: y:amd64 (1, 2)
Error: Sub-process /usr/bin/dpkg returned an error code (1)
End-Date: 2026-11-21  10:01:00
`

test('the history of apt: installs and failed upgrades are no upgrade', () => {
  assert.equal(lastUpgradeIn(history), Date.parse('2026-11-01T10:01:00'))
  assert.equal(lastUpgradeIn(''), null)
})

test('a simulated upgrade: security updates of Debian and Ubuntu count, others do not', () => {
  const simulated = `Inst openssl [3.0.16-1] (3.0.19-1 Debian-Security:12/stable-security [amd64])
Inst libc6 [2.35-0ubuntu3.1] (2.35-0ubuntu3.8 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [amd64])
Inst tzdata [2025b] (2026a Debian:12.9/stable-updates [all])
Conf openssl (3.0.19-1 Debian-Security:12/stable-security [amd64])`
  assert.equal(pendingSecurity(simulated), 2)
})

test('the collector: fresh lists state, old ones make it missing', async () => {
  const root = await mkdtemp(join(tmpdir(), 'posture-'))
  try {
    const put = async (path: string, content: string | Buffer): Promise<string> => {
      const full = join(root, path)
      await mkdir(dirname(full), { recursive: true })
      await writeFile(full, content)
      return full
    }
    const ask = (listsMaxAgeHours: number) =>
      collectHere({ now: start, listsMaxAgeMs: listsMaxAgeHours * hourMs }, { root, simulate: async () => '' })
    await assert.rejects(ask(72), /no package lists/)
    const old = start / 1000 - 200 * 3_600
    const plain = await put('var/lib/apt/lists/deb_debian_InRelease', 'Origin: Debian\nDate: Tue, 24 Nov 2026 11:00:00 UTC\n')
    const security = await put('var/lib/apt/lists/deb_debian-security_InRelease', 'Origin: Debian\nDate: Fri, 20 Nov 2026 12:00:00 UTC\n')
    for (const path of [plain, security]) await utimes(path, old, old)
    await put('var/log/apt/history.log', '')
    await put('var/log/apt/history.log.1.gz', gzipSync(history))
    await assert.rejects(ask(72), /96 hours old; run apt-get update/)
    const { facts } = await ask(97)
    assert.deepEqual([facts.patchAgeDays, facts.pendingSecurityUpdates, facts.rebootNeeded], [23, 0, false])
    const stamp = await put('var/lib/apt/periodic/update-success-stamp', '')
    await utimes(stamp, start / 1000, start / 1000)
    await put('run/reboot-required', '')
    assert.equal((await ask(1)).facts.rebootNeeded, true)
  } finally {
    await rm(root, { recursive: true })
  }
})
