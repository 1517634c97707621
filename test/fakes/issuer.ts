// An OIDC issuer for tests: keys, discovery document and key set, a log of what was fetched, and tokens right or wrong.
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import type { Fetch } from '../../src/model/kind.ts'

export interface FakeIssuer {
  readonly url: string
  /** Serves what the issuer publishes; counts, and fails while `down`. */
  readonly fetch: Fetch
  readonly fetched: string[]
  down: boolean
  /** Answered instead of the issuer's own, by path. */
  readonly instead: Map<string, string>
  /** Published keys. */
  jwks(): { keys: JWK[] }
  /** Takes a new key; the old one is published no longer. */
  rotate(): Promise<void>
  /** Claims replace the defaults; undefined removes one. */
  token(claims?: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>
}

export interface FakeIssuerOptions {
  readonly url: string
  readonly audience: string
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly alg?: string
}

export async function createFakeIssuer({ url, audience, now, alg = 'ES256' }: FakeIssuerOptions): Promise<FakeIssuer> {
  let generation = 0
  let key: CryptoKey
  let published: JWK
  const rotate = async (): Promise<void> => {
    const pair = await generateKeyPair(alg, { extractable: true })
    key = pair.privateKey
    published = { ...(await exportJWK(pair.publicKey)), kid: `key-${++generation}`, alg, use: 'sig' }
  }
  await rotate()

  const issuer: FakeIssuer = {
    url,
    fetched: [],
    down: false,
    instead: new Map(),
    jwks: () => ({ keys: [published] }),
    rotate,
    async fetch(request) {
      const { pathname } = new URL(request.url)
      issuer.fetched.push(request.url)
      if (issuer.down) throw new Error('the issuer is down')
      const documents: Record<string, string> = {
        '/.well-known/openid-configuration': JSON.stringify({ issuer: url, jwks_uri: `${url}/keys` }),
        '/keys': JSON.stringify(issuer.jwks()),
      }
      const text = issuer.instead.get(pathname) ?? documents[pathname]
      return { status: text === undefined ? 404 : 200, headers: {}, body: Buffer.from(text ?? '') }
    },
    token(claims = {}, header = {}) {
      const seconds = Math.floor(now() / 1000)
      const all = { iss: url, sub: 'agent-7', aud: audience, iat: seconds, exp: seconds + 600, jti: `jti-${Math.random()}`, ...claims }
      const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
      return new SignJWT(given).setProtectedHeader({ alg, kid: published.kid as string, ...header }).sign(key)
    },
  }
  return issuer
}
