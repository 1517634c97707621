// States whether it is now within a window of local time: named zone, weekdays, holidays. Local time is read off the wall
// clock of the zone, so daylight saving needs no rule of its own. It must never use the machine's own zone.
import { z } from 'zod'
import type { FactValue } from '../../model/facts.ts'
import type { ConditionHost } from '../../model/kind.ts'
import { Refusal } from '../../model/refusal.ts'
import type { Condition, ConditionKind } from '../condition.ts'
import { datesOf, daysOf, isDate, minutesOf, type Window, windowHolds } from './window.ts'

const zone = z.string().refine(isNamedZone, { error: 'must be a named time zone, e.g. Europe/Berlin or UTC' })
const time = z.string().refine((text) => minutesOf(text) !== null, { error: 'must be a time as "HH:MM" (24 hours)' })
const days = z.union([
  z.string().refine((text) => daysOf(text) !== null, { error: 'must be days, e.g. mon-fri' }),
  z.array(z.string().refine((text) => daysOf(text) !== null, { error: 'must be a day, e.g. mon' })).min(1),
])
const date = z.string().refine(isDate, { error: 'must be a date as YYYY-MM-DD' })

const schema = z.strictObject({
  zone: zone.describe('Named time zone, e.g. Europe/Berlin'),
  days: days.default('mon-sun').describe('Weekdays on which the window begins: mon-fri, or a list'),
  from: time.default('00:00').describe('Local time at which the window begins'),
  to: time.default('24:00').describe('Local time at which it ends; before `from` it ends on the next day'),
  holidays: z
    .union([z.array(date), z.strictObject({ file: z.string().min(1) })])
    .default([])
    .describe('Dates on which no window begins, or a file with one date a line'),
})

export type TimeWindowConfig = z.output<typeof schema>

export const timeWindow: ConditionKind<TimeWindowConfig> = {
  name: 'time-window',
  summary: 'True within a window of local time: named zone, weekdays, holidays.',
  schema: schema as z.ZodType<TimeWindowConfig>,
  check: (config) => (config.from === config.to ? ['from and to are the same time; leave both out for whole days'] : []),
  shape: () => 'Bool',
  start,
}

/** How long a file of holidays is believed before it is read again, and how long a failure is remembered. */
const holidaysFreshMs = 60_000

function start(config: TimeWindowConfig, host: ConditionHost): Condition & { factsNow(): FactValue | null } {
  const window: Window = {
    zone: config.zone,
    days: new Set([config.days].flat().flatMap((text) => daysOf(text) ?? [])),
    from: minutesOf(config.from) ?? 0,
    to: minutesOf(config.to) ?? 0,
  }
  const file = Array.isArray(config.holidays) ? null : config.holidays.file
  let holidays: ReadonlySet<string> | null = Array.isArray(config.holidays) ? new Set(config.holidays) : null
  let readAt = 0
  let minute = Number.NaN
  let answer = false

  const state = (): boolean => {
    // Every zone's offset is whole minutes today, so an answer holds for the minute in which it was found.
    const now = Math.floor(host.clock.now() / 60_000)
    if (now !== minute) {
      answer = windowHolds(window, holidays ?? new Set(), host.clock.now())
      minute = now
    }
    return answer
  }
  const fresh = (): boolean => holidays !== null && (file === null || host.clock.monotonic() - readAt < holidaysFreshMs)
  return {
    factsNow: () => (fresh() ? state() : null),
    async facts(_asked, signal) {
      signal.throwIfAborted()
      if (!fresh() && file !== null) {
        holidays = await readHolidays(host, file)
        readAt = host.clock.monotonic()
        minute = Number.NaN
      }
      return state()
    },
  }
}

async function readHolidays(host: ConditionHost, file: string): Promise<ReadonlySet<string>> {
  try {
    return datesOf((await host.readFile(file)).toString('utf8'))
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Refusal('decide.fact_missing', `the holidays could not be read (${why}); put one date a line into ${file}`, error)
  }
}

function isNamedZone(name: string): boolean {
  if (name !== 'UTC' && !/^[A-Z][A-Za-z_-]*(?:\/[A-Za-z0-9_+-]+)+$/.test(name)) return false
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false
  }
}
