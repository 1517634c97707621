// The arithmetic of a time window. Pure.

export interface Window {
  readonly zone: string
  /** 1 is Monday, 7 Sunday (ISO 8601). */
  readonly days: ReadonlySet<number>
  /** Minutes of the local day; `to` is exclusive and may be 1440. */
  readonly from: number
  readonly to: number
}

const dayNames = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']
const dayMinutes = 24 * 60

export function minutesOf(text: string): number | null {
  const match = /^(\d\d):(\d\d)$/.exec(text)
  if (match === null) return null
  const minutes = Number(match[1]) * 60 + Number(match[2])
  return Number(match[2]) < 60 && minutes <= dayMinutes ? minutes : null
}

/** `mon`, `mon-fri`, `sat-mon`; null where it is none. */
export function daysOf(text: string): readonly number[] | null {
  const [first, last, ...rest] = text.toLowerCase().split('-')
  const from = dayNames.indexOf(first ?? '')
  const to = last === undefined ? from : dayNames.indexOf(last)
  if (from === -1 || to === -1 || rest.length > 0) return null
  const count = ((to - from + 7) % 7) + 1
  return Array.from({ length: count }, (_, index) => ((from + index) % 7) + 1)
}

export function isDate(text: string): boolean {
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return false
  try {
    return Temporal.PlainDate.from(text, { overflow: 'reject' }).toString() === text
  } catch {
    return false
  }
}

/** One date a line; `#` begins a comment, a leading `- ` is allowed. Throws on anything else. */
export function datesOf(text: string): ReadonlySet<string> {
  const dates = new Set<string>()
  for (const [index, line] of text.split('\n').entries()) {
    const date = line
      .replace(/#.*/, '')
      .trim()
      .replace(/^- +/, '')
      .replace(/^"(.*)"$/, '$1')
    if (date === '') continue
    if (!isDate(date)) throw new Error(`line ${index + 1} is not a date as YYYY-MM-DD`)
    dates.add(date)
  }
  return dates
}

/** A window that wraps midnight belongs to the day on which it began, with that day's weekday and holiday. */
export function windowHolds(window: Window, holidays: ReadonlySet<string>, nowMs: number): boolean {
  const local = Temporal.Instant.fromEpochMilliseconds(nowMs).toZonedDateTimeISO(window.zone)
  const today = local.toPlainDate()
  const minute = local.hour * 60 + local.minute
  const begins = (day: Temporal.PlainDate): boolean => window.days.has(day.dayOfWeek) && !holidays.has(day.toString())
  if (window.from < window.to) return minute >= window.from && minute < window.to && begins(today)
  if (minute >= window.from) return begins(today)
  return minute < window.to && begins(today.subtract({ days: 1 }))
}
