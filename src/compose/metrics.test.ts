import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMetrics } from './metrics.ts'

test('calls by service and class of status, buckets that hold those below them', async () => {
  const metrics = createMetrics({ liveCalls: () => 3, runs: () => 1, auditEntries: () => 7 })
  metrics.answered('openai', 200, 0.02)
  metrics.answered('openai', 204, 0.3)
  metrics.answered('openai', 502, 1_000)
  metrics.answered('gemini', 101, 0)
  metrics.refused('decide.denied')
  const lines = (await metrics.text()).split('\n')
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
  ])
    assert.ok(lines.includes(line), line)
  assert.equal(lines.filter((line) => line.startsWith('# TYPE ostiary_call_seconds ')).length, 1)
})
