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
  /** Rotations of one credential follow each other. */
  const turning = new Map<string, Promise<void>>()

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
    // After a rotation that was cut short the next key is the present one still: no vendor may be told to await it.
    const cutShort = which === 'next' && pem !== null && pem === (await keys.get(credential, 'present'))
    return pem === null || cutShort ? make(credential, which) : createPrivateKey(pem)
  }

  async function make(credential: string, which: 'present' | 'next'): Promise<KeyObject> {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    await keys.put(credential, which, pemOf(privateKey))
    return privateKey
  }

  async function turn(credential: string): Promise<void> {
    const next = await key(credential, 'next')
    await keys.put(credential, 'present', pemOf(next))
    loaded.delete(`present ${credential}`)
    loaded.delete(`next ${credential}`)
    await key(credential, 'next')
  }

  async function publicJwk(privateKey: KeyObject): Promise<JWK> {
    const jwk = await exportJWK(createPublicKey(privateKey))
    return { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: 'ES256', use: 'sig' }
  }

  return {
    async sign(credential, claims, audience) {
      if (claims['sub'] === undefined || claims['sub'] === '') throw new Error('a statement is about somebody: claims need sub')
      // Held, so that a rotation in between does not part the key from its kid.
      const privateKey = await key(credential, 'present')
      const { kid } = await publicJwk(privateKey)
      const now = Math.floor(clock.now() / 1000)
      return new SignJWT({ ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: kid as string, typ: 'JWT' })
        .setIssuer(issuerUrl)
        .setAudience(audience)
        .setIssuedAt(now)
        .setExpirationTime(now + limits.assertionMs / 1000)
        .setJti(randomUUID())
        .sign(privateKey)
    },
    async jwks(credential) {
      return { keys: [await publicJwk(await key(credential, 'present')), await publicJwk(await key(credential, 'next'))] }
    },
    rotate(credential) {
      const turned = (turning.get(credential) ?? Promise.resolve()).catch(() => {}).then(() => turn(credential))
      turning.set(credential, turned)
      return turned
    },
  }
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string
}
