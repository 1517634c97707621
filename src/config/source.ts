// A configuration as text with positions: one YAML file, or a directory of them, read strictly; finds file and line of any path.
// It must never fall back on a guess: what cannot be read is a mistake with its place.
import { globSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Document, isMap, isNode, isPair, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml'
import type { Mistake } from '../model/refusal.ts'

interface Place {
  readonly file: string
  /** 1-based; 0 where no line can be named. */
  readonly line: number
}

export interface Source {
  /** What was named: a file or a directory. */
  readonly file: string
  /** Relative paths begin here. */
  readonly base: string
  readonly value: unknown
  /** Every file that was read. */
  readonly files: readonly string[]
  placeOf(path: readonly PropertyKey[]): Place
  /** Line on which the text of a block scalar (`|`) begins, or the line of the plain text itself. */
  textPlaceOf(path: readonly PropertyKey[]): Place
  readonly mistakes: readonly Mistake[]
  /** The rest cannot be judged: the text itself is broken. */
  readonly broken: boolean
}

/** In a directory. */
export const sourcePattern = '*.{yaml,yml}'

const fileBytesMax = 4 * 1024 * 1024
const filesMax = 200
const aliasesMax = 100

/** The configuration that there is without any file. */
export const noSource: Source = {
  file: '(none)',
  base: '/',
  value: { trustDomain: 'localhost' },
  files: [],
  placeOf: () => ({ file: '(none)', line: 0 }),
  textPlaceOf: () => ({ file: '(none)', line: 0 }),
  mistakes: [],
  broken: false,
}

/** Never throws: what cannot be read is a mistake. */
export function readSource(path: string): Source {
  let directory = false
  try {
    directory = statSync(path).isDirectory()
  } catch {
    // said by readOne with its reason
  }
  if (!directory) return joined(path, join(path, '..'), [readOne(path)], [])
  const names = globSync(sourcePattern, { cwd: path }).sort()
  const mistakes: Mistake[] = []
  if (names.length === 0) mistakes.push(mistake(path, 0, 'the directory holds no .yaml file', 'name a file, or a directory of .yaml files'))
  if (names.length > filesMax) mistakes.push(mistake(path, 0, `the directory holds more than ${filesMax} files`, 'put them together'))
  return joined(
    path,
    path,
    names.slice(0, filesMax).map((name) => readOne(join(path, name))),
    mistakes,
  )
}

interface Part {
  readonly file: string
  readonly document: Document | null
  readonly lines: LineCounter
  readonly value: unknown
  readonly mistakes: readonly Mistake[]
  readonly broken: boolean
}

function mistake(file: string, line: number, wrong: string, write: string, path = ''): Mistake {
  return { file, line, path, wrong, write }
}

/** The text of a regular file of bounded size, as UTF-8; or what is wrong with it. */
export function readText(file: string): { readonly text: string } | { readonly wrong: string } {
  try {
    const found = statSync(file)
    // A pipe or device would hang the start, or be another thing at the next look.
    if (!found.isFile()) return { wrong: `${file} is not a regular file` }
    if (found.size > fileBytesMax) return { wrong: `${file} is larger than ${fileBytesMax / 1024 / 1024} MiB` }
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file)) }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return { wrong: `there is no file ${file}` }
    if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return { wrong: `${file} is not UTF-8` }
    return { wrong: `${file} cannot be read (${code})` }
  }
}

function readOne(file: string): Part {
  const lines = new LineCounter()
  const read = readText(file)
  if ('wrong' in read) {
    const mistakes = [mistake(file, 0, read.wrong, 'name the configuration with --config FILE')]
    return { file, document: null, lines, value: {}, mistakes, broken: true }
  }
  const document = parseDocument(read.text, {
    lineCounter: lines,
    uniqueKeys: true,
    strict: true,
    version: '1.2',
    merge: false,
    logLevel: 'error',
  })
  const line = (offset: number): number => lines.linePos(offset).line
  const mistakes: Mistake[] = [...document.errors, ...document.warnings].map((error) => {
    const key = /^[^\s:{}[\],]+/.exec(read.text.slice(error.pos[0], error.pos[1] + 100))?.[0] ?? ''
    if (error.code === 'DUPLICATE_KEY') return mistake(file, line(error.pos[0]), `${key} stands here twice`, 'write each key once', key)
    return mistake(
      file,
      line(error.pos[0]),
      `not YAML: ${(error.message.split('\n')[0] as string).replace(/ at line \d+.*$/, '')}`,
      'mend the text at this line',
    )
  })
  // Each alias is looked up in the whole document, so that many of them are dear before anything is judged.
  if (aliasesIn(document) > aliasesMax) {
    mistakes.push(mistake(file, 1, `more than ${aliasesMax} aliases`, 'write it out, without aliases'))
    return { file, document, lines, value: {}, mistakes, broken: true }
  }
  mistakes.push(...oddities(document, file, line))
  // Of a key that stands twice the rest of the file can still be judged; of broken text nothing can.
  const broken = document.errors.some((error) => error.code !== 'DUPLICATE_KEY')
  let value: unknown = {}
  if (!broken) {
    try {
      value = document.toJS({ maxAliasCount: aliasesMax }) ?? {}
    } catch (error) {
      // An alias that names nothing was said with its line.
      if (!(error instanceof ReferenceError) || mistakes.length === 0)
        mistakes.push(mistake(file, 1, (error as Error).message, 'write it out, without so many aliases'))
      return { file, document, lines, value, mistakes, broken: true }
    }
  }
  return { file, document, lines, value, mistakes, broken }
}

