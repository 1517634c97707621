// The base URL: plain in, TLS out, beside gateways that a client reaches by a base URL.
import { envoyBase, haproxy, liteLlm, nginxBase, portkey } from '../base-peers.ts'
import { inTurn, loadFor, type Measure, ratioRow, shownOf, startSides } from '../stand.ts'
import { baseUrlOf, us } from '../us.ts'

const wanted = [
  ['nginx', 2],
  ['Envoy', 0.7],
  ['Portkey', 1 / 2],
  ['LiteLLM', 1 / 100],
] as const

export const baseUrl: Measure = {
  name: 'base-url',
  what: 'base URL, plain in, TLS out, 32 connections, 300 B -> 600 B',
  run: async (stand) => {
    const { ground } = stand
    const makings = [async () => baseUrlOf(await us(ground)), nginxBase, haproxy, envoyBase, portkey, liteLlm]
    const { sides, lacks } = await startSides(ground, makings)
    const load = { runMs: stand.quick ? 1_000 : 3_000, path: '/v1/chat/completions' }
    const { figures, failed } = await inTurn(stand, sides, (side) => loadFor(side.peer, ground, load))
    for (const side of sides) await side.stop()
    const ours = figures.get('ostiary')
    return {
      rows: [
        ...wanted.map(([name, most]) => ratioRow(`CPU a request, base URL, ours / ${name}`, most, ours, figures.get(name))),
        { ...ratioRow('CPU a request, base URL, ours / haproxy', 99, ours, figures.get('haproxy')), wanted: '', held: null },
      ],
      shown: shownOf(baseUrl.what, figures),
      lacks: [...lacks, ...failed],
    }
  },
}
