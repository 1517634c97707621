// What durability costs a request: the same with a disk that says at once that all is written.
import { join } from 'node:path'
import { root } from '../ground.ts'
import { inTurn, loadFor, type Measure, notMeasured, shownOf, startSides, valueRow } from '../stand.ts'
import { us } from '../us.ts'

export const audit: Measure = {
  name: 'audit',
  what: 'durable audit: a real disk beside one that is instant, CONNECT, 32 connections',
  run: async (stand) => {
    const preload = join(root, 'bench', 'instant-disk.mjs')
    const instant = async () => ({ ...(await us(stand.ground, { preload })), name: 'ostiary, instant disk' })
    const { sides, lacks } = await startSides(stand.ground, [us, instant])
    const { figures, failed } = await inTurn(stand, sides, (side) =>
      loadFor(side.peer, stand.ground, { runMs: stand.quick ? 1_200 : 3_000 }),
    )
    for (const side of sides) await side.stop()
    const [real, none] = [figures.get('ostiary'), figures.get('ostiary, instant disk')]
    const what = "CPU us a request of the audit's writes and syncs at 32 connections"
    const row =
      real === undefined || none === undefined
        ? notMeasured(what, '<= 35', 'one of the two failed')
        : valueRow(
            what,
            35,
            real.map((one, at) => one.cpuMicros - (none[at]?.cpuMicros ?? 0)),
          )
    return { rows: [row], shown: shownOf(audit.what, figures), lacks: [...lacks, ...failed] }
  },
}
