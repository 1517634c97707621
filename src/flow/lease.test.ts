import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Lease, Need } from '../model/credential.ts'
import type { Decision } from '../model/decision.ts'
import type { Identity } from '../model/identity.ts'
import { Refusal } from '../model/refusal.ts'
import type { Target } from '../model/target.ts'
import { type LeaseSteps, lease } from './lease.ts'

const identity = {
  workload: 'coder',
  spiffeId: 'spiffe://a.test/coder',
  groups: ['dev'],
  run: 'run-1',
  expiresAt: 1_000,
} as unknown as Identity
const target = { host: 'api.openai.com', port: 443, service: 'openai', action: 'inference' } as unknown as Target
const decision = { policyVersion: 'v1', credential: 'c', facts: { stage: 'test' }, policies: ['p'], model: 'm', tools: [] } as Decision
const made = { id: 'lease-1' } as unknown as Lease

function steps(part: Partial<LeaseSteps> = {}): {
  readonly steps: LeaseSteps
  readonly needs: (readonly [Need, string])[]
  readonly asked: unknown[]
} {
  const needs: [Need, string][] = []
  const asked: unknown[] = []
  return {
    needs,
    asked,
    steps: {
      now: () => 999,
      policyVersion: () => 'v1',
      warm: () => null,
      decideAgain(...all) {
        asked.push(all)
        return decision
      },
      obtain(need, name) {
        needs.push([need, name])
        return made
      },
      ...part,
    },
  }
}

const code = (expected: string) => (error: unknown) => error instanceof Refusal && error.code === expected

test('decides again on the facts that it is given, then obtains exactly what was decided; at once where it is warm', () => {
  const of = steps()
  assert.equal(lease(of.steps, identity, target, decision), made)
  assert.deepEqual(of.asked, [[identity, target, decision.facts, decision]])
  const { workload, spiffeId, groups, run } = identity
  assert.deepEqual(of.needs, [[{ workload, spiffeId, groups, run, service: 'openai', host: 'api.openai.com', port: 443 }, 'c']])
})

test('a lease that is warm needs no second judge, and is for exactly this need; an expired identity does not get it', () => {
  const asked: unknown[] = []
  const warm: LeaseSteps['warm'] = (need, name) => {
    asked.push([need.host, name])
    return made
  }
  const of = steps({ warm })
  assert.equal(lease(of.steps, identity, target, decision), made)
  assert.deepEqual([asked, of.asked, of.needs], [[['api.openai.com', 'c']], [], []])
  assert.throws(() => lease(steps({ warm, now: () => 1_000 }).steps, identity, target, decision), code('identify.run_ended'))
  assert.throws(() => lease(steps({ warm, policyVersion: () => 'v2' }).steps, identity, target, decision), code('decide.feed_lost'))
  assert.equal(asked.length, 1)
})

test('nothing is obtained for an expired identity, under another policy, or against a second no', () => {
  for (const [part, who, expected] of [
    [{ now: () => 1_000 }, identity, 'identify.run_ended'],
    [{ now: () => 1_000 }, { ...identity, run: null }, 'identify.none'],
    [{ policyVersion: () => 'v2' }, identity, 'decide.feed_lost'],
    [{ decideAgain: () => ({ ...decision, credential: 'other' }) }, identity, 'obtain.no_credential'],
    [{ decideAgain: () => ({ ...decision, credential: null }) }, identity, 'obtain.no_credential'],
    [
      {
        decideAgain: () => {
          throw new Refusal('decide.forbidden')
        },
      },
      identity,
      'decide.forbidden',
    ],
  ] as const) {
    const of = steps(part)
    assert.throws(() => lease(of.steps, who, target, decision), code(expected))
    assert.deepEqual(of.needs, [])
  }
  const of = steps()
  assert.throws(() => lease(of.steps, identity, { ...target, service: null }, decision), code('obtain.no_credential'))
  assert.deepEqual(of.needs, [])
})
