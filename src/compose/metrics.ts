// Prometheus metrics. Labels come from configuration only (invariant 16): service names and refusal codes, never a path.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'

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

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const calls = new Counter({
    name: 'ostiary_calls_total',
    help: 'Calls answered, by service and class of status',
    labelNames: ['service', 'status'],
    registers,
  })
  const refusals = new Counter({ name: 'ostiary_refusals_total', help: 'Refusals, by code', labelNames: ['code'], registers })
  const seconds = new Histogram({
    name: 'ostiary_call_seconds',
    help: 'Duration of calls, by service',
    labelNames: ['service'],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600],
    registers,
  })
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
  // Labels are looked up once a service and class of status, not once a call.
  const children = new Map<string, { readonly calls: { inc(): void }[]; readonly seconds: { observe(seconds: number): void } }>()
  return {
    answered(service, status, duration) {
      let bound = children.get(service)
      if (bound === undefined) {
        bound = {
          calls: [1, 2, 3, 4, 5].map((first) => calls.labels({ service, status: `${first}xx` })),
          seconds: seconds.labels({ service }),
        }
        children.set(service, bound)
      }
      bound.calls[Math.floor(status / 100) - 1]?.inc()
      bound.seconds.observe(duration)
    },
    refused: (code) => refusals.inc({ code }),
    text: () => registry.metrics(),
  }
}
