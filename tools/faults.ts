// `npm run test:faults`: makes each fault on this machine, looks whether the documented behaviour follows, and prints a table.
// It must never skip in silence: what this machine cannot make is named.
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { setStage } from '../examples/story/stage.ts'
import type { Fault, Ground } from '../test/faults/fault.ts'
import { logFaults } from '../test/faults/log.ts'
import { serverFaults } from '../test/faults/served.ts'
import { clearStage } from '../test/faults/server.test-kit.ts'

const help = `Usage: npm run test:faults -- [--rounds N] [--seed N] [--only NAME[,NAME]] [--json]

Makes faults and looks whether what docs/guide/faults.md says is what happens. 0: all held, 1: one was not, 2: wrong use.

  npm run test:faults                              all of them, 200 rounds of kill -9
  npm run test:faults -- --only kill --rounds 20   one of them, shorter

Faults: `

const faults: readonly Fault[] = [...serverFaults, ...logFaults]

interface Row {
  readonly name: string
  readonly fault: string
  readonly happens: string
  readonly held: boolean | null
  readonly saw: string
  readonly seconds: number
}

function read() {
  const options = {
    rounds: { type: 'string' },
    seed: { type: 'string' },
    only: { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean' },
  } as const
  const { values } = parseArgs({ options })
  const names = values.only?.split(',') ?? faults.map(({ name }) => name)
  const rounds = Number(values.rounds ?? 200)
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32))
  const strange = names.find((name) => !faults.some((one) => one.name === name))
  if (strange !== undefined) throw new Error(`${strange} is no fault; there are ${faults.map(({ name }) => name).join(', ')}`)
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number from 1')
  if (!Number.isInteger(seed) || seed < 0) throw new Error('--seed takes a whole number')
  return { help: values.help === true, json: values.json === true, rounds, seed, chosen: faults.filter(({ name }) => names.includes(name)) }
}

async function make(one: Fault, ground: Ground): Promise<Row> {
  const began = performance.now()
  const { name, fault, happens } = one
  const result = await one.run(ground).then(
    (saw) => (typeof saw === 'string' ? { held: true, saw } : { held: null, saw: `skipped: ${saw.skipped}` }),
    (error: Error) => ({ held: false, saw: error.message }),
  )
  return { name, fault, happens, ...result, seconds: Math.round((performance.now() - began) / 1_000) }
}

function said({ name, fault, happens, held, saw, seconds }: Row): string {
  const verdict = held === null ? '-' : held ? 'yes' : 'NO'
  return `| ${name} | ${fault} | ${happens} | ${verdict} | ${saw.replaceAll('\n', ' ').replaceAll('|', '/').slice(0, 600)} | ${seconds} s |\n`
}

async function main(): Promise<number> {
  let asked: ReturnType<typeof read>
  try {
    asked = read()
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  if (asked.help) {
    process.stdout.write(`${help}${faults.map(({ name }) => name).join(', ')}\n`)
    return 0
  }
  const { json, rounds, seed, chosen } = asked
  const tell = (text: string): void => void (process.stderr.isTTY && process.stderr.write(`\r${text.padEnd(60)}\r`))
  if (!json) process.stdout.write(`seed ${seed}, ${rounds} rounds, load of the machine ${loadavg()[0]?.toFixed(1)}\n\n`)
  const stage = await setStage(Date.now())
  const rows: Row[] = []
  try {
    await clearStage(stage)
    if (!json) process.stdout.write('| name | fault | what happens | held | seen | time |\n|---|---|---|---|---|---|\n')
    for (const one of chosen) {
      rows.push(await make(one, { stage, rounds, seed, tell }))
      if (!json) process.stdout.write(said(rows.at(-1) as Row))
    }
  } finally {
    await stage.close()
  }
  if (json) process.stdout.write(`${JSON.stringify({ seed, rounds, faults: rows }, null, 2)}\n`)
  return rows.every(({ held }) => held !== false) ? 0 : 1
}

process.exitCode = await main()
