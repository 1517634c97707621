// A new connection: CONNECT, handshake, first request, to a host that was seen before and to one that was not.
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { squid } from '../peers.ts'
import { inTurn, loadFor, type Measure, ratioRow, shownOf, startSides, valueRow } from '../stand.ts'
import { us } from '../us.ts'

export const fresh: Measure = {
  name: 'fresh',
  what: 'a new connection: CONNECT, handshake and first request, one after the other',
  run: async (stand) => {
    const { ground } = stand
    const ours = await us(ground)
    const { sides, lacks } = await startSides(ground, [async () => ours, squid])
    const each = stand.quick ? 60 : 150
    const known = Array.from({ length: each }, () => ground.host)
    const to = (hosts: readonly string[]) => ({ kind: 'fresh', hosts, warmMs: 0, runMs: 20_000 }) as const
    const seen = await inTurn(stand, sides, (side) => loadFor(side.peer, ground, to(known)))
    const unseen = await inTurn(stand, sides, (side, round) =>
      loadFor(side.peer, ground, to(ground.manyHosts.slice(round * each, (round + 1) * each))),
    )
    // Our own again, with the owner known by its run instead of searched for by uid.
    const within = [...ours.cli, 'run', '--as', 'bench-run', '--']
    const run = await inTurn(stand, sides.slice(0, 1), (side) => loadFor(side.peer, ground, to(known)), { within })
    for (const side of sides) await side.stop()
    const row = (what: string, { figures }: typeof seen) =>
      ratioRow(`CPU a new connection, ${what}, ours / squid`, 1.1, figures.get('ostiary'), figures.get('squid'))
    return {
      rows: [
        row('known host', seen),
        row('unknown host', unseen),
        ratioRow('CPU a new connection, known host, in a run, ours / squid', 1.1, run.figures.get('ostiary'), seen.figures.get('squid')),
        valueRow('CPU of a fresh leaf, ms', 1, leafMs()),
      ],
      shown: [...shownOf('new connection, known host', seen.figures), ...shownOf('new connection, unknown host', unseen.figures)],
      lacks: [...lacks, ...seen.failed, ...unseen.failed, ...run.failed],
    }
  },
}

/** In this process: the certificate alone, without the connection that it is for. */
function leafMs(): readonly number[] {
  const now = Date.now()
  const authority = createRootAuthority({ commonName: 'Bench', now, years: 1 })
  return Array.from({ length: 5 }, (_, round) => {
    const since = process.cpuUsage()
    for (let at = 0; at < 100; at++) issueLeaf(authority, [`h${round}-${at}.bench.example`], now, 86_400_000)
    const { user, system } = process.cpuUsage(since)
    return (user + system) / 1000 / 100
  })
}
