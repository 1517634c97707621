// The canonical object of one request: made once by accept, read by policy, dialling, TLS name, injection and audit.

export interface Target {
  readonly scheme: 'https' | 'http'
  /** Lower-case A-label, no trailing dot; or an IP literal without brackets. */
  readonly host: string
  readonly port: number
  readonly method: string
  /** Byte for byte what is sent, without the query; begins with `/`. */
  readonly path: string
  /** With its `?`, or empty. Never recorded. */
  readonly query: string
  /** Name of the service, or null for a host that no service manages (tunnels only). */
  readonly service: string | null
  /** In the catalog's words: inference, state, deferred, mint, admin, ...; `call` where nothing narrower fits; `tunnel`. */
  readonly action: string
  /** `owner/name` in lower case and without `.git`, where the path names a repository. */
  readonly repository?: string
  readonly way: Way
}

export type Way = 'connect' | 'absolute' | 'base-url' | 'transparent' | 'tunnel'
