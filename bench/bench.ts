// `npm run bench`: side by side in one run, figures as CPU microseconds a request and as ratios; never an absolute claim.
// The proxy has core 0, client and upstream core 1. Identity, policy, injection, scrub and durable audit are ON for us.
//   --quick        three rounds instead of five      --json FILE   one row a measure
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createRootAuthority, issueLeaf } from '../src/crypto/x509.ts'
import { type Ground, mitmproxy, ostiary, type Peer, squid } from './peers.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const quick = process.argv.includes('--quick')
const jsonFile = process.argv.includes('--json') ? process.argv[process.argv.indexOf('--json') + 1] : undefined
const rounds = quick ? 3 : 5
const connections = 32
const ticksPerSecond = Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) || 100
const pinned = cpus().length > 1 && spawnSync('taskset', ['--version']).status === 0

interface Figure {
  readonly cpuMicros: number
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly refused: number
}

const on = (core: number, words: readonly string[]): readonly string[] => (pinned ? ['taskset', '-c', String(core), ...words] : words)

function start(words: readonly string[], log: string[] = []): ChildProcess {
  const child = spawn(words[0] as string, words.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text: Buffer) => log.push(text.toString()))
  return child
}

/** CPU seconds of a process and all its descendants. */
function cpuSeconds(pid: number): number {
  const parents = new Map<number, number[]>()
  const ticks = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const text = readFileSync(`/proc/${name}/stat`, 'latin1')
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
      const parent = Number(fields[1])
      parents.set(parent, [...(parents.get(parent) ?? []), Number(name)])
      ticks.set(Number(name), Number(fields[11]) + Number(fields[12]))
    } catch {
      // it has just ended
    }
  }
  const sum = (at: number): number => (ticks.get(at) ?? 0) + (parents.get(at) ?? []).reduce((total, child) => total + sum(child), 0)
  return sum(pid) / ticksPerSecond
}

async function measure(peer: Peer, child: ChildProcess, ground: Ground): Promise<Figure> {
  const words = on(1, [
    process.execPath,
    join(root, 'bench', 'client.ts'),
    `127.0.0.1:${peer.port}`,
    `${ground.host}:443`,
    peer.ca,
    String(connections),
    quick ? '500' : '1000',
    quick ? '2000' : '3000',
  ])
  const client = spawn(words[0] as string, words.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
  let before = 0
  let figure: Figure | null = null
  for await (const line of createInterface({ input: client.stdout })) {
    const said = JSON.parse(line)
    if (said.began === true) before = cpuSeconds(child.pid as number)
    else {
      const used = cpuSeconds(child.pid as number) - before
      figure = {
        cpuMicros: (used / said.done) * 1e6,
        perSecond: said.done / said.seconds,
        p50: said.p50,
        p99: said.p99,
        refused: said.refused,
      }
    }
  }
  if (figure === null) throw new Error(`${peer.name}: the client could not measure`)
  return figure
}

const squidLog = (): string => spawnSync('tail', ['-n', '20', join(ground.dir, 'squid', 'cache.log')], { encoding: 'utf8' }).stdout

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number

async function ready(port: number, child: ChildProcess, log: readonly string[]): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`ended at its start:\n${log.join('')}${squidLog()}`)
    if (spawnSync('sh', ['-c', `grep -q ":$(printf %04X ${port}) 00000000:0000 0A" /proc/net/tcp`]).status === 0) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`nothing listens on ${port}:\n${log.join('')}`)
}

function prepare(): Ground {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-bench-'))
  chmodSync(dir, 0o755)
  const now = Date.now()
  const host = 'api.openai.com'
  const upstreamCa = createRootAuthority({ commonName: 'Bench upstream', now, years: 1 })
  const leaf = issueLeaf(upstreamCa, [host], now, 86_400_000)
  const peersCa = createRootAuthority({ commonName: 'Bench peers', now, years: 1 })
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text, { mode: 0o644 })
    return join(dir, name)
  }
  file('hosts', `127.0.0.1 ${host}\n`)
  file('upstream.pem', leaf.certPem)
  file('upstream.key', leaf.keyPem)
  const caKey = file('peers.key', peersCa.key.export({ type: 'pkcs8', format: 'pem' }) as string)
  return {
    dir,
    host,
    upstreamPort: 443,
    upstreamCa: file('upstream-ca.pem', upstreamCa.certPem),
    caCert: file('peers-ca.pem', peersCa.certPem),
    caKey,
    credential: `sk-proj-${'k'.repeat(40)}`,
  }
}

