// Entries that choose a kind: exactly one key, a kind that exists, a configuration that fits its schema.
import type { z } from 'zod'
import type { AnyConditionKind } from '../decide/condition.ts'
import type { AnyTrustKind } from '../identify/trust-provider.ts'
import type { AnyCredentialKind } from '../obtain/credential-provider.ts'
import type { Chosen } from './config.ts'
import { keysAt, meant } from './nearest.ts'
import { pathFrom } from './places.ts'
import { type Reading, textOf } from './reading.ts'

export interface Kinds {
  readonly trust: readonly AnyTrustKind[]
  readonly credential: readonly AnyCredentialKind[]
  readonly condition: readonly AnyConditionKind[]
}

interface AnyKind {
  readonly name: string
  readonly schema: z.ZodType
  // biome-ignore lint/suspicious/noExplicitAny: each kind's check takes its own configuration
  check?(config: any): readonly string[]
}

interface Ruled {
  readonly provider: string
  readonly kind: string
  readonly rule: unknown
}

export interface KindReader {
  /** `besides`: the keys that the frame takes at the same place, for "did you mean". */
  one(
    path: readonly PropertyKey[],
    entry: Readonly<Record<string, unknown>>,
    kinds: readonly AnyKind[],
    besides?: readonly string[],
  ): Chosen | null
  rule(path: readonly PropertyKey[], key: string, rule: unknown, providers: readonly Chosen[]): Ruled | null
}

const reference = 'see docs/reference/configuration.md'

export function kindReader(reading: Reading): KindReader {
  return {
    one: (path, entry, kinds, besides = []) => chosenOf(reading, path, entry, kinds, besides),
    rule: (path, key, rule, providers) => ruleOf(reading, path, key, rule, providers),
  }
}

function parse(reading: Reading, path: readonly PropertyKey[], schema: z.ZodType, value: unknown): { readonly value: unknown } | null {
  const parsed = schema.safeParse(value)
  if (parsed.success) return { value: parsed.data }
  for (const issue of parsed.error.issues) {
    const at = [...path, ...issue.path]
    const known = keysAt(schema, issue.path)
    if (issue.code === 'unrecognized_keys')
      for (const key of issue.keys) reading.wrong([...at, key], `${key} is not known here`, meant(key, known))
    else reading.wrong(at, sentenceOf(issue, value), known.length > 0 ? `keys here: ${known.join(', ')}` : reference)
  }
  return null
}

/** "expected string, received undefined" is no word for a key that is missing. */
function sentenceOf(issue: z.core.$ZodIssue, value: unknown): string {
  const last = issue.path.at(-1)
  let at: unknown = value
  for (const part of issue.path) at = typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[part] : undefined
  return at === undefined && last !== undefined ? `${String(last)} is missing` : issue.message
}

function chosenOf(
  reading: Reading,
  path: readonly PropertyKey[],
  entry: Readonly<Record<string, unknown>>,
  kinds: readonly AnyKind[],
  besides: readonly string[],
): Chosen | null {
  const { wrong } = reading
  const known = kinds.map((kind) => kind.name)
  const stray = Object.keys(entry).filter((key) => !known.includes(key))
  const chosen = Object.keys(entry).filter((key) => known.includes(key))
  for (const key of stray) wrong([...path, key], `${key} is not a kind`, meant(key, chosen.length === 0 ? known : besides))
  if (chosen.length !== 1) {
    if (chosen.length > 1) wrong(path, `several kinds are chosen: ${chosen.join(', ')}`, `exactly one of: ${known.join(', ')}`)
    else if (stray.length === 0) wrong(path, 'no kind is chosen', `exactly one of: ${known.join(', ')}`)
    return null
  }
  const key = chosen[0] as string
  const kind = kinds.find((one) => one.name === key) as AnyKind
  const inPath = [...path, key]
  const parsed = parse(reading, inPath, kind.schema, withFiles(reading, inPath, entry[key] ?? {}))
  if (parsed === null) return null
  for (const sentence of kind.check?.(parsed.value) ?? []) wrong(inPath, sentence, `mend ${key}; ${reference}`)
  return { name: String(path.at(-1)), kind: key, config: parsed.value, line: reading.source.placeOf(path).line }
}

