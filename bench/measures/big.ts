// One large body, up and down: memory that stays flat, and the rate.
import { squid } from '../peers.ts'
import { drive, inTurn, loadFor, type Measure, median, notMeasured, type Row, spreadOf, startSides, valueRow } from '../stand.ts'
import { us } from '../us.ts'

export const big: Measure = {
  name: 'big',
  what: '1 GB up, 1 GB down (without --full: 64 MB), one after the other',
  run: async (stand) => {
    const { ground } = stand
    const megabytes = stand.full ? 1_024 : 64
    const { sides, lacks } = await startSides(ground, [us, squid])
    const rows: Row[] = []
    const failures: string[] = []
    for (const way of ['up', 'down'] as const) {
      const of = (size: number) => {
        const bytes = size * 1024 * 1024
        const more = { kind: 'big', connections: 1, warmMs: 0, runMs: 60_000, fields: ['Content-Type: application/octet-stream'] } as const
        return way === 'up'
          ? { ...more, path: '/v1/files', bodyBytes: bytes }
          : ({ ...more, method: 'GET', path: `/v1/files/file-1/content?pour=1&bytes=${bytes}` } as const)
      }
      for (const side of sides) await drive(side, loadFor(side.peer, ground, of(8)))
      const { figures, failed } = await inTurn(stand, sides, (side) => loadFor(side.peer, ground, of(megabytes)))
      failures.push(...failed)
      const [ours, theirs] = [figures.get('ostiary'), figures.get('squid')]
      const what = `${megabytes} MB ${way}`
      if (ours === undefined) {
        rows.push(notMeasured(`${what}: MB of memory more`, '<= 32', 'we failed'))
        continue
      }
      rows.push(
        valueRow(
          `${what}: MB of memory more`,
          32,
          ours.map((one) => (one.rssPeak - one.rssBefore) / 1024 / 1024),
        ),
      )
      if (theirs === undefined) rows.push(notMeasured(`${what}: rate, ours / squid's`, '>= 0.8', 'squid is not here or failed'))
      else {
        const measured = Number((median(theirs.map((one) => one.seconds)) / median(ours.map((one) => one.seconds))).toPrecision(3))
        const spread = spreadOf(ours.map((one, at) => (theirs[at]?.seconds ?? 0) / one.seconds))
        const clean = [...ours, ...theirs].every((one) => one.refused === 0)
        rows.push({ measure: `${what}: rate, ours / squid's`, wanted: '>= 0.8', measured, spread, held: clean && measured >= 0.8 })
      }
    }
    for (const side of sides) await side.stop()
    return { rows, lacks: [...lacks, ...failures] }
  },
}
