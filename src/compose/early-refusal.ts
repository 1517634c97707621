// A request that was refused before it became a call is recorded all the same, equal ones of a sender once a second.
import type { RefusedEarly } from '../accept/accept.ts'
import type { Audit } from '../audit/audit.ts'
import type { Clock } from '../model/clock.ts'
import type { Refusal } from '../model/refusal.ts'

export function earlyRefusal(audit: Audit, clock: Clock, refusal: Refusal, about: RefusedEarly): void {
  const { id, peer, ...rest } = about
  const process =
    peer.process === null ? {} : { process: { pid: peer.process.pid, uid: peer.process.uid, executable: peer.process.executable } }
  audit.refusal(
    {
      kind: 'outcome',
      time: clock.now(),
      call: id,
      decision: 'refuse',
      code: refusal.code,
      detail: refusal.detail,
      address: peer.address,
      ...process,
      ...rest,
    },
    peer.process === null ? peer.address : `${peer.process.pid}:${peer.process.startTicks}`,
  )
}