/** What YAML allows and nobody means: keys that are no text, and tags that make something else of a value. */
function oddities(document: Document, file: string, line: (offset: number) => number): Mistake[] {
  const found: Mistake[] = []
  visit(document, {
    Pair(_key, pair) {
      if (isScalar(pair.key) && typeof pair.key.value === 'string') return
      const at = isNode(pair.key) && pair.key.range ? line(pair.key.range[0]) : 0
      found.push(mistake(file, at, 'a key is not text', 'write the key in quotes'))
    },
    Alias(_key, alias) {
      if (alias.resolve(document) === undefined)
        found.push(
          mistake(file, alias.range ? line(alias.range[0]) : 0, `*${alias.source} names nothing above it`, 'write the value itself'),
        )
    },
    Value(_key, node) {
      if (node.tag === undefined || !('tag' in node) || !node.range) return
      // Plain values carry a tag only where the text names one.
      const { tag } = node
      if (!['tag:yaml.org,2002:str', 'tag:yaml.org,2002:map', 'tag:yaml.org,2002:seq'].includes(tag))
        found.push(mistake(file, line(node.range[0]), `the tag ${tag} means nothing here`, 'write the value without a tag'))
    },
  })
  return found
}

function aliasesIn(document: Document): number {
  let count = 0
  visit(document, {
    Alias: () => {
      count++
    },
  })
  return count
}

function joined(file: string, base: string, parts: readonly Part[], own: readonly Mistake[]): Source {
  const mistakes = [...own, ...parts.flatMap((part) => part.mistakes)]
  const merged = parts.length === 1 ? (parts[0] as Part).value : merge(parts, mistakes)
  const find = (path: readonly PropertyKey[], text: boolean): Place => {
    let best: { readonly place: Place; readonly depth: number } = { place: { file: parts[0]?.file ?? file, line: 0 }, depth: -1 }
    for (const part of parts) {
      const [section, at, ...rest] = path
      // In a directory a list goes on where the file before it ended.
      const list = parts.length > 1 && typeof at === 'number' ? offsetOf(parts, part, String(section)) : 0
      if (typeof at === 'number' && (at < list || at >= list + lengthOf(part, String(section)))) continue
      const here = typeof at === 'number' ? [section as PropertyKey, at - list, ...rest] : path
      const { line, depth } = lineOf(part, here, text)
      if (depth > best.depth) best = { place: { file: part.file, line }, depth }
    }
    return best.place
  }
  return {
    file,
    base,
    value: merged,
    files: parts.map((part) => part.file),
    placeOf: (path) => find(path, false),
    textPlaceOf: (path) => find(path, true),
    mistakes,
    broken: parts.some((part) => part.broken) || parts.length === 0,
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Maps are put together key by key, lists one after the other; the same key in two files is a mistake. */
function merge(parts: readonly Part[], mistakes: Mistake[]): unknown {
  const whole = new Map<string, unknown>()
  for (const part of parts) {
    if (!isObject(part.value)) {
      mistakes.push(mistake(part.file, 1, 'the file does not hold sections', 'trustDomain: acme.example'))
      continue
    }
    for (const [section, content] of Object.entries(part.value)) {
      const before = whole.get(section)
      if (!whole.has(section)) whole.set(section, content)
      else if (Array.isArray(before) && Array.isArray(content)) whole.set(section, [...before, ...content])
      else if (isObject(before) && isObject(content)) {
        for (const key of Object.keys(content)) {
          if (Object.hasOwn(before, key))
            mistakes.push(
              mistake(
                part.file,
                lineOf(part, [section, key], false).line,
                `${key} stands in another file too`,
                'write each key once',
                `${section}.${key}`,
              ),
            )
        }
        whole.set(section, { ...before, ...content })
      } else
        mistakes.push(
          mistake(part.file, lineOf(part, [section], false).line, `${section} stands in another file too`, 'write it in one file', section),
        )
    }
  }
  return Object.fromEntries(whole)
}

function lengthOf(part: Part, section: string): number {
  const content = isObject(part.value) && Object.hasOwn(part.value, section) ? part.value[section] : undefined
  return Array.isArray(content) ? content.length : 0
}

function offsetOf(parts: readonly Part[], until: Part, section: string): number {
  return parts.slice(0, parts.indexOf(until)).reduce((sum, part) => sum + lengthOf(part, section), 0)
}

/** Line of the deepest part of the path that exists; of the key itself where the last part is a key. */
function lineOf({ document, lines }: Part, path: readonly PropertyKey[], text: boolean): { readonly line: number; readonly depth: number } {
  let node: unknown = document?.contents
  let line = 1
  let depth = 0
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(part))
      if (pair === undefined) break
      if (isNode(pair.key) && pair.key.range) line = lines.linePos(pair.key.range[0]).line
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(part)]
      if (!isNode(node) || !node.range) break
      line = lines.linePos(node.range[0]).line
    } else break
    depth++
  }
  if (text && isScalar(node) && node.range) {
    const block = node.type === 'BLOCK_LITERAL' || node.type === 'BLOCK_FOLDED'
    line = lines.linePos(node.range[0]).line + (block ? 1 : 0)
  }
  return { line, depth }
}
