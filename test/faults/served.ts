// The whole server under fire: what reached an API has its record, the log verifies, and it says what is wrong.
import { availableParallelism, loadavg } from 'node:os'
import type { Fault } from './fault.ts'
import { killRounds } from './kill.test-kit.ts'

const readyMsMax = 2_000

const kill: Fault = {
  name: 'kill',
  fault: 'kill -9 at random moments, at the start and under load',
  happens: 'ready again in 2 s, what reached an API has its record, the log verifies, a secret that was set is there',
  async run({ stage, rounds, seed, tell }) {
    const killed = await killRounds(stage, { rounds, seed, each: (round) => tell(`kill ${round + 1}/${rounds}`) })
    const sorted = killed.readyMs.toSorted((a, b) => a - b)
    const [median, slowest] = [sorted[Math.floor(sorted.length / 2)] as number, sorted.at(-1) as number]
    const saw = `${rounds} rounds, ${killed.atStart} more kills at the start, ${killed.sent} requests; ready in ${Math.round(median)} ms (median), ${Math.round(slowest)} ms (slowest)`
    // A machine that is busy with other things is slow for all: then the median has to hold.
    const busy = (loadavg()[0] as number) > availableParallelism()
    if ((busy ? median : slowest) >= readyMsMax) throw new Error(`not ready in time: ${saw}`)
    return busy && slowest >= readyMsMax ? `${saw}, on a busy machine` : saw
  },
}

export const serverFaults: readonly Fault[] = [kill]
