// An API that does exactly what a test says, byte by byte, behind real TLS on loopback; and the calls of an agent that is not there.

import { createSecureServer, type Http2SecureServer } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createPlainServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { createRootAuthority, issueLeaf } from '../crypto/x509.ts'
import { emptyFlow } from '../http/flow.ts'
import { readRequestHead } from '../http/read-head.ts'
import type { Call } from '../model/call.ts'
import { type Clock, systemClock } from '../model/clock.ts'
import type { Lease } from '../model/credential.ts'
import { type Limits, limits } from '../model/limits.ts'
import { type Edits, type Flow, noEdits } from '../model/message.ts'
import type { Service } from '../model/service.ts'
import { createDial } from '../net/dial.ts'
import type { Route } from '../net/route.ts'
import { createForward, type Forward } from './forward.ts'

const host = 'api.test'
const noRoots: readonly string[] = []
const startedAt = Date.now()
const authority = createRootAuthority({ commonName: 'fake api', now: startedAt, years: 1 })
const leaf = issueLeaf(authority, [host], startedAt, 3_600_000)

export interface FakeApi {
  readonly port: number
  readonly rootPem: string
  /** What came in, a connection. */
  readonly got: string[]
  /** What came in at once, over all connections, in order. */
  readonly pieces: string[]
  readonly sockets: Socket[]
  readonly forward: Forward
  call(part?: Partial<FakeCallOptions>): FakeCall
}

export interface FakeCallOptions {
  readonly method: string
  readonly path: string
  readonly fields: readonly string[]
  readonly body: Flow
  readonly host: string
}

export interface FakeCall extends Call {
  leave(): void
}

/** Called for each piece that comes; `got` is all that came on this connection. */
export type Script = (socket: Socket, got: string, connection: number) => void

export interface FakeApiOptions {
  readonly limits?: Partial<Record<keyof Limits, number>>
  readonly tls?: { readonly cert: string; readonly key: string }
  readonly roots?: readonly string[]
  readonly plain?: boolean
  readonly route?: Route
  readonly clock?: Clock
  /** The API's CA is one that everybody knows. */
  readonly known?: boolean
  /** What the script's server chooses by ALPN. */
  readonly protocols?: readonly string[]
  /** Speaks HTTP/2 only; the script is then not asked. */
  readonly h2?: (server: Http2SecureServer) => void
}

export async function fakeApi(context: TestContext, script: Script, options: FakeApiOptions = {}): Promise<FakeApi> {
  const got: string[] = []
  const pieces: string[] = []
  const sockets: Socket[] = []
  const accept = (socket: Socket): void => {
    const connection = sockets.push(socket) - 1
    got[connection] = ''
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      pieces.push(chunk.toString('latin1'))
      got[connection] += chunk.toString('latin1')
      script(socket, got[connection] as string, connection)
    })
  }
  const certificate = options.tls ?? { cert: leaf.certPem, key: leaf.keyPem }
  const server: Server =
    options.h2 !== undefined
      ? createSecureServer({ ...certificate, settings: { maxConcurrentStreams: 50 } })
      : options.plain === true
        ? createPlainServer({ noDelay: true }, accept)
        : tls.createServer({ ...certificate, noDelay: true, ALPNProtocols: [...(options.protocols ?? ['http/1.1'])] }, accept)
  if (options.h2 !== undefined) {
    options.h2(server as Http2SecureServer)
    server.on('connection', (socket: Socket) => sockets.push(socket))
  }
  server.on('tlsClientError', () => {})
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  const roots = options.roots ?? [authority.certPem]
  const forward = createForward({
    dial: createDial({ resolve: async () => ['127.0.0.1'], fixed: () => null, ownPorts: () => [] }),
    roots: (publicOnly) => (publicOnly && options.known !== true ? noRoots : roots),
    ...(options.route === undefined ? {} : { route: options.route }),
    clock: options.clock ?? systemClock,
    limits: { ...limits, ...options.limits } as Limits,
    sweepMs: 10,
  })
  context.after(() => {
    forward.close()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const scheme = options.plain === true ? 'http' : 'https'
  return { port, rootPem: authority.certPem, got, pieces, sockets, forward, call: (part) => fakeCall(port, scheme, part) }
}

function fakeCall(port: number, scheme: 'http' | 'https', part: Partial<FakeCallOptions> = {}): FakeCall {
  const { method = 'GET', path = '/v1/models', fields = [], body = emptyFlow } = part
  const text = [`${method} ${path} HTTP/1.1`, `Host: ${host}`, ...fields, '', ''].join('\r\n')
  const bytes = Buffer.from(text, 'latin1')
  const whenGone: (() => void)[] = []
  const call = {
    head: readRequestHead(bytes, 0, bytes.length),
    target: { scheme, host: part.host ?? host, port, method, path, query: '', service: 'api', action: 'call', way: 'connect' },
    service: { allowPrivateAddresses: true, cookies: [] } as unknown as Service,
    connection: { identity: null },
    body,
    gone: false,
    whenGone(run: () => void) {
      if (call.gone) run()
      else whenGone.push(run)
      return () => {
        const at = whenGone.indexOf(run)
        if (at >= 0) whenGone.splice(at, 1)
      }
    },
    leave() {
      call.gone = true
      for (const run of whenGone.splice(0)) run()
    },
  }
  return call as unknown as FakeCall
}

export function leaseNamed(credentialName: string): Lease {
  return { credentialName, revoked: new AbortController().signal } as unknown as Lease
}

export function bearer(value: string): Edits {
  return { ...noEdits, set: [['Authorization', Buffer.from(value)]] }
}

export interface Taken {
  text: string
  bytes: number
  chunks: string[]
  trailers: readonly (readonly [string, string])[] | null
  failed: Error | null
}

/** Starts the flow; `more` says after each chunk whether it takes another at once. */
export function take(flow: Flow, more: (taken: Taken) => boolean = () => true, keep = true): Taken {
  const taken: Taken = { text: '', bytes: 0, chunks: [], trailers: null, failed: null }
  if (flow.whole !== null) {
    taken.text = flow.whole.toString('latin1')
    taken.trailers = []
    return taken
  }
  flow.start({
    data(chunk) {
      taken.bytes += chunk.length
      if (keep) {
        taken.text += chunk.toString('latin1')
        taken.chunks.push(chunk.toString('latin1'))
      }
      return more(taken)
    },
    end: (trailers) => {
      taken.trailers = trailers
    },
    fail: (error) => {
      taken.failed = error
    },
  })
  return taken
}

/** Waits until it holds, for two seconds at most. */
export async function until(holds: () => boolean, what = 'it holds'): Promise<void> {
  for (let turn = 0; turn < 1_000; turn++) {
    if (holds()) return
    await sleep(2)
  }
  throw new Error(`waited in vain until ${what}`)
}

export async function ended(taken: Taken): Promise<Taken> {
  await until(() => taken.trailers !== null || taken.failed !== null, 'the body ended')
  return taken
}
