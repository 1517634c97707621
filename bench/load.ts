// What one client of the bench is told to do; bench.ts writes it, client.ts reads it. It must stay plain JSON.

export interface Load {
  /** `load`: one request after the other; `fresh`: a connection a request; `streams`: answers without end; `big`: one body. */
  readonly kind: 'load' | 'fresh' | 'streams' | 'big'
  /** `connect`: CONNECT, then TLS; `tls`: TLS at once; `plain`: neither. */
  readonly way: 'connect' | 'tls' | 'plain'
  readonly port: number
  readonly address?: string
  /** Who the client means: authority of CONNECT and name in TLS. For `fresh` one after the other. */
  readonly hosts: readonly string[]
  readonly ca: string
  /** Field `Host`; default: the host. */
  readonly hostField?: string
  readonly method: 'POST' | 'GET'
  readonly path: string
  readonly fields: readonly string[]
  /** Bytes of the body; JSON of 300 bytes unless said. */
  readonly bodyBytes?: number
  readonly connections: number
  /** Streams of HTTP/2 on each connection; left out: HTTP/1.1. */
  readonly h2Streams?: number
  /** Requests a second, sent whether or not the earlier ones are answered; left out: as fast as answers come. */
  readonly rate?: number
  readonly warmMs: number
  readonly runMs: number
}

/** What the client found, and what the peer used meanwhile. */
export interface Figure {
  readonly done: number
  readonly refused: number
  readonly seconds: number
  readonly p50: number
  readonly p99: number
  /** Of streams: ms from the request to the first event, median. */
  readonly first: number
  /** CPU of all threads and children of the peer, and of its first thread alone, for each `done`. */
  readonly cpuMicros: number
  readonly mainMicros: number
  readonly rssBefore: number
  readonly rssPeak: number
}

export const chat = JSON.stringify({ model: 'bench', messages: [{ role: 'user', content: '' }] })

export const askFields = [
  'Authorization: Bearer placeholder',
  'Content-Type: application/json',
  'Accept: application/json',
  'User-Agent: bench/1',
  'X-Stainless-Lang: js',
  'X-Stainless-Runtime: node',
]

/** Every peer strips the same twelve names and sets one. */
export const credentialNames = [
  'Authorization',
  'X-Api-Key',
  'Api-Key',
  'X-Goog-Api-Key',
  'Xi-Api-Key',
  'Private-Token',
  'Job-Token',
  'X-Subscription-Token',
  'Dd-Api-Key',
  'Dd-Application-Key',
  'X-Amz-Security-Token',
  'Cookie',
]
