// The bench judges: what it says held must have held. The measuring itself is not tried here, it takes minutes and a machine at rest.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { chart } from '../bench/chart.ts'
import { cpuSeconds, familyOf, root } from '../bench/ground.ts'
import type { Figure } from '../bench/load.ts'
import { notMeasured, ratioRow, shownOf, valueRow } from '../bench/stand.ts'

const figure = (cpuMicros: number, refused = 0): Figure => ({
  done: 100,
  refused,
  seconds: 1,
  p50: 1,
  p99: 2,
  first: 0,
  cpuMicros,
  mainMicros: cpuMicros,
  rssBefore: 0,
  rssPeak: 0,
})

test('a ratio is of medians, its spread of the rounds', () => {
  const row = ratioRow(
    'x',
    0.65,
    [10, 20, 30].map((one) => figure(one)),
    [40, 40, 50].map((one) => figure(one)),
  )
  assert.deepEqual(row, { measure: 'x', wanted: '<= 0.65', measured: 0.5, spread: [0.25, 0.6], held: true })
  assert.equal(ratioRow('x', 0.4, [figure(20)], [figure(40)]).held, false)
})

test('answers that were not 200 never hold', () => {
  assert.equal(ratioRow('x', 1, [figure(10, 1)], [figure(40)]).held, false)
  assert.equal(ratioRow('x', 1, [figure(10)], [figure(40, 1)]).held, false)
})

test('a side that is not here is not a yes', () => {
  const row = ratioRow('x', 1, [figure(10)], undefined)
  assert.deepEqual([row.held, row.measured], [null, null])
  assert.match(row.why ?? '', /not here/)
  assert.equal(notMeasured('x', '>= 1.8', 'not built').held, null)
})

test('at most, at least, and nothing wanted', () => {
  assert.equal(valueRow('x', 1, [0.5, 2, 0.7]).held, true)
  assert.equal(valueRow('x', 1, [0.5, 2, 0.7], true).held, false)
  assert.equal(valueRow('x', null, [1]).held, null)
})

test('the chart shows each side with its figure and escapes its name', () => {
  const svg = chart(shownOf('a -> b', new Map([['<peer>', [figure(10), figure(20), figure(30)]]])))
  assert.match(svg, /&lt;peer/)
  assert.match(svg, />20 µs</)
  assert.ok(!svg.includes('NaN'))
})

test('CPU of a process is counted', { skip: process.platform === 'linux' ? false : 'only Linux has /proc' }, () => {
  const before = cpuSeconds([process.pid])
  for (const since = process.cpuUsage().user; process.cpuUsage().user - since < 60_000; );
  assert.ok(cpuSeconds([process.pid]) - before > 0.04)
  assert.equal(familyOf(process.pid)[0], process.pid)
})

test('wrong use is said', () => {
  const run = (...words: string[]) => spawnSync(process.execPath, [join(root, 'bench', 'bench.ts'), ...words], { encoding: 'utf8' })
  const unknown = run('--only', 'nothing')
  assert.deepEqual([unknown.status, /no measure is called nothing/.test(unknown.stderr)], [2, true])
  assert.equal(run('--quick', '--full').status, 2)
  assert.match(run('--help').stdout, /base-url/)
})
