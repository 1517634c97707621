// The SPIFFE ID of an identity, and the key that names an identity for the decision memo. Pure. An ID is made of proven
// attributes only, and no attribute can reach beyond its own segment.
import type { Attributes, Identity } from '../model/identity.ts'

const spiffeIdBytesMax = 2_048 // SPIFFE-ID §2.3

/** `/ns/{namespace}` with its attributes; null when one is missing or cannot stand in a path segment. */
export function spiffePath(template: string, attributes: Attributes): string | null {
  const segments = template.split('/')
  if (segments.shift() !== '' || segments.length === 0) return null
  const filled: string[] = []
  for (const segment of segments) {
    let missing = false
    const text = segment.replace(/\{([^{}]+)\}/g, (_, name: string) => {
      const value = Object.hasOwn(attributes, name) ? attributes[name] : undefined
      if (value === undefined || value === '') missing = true
      return value ?? ''
    })
    // SPIFFE-ID §2.2: letters, digits, dots, dashes and underscores; neither empty nor a dot segment.
    if (missing || !/^[A-Za-z0-9._-]+$/.test(text) || text === '.' || text === '..') return null
    filled.push(text)
  }
  return `/${filled.join('/')}`
}

export function spiffeId(trustDomain: string, path: string): string | null {
  const id = `spiffe://${trustDomain}${path}`
  return Buffer.byteLength(id) <= spiffeIdBytesMax ? id : null
}

/** Injective: typed by place, length-prefixed, absent is not empty; order of groups, labels and attributes does not matter. */
export function identityKey(identity: Omit<Identity, 'key' | 'expiresAt'>): string {
  const text = (value: string): string => `${value.length}:${value}`
  const list = (values: readonly string[]): string => `[${values.length}]${values.map(text).join('')}`
  const pairs = (record: Readonly<Record<string, string>>): string =>
    list(
      Object.keys(record)
        .sort()
        .flatMap((name) => [name, record[name] as string]),
    )
  const { workload, spiffeId, groups, labels, proven, provider, run, custody, onThisHost, address } = identity
  return [
    text(workload),
    text(spiffeId),
    list([...groups].sort()),
    pairs(labels),
    pairs(proven),
    text(provider),
    run === null ? '-' : `+${text(run)}`,
    text(custody),
    onThisHost ? '1' : '0',
    text(address),
  ].join('')
}
