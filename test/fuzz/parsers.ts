// Requests and answers that are nearly sound against the real nginx, haproxy and apache of this machine; without one of them there is no target.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { answer, disturb, request, withNoise } from '../../src/http/differential.test-kit.ts'
import { compare, compareAnswer, kinds, missing, type Peer, startPeer } from '../scenarios/parsers.test-kit.ts'
import { type Target, target } from './target.ts'

const here = kinds.filter((kind) => missing(kind) === null)
const peers: Peer[] = []
let dir = ''

async function close(): Promise<void> {
  await Promise.all(peers.splice(0).map((peer) => peer.stop()))
  rmSync(dir, { recursive: true, force: true })
}

async function open(): Promise<void> {
  dir = mkdtempSync(join(tmpdir(), 'ostiary-parsers-'))
  try {
    for (const kind of here) peers.push(await startPeer(kind, dir))
  } catch (error) {
    await close()
    throw error
  }
}

const requests = target(
  'parsers',
  fc.tuple(fc.array(request, { minLength: 1, maxLength: 3 }), withNoise),
  async ([texts, places]) => {
    for (const peer of peers) await compare(peer, disturb(texts.join(''), places))
  },
  { open, close },
)

const answers = target(
  'parsers-answers',
  fc.tuple(answer, withNoise, fc.constantFrom('GET', 'GET', 'HEAD')),
  async ([text, places, method]) => {
    for (const peer of peers) await compareAnswer(peer, disturb(text, places), method)
  },
  { open, close },
)

export const parserTargets: readonly Target[] = here.length === 0 ? [] : [requests, answers]
