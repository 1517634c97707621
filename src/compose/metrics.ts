// Prometheus metrics. Labels come from configuration only (invariant 16): service names and refusal codes, never a path.

export interface Metrics {
  answered(service: string, status: number, seconds: number): void
  refused(code: string): void
  tallies(): Tallies
}

export interface Gauges {
  readonly liveCalls: number
  readonly runs: number
  readonly auditEntries: number
}

/** Seconds. */
const bounds = [0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600]

/** Of one service; each bucket counts its own, not those below it. */
interface Tally {
  readonly byStatus: number[]
  readonly byBucket: number[]
  sum: number
  count: number
}

/** What one process has counted, by code and by service. */
export interface Tallies {
  readonly refusals: ReadonlyMap<string, number>
  readonly services: ReadonlyMap<string, Readonly<Tally>>
}

export function createMetrics(): Metrics {
  const refusals = new Map<string, number>()
  const services = new Map<string, Tally>()
  return {
    answered(service, status, duration) {
      const tally = tallyOf(services, service)
      const kind = Math.floor(status / 100) - 1
      tally.byStatus[kind] = (tally.byStatus[kind] ?? 0) + 1
      let bucket = 0
      while (bucket < bounds.length && duration > (bounds[bucket] as number)) bucket += 1
      if (bucket < bounds.length) tally.byBucket[bucket] = (tally.byBucket[bucket] as number) + 1
      tally.sum += duration
      tally.count += 1
    },
    refused: (code) => void refusals.set(code, (refusals.get(code) ?? 0) + 1),
    tallies: () => ({ refusals, services }),
  }
}

function tallyOf(services: Map<string, Tally>, service: string): Tally {
  let tally = services.get(service)
  if (tally === undefined) {
    tally = { byStatus: [0, 0, 0, 0, 0], byBucket: bounds.map(() => 0), sum: 0, count: 0 }
    services.set(service, tally)
  }
  return tally
}

/** The sum of what all processes have counted. */
export function metricsText(all: readonly Tallies[], gauges: Gauges): string {
  const refusals = new Map<string, number>()
  const services = new Map<string, Tally>()
  for (const one of all) {
    for (const [code, count] of one.refusals) refusals.set(code, (refusals.get(code) ?? 0) + count)
    for (const [service, { byStatus, byBucket, sum, count }] of one.services) {
      const tally = tallyOf(services, service)
      for (const [at, value] of byStatus.entries()) tally.byStatus[at] = (tally.byStatus[at] ?? 0) + value
      for (const [at, value] of byBucket.entries()) tally.byBucket[at] = (tally.byBucket[at] as number) + value
      tally.sum += sum
      tally.count += count
    }
  }
  const codes = [...refusals].map(([code, count]) => `{code="${code}"} ${count}`)
  return [
    family('ostiary_refusals_total', 'Refusals, by code', 'counter', codes),
    family('ostiary_calls_live', 'Calls under way', 'gauge', [` ${gauges.liveCalls}`]),
    family('ostiary_runs_open', 'Runs that are open', 'gauge', [` ${gauges.runs}`]),
    family('ostiary_audit_entries', 'Entries in the log', 'gauge', [` ${gauges.auditEntries}`]),
    ...callFamilies(services),
  ].join('\n')
}

/** The text format 0.0.4 of Prometheus: each line goes on behind the name. */
function family(name: string, help: string, type: string, lines: readonly string[]): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.map((line) => `${name}${line}\n`).join('')}`
}

/** Every call counts here, so it is counted in plain numbers. */
function callFamilies(services: ReadonlyMap<string, Tally>): readonly string[] {
  const calls: string[] = []
  const seconds: string[] = []
  for (const [service, { byStatus, byBucket, sum, count }] of services) {
    byStatus.forEach((value, at) => {
      if (value > 0) calls.push(`{service="${service}",status="${at + 1}xx"} ${value}`)
    })
    let below = 0
    byBucket.forEach((value, at) => {
      below += value
      seconds.push(`_bucket{le="${bounds[at]}",service="${service}"} ${below}`)
    })
    seconds.push(
      `_bucket{le="+Inf",service="${service}"} ${count}`,
      `_sum{service="${service}"} ${sum}`,
      `_count{service="${service}"} ${count}`,
    )
  }
  return [
    family('ostiary_calls_total', 'Calls answered, by service and class of status', 'counter', calls),
    family('ostiary_call_seconds', 'Duration of calls, by service', 'histogram', seconds),
  ]
}
