// `npm run bench`: side by side in one run, figures as CPU microseconds a request and as ratios; never an absolute claim.
// The proxy has core 0, client and upstream core 1. Identity, policy, injection, scrub and durable audit are ON for us.
import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { chart } from './chart.ts'
import { cache, on, prepare, ready, root, start, stopAll } from './ground.ts'
import { audit } from './measures/audit.ts'
import { baseUrl } from './measures/base-url.ts'
import { big } from './measures/big.ts'
import { connect } from './measures/connect.ts'
import { cores } from './measures/cores.ts'
import { crowd } from './measures/crowd.ts'
import { fresh } from './measures/fresh.ts'
import { h2 } from './measures/h2.ts'
import { idle } from './measures/idle.ts'
import { latency } from './measures/latency.ts'
import { sizes } from './measures/sizes.ts'
import { streams } from './measures/streams.ts'
import type { Measure, Row, Shown, Stand } from './stand.ts'

const measures: readonly Measure[] = [connect, baseUrl, sizes, h2, latency, streams, fresh, crowd, big, audit, idle, cores]

const help = `Usage: npm run bench -- [--quick | --full] [--only NAME[,NAME]] [--json FILE] [--svg FILE]

Measures this checkout beside what else is on this machine; docs/guide/bench.md says what and how.
0: all that was wanted held, 1: something did not, 2: wrong use.

  npm run bench -- --quick --json bench.json      under ten minutes at rest, one row a measure
  npm run bench -- --full --svg chart.svg         longer rounds, 1,000 streams, 1 GB, 2,000 processes
  npm run bench -- --only connect                 one of them

Measures:
${measures.map(({ name, what }) => `  ${name.padEnd(12)} ${what}`).join('\n')}
`

function read() {
  const options = {
    quick: { type: 'boolean' },
    full: { type: 'boolean' },
    only: { type: 'string' },
    json: { type: 'string' },
    svg: { type: 'string' },
    help: { type: 'boolean' },
  } as const
  try {
    const { values } = parseArgs({ options })
    const unknown = (values.only?.split(',') ?? []).filter((name) => !measures.some((one) => one.name === name))
    if (unknown.length > 0) throw new Error(`no measure is called ${unknown.join(', ')}`)
    if (values.quick && values.full) throw new Error('--quick or --full, not both')
    return values
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${help}`)
    process.exit(2)
  }
}

function table(shown: readonly Shown[]): string {
  const ours = shown.find((one) => one.name.startsWith('ostiary'))?.cpuMicros ?? Number.NaN
  const line = (...cells: readonly string[]): string => cells.map((cell, at) => cell.padEnd([34, 28, 10, 12, 0][at] ?? 0)).join('')
  const lines = shown.map((one) =>
    line(
      one.name,
      `${one.cpuMicros} (${one.spread[0]}-${one.spread[1]})`,
      (ours / one.cpuMicros).toPrecision(2),
      String(one.perSecond),
      `${one.p50}/${one.p99}${one.refused === 0 ? '' : `  ${one.refused} NOT 200`}`,
    ),
  )
  return [line('', 'CPU us/request (min-max)', 'ours/it', 'requests/s', 'p50/p99 ms'), ...lines].map((one) => `  ${one}\n`).join('')
}

/** What was measured on other work is never set in proportion. */
function tables(shown: readonly Shown[]): string {
  const groups = [...new Set(shown.map((one) => one.group))]
  const title = (group: string): string => (groups.length > 1 ? `  ${group}\n` : '')
  return groups.map((group) => title(group) + table(shown.filter((one) => one.group === group))).join('')
}

function say(row: Row): string {
  const word = row.held === null ? (row.measured === null ? 'not measured' : 'measured') : row.held ? 'held' : 'NOT held'
  const what = row.measured === null ? '' : ` ${row.measured} (${row.spread?.join('-') ?? ''})`
  return `${word}: ${row.measure}${what}${row.wanted === '' ? '' : `, wanted ${row.wanted}`}${row.why === undefined ? '' : `: ${row.why}`}\n`
}

const asked = read()
if (asked.help) {
  process.stdout.write(help)
  process.exit(0)
}
const chosen = measures.filter(({ name }) => asked.only === undefined || asked.only.split(',').includes(name))
const ground = prepare()
const stand: Stand = {
  ground,
  quick: asked.quick === true,
  full: asked.full === true,
  rounds: 5,
  say: (text) => process.stderr.isTTY && process.stderr.write(`\r\u001b[K${text}`),
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stopAll(ground).then(() => process.exit(130)))
const rows: Row[] = []
const shown: Shown[] = []
const lacks = new Set<string>()
try {
  const words = [process.execPath, join(root, 'bench', 'upstream.ts'), join(ground.dir, 'upstream.pem'), join(ground.dir, 'upstream.key')]
  const upstream = start(on(1, [...words, ground.upstreamAddress, String(ground.upstreamPort), ground.credential]))
  // This needs root, or a lowered port floor.
  await ready(ground.upstreamPort, upstream, { address: ground.upstreamAddress })
  process.stdout.write(`load of this machine before: ${loadavg()[0]?.toFixed(1)}; median of ${stand.rounds} rounds in turn unless said\n`)
  for (const measure of chosen) {
    process.stdout.write(`\n${measure.name}: ${measure.what}\n`)
    try {
      const result = await measure.run(stand)
      stand.say('')
      if (result.shown !== undefined) process.stdout.write(tables(result.shown))
      for (const row of result.rows) process.stdout.write(`  ${say(row)}`)
      for (const one of result.lacks ?? []) lacks.add(one)
      rows.push(...result.rows)
      shown.push(...(result.shown ?? []))
    } catch (error) {
      const why = `could not be measured: ${(error as Error).message.replaceAll(/\s+/g, ' ').slice(0, 400)}`
      rows.push({ measure: measure.what, wanted: '', measured: null, spread: null, held: false, why })
      process.stdout.write(`  ${why}\n`)
    }
    // After each, so that a run that is cut short has not been for nothing.
    if (asked.json !== undefined) writeFileSync(asked.json, `${JSON.stringify(rows, null, 2)}\n`)
    if (asked.svg !== undefined) writeFileSync(asked.svg, chart(shown))
  }
  for (const one of lacks) process.stdout.write(`missing or failed: ${one.replaceAll('CACHE', cache)}\n`)
  if (rows.some((row) => row.held === false)) process.exitCode = 1
} finally {
  await stopAll(ground)
}
