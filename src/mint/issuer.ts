// Ostiary as an OIDC issuer: each federation credential has an ES256 key of its own and one audience (invariant 15).
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, type JWK, SignJWT } from 'jose'
import type { Clock } from '../model/clock.ts'
import { limits } from '../model/limits.ts'

/** Keeps keys sealed; as PKCS#8 PEM. */
export interface IssuerKeys {
  get(credential: string, which: 'present' | 'next'): Promise<string | null>
  put(credential: string, which: 'present' | 'next', pem: string): Promise<void>
}

export interface Issuer {
  /** A statement for one audience; `claims` hold at least `sub`. */
  sign(credential: string, claims: Readonly<Record<string, string>>, audience: string): Promise<string>
  /** Present and next public keys, to be uploaded at the vendor. */
  jwks(credential: string): Promise<{ readonly keys: readonly JWK[] }>
  /** The next key becomes the present one; upload the new next one before the next rotation. */
  rotate(credential: string): Promise<void>
}

export function createIssuer(keys: IssuerKeys, issuerUrl: string, clock: Clock): Issuer {
  const loaded = new Map<string, Promise<KeyObject>>()

  function key(credential: string, which: 'present' | 'next'): Promise<KeyObject> {
    const name = `${which} ${credential}`
    const known = loaded.get(name)
    if (known !== undefined) return known
    const loading = load(credential, which)
    loaded.set(name, loading)
    loading.catch(() => loaded.delete(name))
    return loading
  }

  async function load(credential: string, which: 'present' | 'next'): Promise<KeyObject> {
    const pem = await keys.get(credential, which)
    if (pem !== null) return createPrivateKey(pem)
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    await keys.put(credential, which, privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)
    return privateKey
  }

  async function publicJwk(credential: string, which: 'present' | 'next'): Promise<JWK> {
    const jwk = await exportJWK(createPublicKey(await key(credential, which)))
    return { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: 'ES256', use: 'sig' }
  }

  return {
    async sign(credential, claims, audience) {
      const { kid } = await publicJwk(credential, 'present')
      const now = Math.floor(clock.now() / 1000)
      return new SignJWT({ ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: kid as string, typ: 'JWT' })
        .setIssuer(issuerUrl)
        .setAudience(audience)
        .setIssuedAt(now)
        .setExpirationTime(now + limits.assertionMs / 1000)
        .setJti(randomUUID())
        .sign(await key(credential, 'present'))
    },
    async jwks(credential) {
      return { keys: [await publicJwk(credential, 'present'), await publicJwk(credential, 'next')] }
    },
    async rotate(credential) {
      const next = await key(credential, 'next')
      await keys.put(credential, 'present', next.export({ type: 'pkcs8', format: 'pem' }) as string)
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      await keys.put(credential, 'next', privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)
      loaded.delete(`present ${credential}`)
      loaded.delete(`next ${credential}`)
    },
  }
}
