// HTTP/2 from the agent with HTTP/1.1 to the API, beside the same from an agent with HTTP/1.1. 32 calls are under way in both.
import { inTurn, loadFor, type Measure, ratioRow, shownOf, startSides } from '../stand.ts'
import { us } from '../us.ts'

export const h2: Measure = {
  name: 'h2',
  what: 'CONNECT, HTTP/2 from the agent (4 connections, 8 streams each), HTTP/1.1 upstream',
  run: async (stand) => {
    const { sides, lacks } = await startSides(stand.ground, [us])
    const both = sides.flatMap((side) => [side, { ...side, peer: { ...side.peer, name: 'ostiary, HTTP/2' } }])
    const runMs = stand.quick ? 1_200 : 3_000
    const { figures, failed } = await inTurn(stand, both, (side) =>
      loadFor(side.peer, stand.ground, side.peer.name === 'ostiary' ? { runMs } : { runMs, connections: 4, h2Streams: 8 }),
    )
    for (const side of sides) await side.stop()
    const rows = [ratioRow('CPU a request, HTTP/2 from the agent / HTTP/1.1', 1.5, figures.get('ostiary, HTTP/2'), figures.get('ostiary'))]
    return { rows, shown: shownOf(h2.what, figures), lacks: [...lacks, ...failed] }
  },
}
