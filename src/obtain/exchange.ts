// What the two vendors' token endpoints share: one bounded POST, no redirect, and an answer that is believed only so far.
import type { CredentialHost, PlainAnswer, Purpose } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { Secret } from '../model/secret.ts'
import type { Service } from '../model/service.ts'

/** What every federation answers in the same way: it has no stored secret, and its token goes out as a bearer. */
export const federation = {
  federated: true,
  check: (config: { readonly audience: string }): readonly string[] =>
    /^https:\/\/\S+$/.test(config.audience) ? [] : ['audience must be an https URL'],
  secretOf: () => null,
  purposeOf: (_config: unknown, service: Service): Purpose => ({
    service: service.name,
    hosts: service.hosts,
    port: service.port,
    slot: 'bearer',
    dangerouslyFixed: false,
  }),
}

export interface Exchanged {
  readonly token: Secret
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** RFC 6749 §5.1 answer to one POST of JSON. Throws Refusal obtain.exchange_refused, obtain.exchange_failed. */
export async function exchange(
  host: CredentialHost,
  url: string,
  headers: Readonly<Record<string, string>>,
  body: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<Exchanged> {
  const sent = Buffer.from(JSON.stringify(body))
  const answer = await host
    .fetch({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/json', ...headers },
      body: sent,
      bytesMax: limits.exchangeBytesMax,
      timeoutMs: limits.exchangeMs,
      signal,
    })
    .catch((error) => {
      throw new Refusal('obtain.exchange_failed', error instanceof Refusal ? `${error.code} ${error.detail}` : 'no answer', error)
    })
    // It holds the statement, which is good for minutes.
    .finally(() => sent.fill(0))
  try {
    return believed(answer, new URL(url).host, host.clock.now())
  } finally {
    answer.body.fill(0)
  }
}

function believed(answer: PlainAnswer, from: string, now: number): Exchanged {
  const json = parse(answer)
  // A 5xx or a redirect says nothing about the statement; a 4xx does, but for "too many" and "too slow".
  if (answer.status !== 200) {
    const refused = answer.status >= 400 && answer.status < 500 && answer.status !== 408 && answer.status !== 429
    throw new Refusal(refused ? 'obtain.exchange_refused' : 'obtain.exchange_failed', `${from}: ${answer.status} ${errorCode(json)}`.trim())
  }
  const { access_token: token, expires_in: seconds, token_type: type } = json
  if (typeof token !== 'string' || !/^[\x21-\x7e]{16,16384}$/.test(token) || typeof type !== 'string' || type.toLowerCase() !== 'bearer')
    throw new Refusal('obtain.exchange_failed', `${from}: the answer holds no usable token`)
  if (typeof seconds !== 'number' || !(seconds > 0)) throw new Refusal('obtain.exchange_failed', `${from}: the answer says no lifetime`)
  return { token: new Secret(token), expiresAt: now + Math.min(seconds * 1000, limits.federatedLeaseMs) }
}

function parse(answer: PlainAnswer): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(answer.body.toString('utf8'))
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

/** Only the code of RFC 6749 §5.2: a description may echo the assertion. */
function errorCode(json: Record<string, unknown>): string {
  const { error } = json
  return typeof error === 'string' && /^[a-z_]{1,64}$/.test(error) ? error : ''
}

/** What a statement says about the agent. */
export function statementOf(need: {
  readonly spiffeId: string
  readonly workload: string
  readonly groups: readonly string[]
  readonly run: string | null
}): Readonly<Record<string, string>> {
  return { sub: need.spiffeId, workload: need.workload, groups: need.groups.join(' '), ...(need.run === null ? {} : { run: need.run }) }
}
