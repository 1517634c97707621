// Ostiary as the bench starts it: identity, policy with a condition, injection, scrub and durable audit are all on.
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brokerFlags, nodeFlags } from '../src/deploy/units.ts'
import { freePort, type Ground, root } from './ground.ts'
import type { Peer } from './peers.ts'

export interface Us extends Peer {
  readonly baseUrlPort: number
  /** The command line towards this installation. */
  readonly cli: readonly string[]
  readonly dir: string
}

export interface Choice {
  /** The file that starts it. */
  readonly bin?: string
  /** A module that is loaded before it. */
  readonly preload?: string
  /** Of its data plane. */
  readonly processes?: number
}

export async function us(ground: Ground, choice: Choice = {}): Promise<Us> {
  const dir = ground.folder('ostiary')
  const [port, baseUrlPort] = [await freePort(), await freePort()]
  writeFileSync(join(dir, 'ostiary.yaml'), configuration(ground, port, baseUrlPort, choice.processes ?? 1), { mode: 0o600 })
  const store = join(dir, 'store')
  mkdirSync(store, { mode: 0o700 })
  const bin = choice.bin ?? join(root, 'bin', 'ostiary.mjs')
  const cli = [process.execPath, bin, '--config', join(dir, 'ostiary.yaml'), '--data', store]
  for (const name of ['openai', 'many']) {
    const words = ['secret', 'set', name, '--for', name, '--stdin']
    const stored = spawnSync(cli[0] as string, [...cli.slice(1), ...words], { input: ground.credential, encoding: 'utf8' })
    if (stored.status !== 0) throw new Error(`ostiary secret set: ${stored.stderr}`)
  }
  const ca = join(dir, 'store.run', 'ca.pem')
  // As bin/ostiary.mjs starts it: NODE_OPTIONS would be refused, and rightly.
  const flags = [...nodeFlags, ...brokerFlags]
  const program =
    choice.preload === undefined ? [] : [process.execPath, ...flags, `--import=${choice.preload}`, join(root, 'src', 'main.ts')]
  const words = [...(program.length > 0 ? [...program, ...cli.slice(2)] : cli), 'start']
  return { name: 'ostiary', port, baseUrlPort, way: 'connect', words, cli, dir, ca }
}

export const baseUrlOf = (one: Us): Peer => ({
  ...one,
  way: 'plain',
  port: one.baseUrlPort,
  prefix: '/openai',
  hostField: `127.0.0.1:${one.baseUrlPort}`,
})

function configuration(ground: Ground, port: number, baseUrlPort: number, processes: number): string {
  const until = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10)
  const fixed = (host: string): string =>
    `    - { host: ${host}, address: "${ground.upstreamAddress}:${ground.upstreamPort}", reason: the upstream of the bench, until: ${until} }`
  return `trustDomain: bench.example
processes: ${processes}
listen: { proxy: 127.0.0.1:${port}, baseUrl: 127.0.0.1:${baseUrlPort} }
log: error
egress:
  extraCa: ${ground.upstreamCa}
  dangerouslyFixedAddresses:
${[ground.host, ...ground.manyHosts].map(fixed).join('\n')}
workloads:
  bench: { groups: [measured], labels: { stage: production }, identify: { process: { user: ${process.getuid?.()} } } }
  bench-run: { groups: [measured], labels: { stage: production }, run: { startedBy: [${process.getuid?.()}] } }
services:
  openai: {}
  many: { hosts: [${ground.manyHosts.join(', ')}], slot: bearer }
credentials:
  openai: { service: openai, for: [measured], static-key: { secret: openai } }
  many: { service: many, for: [measured], static-key: { secret: many } }
conditions:
  businessHours: { time-window: { zone: UTC, days: mon-sun, from: "00:00", to: "24:00" } }
policies:
  - cedar: |
      @id("bench")
      permit (principal in Group::"measured", action, resource)
      when { context.facts.businessHours && principal.labels.stage == "production" };
`
}
