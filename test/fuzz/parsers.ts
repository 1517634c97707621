// Requests that are nearly sound against the real nginx, haproxy and apache of this machine; without one of them there is no target.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { disturb, request, withNoise } from '../../src/http/differential.test-kit.ts'
import { compare, kinds, missing, type Peer, startPeer } from '../scenarios/parsers.test-kit.ts'
import { type Target, target } from './target.ts'

const here = kinds.filter((kind) => missing(kind) === null)
const peers: Peer[] = []
let dir = ''

const parsers = target(
  'parsers',
  fc.tuple(fc.array(request, { minLength: 1, maxLength: 3 }), withNoise),
  async ([requests, places]) => {
    for (const peer of peers) await compare(peer, disturb(requests.join(''), places))
  },
  {
    async open() {
      dir = mkdtempSync(join(tmpdir(), 'ostiary-parsers-'))
      for (const kind of here) peers.push(await startPeer(kind, dir))
    },
    async close() {
      await Promise.all(peers.splice(0).map((peer) => peer.stop()))
      rmSync(dir, { recursive: true, force: true })
    },
  },
)

export const parserTargets: readonly Target[] = here.length === 0 ? [] : [parsers]
