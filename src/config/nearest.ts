// "did you mean": the word that was probably meant. Pure.
import type { z } from 'zod'

/** Edits between two words (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length] as number
}

/** A sentence: the nearest of the words, or all of them. */
export function meant(word: string, known: readonly string[]): string {
  const lower = word.toLowerCase().slice(0, 100)
  const best = known.map((one) => [distance(lower, one.toLowerCase()), one] as const).sort((a, b) => a[0] - b[0])[0]
  if (best !== undefined && best[0] <= Math.max(2, Math.floor(best[1].length / 3))) return `did you mean ${best[1]}?`
  return known.length === 0 ? 'take it out' : `one of: ${known.join(', ')}`
}

interface Inside {
  readonly def?: {
    readonly innerType?: Inside
    readonly valueType?: Inside
    readonly element?: Inside
    readonly options?: readonly Inside[]
  }
  readonly shape?: Readonly<Record<string, Inside>>
}

function unwrap(type: Inside | undefined): Inside | undefined {
  let at = type
  while (at?.def?.innerType !== undefined) at = at.def.innerType
  return at
}

/** The keys that a strict object takes at a path of a schema; empty where it is none. */
export function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): readonly string[] {
  let at = unwrap(schema as unknown as Inside)
  for (const part of path) {
    const inner: Inside | undefined = at?.shape?.[String(part)] ?? at?.def?.valueType ?? at?.def?.element
    at = unwrap(inner ?? at?.def?.options?.map(unwrap).find((one) => one?.shape?.[String(part)] !== undefined)?.shape?.[String(part)])
  }
  if (at?.def?.options !== undefined) return at.def.options.flatMap((one) => Object.keys(unwrap(one)?.shape ?? {}))
  return Object.keys(at?.shape ?? {})
}
