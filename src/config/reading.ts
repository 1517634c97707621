// What the reader of one section is given: the source with its positions, and where to put what is wrong.
import type { Mistake } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { Config } from './config.ts'
import type { Kinds } from './kinds.ts'
import { readText, type Source } from './source.ts'

export interface ReadOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly now: number
  readonly kinds: Kinds
  readonly catalog: readonly Service[]
  /** Mistakes in policies, with their lines. */
  readonly checkPolicies?: (config: Config) => readonly Mistake[]
  /** Wins over the file's own. */
  readonly dataDir?: string | null
}

export interface Reading {
  readonly source: Source
  readonly options: ReadOptions
  readonly mistakes: Mistake[]
  /** Files that were read, for custody and for watching. */
  readonly files: string[]
  /** Patterns that name some of them: what comes to fit one is a change too. */
  readonly patterns: string[]
  /** Files that conditions read by themselves, later and again. */
  readonly believed: string[]
  wrong(path: readonly PropertyKey[], wrong: string, write: string): void
  /** Names in a section as written, whether their entry holds or not: a mistake in one is no mistake in whoever names it. */
  written(section: string): readonly string[]
}

/** The text of a file that the configuration names; null, and a mistake, where it cannot be had. */
export function textOf(reading: Reading, path: readonly PropertyKey[], file: string): string | null {
  const read = readText(file)
  if ('wrong' in read) {
    reading.wrong(path, read.wrong, 'name a file that is there; paths are relative to the configuration')
    return null
  }
  if (!reading.files.includes(file)) reading.files.push(file)
  return read.text
}
