// Names to addresses, once: by the system's resolver, or by one that the operator names.
import { promises as dns, lookup } from 'node:dns'
import { isIP } from 'node:net'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { createLookups } from './lookups.ts'

/** `sender`: on whose behalf, the name of a workload; absent: on our own. */
export type Resolve = (host: string, sender?: string) => Promise<readonly string[]>

/** `server` is `ip` or `ip:port` of a DNS server, or null for the system's. Throws Refusal forward.resolve, forward.busy. */
export function createResolve(server: string | null): Resolve {
  const lookup = createLookups(server === null ? system : named(server), limits)
  return async (host, sender = '') => {
    if (isIP(host) !== 0) return [host]
    const addresses = await lookup(host, sender).catch((error: NodeJS.ErrnoException) => {
      if (error instanceof Refusal) throw error
      throw new Refusal('forward.resolve', `${host}: ${error.code ?? error.message}`)
    })
    if (addresses.length === 0) throw new Refusal('forward.resolve', `${host}: no address`)
    return addresses.slice(0, limits.addressesMax)
  }
}

function system(host: string): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    lookup(host, { all: true, order: 'verbatim' }, (error, found) => {
      if (error !== null) reject(error)
      else resolve(found.map((one) => one.address))
    })
  })
}

function named(server: string): (host: string) => Promise<readonly string[]> {
  // The second try has twice the time of the first: both end within resolveMs.
  const resolver = new dns.Resolver({ timeout: Math.floor(limits.resolveMs / 3), tries: 2 })
  resolver.setServers([server])
  return async (host) => {
    const [four, six] = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
    if (four.status === 'rejected' && six.status === 'rejected') throw four.reason
    return [...(four.status === 'fulfilled' ? four.value : []), ...(six.status === 'fulfilled' ? six.value : [])]
  }
}
