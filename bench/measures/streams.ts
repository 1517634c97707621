// Answers that come as events: the first one, and what a thousand that stay open cost.
import type { Figure } from '../load.ts'
import { squid } from '../peers.ts'
import {
  directSide,
  drive,
  inTurn,
  loadFor,
  type Measure,
  notMeasured,
  type Row,
  ratioRow,
  type Side,
  startSides,
  valueRow,
} from '../stand.ts'
import { us } from '../us.ts'

export const streams: Measure = {
  name: 'streams',
  what: 'server-sent events: the first, and 1,000 streams x 5 events/s (without --full: 200 streams)',
  run: async (stand) => {
    const { ground } = stand
    const connections = stand.full ? 1_000 : 200
    const rounds = stand.quick ? 3 : stand.rounds
    const path = '/v1/responses?events=5'
    const figures = new Map<string, Figure[]>()
    const lacking = new Set<string>()
    // Each round a process of its own: memory that was once grown would hide what a stream costs.
    for (let round = 0; round < rounds; round++)
      for (const making of [us, squid]) {
        const { sides, lacks } = await startSides(ground, [making])
        for (const one of lacks) lacking.add(one)
        for (const side of sides) {
          stand.say(`round ${round + 1}/${rounds} ${side.peer.name}, ${connections} streams`)
          await drive(side, loadFor(side.peer, ground, { runMs: 1_000 }))
          const load = loadFor(side.peer, ground, { kind: 'streams', path, connections, warmMs: 1_000 + connections * 2, runMs: 2_000 })
          const figure = await drive(side, load)
          figures.set(side.peer.name, [...(figures.get(side.peer.name) ?? []), figure])
          await side.stop()
        }
      }
    const ours = figures.get('ostiary')
    const kilobytes = (ours ?? []).map((one) => (one.rssPeak - one.rssBefore) / 1024 / connections)
    const rows: Row[] = [
      ...(await firstEvents(stand)),
      ours === undefined
        ? notMeasured('KB a stream', '<= 140', 'we failed')
        : valueRow(`KB a stream, ${connections} streams`, 140, kilobytes),
      ratioRow(`CPU an event, ${connections} streams x 5/s, ours / squid`, 1, ours, figures.get('squid')),
    ]
    return { rows, lacks: [...lacking] }
  },
}

/** The direct side has its connection open before it asks: over connections that are kept we do as much, over new ones a handshake more. */
const firstEvents = async (stand: Parameters<Measure['run']>[0]): Promise<Row[]> => {
  const { ground } = stand
  const kept = 'ms to the first event over kept connections, ours - direct'
  const fresh = 'ms to the first event, each over a new connection upstream, ours - direct'
  const { sides } = await startSides(ground, [us])
  const connections = 50
  const stream = { kind: 'streams', path: '/v1/responses?events=1', connections, warmMs: 0, runMs: 900 } as const
  // A stream's connection ends with it, so that none is left for the next turn; `filling` leaves as many as its calls under way.
  const turns = ['fresh', 'filling', 'kept'].flatMap((name) => sides.map((side): Side => ({ ...side, peer: { ...side.peer, name } })))
  const { figures } = await inTurn(stand, [directSide(ground), ...turns], ({ peer }) =>
    loadFor(peer, ground, peer.name === 'filling' ? { connections, runMs: 300 } : stream),
  )
  for (const side of sides) await side.stop()
  const direct = figures.get('direct')
  const row = (what: string, wanted: number | null, ours: readonly Figure[] | undefined): Row =>
    ours === undefined || direct === undefined
      ? notMeasured(what, wanted === null ? '' : `<= ${wanted}`, 'one of the two failed')
      : valueRow(
          what,
          wanted,
          ours.map((one, at) => one.first - (direct[at]?.first ?? 0)),
        )
  return [row(kept, 1, figures.get('kept')), row(fresh, null, figures.get('fresh'))]
}
