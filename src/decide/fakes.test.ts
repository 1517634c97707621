// Fakes for the tests of this step: a call, an identity, conditions that state what they are told.
import { catalog } from '../catalog/catalog.ts'
import { createServiceTable } from '../catalog/service-table.ts'
import type { Call, TunnelCall } from '../model/call.ts'
import type { FactValue } from '../model/facts.ts'
import type { Identity } from '../model/identity.ts'
import type { Log } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import type { RequestHead } from '../model/message.ts'
import { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import type { Target } from '../model/target.ts'
import type { Condition, FactShape } from './condition.ts'
import { createDecide, type DecideParts, type Decider } from './decide.ts'

export const table = createServiceTable(catalog)

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }

export function identity(changes: Partial<Identity> = {}): Identity {
  return {
    workload: 'agent',
    spiffeId: 'spiffe://acme.example/agent',
    groups: ['research'],
    labels: { stage: 'production' },
    proven: {},
    provider: 'process',
    run: 'run-1',
    custody: 'namespace',
    expiresAt: 1e15,
    key: 'k',
    onThisHost: true,
    address: '127.0.0.1',
    ...changes,
  }
}

export function target(method: string, url: string, changes: Partial<Target> = {}): Target {
  const { hostname, pathname, search } = new URL(url)
  const service = table.find('https', hostname, 443)
  return {
    scheme: 'https',
    host: hostname,
    port: 443,
    method,
    path: pathname,
    query: search,
    service: service?.name ?? null,
    action: service === null ? 'tunnel' : table.action(service, method, pathname),
    way: 'connect',
    ...changes,
  }
}

interface CallOptions {
  readonly body?: string | Buffer
  readonly headers?: Readonly<Record<string, string>>
  readonly service?: Service
  readonly target?: Partial<Target>
}

export interface FakeCall extends Call {
  readonly reads: number
}

export function call(method: string, url: string, options: CallOptions = {}): FakeCall {
  const where = target(method, url, options.target)
  const bytes = Buffer.from(options.body ?? '')
  const headers: Readonly<Record<string, string>> = options.headers ?? { 'content-type': 'application/json' }
  const head: RequestHead = { method, target: where.path, get: (name) => headers[name], each() {} }
  let reads = 0
  return {
    id: 'c1',
    startedAt: 0,
    head,
    target: where,
    service: options.service ?? (where.service === null ? null : table.byName(where.service)),
    body: { length: bytes.length, whole: bytes, start() {}, pause() {}, resume() {}, cancel() {} },
    get reads() {
      return reads
    },
    async readBody(bytesMax: number) {
      reads++
      if (bytes.length > bytesMax) throw new Refusal('decide.body_unreadable', 'too large')
      return bytes
    },
  } as unknown as FakeCall
}

export function tunnelCall(host: string): TunnelCall {
  return { id: 't1', target: target('CONNECT', `https://${host}/`, { action: 'tunnel', path: '', way: 'tunnel' }) } as unknown as TunnelCall
}

export interface FakeCondition {
  readonly name: string
  readonly kind: string
  readonly shape: FactShape
  readonly condition: Condition
}

/** States what `value` returns at the time; counts nothing, promises nothing. */
export function condition(name: string, shape: FactShape, value: () => FactValue | Record<string, FactValue>): FakeCondition {
  return { name, kind: 'fake', shape, condition: { facts: async () => value() } }
}

export function decider(policies: string, changes: Partial<DecideParts> = {}): Decider {
  return createDecide({
    policies: [{ id: 'p', text: policies, file: 'p.cedar', line: 1 }],
    conditions: [],
    services: catalog,
    workloads: [
      { name: 'agent', groups: ['research'], labels: { stage: 'production' } },
      { name: 'other', groups: ['pods'], labels: { tier: 'gold' } },
    ],
    credentialFor: (_identity, service) => `${service.name}-key`,
    clock: { now: () => 1_000, monotonic: () => 1_000 },
    limits,
    log: silent,
    ...changes,
  })
}

/** The code of the refusal that a call ends in, or `permitted`. */
export async function outcome(run: () => unknown): Promise<string> {
  try {
    await run()
    return 'permitted'
  } catch (error) {
    if (error instanceof Refusal) return error.code
    throw error
  }
}
