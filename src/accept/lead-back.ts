// An answer may name an address at the vendor at which the agent is to go on, as Gemini's does for an upload. A client that came by
// the base URL must be led back through it: at the vendor's own address nobody puts its credential in. Only whole addresses at the
// one host that the base URL leads to are changed, and only in the fields that the catalog names.
import type { RequestMessage } from '../http/read-head.ts'
import type { Edits, ResponseHead } from '../model/message.ts'
import type { Service } from '../model/service.ts'

export interface LeadBack {
  readonly fields: readonly string[]
  /** What an address begins with at the vendor, its path left out. */
  readonly there: readonly string[]
  /** Paths that come out the same when the base URL maps them. */
  readonly path: string
  /** What the agent calls instead. */
  readonly here: string
}

/** `mapped`: the part of the path that the base URL takes away, `/r/POINTER/gemini`. */
export function leadBackOf(head: RequestMessage, mapped: string, service: Service): LeadBack | undefined {
  if (service.addressFields === undefined) return undefined
  const origin = `${service.scheme}://${service.hosts[0]}`
  const here = `http://${head.host}${mapped}`
  return { fields: service.addressFields, there: [origin, `${origin}:${service.port}`], path: `${service.basePrefix}/`, here }
}

export function leadBack(by: LeadBack | undefined, head: ResponseHead, edits: Edits): Edits {
  if (by === undefined) return edits
  const set: [string, Buffer][] = []
  for (const name of by.fields) {
    const value = head.get(name)
    // One that held a secret is masked already, and leads nowhere.
    if (value === undefined || edits.remove.has(name)) continue
    const there = by.there.find((one) => value.startsWith(one + by.path))
    if (there !== undefined) set.push([name, Buffer.from(by.here + value.slice(there.length), 'latin1')])
  }
  if (set.length === 0) return edits
  return { ...edits, remove: new Set([...edits.remove, ...set.map(([name]) => name)]), set: [...edits.set, ...set] }
}
