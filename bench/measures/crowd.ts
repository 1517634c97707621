// Process identity among many: what finding the owner of a new connection costs when the machine is full of others.
import { join } from 'node:path'
import { on, root, start } from '../ground.ts'
import type { Figure } from '../load.ts'
import { inTurn, loadFor, type Measure, median, notMeasured, type Row, ratioRow, startSide, valueRow } from '../stand.ts'
import { us } from '../us.ts'

export const crowd: Measure = {
  name: 'crowd',
  what: 'a new connection among 2,000 processes, 20,000 descriptors, 10,000 connections (without --full: 300, 3,000, 1,000)',
  run: async (stand) => {
    const { ground } = stand
    const [processes, connections] = stand.full ? [2_000, 10_000] : [300, 1_000]
    const ours = await us(ground)
    const side = await startSide(ours)
    const load = {
      kind: 'fresh',
      hosts: Array.from({ length: stand.quick ? 30 : 60 }, () => ground.host),
      warmMs: 0,
      runMs: 30_000,
    } as const
    const within = [...ours.cli, 'run', '--as', 'bench-run', '--']
    const sample = async () => ({
      uid: (await inTurn(stand, [side], () => loadFor(ours, ground, load))).figures.get('ostiary'),
      run: await inTurn(stand, [side], () => loadFor(ours, ground, load), { within }),
      kept: (await inTurn(stand, [side], () => loadFor(ours, ground, { runMs: 800 }))).figures.get('ostiary'),
    })
    const inRun = ({ run }: Awaited<ReturnType<typeof sample>>) => run.figures.get('ostiary')
    try {
      const alone = await sample()
      const others = start(on(1, [process.execPath, join(root, 'bench', 'crowd.ts'), String(processes), '10', String(connections)]))
      for (const since = performance.now(); !others.log.join('').includes('there'); ) {
        if (performance.now() - since > 90_000 || others.child.exitCode !== null)
          throw new Error(`no crowd: ${others.log.join('').slice(0, 300)}`)
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      const among = await sample()
      await others.stop()
      const named = `among ${processes} processes, ${processes * 10} descriptors, ${connections} connections`
      return {
        rows: [
          // The same connection in a run needs no search: what is left of one by uid is the search.
          added(`CPU ms of finding the owner of a new connection by uid, ${named}`, 20, inRun(among), among.uid, 'cpuMicros'),
          added('of these on the event loop, ms', null, inRun(among), among.uid, 'mainMicros'),
          added(`CPU ms that a new connection in a run costs more ${named}`, 1, inRun(alone), inRun(among), 'cpuMicros'),
          // Differences under a tenth are not resolved: "nothing" is what cannot be told from it.
          ratioRow(`CPU a request on kept connections, ${named} / alone`, 1.1, among.kept, alone.kept),
        ],
        lacks: [...alone.run.failed, ...among.run.failed],
      }
    } finally {
      await side.stop()
    }
  },
}

function added(
  what: string,
  wanted: number | null,
  less: readonly Figure[] | undefined,
  more: readonly Figure[] | undefined,
  of: 'cpuMicros' | 'mainMicros',
): Row {
  if (less === undefined || more === undefined) return notMeasured(what, wanted === null ? '' : `<= ${wanted}`, 'its client failed')
  const before = median(less.map((one) => one[of]))
  return valueRow(
    what,
    wanted,
    more.map((one) => (one[of] - before) / 1000),
  )
}
