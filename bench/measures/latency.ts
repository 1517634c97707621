// Latency at a rate that nobody is busy at: 200 requests a second, sent whether or not the earlier ones are answered.
import { squid } from '../peers.ts'
import { directSide, inTurn, loadFor, type Measure, notMeasured, shownOf, startSides, valueRow } from '../stand.ts'
import { us } from '../us.ts'

export const latency: Measure = {
  name: 'latency',
  what: 'CONNECT, open loop, 200 requests/s over 32 connections',
  run: async (stand) => {
    const { ground } = stand
    const { sides, lacks } = await startSides(ground, [us, squid])
    const load = { rate: 200, warmMs: 500, runMs: stand.quick ? 2_000 : 10_000 }
    const { figures, failed } = await inTurn(stand, [directSide(ground), ...sides], (side) => loadFor(side.peer, ground, load))
    for (const side of sides) await side.stop()
    const [ours, direct, theirs] = ['ostiary', 'direct', 'squid'].map((name) => figures.get(name))
    const row = (what: string, wanted: number, other: typeof ours, of: 'p50' | 'p99') =>
      ours === undefined || other === undefined
        ? notMeasured(what, `<= ${wanted}`, 'one of the two is not here or failed')
        : valueRow(
            what,
            wanted,
            ours.map((one, at) => one[of] - (other[at]?.[of] ?? 0)),
          )
    const rows = [
      row('ms at 200 requests/s: p50, ours - direct', 1, direct, 'p50'),
      row("ms at 200 requests/s: p99, ours - squid's", 2, theirs, 'p99'),
    ]
    return { rows, shown: shownOf(latency.what, figures).filter((one) => one.name !== 'direct'), lacks: [...lacks, ...failed] }
  },
}