const ground = prepare()
const children: ChildProcess[] = []
try {
  // squid dials the port of the CONNECT, so the upstream listens on 443 of loopback: this needs root, or a lowered port floor.
  children.push(
    start(
      on(1, [
        process.execPath,
        join(root, 'bench', 'upstream.ts'),
        join(ground.dir, 'upstream.pem'),
        join(ground.dir, 'upstream.key'),
        String(ground.upstreamPort),
        ground.credential,
      ]),
    ),
  )
  const us = ostiary(ground, root, 3131)
  mkdirSync(join(ground.dir, 'ostiary', 'store'), { mode: 0o700 })
  const stored = spawnSync(us.words[0] as string, [...us.words.slice(1, -1), 'secret', 'set', 'openai', '--for', 'openai', '--stdin'], {
    input: ground.credential,
    encoding: 'utf8',
  })
  if (stored.status !== 0) throw new Error(stored.stderr)
  const peers: { readonly peer: Peer; readonly child: ChildProcess; readonly figures: Figure[] }[] = []
  for (const made of [us, squid(ground), mitmproxy(ground)]) {
    if (typeof made === 'string') {
      process.stdout.write(`skipped: ${made}\n`)
      continue
    }
    const log: string[] = []
    const child = start(on(0, made.words), log)
    children.push(child)
    await ready(made.port, child, log)
    peers.push({ peer: made, child, figures: [] })
  }
  for (let round = 1; round <= rounds; round++) {
    for (const { peer, child, figures } of peers) {
      process.stderr.write(`round ${round}/${rounds} ${peer.name} ...\r`)
      figures.push(await measure(peer, child, ground))
    }
  }
  report(peers.map(({ peer, figures }) => ({ name: peer.name, figures })))
} finally {
  for (const child of children) child.kill('SIGTERM')
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  for (const child of children) if (child.exitCode === null) child.kill('SIGKILL')
  rmSync(ground.dir, { recursive: true, force: true })
}

function report(all: readonly { readonly name: string; readonly figures: readonly Figure[] }[]): void {
  const ours = median(all[0]?.figures.map((one) => one.cpuMicros) ?? [0])
  process.stdout.write(`\nCONNECT, TLS both sides, ${connections} connections, 300 B -> 600 B, ${rounds} interleaved rounds, medians\n`)
  process.stdout.write(
    `${'proxy'.padEnd(12)}${'CPU us/request (min-max)'.padEnd(28)}${'ours/it'.padEnd(10)}${'requests/s'.padEnd(12)}p50/p99 ms\n`,
  )
  for (const { name, figures } of all) {
    const cpu = figures.map((one) => one.cpuMicros)
    const spread = `${median(cpu).toFixed(0)} (${Math.min(...cpu).toFixed(0)}-${Math.max(...cpu).toFixed(0)})`
    const rate = median(figures.map((one) => one.perSecond)).toFixed(0)
    const refused = figures.reduce((sum, one) => sum + one.refused, 0)
    const tail = refused === 0 ? '' : `  ${refused} NOT 200`
    process.stdout.write(
      `${name.padEnd(12)}${spread.padEnd(28)}${(ours / median(cpu)).toFixed(2).padEnd(10)}${rate.padEnd(12)}${median(figures.map((one) => one.p50))}/${median(figures.map((one) => one.p99))}${tail}\n`,
    )
  }
  const rows = [
    ['squid', 1],
    ['mitmproxy', 0.1],
  ].flatMap(([name, wanted]) => {
    const peer = all.find((one) => one.name === name)
    if (peer === undefined || all[0] === undefined) return []
    const ratios = peer.figures.map((one, at) => (all[0]?.figures[at]?.cpuMicros ?? 0) / one.cpuMicros)
    const measured = ours / median(peer.figures.map((one) => one.cpuMicros))
    const clean = [all[0], peer].every((one) => one.figures.every((figure) => figure.refused === 0))
    return [
      {
        measure: `CPU a request, ours / ${name}`,
        wanted: `<= ${wanted}`,
        measured: Math.round(measured * 1000) / 1000,
        spread: [Math.min(...ratios), Math.max(...ratios)],
        held: clean && measured <= Number(wanted),
      },
    ]
  })
  for (const row of rows) process.stdout.write(`${row.held ? 'held' : 'NOT held'}: ${row.measure} ${row.measured}, wanted ${row.wanted}\n`)
  if (jsonFile !== undefined) writeFileSync(jsonFile, `${JSON.stringify(rows, null, 2)}\n`)
  if (rows.some((row) => !row.held)) process.exitCode = 1
}
