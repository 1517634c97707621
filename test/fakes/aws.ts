// AWS as it looks at a signature: recomputed from what arrived, by its documentation alone. It shares no code with the product, so that
// both must have understood the same.
import { createHash, createHmac } from 'node:crypto'

export interface AwsRequest {
  readonly method: string
  /** Path and query, as they arrived. */
  readonly target: string
  /** In order, as they arrived; without pseudo fields, `host` among them. */
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly body: Buffer
}

export interface AwsKey {
  readonly id: string
  readonly secret: string
  readonly token?: string
}

/** null: it is as it must be; else what AWS would answer. */
export function wrongWith(request: AwsRequest, key: AwsKey, scope: string, nowMs: number): string | null {
  const all = (name: string): string[] => request.fields.filter(([one]) => one.toLowerCase() === name).map(([, value]) => value.trim())
  const authorization = all('authorization')
  if (authorization.length !== 1) return 'MissingAuthenticationToken'
  const match = /^AWS4-HMAC-SHA256 Credential=(\w+)\/(\d{8})\/([^,]+)\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
    authorization[0] as string,
  )
  if (match === null) return 'IncompleteSignature'
  const [, id, day = '', itsScope, names = '', signature] = match
  if (id !== key.id || all('x-amz-security-token').join() !== (key.token ?? '')) return 'InvalidClientTokenId'
  if (itsScope !== scope) return 'SignatureDoesNotMatch: scope'
  const [date = ''] = all('x-amz-date')
  const at = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  if (!(Math.abs(at - nowMs) < 300_000) || !date.startsWith(day)) return 'RequestExpired'
  const signed = names.split(';')
  const must = request.fields.map(([name]) => name.toLowerCase()).filter((name) => name.startsWith('x-amz-') || name === 'host')
  if (must.some((name) => !signed.includes(name))) return 'AccessDenied: headers that are not signed'
  const [stated] = all('x-amz-content-sha256')
  const digest = hash(request.body)
  if (stated !== undefined && /^[0-9a-f]{64}$/.test(stated) && stated !== digest) return 'XAmzContentSHA256Mismatch'
  const s3 = scope.endsWith('/s3')
  if (s3 && stated === undefined) return 'MissingSecurityHeader'
  const [path = '', query = ''] = request.target.split(/\?(.*)/s)
  const canonical = [
    request.method,
    s3 ? path : path.split('/').map(encodeStrictly).join('/'),
    [...new URLSearchParams(query)]
      .map(([name, value]) => `${encodeStrictly(name)}=${encodeStrictly(value)}`)
      .sort()
      .join('&'),
    ...signed.map((name) => `${name}:${all(name).join(',').replace(/ +/g, ' ')}`),
    '',
    names,
    s3 || stated !== undefined ? (stated as string) : digest,
  ].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', date, `${day}/${scope}/aws4_request`, hash(canonical)].join('\n')
  const [region = '', service = ''] = scope.split('/')
  const mac = (with_: string | Buffer, text: string): Buffer => createHmac('sha256', with_).update(text).digest()
  const last = mac(mac(mac(mac(`AWS4${key.secret}`, day), region), service), 'aws4_request')
  return mac(last, toSign).toString('hex') === signature ? null : 'SignatureDoesNotMatch'
}

function encodeStrictly(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`)
}

function hash(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}