function ruleOf(reading: Reading, path: readonly PropertyKey[], key: string, rule: unknown, providers: readonly Chosen[]): Ruled | null {
  const { wrong } = reading
  const { trust } = reading.options.kinds
  // `oidc: { issuer: prod-cluster, ... }` names the provider inside; `process:` and a provider's own name stand for themselves.
  const byName = providers.find((one) => one.name === key)
  const kindName = byName?.kind ?? key
  const kind = trust.find((one) => one.name === kindName)
  if (kind === undefined) {
    if (reading.written('trustProviders').includes(key)) return null // its own entry is mistaken, and that is said there
    const known = [...new Set([...providers.map((one) => one.name), ...trust.map((one) => one.name)])]
    wrong(path, `${key} is no trust provider`, meant(key, known))
    return null
  }
  const parsed = parse(reading, path, kind.rule, rule ?? {})
  if (parsed === null) return null
  for (const sentence of kind.checkRule(parsed.value)) wrong(path, sentence, `add it to ${path.map(String).join('.')}`)
  const issuer = (parsed.value as { readonly issuer?: unknown }).issuer
  const named = typeof issuer === 'string' ? issuer : null
  const ofKind = providers.filter((one) => one.kind === kindName).map((one) => one.name)
  if (byName !== undefined && named !== null && named !== byName.name && byName.name !== kindName)
    wrong([...path, 'issuer'], `the rule is for ${byName.name} and names ${named}`, 'leave issuer out')
  const provider = named ?? byName?.name ?? (ofKind.length === 1 ? ofKind[0] : undefined)
  if (provider !== undefined && ofKind.includes(provider)) return { provider, kind: kindName, rule: parsed.value }
  if (provider !== undefined && reading.written('trustProviders').includes(provider) && !providers.some((one) => one.name === provider))
    return null
  if (provider === undefined && ofKind.length > 1)
    wrong(path, `several trust providers are of kind ${kindName}, and the rule names none`, `issuer: one of ${ofKind.join(', ')}`)
  else
    wrong(
      path,
      provider === undefined
        ? `no trust provider of kind ${kindName} is configured`
        : `there is no trust provider ${provider} of kind ${kindName}`,
      ofKind.length > 0 ? meant(provider ?? '', ofKind) : `trustProviders: { ${provider ?? 'NAME'}: { ${kindName}: { ... } } }`,
    )
  return null
}

/** Keys by which kinds name files that they read themselves. */
const fileKeys = new Set(['file', 'database'])

/** Paths in a kind's configuration are relative to the file that names them; an uploaded key set is read here. */
function withFiles(reading: Reading, path: readonly PropertyKey[], entry: unknown): unknown {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return entry
  const { base } = reading.source
  return Object.fromEntries(
    Object.entries(entry).map(([key, value]) => {
      if (typeof value === 'object') return [key, withFiles(reading, [...path, key], value)]
      if (typeof value !== 'string') return [key, value]
      if (fileKeys.has(key)) {
        const file = pathFrom(base, value)
        reading.believed.push(file)
        return [key, file]
      }
      return [key, key === 'jwks' ? keySet(reading, [...path, key], pathFrom(base, value)) : value]
    }),
  )
}

function keySet(reading: Reading, path: readonly PropertyKey[], file: string): unknown {
  const text = textOf(reading, path, file)
  if (text !== null) {
    try {
      return JSON.parse(text)
    } catch {
      reading.wrong(path, 'the key set is not JSON', 'a file with { "keys": [...] }')
    }
  }
  // Nobody's key: keeps the rest of the entry judged, and the mistake above keeps it out of force.
  return { keys: [{ kty: 'EC' }] }
}
