// What is dialled and trusted upstream, and through which proxy; follows the configuration in force.
import type { Config } from '../config/config.ts'
import { createThroughProxy } from '../forward/through-proxy.ts'
import { createDial, type Dial } from '../net/dial.ts'
import { createResolve } from '../net/resolve.ts'
import { createRoute, type Route, viaName } from '../net/route.ts'
import { publicRoots, upstreamRoots } from './trust-roots.ts'

export interface UpstreamWay {
  readonly dial: Dial
  readonly route: Route
  readonly roots: (publicOnly: boolean) => readonly string[]
  /** Is it reached through a proxy that may not read what passes? */
  readonly guards: (host: string) => boolean
  /** For the record; undefined: directly. */
  readonly via: (host: string) => string | undefined
  follow(next: Config): void
}

export function createUpstream(first: Config, ownPorts: () => readonly number[]): UpstreamWay {
  let { egress } = first
  let all = upstreamRoots(egress.extraCa)
  let resolve = createResolve(egress.resolver)
  let toVia = createRoute(egress)
  const direct = createDial({
    resolve: (host, sender) => resolve(host, sender),
    fixed: (host) => egress.dangerouslyFixedAddresses.find((one) => one.host === host) ?? null,
    ownPorts,
  })
  const route: Route = (host) => toVia(host)
  const roots = (publicOnly: boolean): readonly string[] => (publicOnly ? publicRoots : all)
  return {
    dial: createThroughProxy({ direct, resolve: (host, sender) => resolve(host, sender), route }),
    route,
    roots,
    guards: (host) => route(host)?.inspects === false,
    via(host) {
      const via = route(host)
      return via === null ? undefined : viaName(via)
    },
    follow(next) {
      // Lookups under way count as long as they last.
      if (next.egress.resolver !== egress.resolver) resolve = createResolve(next.egress.resolver)
      egress = next.egress
      all = upstreamRoots(egress.extraCa)
      toVia = createRoute(egress)
    },
  }
}
