// Trust provider `oidc`: a signed token of one configured issuer (Kubernetes, GitHub Actions, any OIDC issuer, or uploaded
// keys), under the rules J1-J9 for signed evidence. It must never choose an issuer, a key address or an algorithm from the
// token, and never show the token: what a caller reads is one constant text.
import { createHash } from 'node:crypto'
import { compactVerify, errors } from 'jose'
import { z } from 'zod'
import type { Evidence } from '../../model/evidence.ts'
import { Refusal } from '../../model/refusal.ts'
import type { TrustKind } from '../trust-provider.ts'
import { attributesOf } from './claims.ts'
import { discoveredKeys, type Keys, uploadedKeys } from './keys.ts'
import { judgeClaims, judgeHeader, readToken } from './token.ts'

const algorithm = z.enum(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'])

const schema = z.strictObject({
  issuer: z.string().min(1).max(2_048),
  /** This installation's own, `https://ostiary.<trust domain>`, unless given. */
  audience: z.string().min(1).max(2_048).optional(),
  /** Uploaded keys, where the issuer cannot be reached: a file, or the set itself. */
  jwks: z
    .union([
      z.string().min(1),
      z.looseObject({
        keys: z
          .array(z.looseObject({ kty: z.string() }))
          .min(1)
          .max(64),
      }),
    ])
    .optional(),
  algorithms: z.array(algorithm).min(1).default(['RS256', 'ES256']),
  /** The issuer mints a token per request and gives each a jti, which is demanded. */
  singleUse: z.boolean().default(false),
  /** Longest lifetime of a token that is accepted, seconds. */
  maxLifetime: z.int().min(1).max(86_400).default(86_400),
})

const rule = z.strictObject({
  /** Name of the trust provider; may be left out where only one of this kind is configured. */
  issuer: z.string().min(1).optional(),
  subject: z.union([z.string().min(1), z.strictObject({ prefix: z.string().min(1) })]).optional(),
  claims: z.record(z.string().min(1), z.union([z.string(), z.number(), z.boolean()])).optional(),
})

export type OidcConfig = z.infer<typeof schema>
export type OidcRule = z.infer<typeof rule>

/** Who would take a token with this audience as its own: whoever gets one from an agent could use it there. */
const foreignAudience =
  /^(?:https?:\/\/)?(?:kubernetes(?:\.default(?:\.svc(?:\.cluster\.local)?)?)?|(?:[a-z0-9-]+\.)*(?:openai\.com|anthropic\.com|amazonaws\.com|googleapis\.com|google\.com|github\.com|githubusercontent\.com|gitlab\.com|azure\.com|microsoftonline\.com|sigstore\.dev|openrouter\.ai|huggingface\.co))(?::\d+)?(?:\/|$)|^(?:api:\/\/AzureADTokenExchange|\/\/iam\.googleapis\.com\/|sigstore$)/i

const describesNoWorkload = new Set(['iss', 'aud', 'exp', 'iat', 'nbf', 'jti'])

export const oidcKind: TrustKind<OidcConfig, OidcRule> = {
  name: 'oidc',
  summary: 'A signed token of a configured issuer: Kubernetes, GitHub Actions, any OIDC issuer, or uploaded keys.',
  schema: schema as z.ZodType<OidcConfig>,
  rule,
  check,

  start(config, host, name) {
    const keys = config.jwks === undefined ? discoveredKeys(config.issuer, host) : uploadedKeys(config.jwks, host)
    return {
      async verify(evidence, signal) {
        if (evidence.token === null) return null
        if (signal.aborted) throw stopped(signal)
        const text = evidence.token.size > host.limits.evidenceBytesMax ? null : evidence.token.reveal().toString('latin1')
        if (text === null) throw new Refusal('identify.token_malformed', `longer than ${host.limits.evidenceBytesMax} bytes`)
        const token = readToken(text, host.limits.evidenceBytesMax)
        const { kid } = judgeHeader(token.header, config.algorithms)
        const { expiresAt, jti } = judgeClaims(token.claims, {
          issuer: config.issuer,
          audience: config.audience ?? host.audience,
          lifetimeMs: Math.min(config.maxLifetime * 1000, host.limits.tokenAgeMs),
          skewMs: host.limits.clockSkewMs,
          now: host.clock.now(),
          jtiRequired: config.singleUse,
        })
        await verifySignature(text, await withSignal(keys.get(kid), signal), config.algorithms)
        const key = digest('token', config.issuer, jti ?? '', jti === null ? token.signingInput : '')
        if (!host.once(key, holderOf(evidence), expiresAt + host.limits.clockSkewMs)) {
          throw new Refusal('identify.token_replayed', 'first presented by another holder')
        }
        const until = Math.min(expiresAt, host.clock.now() + host.limits.identityMs)
        return { provider: name, attributes: attributesOf(token.claims), expiresAt: until, run: null }
      },
    }
  },

  checkRule({ subject, claims }) {
    const identifying = Object.keys(claims ?? {}).filter((name) => !describesNoWorkload.has(name))
    if (subject !== undefined || identifying.length > 0) return []
    return ['The rule names nothing that identifies a workload: give a subject or a claim.']
  },

  fits(rule, attributes) {
    if (oidcKind.checkRule(rule).length > 0) return false
    const { subject, claims } = rule
    const { sub } = attributes
    if (typeof subject === 'string' && sub !== subject) return false
    if (typeof subject === 'object' && sub?.startsWith(subject.prefix) !== true) return false
    return Object.entries(claims ?? {}).every(([name, value]) => Object.hasOwn(attributes, name) && attributes[name] === String(value))
  },
}

function check({ issuer, audience, jwks }: OidcConfig): readonly string[] {
  const wrong: string[] = []
  const url = URL.canParse(issuer) ? new URL(issuer) : null
  if (
    url?.protocol !== 'https:' ||
    url.username !== '' ||
    url.password !== '' ||
    url.search !== '' ||
    url.hash !== '' ||
    /[?#\s]/.test(issuer)
  ) {
    wrong.push('The issuer must be an https URL without user, query and fragment, written as the token has it.')
  }
  if (audience !== undefined && foreignAudience.test(audience)) {
    wrong.push(
      'The audience is that of an API server or a vendor: a token for it would be good there too. Leave it out, or name one of your own.',
    )
  }
  if (typeof jwks === 'object' && jwks.keys.some((key) => 'd' in key || key.kty === 'oct')) {
    wrong.push('The uploaded keys hold a private or shared key: upload the public keys only.')
  }
  return wrong
}

/** Who presents it. A pointer reaches a trust provider only after its run was proven (identify.ts). */
function holderOf({ peer, pointer }: Evidence): string {
  if (pointer !== null) return digest('run', pointer)
  if (peer.process !== null) return `${peer.process.pid}:${peer.process.startTicks}`
  if (!peer.loopback) return `address ${peer.address}`
  if (peer.uid !== null) return `uid ${peer.uid}`
  // Everybody on this host would be that holder.
  throw new Refusal('identify.process_unknown', peer.why)
}

function digest(...parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url')
}

async function verifySignature(text: string, keys: Keys, algorithms: readonly string[]): Promise<void> {
  try {
    await compactVerify(text, keys.resolve, { algorithms: [...algorithms] })
  } catch (error) {
    // Of jose's errors only the code goes on: their properties hold parts of the token.
    throw new Refusal('identify.token_signature', error instanceof errors.JOSEError ? error.code : 'the signature could not be checked')
  }
}

const stopped = (signal: AbortSignal): Refusal => new Refusal('identify.keys_unavailable', 'the check was stopped', signal.reason)

/** The fetch is everybody's; only this caller stops waiting. */
function withSignal<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(stopped(signal))
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
