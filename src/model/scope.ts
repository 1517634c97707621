// Of which scope of AWS a host is, and when a body must be known before its request can be signed. Pure; it never reads what an agent
// says of either.
import type { RequestHead } from './message.ts'
import type { Service, SigningScope } from './service.ts'
import type { Target } from './target.ts'

/** null: the service is not one that is signed for, or nothing is known of the host. */
export function scopeOf(service: Pick<Service, 'slots'>, host: string): SigningScope | null {
  for (const slot of service.slots) {
    if (slot.kind !== 'sigv4') continue
    for (const rule of slot.scopes) {
      const match = rule.host.exec(host)
      const region = rule.region ?? match?.groups?.['region']
      const name = rule.service ?? match?.groups?.['service']
      if (match !== null && region !== undefined && name !== undefined) return { region, service: name }
    }
  }
  return null
}

/** Where nothing in the head stands for the body, its hash is part of what is signed. S3 takes a word instead. */
export function signsBody(service: Pick<Service, 'slots'>, target: Target, head: RequestHead): boolean {
  if (!service.slots.some((slot) => slot.kind === 'sigv4') || head.get('x-amz-content-sha256') !== undefined) return false
  return scopeOf(service, target.host)?.service !== 's3'
}
