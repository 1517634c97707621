// Which hosts are reached through the proxy of this network, and which directly. Pure: it asks nobody and resolves nothing.

/** The proxy of this network, as one host is reached through it. */
export interface Via {
  readonly host: string
  readonly port: number
  /** The operator knows that it reads what passes: credentials go through it all the same. */
  readonly inspects: boolean
}

/** null: directly. */
export type Route = (host: string) => Via | null

export interface EgressRules {
  readonly proxy: { readonly host: string; readonly port: number } | null
  /** Names, each with everything below it, and addresses. */
  readonly noProxy: readonly string[]
  readonly inspects: boolean
  readonly dangerouslyFixedAddresses: readonly { readonly host: string }[]
}

export function createRoute({ proxy, noProxy, inspects, dangerouslyFixedAddresses }: EgressRules): Route {
  if (proxy === null) return () => null
  const via = { ...proxy, inspects }
  const fixed = new Set(dangerouslyFixedAddresses.map((one) => one.host))
  return (host) => {
    const direct = fixed.has(host) || noProxy.some((name) => host === name || host.endsWith(`.${name}`))
    return direct ? null : via
  }
}

/** As it stands in records and keys. */
export function viaName({ host, port }: Via): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
