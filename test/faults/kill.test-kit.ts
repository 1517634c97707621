// `kill -9` at random moments under load, in rounds: what a round promises, for a test of five rounds and a run of two hundred.
import assert from 'node:assert/strict'
import { findSecret } from '../../examples/story/attacks.ts'
import type { Stage } from '../../examples/story/stage.ts'
import { startWire } from '../scenarios/wire.test-kit.ts'
import { call, onRecord, pause, readyServer, type Server, sent, startServer, until, verified } from './server.test-kit.ts'

/** mulberry32: rounds that can be played again by their seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

export interface Killed {
  readonly rounds: number
  /** Of them, killed before they were ready. */
  readonly atStart: number
  readonly sent: number
  readonly readyMs: readonly number[]
}

export interface KillOptions {
  readonly rounds: number
  readonly seed: number
  readonly each?: (round: number) => void
}

/** Throws where one round breaks what is promised. The stage must be clear; it is left without a server. */
export async function killRounds(stage: Stage, options: KillOptions): Promise<Killed> {
  const random = randomFrom(options.seed)
  const readyMs: number[] = []
  let checkpoint: string | null = null
  let atStart = 0
  for (let round = 0; round < options.rounds; round++) {
    options.each?.(round)
    if (random() < 0.15) {
      const early = startServer(stage)
      await pause(random() * 900)
      await early.kill()
      atStart += 1
    }
    const server = await readyServer(stage)
    readyMs.push((await server.ready) as number)
    const secrets: string[] = (await stage.admin('GET', '/secrets')).secrets.map((one: { name: string }) => one.name)
    const kept = Array.from({ length: round }, (_, i) => `round-${i}`).filter((name) => !secrets.includes(name))
    assert.deepEqual(kept, [], 'a secret that was acknowledged is there after the kill')
    await harm(stage, server, round, random).finally(server.kill)
    const { intents } = await onRecord(stage.dataDir)
    assert.ok(intents >= sent(stage), `round ${round}: ${sent(stage)} went out, ${intents} are on record`)
    checkpoint = await verified(stage.dataDir, checkpoint)
    assert.equal(findSecret(server.said(), stage.vendors.secrets), null, 'the log says no secret')
  }
  const last = await readyServer(stage)
  await last.stop()
  await verified(stage.dataDir, checkpoint)
  const { recovered } = await onRecord(stage.dataDir)
  assert.ok(recovered > 0, 'a start says what it found')
  return { rounds: options.rounds, atStart, sent: sent(stage), readyMs }
}

/** Load, an acknowledged secret, and the kill somewhere within. */
async function harm(stage: Stage, server: Server, round: number, random: () => number): Promise<void> {
  await stage.admin('POST', '/log-level', { level: 'debug' })
  const wire = startWire(stage)
  const before = sent(stage)
  const all = Array.from({ length: 12 + Math.floor(random() * 24) }, (_, i) => call(wire, i % 3 !== 0, 20_000))
  const value = Buffer.from(`value-of-round-${round}-0123456789abcdef`).toString('base64')
  const set = await stage.admin('PUT', `/secrets/round-${round}`, { service: 'gemini', value })
  assert.equal(set.name, `round-${round}`, JSON.stringify(set))
  if (!(await until(() => sent(stage) > before, 20_000))) {
    const heard = (await Promise.all(all)).map(({ connect, error, code }) => `${connect} ${error} ${code}`)
    wire.child.kill('SIGKILL')
    assert.fail(`there was load: ${[...new Set(heard)].join(', ')}; ${server.said().slice(-500)}`)
  }
  await pause(random() * 400)
  await server.kill()
  const heard = await Promise.all(all)
  await wire.end()
  await pause(50)
  const answered = heard.filter((one) => one.status === 200).length
  assert.ok(sent(stage) - before >= answered, 'an answer comes from the API alone')
}
