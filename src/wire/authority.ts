// The authority that signs leaves, as it crosses to a further process of the data plane.
import { createPrivateKey } from 'node:crypto'
import type { Authority } from '../crypto/x509.ts'
import { Secret } from '../model/secret.ts'

export interface CrossingAuthority extends Omit<Authority, 'key'> {
  readonly key: Secret
}

export function crossing({ key, ...rest }: Authority): CrossingAuthority {
  const pem = key.export({ type: 'pkcs8', format: 'der' }) as Buffer
  const secret = new Secret(pem)
  pem.fill(0)
  return { ...rest, key: secret }
}

/** What crossed is wiped. */
export function arrived({ key, ...rest }: CrossingAuthority): Authority {
  const made = createPrivateKey({ key: key.reveal(), type: 'pkcs8', format: 'der' })
  key.wipe()
  return { ...rest, key: made }
}
