// How a measure compares: sides are started, take turns, and are ended again. It must never leave a process behind.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { cpuSeconds, familyOf, type Ground, on, ready, root, rssOf, start } from './ground.ts'
import { askFields, type Figure, type Load } from './load.ts'
import type { Making, Peer } from './peers.ts'

export interface Row {
  readonly measure: string
  readonly wanted: string
  readonly measured: number | null
  /** Least and most of the rounds. */
  readonly spread: readonly [number, number] | null
  /** Null: nothing was wanted, or it could not be measured here; `why` says which. */
  readonly held: boolean | null
  readonly why?: string
}

/** What the chart and the table show of one side. */
export interface Shown {
  readonly group: string
  readonly name: string
  readonly cpuMicros: number
  readonly spread: readonly [number, number]
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly refused: number
}

export interface Result {
  readonly rows: readonly Row[]
  readonly shown?: readonly Shown[]
  /** Peers that this machine lacks, with the word how to get them. */
  readonly lacks?: readonly string[]
}

export interface Stand {
  readonly ground: Ground
  readonly quick: boolean
  readonly full: boolean
  readonly rounds: number
  say(text: string): void
}

export interface Measure {
  readonly name: string
  readonly what: string
  run(stand: Stand): Promise<Result>
}

export interface Side {
  readonly peer: Peer
  readonly family: readonly number[]
  stop(): Promise<void>
}

export async function startSide(peer: Peer): Promise<Side> {
  const running = start(on(0, peer.words), peer.environment)
  try {
    await ready(peer.port, running, { withinMs: peer.readyMs ?? 15_000, log: peer.log ?? '' })
  } catch (error) {
    await running.stop()
    throw new Error(`${peer.name} ${(error as Error).message}`)
  }
  return { peer, family: familyOf(running.pid), stop: running.stop }
}

/** Starts what this machine has; what does not start is named like what is not there. */
export async function startSides(ground: Ground, makings: readonly Making[]): Promise<{ sides: Side[]; lacks: string[] }> {
  const sides: Side[] = []
  const lacks: string[] = []
  for (const making of makings) {
    const made = await making(ground)
    if (typeof made === 'string') lacks.push(made)
    else
      await startSide(made).then(
        (side) => sides.push(side),
        (error: Error) => lacks.push(error.message.replaceAll(/\s+/g, ' ').slice(0, 300)),
      )
  }
  return { sides, lacks }
}

/** No proxy at all: what a latency is compared with. */
export function directSide(ground: Ground): Side {
  const { upstreamAddress: address, upstreamPort: port, upstreamCa: ca, credential: bearer } = ground
  const peer: Peer = { name: 'direct', way: 'tls', address, port, ca, bearer, words: [] }
  return { peer, family: [], stop: async () => {} }
}

export function loadFor(peer: Peer, ground: Ground, more: Partial<Load> = {}): Load {
  const own = [...(peer.fields ?? []), ...(more.fields ?? [])]
  const replaced = askFields.filter((line) => !own.some((one) => one.startsWith(line.slice(0, line.indexOf(':') + 1))))
  const fields = [...replaced.map((line) => line.replace('placeholder', peer.bearer ?? 'placeholder')), ...own]
  return {
    kind: 'load',
    way: peer.way,
    port: peer.port,
    hosts: [ground.host],
    ca: peer.ca,
    method: 'POST',
    connections: 32,
    warmMs: 500,
    runMs: 1_500,
    ...more,
    ...(peer.address === undefined ? {} : { address: peer.address }),
    ...(peer.hostField === undefined ? {} : { hostField: peer.hostField }),
    path: `${peer.prefix ?? ''}${more.path ?? '/v1/responses'}`,
    fields,
  }
}

export interface Driving {
  /** Words before the client's, to start it in a run. */
  readonly within?: readonly string[]
  readonly limitMs?: number
}

