// Names to addresses, once: by the system's resolver, or by one that the operator names.
import { promises as dns, lookup } from 'node:dns'
import { isIP } from 'node:net'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'

export type Resolve = (host: string) => Promise<readonly string[]>

/** `server` is `ip` or `ip:port` of a DNS server, or null for the system's. Throws Refusal forward.resolve. */
export function createResolve(server: string | null): Resolve {
  const ask = server === null ? system : named(server)
  return async (host) => {
    if (isIP(host) !== 0) return [host]
    const addresses = await ask(host).catch((error: NodeJS.ErrnoException) => {
      throw new Refusal('forward.resolve', `${host}: ${error.code ?? error.message}`)
    })
    if (addresses.length === 0) throw new Refusal('forward.resolve', `${host}: no address`)
    return addresses.slice(0, limits.addressesMax)
  }
}

function system(host: string): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    // getaddrinfo has no time-out of its own; the wait ends here, the thread when the system gives up.
    const late = setTimeout(() => reject(Object.assign(new Error('timeout'), { code: 'ETIMEOUT' })), limits.resolveMs)
    lookup(host, { all: true, order: 'verbatim' }, (error, found) => {
      clearTimeout(late)
      if (error !== null) reject(error)
      else resolve(found.map((one) => one.address))
    })
  })
}

function named(server: string): (host: string) => Promise<readonly string[]> {
  const resolver = new dns.Resolver({ timeout: limits.resolveMs, tries: 2 })
  resolver.setServers([server])
  return async (host) => {
    const [four, six] = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
    if (four.status === 'rejected' && six.status === 'rejected') throw four.reason
    return [...(four.status === 'fulfilled' ? four.value : []), ...(six.status === 'fulfilled' ? six.value : [])]
  }
}
