// Turns verified claims into attributes: every scalar by its dotted path. A name that two claims would share means neither.

import type { Attributes } from '../../model/identity.ts'
import { limits } from '../../model/limits.ts'

/** New in every token, so they describe no workload. */
const perToken = new Set(['jti', 'exp', 'iat', 'nbf', 'aud', 'nonce', 'at_hash', 'kubernetes.io.warnafter'])

export function attributesOf(claims: Readonly<Record<string, unknown>>): Attributes {
  const found = new Map<string, string | null>()
  const put = (name: string, value: string): void => {
    if (perToken.has(name) || value === '' || value.length > limits.attributeCharsMax || found.size >= limits.attributesMax) return
    found.set(name, found.has(name) && found.get(name) !== value ? null : value)
  }
  const walk = (prefix: string, value: unknown, depth: number): void => {
    if (typeof value === 'string') put(prefix, value)
    else if (typeof value === 'number' || typeof value === 'boolean') put(prefix, String(value))
    else if (typeof value === 'object' && value !== null && !Array.isArray(value) && depth < limits.claimDepthMax) {
      for (const [name, inner] of Object.entries(value)) walk(prefix === '' ? name : `${prefix}.${name}`, inner, depth + 1)
    }
  }
  walk('', claims, 0)
  // Kubernetes' own claims also by short names, for path templates.
  const short = { namespace: 'kubernetes.io.namespace', serviceAccount: 'kubernetes.io.serviceaccount.name', pod: 'kubernetes.io.pod.name' }
  for (const [name, long] of Object.entries(short)) {
    const value = found.get(long)
    if (typeof value === 'string') put(name, value)
  }
  return Object.fromEntries([...found].filter((entry): entry is [string, string] => entry[1] !== null))
}
