// All that is fuzzed, in the order in which it is told.
import { fileTargets } from './files.ts'
import { parserTargets } from './parsers.ts'
import type { Target } from './target.ts'
import { textTargets } from './texts.ts'
import { wireTargets } from './wire.ts'

export const targets: readonly Target[] = [...wireTargets, ...textTargets, ...fileTargets, ...parserTargets]
