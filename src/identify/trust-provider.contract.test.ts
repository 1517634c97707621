// Every trust provider keeps the contract: unknown keys, garbage, expired, wrong-audience and oversized evidence are refused by
// an identify.* code; start makes no I/O; the signal is honoured; nothing shown or serialised holds the token.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { createFakeIssuer, type FakeIssuer } from '../../test/fakes/issuer.ts'
import type { Evidence } from '../model/evidence.ts'
import type { TrustHost } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import { agentPeer } from './agent.test-kit.ts'
import { createOnce } from './once.ts'
import type { AnyTrustKind, TrustProvider } from './trust-provider.ts'
import { trustKinds } from './trust-providers.ts'

const start = Date.UTC(2026, 10, 24)
const audience = 'https://ostiary.acme.example'
const quiet = { debug() {}, info() {}, warn() {}, error() {} }

interface Case {
  readonly config: Record<string, unknown>
  readonly rule: Record<string, unknown>
  readonly anchorless: Record<string, unknown>
  /** Evidence that holds. */
  good(issuer: FakeIssuer): Promise<Partial<Evidence>>
  /** Evidence that must be refused, by name. */
  bad(issuer: FakeIssuer): Promise<Record<string, Partial<Evidence>>>
}

const token = (text: string): Partial<Evidence> => ({ token: new Secret(text) })

// A kind without a case here fails the test: add one with the kind.
const cases: Record<string, Case> = {
  process: {
    config: {},
    rule: { user: 'agent' },
    anchorless: { executable: '/usr/bin/node' },
    good: async () => ({}),
    bad: async () => ({}),
  },
  oidc: {
    config: { issuer: 'https://issuer.example' },
    rule: { subject: 'agent-7' },
    anchorless: { issuer: 'prod' },
    good: async (issuer) => token(await issuer.token()),
    async bad(issuer) {
      const seconds = start / 1000
      return {
        garbage: token('\u0000\xff garbage'),
        empty: token(''),
        expired: token(await issuer.token({ iat: seconds - 700, exp: seconds - 100 })),
        audience: token(await issuer.token({ aud: 'https://api.openai.com/v1' })),
        oversized: token(await issuer.token({ filler: 'x'.repeat(limits.evidenceBytesMax) })),
      }
    },
  },
}

const evidence = (more: Partial<Evidence>): Evidence => ({ peer: agentPeer, pointer: null, token: null, unchanged: () => true, ...more })

async function begin(kind: AnyTrustKind, host: Partial<TrustHost> = {}): Promise<{ provider: TrustProvider; issuer: FakeIssuer }> {
  const clock = { now: () => start, monotonic: () => 1_000_000 }
  const issuer = await createFakeIssuer({ url: 'https://issuer.example', audience, now: clock.now })
  const once = createOnce({ clock, max: 100 })
  const config = kind.schema.parse(cases[kind.name]?.config)
  return { provider: kind.start(config, { clock, fetch: issuer.fetch, log: quiet, limits, once, audience, ...host }, 'mine'), issuer }
}

const refusedBy = (error: unknown): boolean => error instanceof Refusal && error.code.startsWith('identify.')

for (const kind of trustKinds) {
  const given = cases[kind.name] as Case

  test(`${kind.name}: unknown keys are refused, in the configuration and in a rule`, () => {
    assert.equal(kind.schema.safeParse(given.config).success, true)
    assert.equal(kind.schema.safeParse({ ...given.config, surprise: 1 }).success, false)
    assert.equal(kind.rule.safeParse(given.rule).success, true)
    assert.equal(kind.rule.safeParse({ ...given.rule, surprise: 1 }).success, false)
    assert.deepEqual(kind.check?.(kind.schema.parse(given.config)) ?? [], [])
  })

  test(`${kind.name}: a rule that proves nothing by itself is a mistake and fits nothing`, async () => {
    assert.deepEqual(kind.checkRule(kind.rule.parse(given.rule)), [])
    assert.equal(kind.checkRule(kind.rule.parse(given.anchorless)).length, 1)
    const { provider, issuer } = await begin(kind)
    const attested = await provider.verify(evidence(await given.good(issuer)), AbortSignal.timeout(5_000))
    assert.equal(kind.fits(kind.rule.parse(given.rule), attested?.attributes ?? {}), true)
    assert.equal(kind.fits(kind.rule.parse(given.anchorless), attested?.attributes ?? {}), false)
    assert.equal(kind.fits(kind.rule.parse(given.rule), {}), false)
    assert.equal(kind.fits(kind.rule.parse({}), attested?.attributes ?? {}), false)
  })

  test(`${kind.name}: start makes no I/O, and what it proves ends`, async () => {
    const { provider, issuer } = await begin(kind)
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(issuer.fetched, [])
    const attested = await provider.verify(evidence(await given.good(issuer)), AbortSignal.timeout(5_000))
    assert.equal(attested?.provider, 'mine')
    assert.ok((attested?.expiresAt ?? 0) > start && (attested?.expiresAt ?? 0) <= start + limits.identityMs)
  })

  test(`${kind.name}: evidence that does not hold is refused and not shown`, async () => {
    const { provider, issuer } = await begin(kind)
    for (const [name, bad] of Object.entries(await given.bad(issuer))) {
      await assert.rejects(provider.verify(evidence(bad), AbortSignal.timeout(5_000)), (error) => {
        assert.ok(refusedBy(error), `${name}: ${error}`)
        const text = bad.token?.reveal().toString('latin1') ?? ''
        const shown = inspect(error, { depth: 20, showHidden: true }) + JSON.stringify(error) + String((error as Error).stack)
        for (const part of text.split('.')) if (part.length > 20) assert.ok(!shown.includes(part.slice(0, 20)), name)
        return true
      })
    }
  })

  test(`${kind.name}: the signal is honoured`, async () => {
    const { provider, issuer } = await begin(kind, { fetch: () => new Promise(() => {}) })
    const good = evidence(await given.good(issuer))
    await assert.rejects(provider.verify(good, AbortSignal.abort()), refusedBy)
    if (good.token !== null) await assert.rejects(provider.verify(good, AbortSignal.timeout(20)), refusedBy)
  })

  test(`${kind.name}: evidence of another kind is not its business`, async () => {
    const { provider } = await begin(kind)
    const remote = { ...agentPeer, address: '10.0.0.9', loopback: false, uid: null, process: null, why: 'another host' }
    assert.equal(await provider.verify(evidence({ peer: remote }), AbortSignal.timeout(5_000)), null)
  })
}
