// Prometheus metrics. Labels come from configuration only (invariant 16): service names and refusal codes, never a path.
import { Counter, Gauge, Registry } from 'prom-client'

export interface Metrics {
  answered(service: string, status: number, seconds: number): void
  refused(code: string): void
  text(): Promise<string>
}

export interface MetricSources {
  readonly liveCalls: () => number
  readonly runs: () => number
  readonly auditEntries: () => number
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

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const refusals = new Counter({ name: 'ostiary_refusals_total', help: 'Refusals, by code', labelNames: ['code'], registers })
  const gauge = (name: string, help: string, read: () => number): void =>
    void new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read())
      },
    })
  gauge('ostiary_calls_live', 'Calls under way', sources.liveCalls)
  gauge('ostiary_runs_open', 'Runs that are open', sources.runs)
  gauge('ostiary_audit_entries', 'Entries in the log', sources.auditEntries)
  const services = new Map<string, Tally>()
  return {
    answered(service, status, duration) {
      let tally = services.get(service)
      if (tally === undefined) {
        tally = { byStatus: [0, 0, 0, 0, 0], byBucket: bounds.map(() => 0), sum: 0, count: 0 }
        services.set(service, tally)
      }
      const kind = Math.floor(status / 100) - 1
      tally.byStatus[kind] = (tally.byStatus[kind] ?? 0) + 1
      let bucket = 0
      while (bucket < bounds.length && duration > (bounds[bucket] as number)) bucket += 1
      if (bucket < bounds.length) tally.byBucket[bucket] = (tally.byBucket[bucket] as number) + 1
      tally.sum += duration
      tally.count += 1
    },
    refused: (code) => refusals.inc({ code }),
    text: async () => `${await registry.metrics()}${callLines(services)}`,
  }
}

/** Every call counts here, so it is counted in plain numbers; the text format is Prometheus' 0.0.4. */
function callLines(services: ReadonlyMap<string, Tally>): string {
  const calls: string[] = []
  const seconds: string[] = []
  for (const [service, { byStatus, byBucket, sum, count }] of services) {
    byStatus.forEach((value, at) => {
      if (value > 0) calls.push(`ostiary_calls_total{service="${service}",status="${at + 1}xx"} ${value}`)
    })
    let below = 0
    byBucket.forEach((value, at) => {
      below += value
      seconds.push(`ostiary_call_seconds_bucket{le="${bounds[at]}",service="${service}"} ${below}`)
    })
    seconds.push(
      `ostiary_call_seconds_bucket{le="+Inf",service="${service}"} ${count}`,
      `ostiary_call_seconds_sum{service="${service}"} ${sum}`,
      `ostiary_call_seconds_count{service="${service}"} ${count}`,
    )
  }
  const family = (name: string, help: string, type: string, lines: readonly string[]): string =>
    `\n# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.map((line) => `${line}\n`).join('')}`
  return (
    family('ostiary_calls_total', 'Calls answered, by service and class of status', 'counter', calls) +
    family('ostiary_call_seconds', 'Duration of calls, by service', 'histogram', seconds)
  )
}