/** One client, once, against one side. */
export async function drive(side: Pick<Side, 'family' | 'peer'>, load: Load, driving: Driving = {}): Promise<Figure> {
  const { family } = side
  const rssBefore = rssOf(family)
  const words = [...(driving.within ?? []), ...on(1, [process.execPath, join(root, 'bench', 'client.ts'), JSON.stringify(load)])]
  const client = spawn(words[0] as string, words.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
  const said: string[] = []
  client.stderr.on('data', (text: Buffer) => {
    if (said.length < 20) said.push(text.toString())
  })
  const over = new Promise((resolve) => client.once('close', resolve))
  let rssPeak = rssBefore
  const watch = setInterval(() => {
    rssPeak = Math.max(rssPeak, rssOf(family))
  }, 200)
  const limit = setTimeout(() => client.kill('SIGKILL'), driving.limitMs ?? load.warmMs + load.runMs + 15_000 + load.connections * 20)
  let before: readonly [number, number] = [0, 0]
  const used = (): readonly [number, number] => [cpuSeconds(family), cpuSeconds(family.slice(0, 1), true)]
  let figure: Figure | null = null
  for await (const line of createInterface({ input: client.stdout })) {
    if (!line.startsWith('{')) continue
    const told = JSON.parse(line)
    if (told.began === true) before = used()
    else {
      const now = used()
      const each = (at: 0 | 1): number => ((now[at] - before[at]) / Math.max(1, told.done)) * 1e6
      figure = { ...told, cpuMicros: each(0), mainMicros: each(1), rssBefore, rssPeak: Math.max(rssPeak, rssOf(family)) }
    }
  }
  // What it said on standard error may come after the end of its output.
  await over
  clearInterval(watch)
  clearTimeout(limit)
  if (figure === null || figure.done === 0)
    throw new Error(
      `${side.peer.name}: ${said.join('').slice(0, 400) || `no answer within the time (${figure === null ? client.signalCode : 'none done'})`}`,
    )
  return figure
}

const told = (error: Error): string => error.message.replaceAll(/\s+/g, ' ').slice(0, 250)

/** Rounds in turn, so that what drifts drifts for all. A side that fails twice is left out; each failure is named. */
export async function inTurn(
  stand: Stand,
  sides: readonly Side[],
  loadOf: (side: Side, round: number) => Load,
  driving: Driving = {},
): Promise<{ readonly figures: ReadonlyMap<string, readonly Figure[]>; readonly failed: readonly string[] }> {
  const figures = new Map<string, Figure[]>()
  const failed: string[] = []
  let left = [...sides]
  for (let round = 0; round < stand.rounds; round++)
    for (const side of left) {
      stand.say(`round ${round + 1}/${stand.rounds} ${side.peer.name}`)
      const load = loadOf(side, round)
      // Once more, and said: a connection that breaks under load must not cost a peer all its rounds.
      const again = (error: Error) => {
        failed.push(`${told(error)} (tried again)`)
        return drive(side, load, driving)
      }
      try {
        const figure = await drive(side, load, driving).catch(again)
        figures.set(side.peer.name, [...(figures.get(side.peer.name) ?? []), figure])
      } catch (error) {
        failed.push(told(error as Error))
        figures.delete(side.peer.name)
        left = left.filter((one) => one !== side)
      }
    }
  return { figures, failed }
}

export const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
const round3 = (value: number): number => Number(value.toPrecision(3))
export const spreadOf = (values: readonly number[]): readonly [number, number] => [round3(Math.min(...values)), round3(Math.max(...values))]

/** A figure of ours over the same of a peer: medians, and the spread of the ratios of each round. */
export function ratioRow(
  measure: string,
  wanted: number,
  ours: readonly Figure[] | undefined,
  theirs: readonly Figure[] | undefined,
  of: (figure: Figure) => number = (figure) => figure.cpuMicros,
): Row {
  if (ours === undefined || theirs === undefined)
    return notMeasured(measure, `<= ${round3(wanted)}`, 'one of the two is not here or failed')
  const measured = round3(median(ours.map(of)) / median(theirs.map(of)))
  const clean = [...ours, ...theirs].every((figure) => figure.refused === 0)
  const spread = spreadOf(ours.map((figure, at) => of(figure) / of(theirs[at] ?? figure)))
  const held = clean && measured <= wanted
  // Where to look first: our event loop, or the threads that search, write and sync.
  const [all, main] = [median(ours.map((one) => one.cpuMicros)), median(ours.map((one) => one.mainMicros))]
  const where = `of ${Math.round(all)} us of ours ${Math.round(main)} are on the event loop, the rest on threads beside it`
  const why = clean ? where : 'answers that were not 200'
  return { measure, wanted: `<= ${round3(wanted)}`, measured, spread, held, ...(held ? {} : { why }) }
}

/** A plain figure: at most so much, or at least with `least`. */
export function valueRow(measure: string, wanted: number | null, values: readonly number[], least = false): Row {
  const measured = round3(median(values))
  const held = wanted === null ? null : least ? measured >= wanted : measured <= wanted
  return { measure, wanted: wanted === null ? '' : `${least ? '>=' : '<='} ${wanted}`, measured, spread: spreadOf(values), held }
}

export const notMeasured = (measure: string, wanted: string, why: string): Row => ({
  measure,
  wanted,
  measured: null,
  spread: null,
  held: null,
  why,
})

export function shownOf(group: string, figures: ReadonlyMap<string, readonly Figure[]>): readonly Shown[] {
  return [...figures].map(([name, all]) => ({
    group,
    name,
    cpuMicros: round3(median(all.map((one) => one.cpuMicros))),
    spread: spreadOf(all.map((one) => one.cpuMicros)),
    perSecond: Math.round(median(all.map((one) => one.done / one.seconds))),
    p50: median(all.map((one) => one.p50)),
    p99: median(all.map((one) => one.p99)),
    refused: all.reduce((sum, one) => sum + one.refused, 0),
  }))
}
