// Signs one call anew: scope of its host, date of our clock, fields that travel. What the agent signed is only compared, and never used.
import type { Call } from '../model/call.ts'
import type { Credential } from '../model/credential.ts'
import { Refusal } from '../model/refusal.ts'
import { scopeOf, signsBody } from '../model/scope.ts'
import type { Service, SigningScope } from '../model/service.ts'
import { algorithm, sha256, signature, signingDate } from './sigv4.ts'
import type { Found, Scan } from './slots.ts'

const contentHash = 'x-amz-content-sha256'
/** Fields of the agent's that are never sent on: ours take their places. */
export const signedAnew: readonly string[] = ['x-amz-date', 'x-amz-security-token']
const unsigned = 'UNSIGNED-PAYLOAD'
/** A hash, or a word by which AWS takes the body as it comes. What is signed piece by piece could only be signed by who has the key. */
const takenAsItIs = /^(?:[0-9a-f]{64}|UNSIGNED-PAYLOAD|STREAMING-UNSIGNED-PAYLOAD-TRAILER)$/

/** The fields to set, in their order. `query` is what is sent. */
export function signCall(
  call: Call,
  service: Service,
  credential: Credential & { readonly kind: 'sigv4' },
  seen: Scan,
  authorityOf: string,
  nowMs: number,
): readonly (readonly [string, Buffer])[] {
  const { target, head } = call
  const scope = scopeOf(service, target.host)
  if (scope === null) throw new Refusal('inject.signature', 'the region and service of the host are not known')
  for (const one of seen.found) if (one.signed !== undefined) compare(one.signed, scope)
  const date = signingDate(nowMs)
  const token = credential.sessionToken?.reveal().toString('latin1')
  const { payload, isOurs } = payloadOf(call, service)
  const added: (readonly [string, string])[] = [['X-Amz-Date', date]]
  if (isOurs) added.push(['X-Amz-Content-Sha256', payload])
  if (token !== undefined) added.push(['X-Amz-Security-Token', token])
  const fields: (readonly [string, string])[] = [
    ['host', authorityOf],
    ...added.map(([name, value]) => [name.toLowerCase(), value] as const),
  ]
  head.each((name, value) => {
    if (isSigned(name)) fields.push([name, value])
  })
  const { method, path } = target
  const encodedOnce = scope.service === 's3'
  const secretKey = credential.secretKey.reveal()
  if (secretKey.length === 0 || token === '') throw new Refusal('obtain.revoked', 'the lease has just ended')
  const toSign = { method, path, query: seen.query, fields, payload, date, scope, encodedOnce }
  added.push(['Authorization', signature(toSign, credential.accessKeyId, secretKey)])
  return added.map(([name, value]) => [name, Buffer.from(value, 'latin1')] as const)
}

/** What AWS demands, and what says of which kind the body is. */
function isSigned(name: string): boolean {
  return (name.startsWith('x-amz-') && !signedAnew.includes(name)) || name === 'content-type' || name === 'content-md5'
}

function compare({ algorithm: how, scope: said }: NonNullable<Found['signed']>, { region, service }: SigningScope): void {
  if (how === '') throw new Refusal('inject.signature', 'a signed URL')
  if (how !== algorithm) throw new Refusal('inject.signature', `another algorithm than ${algorithm}`)
  const [, itsRegion, itsService, end, ...more] = said.split('/')
  if (itsRegion !== region || itsService !== service || end !== 'aws4_request' || more.length > 0)
    throw new Refusal('inject.scope', `the host is of ${region}/${service}`)
}

function payloadOf(call: Call, service: Service): { readonly payload: string; readonly isOurs: boolean } {
  const { head, target, body } = call
  const said = head.get(contentHash)
  if (said !== undefined) {
    if (!takenAsItIs.test(said)) throw new Refusal('inject.signature', 'a body that is signed piece by piece')
    return { payload: said, isOurs: false }
  }
  if (!signsBody(service, target, head)) return { payload: unsigned, isOurs: true }
  if (body.whole === null && body.length !== 0) throw new Refusal('flow.defect', 'the body to be signed was not read')
  return { payload: sha256(body.whole ?? Buffer.alloc(0)), isOurs: false }
}
