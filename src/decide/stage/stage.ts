// States whether the workload is production: from labels that configuration gives and attributes that were proven.
// It must never take the agent's word for it.
import { z } from 'zod'
import type { Asked } from '../../model/facts.ts'
import type { Condition, ConditionKind } from '../condition.ts'

const values = z.record(z.string().min(1), z.string())

const schema = z.strictObject({
  production: z
    .strictObject({
      label: values.optional().describe('Labels of the workload that must have these values'),
      proven: values.optional().describe('Proven attributes that must have these values'),
    })
    .default({ label: { stage: 'production' } })
    .describe('What makes a workload production; all that is listed must hold'),
})

export type StageConfig = z.output<typeof schema>

export const stage: ConditionKind<StageConfig> = {
  name: 'stage',
  summary: 'True for a workload in production, by its labels and proven attributes.',
  schema: schema as z.ZodType<StageConfig>,
  check: ({ production }) =>
    Object.keys({ ...production.label, ...production.proven }).length === 0
      ? ['production lists nothing; name a label or a proven attribute']
      : [],
  shape: () => 'Bool',
  start,
}

function start({ production }: StageConfig): Condition & { factsNow(asked: Asked): boolean } {
  const label = Object.entries(production.label ?? {})
  const proven = Object.entries(production.proven ?? {})
  const all = (wanted: readonly [string, string][], has: Readonly<Record<string, string>>): boolean =>
    wanted.every(([name, value]) => Object.hasOwn(has, name) && has[name] === value)
  const state = (asked: Asked): boolean => label.length + proven.length > 0 && all(label, asked.labels) && all(proven, asked.proven)
  return {
    factsNow: state,
    async facts(asked, signal) {
      signal.throwIfAborted()
      return state(asked)
    },
  }
}
