// A configuration file as text with positions: reads YAML strictly and finds the line of any path in it.
import { readFileSync, statSync } from 'node:fs'
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import type { Mistake } from '../model/refusal.ts'

export interface Source {
  readonly file: string
  readonly value: unknown
  lineOf(path: readonly PropertyKey[]): number
  readonly mistakes: readonly Mistake[]
}

const fileBytesMax = 4 * 1024 * 1024

/** Never throws: what cannot be read is a mistake. */
export function readSource(file: string): Source {
  const broken = (line: number, wrong: string, write: string): Source => ({
    file,
    value: {},
    lineOf: () => 0,
    mistakes: [{ file, line, path: '', wrong, write }],
  })
  let text: string
  try {
    if (statSync(file).size > fileBytesMax) return broken(0, 'the file is larger than 4 MiB', 'split what is in it')
    text = readFileSync(file, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    return broken(
      0,
      code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code})`,
      'name the configuration with --config FILE',
    )
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, strict: true, version: '1.2', merge: false })
  const mistakes = [...document.errors, ...document.warnings].map((error) => ({
    file,
    line: lines.linePos(error.pos[0]).line,
    path: '',
    wrong: error.message.split('\n')[0] as string,
    write: error.code === 'DUPLICATE_KEY' ? 'write each key once' : 'mend the YAML',
  }))
  let value: unknown = {}
  if (document.errors.length === 0) {
    try {
      value = document.toJS({ maxAliasCount: 20 }) ?? {}
    } catch (error) {
      mistakes.push({ file, line: 0, path: '', wrong: (error as Error).message, write: 'write it without so many aliases' })
    }
  }
  return { file, value, mistakes, lineOf: (path) => lineOf(document, lines, path) }
}

/** Line of the deepest part of the path that exists; of the key itself where the last part is a key. */
function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number {
  let node: unknown = document.contents
  let line = 1
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part))
      if (pair === undefined) break
      if (isNode(pair.key) && pair.key.range) line = lines.linePos(pair.key.range[0]).line
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(part)]
      if (isNode(node) && node.range) line = lines.linePos(node.range[0]).line
    } else break
  }
  return line
}
