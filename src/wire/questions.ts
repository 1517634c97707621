// What the broker and a further process of its data plane ask of each other. Plain values and Secrets only: a process that holds
// none of the keys of the broker identifies nobody and obtains nothing by itself.
import type { Lease, Need } from '../model/credential.ts'
import type { Evidence } from '../model/evidence.ts'
import type { Identity } from '../model/identity.ts'

/** The seam between the planes (DESIGN part 2), and what counts in one place only. */
export type AskedOfBroker = {
  attest: (evidence: Omit<Evidence, 'unchanged'>) => Identity
  lease: (asked: { readonly need: Need; readonly credential: string }) => Pick<Lease, 'id' | 'credential' | 'secrets' | 'expiresAt'>
  /** The vendor said 401 to what this lease holds. */
  distrust: (asked: { readonly lease: string }) => void
  /** A tripwire was touched, by a run or by a sender outside of any. */
  trip: (asked: { readonly run: string | null; readonly otherwise: string }) => void
}
