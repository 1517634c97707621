// CONNECT, TLS both sides, kept connections: what a request costs, beside those that intercept, and beside the platform's floor.
import { envoyConnect, floor, mitmproxy, nginxTls, sandboxRuntime, squid, varlock } from '../peers.ts'
import { inTurn, loadFor, type Measure, ratioRow, shownOf, startSides } from '../stand.ts'
import { us } from '../us.ts'

/** The first two are what an earlier promise of this project said; they stay in sight. */
const wanted = [
  ['squid', 1, ''],
  ['mitmproxy', 0.1, ''],
  ['squid', 0.65, ', CONNECT'],
  ['Envoy', 0.75, ', CONNECT'],
  ['nginx TLS to TLS', 2.5, ', CONNECT'],
  ['sandbox-runtime', 1 / 5, ', CONNECT'],
  ['mitmproxy', 1 / 15, ', CONNECT'],
  ['varlock', 1 / 30, ', CONNECT'],
] as const

export const connect: Measure = {
  name: 'connect',
  what: 'CONNECT, TLS both sides, 32 connections, 300 B -> 600 B',
  run: async (stand) => {
    const { sides, lacks } = await startSides(stand.ground, [us, squid, envoyConnect, nginxTls, sandboxRuntime, mitmproxy, varlock, floor])
    // A compiler at work is not what a server costs: those of Node and Python need a while.
    const [warmMs, runMs] = stand.quick ? [500, 1_000] : [3_000, 3_000]
    const { figures, failed } = await inTurn(stand, sides, (side) => loadFor(side.peer, stand.ground, { warmMs, runMs }))
    for (const side of sides) await side.stop()
    const ours = figures.get('ostiary')
    return {
      rows: [
        ...wanted.map(([name, most, way]) => ratioRow(`CPU a request${way}, ours / ${name}`, most, ours, figures.get(name))),
        {
          ...ratioRow('CPU a request, CONNECT, ours / floor', 99, ours, figures.get('floor (Node TLS, constant bytes)')),
          wanted: '',
          held: null,
        },
      ],
      shown: shownOf(connect.what, figures),
      lacks: [...lacks, ...failed],
    }
  },
}
