// Entries that choose a kind: exactly one key, a kind that exists, a configuration that fits its schema.
import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import type { z } from 'zod'
import type { Chosen } from './config.ts'
import { checkReadable, distance, type Reading } from './read.ts'

interface AnyKind {
  readonly name: string
  readonly schema: z.ZodType
  // biome-ignore lint/suspicious/noExplicitAny: each kind's check takes its own configuration
  check?(config: any): readonly string[]
}

export interface KindReader {
  one(path: readonly PropertyKey[], entry: Readonly<Record<string, unknown>>, kinds: readonly AnyKind[]): Chosen | null
  rule(
    path: readonly PropertyKey[],
    key: string,
    rule: unknown,
    providers: readonly Chosen[],
  ): { provider: string; kind: string; rule: unknown } | null
}

export function kindReader(reading: Reading): KindReader {
  const { wrong, source, options } = reading

  function parse(path: readonly PropertyKey[], schema: z.ZodType, value: unknown): unknown {
    const parsed = schema.safeParse(value)
    if (parsed.success) return parsed.data
    for (const issue of parsed.error.issues) {
      const keys = issue.code === 'unrecognized_keys' ? issue.keys : []
      if (keys.length > 0)
        for (const key of keys)
          wrong([...path, ...issue.path, key], `${key} is not known here`, `see docs/reference/configuration.md, ${String(path.at(-1))}`)
      else wrong([...path, ...issue.path], issue.message, `see docs/reference/configuration.md, ${String(path.at(-1))}`)
    }
    return undefined
  }

  return {
    one(path, entry, kinds) {
      const keys = Object.keys(entry)
      const known = kinds.map((kind) => kind.name)
      if (keys.length !== 1) {
        wrong(
          path,
          keys.length === 0 ? 'no kind is chosen' : `several kinds are chosen: ${keys.join(', ')}`,
          `exactly one of: ${known.join(', ')}`,
        )
        return null
      }
      const key = keys[0] as string
      const kind = kinds.find((one) => one.name === key)
      if (kind === undefined) {
        const near = known.find((name) => distance(name, key) <= 2)
        wrong([...path, key], `${key} is not a kind`, near === undefined ? `one of: ${known.join(', ')}` : `did you mean ${near}?`)
        return null
      }
      const inPath = [...path, key]
      const config = parse(inPath, kind.schema, withFiles(reading, inPath, entry[key] ?? {}))
      if (config === undefined) return null
      for (const sentence of kind.check?.(config) ?? []) wrong(inPath, sentence, `see docs/reference/configuration.md, ${key}`)
      return { name: String(path.at(-1)), kind: key, config, line: source.lineOf(path) }
    },
    rule(path, key, rule, providers) {
      // `oidc: { issuer: prod-cluster, ... }` names the provider inside; `process:` and a provider's own name stand for themselves.
      const byName = providers.find((one) => one.name === key)
      const kindName = byName?.kind ?? key
      const kind = options.kinds.trust.find((one) => one.name === kindName)
      if (kind === undefined) {
        wrong(
          path,
          `${key} is no trust provider`,
          `one of: ${[...new Set([...providers.map((one) => one.name), ...options.kinds.trust.map((one) => one.name)])].join(', ')}`,
        )
        return null
      }
      const parsed = parse(path, kind.rule, rule)
      if (parsed === undefined) return null
      const issuer = (parsed as { issuer?: unknown }).issuer
      const provider = byName?.name ?? (typeof issuer === 'string' ? issuer : providers.find((one) => one.kind === kindName)?.name)
      if (provider === undefined || !providers.some((one) => one.name === provider && one.kind === kindName)) {
        wrong(
          path,
          `no trust provider ${provider ?? kindName} of kind ${kindName} is configured`,
          `trustProviders: { ${provider ?? 'NAME'}: { ${kindName}: { ... } } }`,
        )
        return null
      }
      for (const sentence of kind.checkRule(parsed)) wrong(path, sentence, 'add what the sentence asks for')
      return { provider, kind: kindName, rule: parsed }
    },
  }
}

/** Paths in a kind's configuration are relative to the file that names them; an uploaded key set is read here. */
function withFiles(reading: Reading, path: readonly PropertyKey[], entry: unknown): unknown {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return entry
  const copy: Record<string, unknown> = { ...entry }
  const absolute = (text: string): string => (isAbsolute(text) ? text : join(dirname(reading.source.file), text))
  for (const key of ['file', 'database', 'holidaysFile']) if (typeof copy[key] === 'string') copy[key] = absolute(copy[key])
  if (typeof copy['jwks'] === 'string' && checkReadable(reading, [...path, 'jwks'], absolute(copy['jwks']))) {
    try {
      copy['jwks'] = JSON.parse(readFileSync(absolute(copy['jwks']), 'utf8'))
    } catch {
      reading.wrong([...path, 'jwks'], 'the key set is not JSON', 'a file with { "keys": [...] }')
      delete copy['jwks']
    }
  }
  return copy
}
