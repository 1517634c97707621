// The keys of one issuer: uploaded, or by its discovery document. Fetched on first use, over https only, one fetch at a time, not
// again within the cooldown; a failure evicts nothing (invariant 11).
import { createLocalJWKSet, type JSONWebKeySet } from 'jose'
import { z } from 'zod'
import type { Host } from '../../model/kind.ts'
import { Refusal } from '../../model/refusal.ts'

export interface Keys {
  readonly resolve: ReturnType<typeof createLocalJWKSet>
  has(kid: string | undefined): boolean
}

export interface KeySource {
  /** Keys that should know this kid; what they do not know, the issuer did not say in time. */
  get(kid: string | undefined): Promise<Keys>
}

const discovery = z.object({ issuer: z.string(), jwks_uri: z.string().max(2_048) })
const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) })

export function uploadedKeys(jwks: unknown, host: Host): KeySource {
  let keys: Keys | null = null
  return {
    async get() {
      try {
        keys ??= readKeys(jwks, host)
        return keys
      } catch (error) {
        throw new Refusal('identify.keys_unavailable', 'the uploaded keys are not usable', error)
      }
    },
  }
}

function readKeys(value: unknown, host: Host): Keys {
  const parsed = keySet.parse(value)
  // Only public keys for signatures: a shared secret in a published set would let everybody sign.
  const keys = parsed.keys.filter(
    (key) => (key.kty === 'RSA' || key.kty === 'EC' || key.kty === 'OKP') && !('d' in key) && key.use !== 'enc',
  )
  if (keys.length === 0 || parsed.keys.length > host.limits.jwksKeysMax) throw new Error('no key, or too many, in the set')
  const kids = new Set(keys.map((key) => key.kid))
  return { resolve: createLocalJWKSet({ keys } as JSONWebKeySet), has: (kid) => kid === undefined || kids.has(kid) }
}

export function discoveredKeys(issuer: string, host: Host): KeySource {
  let keys: Keys | null = null
  let freshUntil = 0
  let triedAt = Number.NEGATIVE_INFINITY
  let underWay: Promise<void> | null = null

  async function json(url: string): Promise<unknown> {
    const address = new URL(url)
    if (address.protocol !== 'https:' || address.username !== '' || address.password !== '') throw new Error('not a plain https URL')
    const { status, body } = await host.fetch({
      method: 'GET',
      url: address.href,
      headers: { accept: 'application/json' },
      bytesMax: host.limits.jwksBytesMax,
      timeoutMs: host.limits.jwksMs,
    })
    if (status !== 200) throw new Error(`status ${status}`)
    return JSON.parse(body.toString('utf8'))
  }

  async function fetchKeys(): Promise<void> {
    try {
      const document = discovery.parse(await json(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`))
      // OpenID Connect Discovery 1.0 §4.3: the document must be of the very issuer.
      if (document.issuer !== issuer) throw new Error('the discovery document is of another issuer')
      keys = readKeys(await json(document.jwks_uri), host)
      freshUntil = host.clock.monotonic() + host.limits.jwksFreshMs
    } catch (error) {
      host.log.warn('the keys of an issuer could not be fetched', { issuer, error: error instanceof Error ? error.message : String(error) })
    }
  }

  return {
    async get(kid) {
      const now = host.clock.monotonic()
      const known = keys
      if (known?.has(kid) === true && now < freshUntil) return known
      if (underWay === null && now - triedAt >= host.limits.jwksCooldownMs) {
        triedAt = now // claimed before the fetch, so that neither failure nor success is hammered
        underWay = fetchKeys().finally(() => {
          underWay = null
        })
      }
      if (underWay !== null) await underWay
      if (keys === null) throw new Refusal('identify.keys_unavailable', issuer)
      return keys
    },
  }
}
