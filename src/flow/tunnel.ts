// A CONNECT to a host that no service manages: identify, decide, audit, relay unread. The exception, never the default.
import type { ConnectionMemory, TunnelCall } from '../model/call.ts'
import type { Decision } from '../model/decision.ts'
import type { Identity } from '../model/identity.ts'
import { Refusal } from '../model/refusal.ts'

export interface TunnelRecord {
  identified(identity: Identity): void
  decided(decision: Decision): void
  intent(): Promise<void>
  ended(bytesIn: number, bytesOut: number): void
  refused(refusal: Refusal): void
}

export interface TunnelSteps {
  record(call: TunnelCall): TunnelRecord
  /** Is the host listed as one that may be tunnelled? */
  listed(host: string): boolean
  identify(memory: ConnectionMemory): Identity | Promise<Identity>
  decide(call: TunnelCall, identity: Identity): Decision | Promise<Decision>
  dial(call: TunnelCall): Promise<import('node:net').Socket>
  watch(call: TunnelCall, identity: Identity, cut: () => void): () => void
  defect(error: unknown): Refusal
}

export async function tunnel(steps: TunnelSteps, incoming: TunnelCall): Promise<void> {
  const record = steps.record(incoming)
  let unwatch = (): void => {}
  try {
    const identity = await steps.identify(incoming.connection)
    record.identified(identity)
    // What is passed unread is TLS to an API: mail, shells and databases speak it at other ports, and are none.
    if (incoming.target.port !== 443) throw new Refusal('accept.bad_authority', 'a tunnel leads to port 443')
    if (!steps.listed(incoming.target.host)) throw new Refusal('accept.host_unmanaged', incoming.target.host)
    record.decided(await steps.decide(incoming, identity))
    await record.intent()
    unwatch = steps.watch(incoming, identity, () => incoming.cut())
    const { bytesIn, bytesOut } = await incoming.relay(() => steps.dial(incoming))
    record.ended(bytesIn, bytesOut)
  } catch (error) {
    const refusal = error instanceof Refusal ? error : steps.defect(error)
    record.refused(refusal)
    incoming.refuse(refusal, incoming.id)
  } finally {
    unwatch()
  }
}
