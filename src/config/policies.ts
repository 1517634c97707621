// The texts of the policies with file and line: inline, or files by name and pattern. They are split, named and judged by decide.
import { globSync } from 'node:fs'
import type { PolicyText } from './config.ts'
import { pathFrom } from './places.ts'
import { type Reading, textOf } from './reading.ts'
import type { FileShape } from './shape.ts'

const policyFilesMax = 1_000

export function readPolicies(reading: Reading, entries: FileShape['policies']): readonly PolicyText[] {
  const { source } = reading
  const texts: PolicyText[] = []
  const seen = new Set<string>()
  for (const [at, entry] of entries.entries()) {
    const path = ['policies', at]
    if (typeof entry !== 'string') {
      const { file, line } = source.textPlaceOf([...path, 'cedar'])
      texts.push({ id: '', text: entry.cedar, file, line })
      continue
    }
    const pattern = pathFrom(source.base, entry)
    if (/[*?[{]/.test(entry)) reading.patterns.push(pattern)
    const found = globSync(pattern).sort()
    // A pattern that fits nothing is an empty folder or a typing error, and whoever wrote it meant some policy to hold.
    if (found.length === 0) reading.wrong(path, `${entry} names no file`, 'name a .cedar file, relative to this one')
    if (found.length > policyFilesMax) reading.wrong(path, `${entry} names more than ${policyFilesMax} files`, 'narrow the pattern')
    for (const file of found.slice(0, policyFilesMax)) {
      if (seen.has(file)) continue
      seen.add(file)
      const text = textOf(reading, path, file)
      if (text !== null) texts.push({ id: '', text, file, line: 1 })
    }
  }
  return texts
}
