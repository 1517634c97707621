// A sealed key pair of AWS: `ID:SECRET`, with `:TOKEN` where it is temporary, or the JSON that AWS's own tools print for one. It must
// never say what was wrong with a value by showing it.
import { Secret } from '../../model/secret.ts'
import type { Obtained } from '../credential-provider.ts'

/** What is wrong with it, or the pair. IAM's id of a key is `[\w]{16,128}`; its secret and token are base64. */
export function awsPairOf(bytes: Buffer): Obtained | string {
  const fields = bytes[0] === 0x7b ? fromJson(bytes) : bytes.toString('latin1').split(':')
  if (fields === null) return 'not JSON with AccessKeyId and SecretAccessKey'
  const [accessKeyId = '', secretAccessKey = '', token = '', expiration = '', ...more] = fields
  if (fields.length < 2 || more.length > 0 || (bytes[0] !== 0x7b && fields.length > 3))
    return 'a key pair of AWS is ID:SECRET or ID:SECRET:TOKEN'
  if (!/^\w{16,128}$/.test(accessKeyId)) return 'no id of an access key (AKIA…) stands first'
  if (!/^[\w+/=]{16,256}$/.test(secretAccessKey)) return 'its secret has characters that none of AWS has'
  if (token !== '' && !/^[\w+/=.-]{16,16384}$/.test(token)) return 'its session token has characters that none of AWS has'
  const expiresAt = expiration === '' ? Number.POSITIVE_INFINITY : Date.parse(expiration)
  if (Number.isNaN(expiresAt)) return 'its Expiration is no date'
  const secretKey = new Secret(secretAccessKey)
  const sessionToken = token === '' ? null : new Secret(token)
  const secrets = sessionToken === null ? [secretKey] : [secretKey, sessionToken]
  return { credential: { kind: 'sigv4', accessKeyId, secretKey, sessionToken }, secrets, expiresAt }
}

function fromJson(bytes: Buffer): string[] | null {
  try {
    const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = JSON.parse(bytes.toString('utf8'))
    const fields = [AccessKeyId, SecretAccessKey, SessionToken ?? '', Expiration ?? '']
    return fields.every((one) => typeof one === 'string') ? fields : null
  } catch {
    return null
  }
}
