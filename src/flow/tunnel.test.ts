import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TunnelCall } from '../model/call.ts'
import { Refusal } from '../model/refusal.ts'
import { type TunnelSteps, tunnel } from './tunnel.ts'

type Part = 'identify' | 'listed' | 'decide' | 'intent' | 'watch' | 'dial'

function stage(change: Partial<Record<Part, () => unknown>> = {}, port = 443): { readonly said: string[]; play(): Promise<void> } {
  const said: string[] = []
  const part =
    (name: Part, result?: unknown) =>
    (...words: unknown[]): unknown => {
      const other = change[name]
      if (other !== undefined) return (other as (...all: unknown[]) => unknown)(...words)
      said.push(name)
      return result
    }
  const record = {
    identified: () => {},
    decided: () => {},
    intent: part('intent', Promise.resolve()),
    ended: (bytesIn: number, bytesOut: number) => said.push(`ended ${bytesIn} ${bytesOut}`),
    refused: (refusal: Refusal) => said.push(`refused ${refusal.code}`),
  }
  const steps = {
    record: () => record,
    listed: part('listed', true),
    identify: part('identify', {}),
    decide: part('decide', {}),
    dial: part('dial', Promise.resolve({})),
    watch: part('watch', () => said.push('unwatch')),
    defect: () => new Refusal('flow.defect'),
  } as unknown as TunnelSteps
  const incoming = {
    id: 'tunnel-1',
    target: { host: 'files.test', port },
    connection: {},
    relay: async (dial: () => Promise<unknown>) => {
      said.push('relay')
      await dial()
      return { bytesIn: 1, bytesOut: 2 }
    },
    refuse: (refusal: Refusal, id: string) => said.push(`answered ${refusal.code} ${id}`),
    cut: () => said.push('cut'),
  } as unknown as TunnelCall
  return { said, play: () => tunnel(steps, incoming) }
}

const order = ['identify', 'listed', 'decide', 'intent', 'watch', 'relay', 'dial']

test('identify, listed, decide, intent, and only then the relay that dials', async () => {
  const { said, play } = stage()
  await play()
  assert.deepEqual(said, [...order, 'ended 1 2', 'unwatch'])
})

test('a host that is not listed is never decided, dialled or relayed', async () => {
  const { said, play } = stage({ listed: () => false })
  await play()
  assert.deepEqual(said, ['identify', 'refused accept.host_unmanaged', 'answered accept.host_unmanaged tunnel-1'])
})

test('an intent that never becomes durable: nothing is dialled', async () => {
  const { said, play } = stage({ intent: () => new Promise(() => {}) })
  void play()
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.deepEqual(said, ['identify', 'listed', 'decide'])
})

for (const [step, code] of [
  ['identify', 'identify.none'],
  ['decide', 'decide.denied'],
  ['intent', 'audit.unavailable'],
  ['dial', 'forward.address_refused'],
] as const) {
  test(`a refusal of ${step} is recorded, answered, and no later step is called; a defect is flow.defect`, async () => {
    for (const [thrown, expected] of [
      [new Refusal(code), code],
      [new TypeError('sk-secret'), 'flow.defect'],
    ] as const) {
      const { said, play } = stage({ [step]: () => Promise.reject(thrown) })
      await play()
      const tail = step === 'dial' ? ['unwatch'] : []
      assert.deepEqual(said, [...order.slice(0, order.indexOf(step)), `refused ${expected}`, `answered ${expected} tunnel-1`, ...tail])
    }
  })
}

test('a revocation cuts the tunnel', async () => {
  let cut = (): void => {}
  const { said, play } = stage({
    watch: ((_call: unknown, _identity: unknown, give: () => void) => {
      cut = give
      return () => {}
    }) as () => unknown,
    dial: () => {
      cut()
      return Promise.reject(new Refusal('flow.revoked'))
    },
  })
  await play()
  assert.deepEqual(said.slice(-3), ['cut', 'refused flow.revoked', 'answered flow.revoked tunnel-1'])
})

test('an odd port is refused whoever lists the host, and nothing is dialled', async () => {
  for (const port of [22, 25, 80, 465, 5432, 8443, 65_535]) {
    const { said, play } = stage({}, port)
    await play()
    assert.deepEqual(said, ['identify', 'refused accept.bad_authority', 'answered accept.bad_authority tunnel-1'])
  }
})
