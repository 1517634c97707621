// Longer answers, compressed and not: what reading and scrubbing them costs beside one who passes them on unread.
import { squid } from '../peers.ts'
import { inTurn, loadFor, type Measure, type Row, ratioRow, type Shown, shownOf, startSides } from '../stand.ts'
import { us } from '../us.ts'

export const sizes: Measure = {
  name: 'sizes',
  what: 'CONNECT, answers of 16 KB and 256 KB, with and without `Accept-Encoding: gzip`',
  run: async (stand) => {
    const { sides, lacks } = await startSides(stand.ground, [us, squid])
    const rows: Row[] = []
    const shown: Shown[] = []
    const failures: string[] = []
    for (const kilobytes of [16, 256])
      for (const gzip of [false, true]) {
        const what = `${kilobytes} KB${gzip ? ', gzip asked for' : ''}`
        const more = {
          path: `/v1/responses?bytes=${kilobytes * 1024}`,
          fields: gzip ? ['Accept-Encoding: gzip'] : [],
          warmMs: 300,
          runMs: stand.quick ? 700 : 2_500,
        }
        const { figures, failed } = await inTurn(stand, sides, (side) => loadFor(side.peer, stand.ground, more))
        rows.push(ratioRow(`CPU a request, CONNECT, ${what}, ours / squid`, 0.8, figures.get('ostiary'), figures.get('squid')))
        shown.push(...shownOf(`CONNECT, ${what}`, figures))
        failures.push(...failed)
      }
    for (const side of sides) await side.stop()
    return { rows, shown, lacks: [...lacks, ...failures] }
  },
}
