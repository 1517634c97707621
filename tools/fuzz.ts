// `npm run fuzz`: drives everything that reads what others wrote with fast-check and a small corpus, each target in a thread of its own.
// It must never hang where a target does: a thread that gets no further is ended, and told like a failure.
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import fc from 'fast-check'
import { targets } from '../test/fuzz/targets.ts'

const help = `Usage: npm run fuzz -- [--minutes M] [--seed N] [--only NAME[,NAME]] [--cases N] [--json]

Drives each reader with cases from a seed for its share of the time (1 minute in all). 0: nothing found, 1: something, 2: wrong use.
A failure prints the shrunken case and the command that makes it again.

  npm run fuzz -- --minutes 10
  npm run fuzz -- --only websocket-client,chunks --seed 7

Targets: ${targets.map(({ name }) => name).join(', ')}
`

const batchCases = 1_000
const caseMsMax = 2_000
const hangMs = 30_000
const shownCharsMax = 2_000

interface Work {
  readonly name: string
  readonly seed: number
  readonly untilMs: number
  /** Cases of one batch, where a failure is made again. */
  readonly cases: number | null
  readonly counter: SharedArrayBuffer
}

interface Found {
  readonly name: string
  readonly seed: number
  readonly cases: number
  readonly failure: string | null
  readonly again: string | null
}

/** The seed of a batch is that of the run, one more a batch: any batch can be made alone. */
async function drive({ name, seed, untilMs, cases, counter }: Work): Promise<Found> {
  const one = targets.find((target) => target.name === name) as (typeof targets)[number]
  const count = new Int32Array(counter)
  const property = fc.asyncProperty(one.cases, async (value) => {
    const before = process.threadCpuUsage()
    await one.check(value)
    const { user, system } = process.threadCpuUsage(before)
    if (user + system > caseMsMax * 1_000) throw new Error(`one case took ${Math.round((user + system) / 1_000)} ms of CPU`)
    Atomics.add(count, 0, 1)
  })
  await one.open?.()
  try {
    const end = performance.now() + untilMs
    for (let batch = seed; ; batch++) {
      Atomics.store(count, 1, batch - seed)
      const left = end - performance.now()
      const limit = cases === null ? { interruptAfterTimeLimit: Math.max(1, left), markInterruptAsFailure: false } : {}
      const done = await fc.check(property, { seed: batch, numRuns: cases ?? batchCases, ...limit })
      const told = { name, seed, cases: count[0] as number }
      // Interrupted before its first case a batch counts as failed, without one.
      if (done.failed && done.counterexample !== null) return { ...told, failure: failureOf(done), again: command(name, batch) }
      if (cases !== null || performance.now() >= end) return { ...told, failure: null, again: null }
    }
  } finally {
    await one.close?.()
  }
}

/** What was wrong comes first; a case can be long, and the command makes it again whole. */
function failureOf(done: fc.RunDetails<[unknown]>): string {
  const wrong = done.errorInstance instanceof Error ? done.errorInstance.message : String(done.errorInstance)
  const text = fc.stringify(done.counterexample)
  return `${wrong.slice(0, shownCharsMax)}\ncase: ${text.slice(0, shownCharsMax)}${text.length > shownCharsMax ? ` ... (${text.length} characters)` : ''}`
}

const command = (name: string, seed: number): string => `npm run fuzz -- --only ${name} --seed ${seed} --cases ${batchCases}`

/** In a thread; null cases a second for long means that it hangs. */
async function watched(work: Omit<Work, 'counter'>): Promise<Found> {
  const counter = new SharedArrayBuffer(8)
  const count = new Int32Array(counter)
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { ...work, counter } })
  const { name, seed } = work
  const began = performance.now()
  let before = -1
  let since = performance.now()
  const hung = Promise.withResolvers<Found>()
  const timer = setInterval(() => {
    const now = Atomics.load(count, 0)
    if (before !== now) since = performance.now()
    before = now
    const late = work.cases === null && performance.now() - began > work.untilMs + 2 * hangMs
    if (performance.now() - since < hangMs && !late) return
    const again = command(name, seed + (count[1] as number))
    hung.resolve({
      name,
      seed,
      cases: count[0] as number,
      failure: late ? 'it goes on behind its time' : `it hangs: no case ended in ${hangMs / 1_000} s`,
      again,
    })
  }, 1_000)
  try {
    const answered = once(worker, 'message').then(([found]) => found as Found)
    const broken = (error: Error): Found => ({
      name,
      seed,
      cases: before,
      failure: `it fell over: ${error.stack}`,
      again: command(name, seed + (count[1] as number)),
    })
    return await Promise.race([answered.catch(broken), hung.promise])
  } finally {
    clearInterval(timer)
    await worker.terminate()
  }
}

function read() {
  const options = {
    minutes: { type: 'string' },
    seed: { type: 'string' },
    only: { type: 'string' },
    cases: { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean' },
  } as const
  const { values } = parseArgs({ options })
  const number = (name: 'minutes' | 'seed' | 'cases', otherwise: number): number => {
    const value = Number(values[name] ?? otherwise)
    if (!(value >= 0) || (name !== 'minutes' && !Number.isInteger(value))) throw new Error(`--${name} takes a number`)
    return value
  }
  const names = values.only?.split(',') ?? targets.map(({ name }) => name)
  const strange = names.find((name) => !targets.some((one) => one.name === name))
  if (strange !== undefined) throw new Error(`${strange} is no target; there are ${targets.map(({ name }) => name).join(', ')}`)
  const cases = values.cases === undefined ? null : number('cases', 0)
  return {
    help: values.help === true,
    json: values.json === true,
    minutes: number('minutes', 1),
    seed: number('seed', Math.floor(Math.random() * 2 ** 31)),
    names,
    cases,
  }
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
    process.stdout.write(help)
    return 0
  }
  const { json, minutes, seed, names, cases } = asked
  if (!json) process.stdout.write(`seed ${seed}, ${minutes} minutes, ${names.length} targets\n`)
  const all: Found[] = []
  for (const name of names) {
    const found = await watched({ name, seed, untilMs: (minutes * 60_000) / names.length, cases })
    all.push(found)
    if (json) continue
    process.stdout.write(
      `${name.padEnd(18)} ${String(found.cases).padStart(9)} cases ${found.failure === null ? 'nothing found' : 'FAILED'}\n`,
    )
    if (found.failure !== null) process.stdout.write(`${found.failure}\nagain: ${found.again}\n\n`)
  }
  if (json) process.stdout.write(`${JSON.stringify({ seed, minutes, targets: all }, null, 2)}\n`)
  return all.every(({ failure }) => failure === null) ? 0 : 1
}

if (isMainThread) process.exitCode = await main()
else parentPort?.postMessage(await drive(workerData as Work))
