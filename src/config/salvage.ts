// What still holds of a file with mistakes, so that the mistakes of the rest are named in the same round. Nothing salvaged ever
// comes into force.
import { type FileShape, fileShape } from './shape.ts'

export interface Salvaged {
  readonly shape: FileShape
  /** The path in the file as written of a path in what was kept: lists may have become shorter. */
  original(path: readonly PropertyKey[]): readonly PropertyKey[]
}

const roundsMax = 20

export function salvage(value: unknown): Salvaged {
  const kept = isObject(value) ? structuredClone(value) : {}
  const numbers = new WeakMap<object, number[]>()
  for (let round = 0; round < roundsMax; round++) {
    const parsed = fileShape.safeParse(kept)
    if (parsed.success) return { shape: parsed.data, original: (path) => original(kept, numbers, path) }
    const doomed = new Map<object, Set<PropertyKey>>()
    const doom = (container: object, key: PropertyKey): void => {
      doomed.set(container, (doomed.get(container) ?? new Set()).add(key))
    }
    for (const issue of parsed.error.issues) {
      if (issue.path.length === 1 && issue.path[0] === 'trustDomain') kept['trustDomain'] = 'mistaken.example'
      else if (issue.code === 'unrecognized_keys') for (const key of issue.keys) doom(at(kept, issue.path) as object, key)
      else if (issue.path.length > 0) deepest(kept, issue.path, doom)
    }
    for (const [container, keys] of doomed) remove(container, keys, numbers)
  }
  return { shape: fileShape.parse({ trustDomain: 'mistaken.example' }), original: (path) => path }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let node = value
  for (const part of path) node = (node as Record<PropertyKey, unknown>)[part]
  return node
}

/** The entry itself, or, where something demanded is absent, what lacks it. */
function deepest(kept: object, path: readonly PropertyKey[], doom: (container: object, key: PropertyKey) => void): void {
  let container: object = kept
  let found: readonly [object, PropertyKey] | null = null
  for (const part of path) {
    if (!Object.hasOwn(container, part)) break
    found = [container, part]
    const next = (container as Record<PropertyKey, unknown>)[part]
    if (typeof next !== 'object' || next === null) break
    container = next
  }
  if (found !== null) doom(...found)
}

function remove(container: object, keys: ReadonlySet<PropertyKey>, numbers: WeakMap<object, number[]>): void {
  if (!Array.isArray(container)) {
    for (const key of keys) delete (container as Record<PropertyKey, unknown>)[key]
    return
  }
  const known = numbers.get(container) ?? container.map((_, index) => index)
  for (const key of [...keys].map(Number).sort((a, b) => b - a)) {
    container.splice(key, 1)
    known.splice(key, 1)
  }
  numbers.set(container, known)
}

function original(kept: object, numbers: WeakMap<object, number[]>, path: readonly PropertyKey[]): readonly PropertyKey[] {
  let node: unknown = kept
  return path.map((part) => {
    const known = typeof node === 'object' && node !== null ? numbers.get(node) : undefined
    node = typeof node === 'object' && node !== null ? (node as Record<PropertyKey, unknown>)[part] : undefined
    return known?.[Number(part)] ?? part
  })
}
