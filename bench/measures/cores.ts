// More cores: two processes of the data plane on one port beside one that does all. Each may use a quarter of a core and no more, so
// that neither client nor upstream is what limits: it shows on a machine with two cores what it is on one with many.
import type { Figure } from '../load.ts'
import { type Quota, quota } from '../quota.ts'
import { drive, inTurn, loadFor, type Measure, median, notMeasured, ratioRow, shownOf, startSide, valueRow } from '../stand.ts'
import { us } from '../us.ts'

const share = 0.25
const rates = 'requests/s of two processes on one port / of one, a quarter of a core each'
const costs = 'CPU a request, two processes on one port (their broker with them) / one, a quarter of a core each'
const perSecond = ({ done, seconds }: Figure): number => done / seconds

export const cores: Measure = {
  name: 'cores',
  what: 'CONNECT as above, 64 connections: one process, and two on one port',
  run: async (stand) => {
    const { ground } = stand
    const quotas: Quota[] = []
    for (let n = 0; n < 3; n++) {
      const made = quota(`ostiary-bench-${process.pid}-${n}`, share)
      if (made !== null) quotas.push(made)
    }
    const [alone, first, second] = quotas
    if (alone === undefined || first === undefined || second === undefined) {
      for (const one of quotas) one.end()
      const why = 'no cgroup can be made here'
      return { rows: [notMeasured(rates, '>= 1.8', why), notMeasured(costs, '<= 1.05', why)] }
    }
    const one = await startSide({ ...(await us(ground)), name: 'one process' })
    const two = await startSide({ ...(await us(ground, { processes: 2 })), name: 'two processes' })
    try {
      // A compiler that has to wait for its share would be measured instead.
      for (const side of [one, two]) await drive(side, loadFor(side.peer, ground, { connections: 64, warmMs: 500, runMs: 4_000 }))
      alone.hold(one.family[0] as number)
      // The broker has a share of its own: it has nearly nothing to do, and must not have to wait for it.
      const [, ...proxies] = two.family
      first.hold(proxies[0] as number)
      second.hold(proxies[1] as number)
      const [warmMs, runMs] = stand.quick ? [2_000, 3_000] : [5_000, 6_000]
      const { figures, failed } = await inTurn(stand, [one, two], (side) => loadFor(side.peer, ground, { connections: 64, warmMs, runMs }))
      const [ofOne = [], ofTwo = []] = [figures.get('one process'), figures.get('two processes')]
      const base = median(ofOne.map(perSecond))
      const rate =
        ofTwo.length === 0
          ? notMeasured(rates, '>= 1.8', 'it failed')
          : valueRow(
              rates,
              1.8,
              ofTwo.map((figure) => perSecond(figure) / base),
              true,
            )
      return { rows: [rate, ratioRow(costs, 1.05, ofTwo, ofOne)], shown: shownOf(cores.what, figures), lacks: failed }
    } finally {
      await one.stop()
      await two.stop()
      for (const each of quotas) each.end()
    }
  },
}
