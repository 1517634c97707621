import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMetrics, metricsText } from './metrics.ts'

test('calls by service and class of status, buckets that hold those below them', () => {
  const metrics = createMetrics()
  metrics.answered('openai', 200, 0.02)
  metrics.answered('openai', 204, 0.3)
  metrics.answered('openai', 502, 1_000)
  metrics.answered('gemini', 101, 0)
  metrics.refused('decide.denied')
  const lines = metricsText([metrics.tallies()], { liveCalls: 3, runs: 1, auditEntries: 7 }).split('\n')
  for (const line of [
    'ostiary_calls_total{service="openai",status="2xx"} 2',
    'ostiary_calls_total{service="openai",status="5xx"} 1',
    'ostiary_calls_total{service="gemini",status="1xx"} 1',
    'ostiary_call_seconds_bucket{le="0.01",service="openai"} 0',
    'ostiary_call_seconds_bucket{le="0.05",service="openai"} 1',
    'ostiary_call_seconds_bucket{le="600",service="openai"} 2',
    'ostiary_call_seconds_bucket{le="+Inf",service="openai"} 3',
    'ostiary_call_seconds_count{service="openai"} 3',
    'ostiary_call_seconds_bucket{le="0.01",service="gemini"} 1',
    'ostiary_refusals_total{code="decide.denied"} 1',
    'ostiary_calls_live 3',
    'ostiary_runs_open 1',
    'ostiary_audit_entries 7',
  ])
    assert.ok(lines.includes(line), line)
  const families = lines.flatMap((line) => (line.startsWith('# TYPE ') ? [line.slice(7)] : []))
  assert.deepEqual(families.sort(), [
    'ostiary_audit_entries gauge',
    'ostiary_call_seconds histogram',
    'ostiary_calls_live gauge',
    'ostiary_calls_total counter',
    'ostiary_refusals_total counter',
    'ostiary_runs_open gauge',
  ])
})

test('what several processes have counted is one sum', () => {
  const [one, other] = [createMetrics(), createMetrics()]
  one.answered('openai', 200, 0.02)
  other.answered('openai', 200, 0.02)
  other.answered('gemini', 200, 0.02)
  for (const each of [one, other]) each.refused('decide.denied')
  const lines = metricsText([one.tallies(), other.tallies()], { liveCalls: 0, runs: 0, auditEntries: 0 }).split('\n')
  for (const line of [
    'ostiary_calls_total{service="openai",status="2xx"} 2',
    'ostiary_calls_total{service="gemini",status="2xx"} 1',
    'ostiary_call_seconds_bucket{le="0.05",service="openai"} 2',
    'ostiary_call_seconds_count{service="openai"} 2',
    'ostiary_refusals_total{code="decide.denied"} 2',
  ])
    assert.ok(lines.includes(line), line)
  // Each keeps its own.
  assert.equal(one.tallies().services.get('openai')?.count, 1)
})
