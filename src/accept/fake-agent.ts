// For tests: a started accept with a fake flow behind it, and an agent that speaks raw bytes to it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import tls from 'node:tls'
import { createRootAuthority } from '../crypto/x509.ts'
import { wholeFlow } from '../http/flow.ts'
import type { Call, TunnelCall } from '../model/call.ts'
import type { PeerFacts } from '../model/evidence.ts'
import { type Limits, limits } from '../model/limits.ts'
import { noEdits, type ResponseHead } from '../model/message.ts'
import type { Refusal } from '../model/refusal.ts'
import type { Service } from '../model/service.ts'
import { type Accept, type AcceptOptions, createAccept, type RefusedEarly } from './accept.ts'
import { createLeaves } from './authority.ts'

const clock = { now: () => Date.now(), monotonic: () => performance.now() }
const ca = createRootAuthority({ commonName: 'Ostiary test', now: Date.now(), years: 1 })
const leaves = createLeaves(ca, clock)
export const caPem = ca.certPem

export function service(part: Partial<Service> & { readonly name: string; readonly hosts: readonly string[] }): Service {
  return {
    port: 443,
    scheme: 'https',
    slots: [{ kind: 'bearer' }],
    credential: 'required',
    placeholder: 'required',
    methods: [],
    actions: [],
    basePrefix: '',
    allowPrivateAddresses: false,
    origins: [],
    cookies: [],
    keyPrefix: 'sk-',
    keyVariables: [],
    baseUrlVariables: [],
    modelField: null,
    modelPath: null,
    toolsField: null,
    tokenUrl: null,
    ...part,
  }
}

export const services: readonly Service[] = [
  service({ name: 'openai', hosts: ['api.openai.test'], actions: [{ action: 'inference', path: '/v1/**' }] }),
  service({ name: 'anthropic', hosts: ['api.anthropic.test'], basePrefix: '/v1', origins: ['https://app.test'] }),
  service({ name: 'files', hosts: ['files.test'], addressFields: ['x-upload-url'] }),
  service({ name: 'docs', hosts: ['docs.test'], methods: ['GET', 'HEAD'] }),
  service({ name: 'plain', hosts: ['plain.test'], scheme: 'http', port: 80 }),
  service({ name: 'literal', hosts: ['192.0.2.7'] }),
]

export const localPeer: PeerFacts = {
  transport: 'tcp',
  address: '127.0.0.1',
  port: 1,
  loopback: true,
  secure: false,
  uid: 1000,
  process: null,
  why: 'a test',
}

export function responseHead(status: number, fields: Readonly<Record<string, string>> = {}): ResponseHead {
  return {
    status,
    reason: 'OK',
    get: (name) => fields[name],
    each: (visit) => {
      for (const [name, value] of Object.entries(fields)) visit(name, value)
    },
  }
}

/** Answers with what it saw, as one JSON document. */
export async function echo(call: Call): Promise<void> {
  const body = (await call.readBody(1024 * 1024)).toString('latin1')
  const { evidence } = call.connection
  const seen = { ...call.target, body, pointer: evidence.pointer, token: evidence.token !== null }
  await call.answer(responseHead(200, { 'content-type': 'application/json' }), noEdits, wholeFlow(Buffer.from(JSON.stringify(seen))))
}

export interface Door {
  readonly accept: Accept
  readonly proxyPort: number
  readonly basePort: number
  readonly refused: { readonly refusal: Refusal; readonly about: RefusedEarly }[]
  readonly defects: unknown[]
}

export interface DoorOptions extends Partial<Omit<AcceptOptions, 'limits'>> {
  readonly shorter?: Partial<Record<keyof Limits, number>>
}

export async function openDoor(part: DoorOptions = {}): Promise<Door> {
  const { shorter, ...given } = part
  const refused: Door['refused'] = []
  const defects: unknown[] = []
  let id = 0
  const quiet = (): void => {}
  const accept = createAccept({
    proxy: { host: '127.0.0.1', port: 0 },
    baseUrl: { host: '127.0.0.1', port: 0 },
    leaves,
    clock,
    log: { debug: quiet, info: quiet, warn: quiet, error: (what, fields) => defects.push([what, fields]) },
    lookup: {
      find: (scheme, host, port) => services.find((one) => one.scheme === scheme && one.hosts.includes(host) && one.port === port) ?? null,
      byName: (name) => services.find((one) => one.name === name) ?? null,
      action: () => 'call',
    },
    gather: async () => ({ peer: localPeer, unchanged: () => true }),
    tokenRequired: () => false,
    onCall: echo,
    onTunnel: () => {},
    onRefused: (refusal, about) => refused.push({ refusal, about }),
    newId: () => `id-${++id}`,
    limits: { ...limits, drainMs: 300, ...shorter } as unknown as Limits,
    ...given,
  })
  const { proxy, baseUrl } = await accept.start()
  return { accept, proxyPort: proxy.port, basePort: baseUrl.port, refused, defects }
}

/** Collects what comes until `until` holds or the other side closes. */
export function read(socket: Socket, until: (text: string) => boolean = () => false): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const done = (): void => {
      socket.off('data', more)
      clearTimeout(late)
      resolve(text)
    }
    const more = (chunk: Buffer): void => {
      text += chunk.toString('latin1')
      if (until(text)) done()
    }
    const late = setTimeout(() => reject(new Error(`nothing more came after ${JSON.stringify(text.slice(-300))}`)), 8_000)
    socket.on('data', more)
    socket.once('close', done)
    socket.on('error', () => {})
  })
}

export const wholeHead = (text: string): boolean => text.includes('\r\n\r\n')

/** One complete answer with Content-Length. */
export const wholeAnswer = (text: string): boolean => {
  const at = text.indexOf('\r\n\r\n')
  const length = /content-length: (\d+)/i.exec(text)?.[1]
  return at >= 0 && length !== undefined && text.length >= at + 4 + Number(length)
}

export async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Everything that comes back until the connection closes or one answer is whole. */
export async function say(port: number, text: string, until: (text: string) => boolean = wholeAnswer): Promise<string> {
  const socket = await dial(port)
  const answer = read(socket, until)
  socket.write(text, 'latin1')
  const got = await answer
  socket.destroy()
  return got
}

export interface Tunnelled {
  readonly authority?: string
  readonly servername?: string
  readonly fields?: string
}

/** CONNECT and the handshake; the socket then speaks plain HTTP. */
export async function tunnelled(port: number, part: Tunnelled = {}): Promise<tls.TLSSocket> {
  const authority = part.authority ?? 'api.openai.test:443'
  const raw = await dial(port)
  const head = read(raw, wholeHead)
  raw.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${part.fields ?? ''}\r\n`)
  const answer = await head
  if (!answer.startsWith('HTTP/1.1 200')) throw new Error(answer)
  return handshake(raw, part.servername ?? (authority.split(':')[0] as string))
}

export async function handshake(raw: Socket, servername: string): Promise<tls.TLSSocket> {
  const secure = tls.connect({ socket: raw, ca: caPem, rejectUnauthorized: false, ...(servername === '' ? {} : { servername }) })
  secure.on('error', () => {})
  await once(secure, 'secureConnect')
  return secure
}

export const bodyOf = (answer: string): Record<string, unknown> =>
  JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)) as Record<string, unknown>

export type { Call, TunnelCall }

/** The bytes of a real hello. */
export async function clientHello(servername: string): Promise<Buffer> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const taken = once(server, 'connection')
  const client = tls.connect({
    port: portOf(server),
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ...(servername === '' ? {} : { servername }),
  })
  client.on('error', () => {})
  const [socket] = (await taken) as [Socket]
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  client.destroy()
  socket.destroy()
  server.close()
  return bytes
}

export const portOf = (server: Server): number => (server.address() as { port: number }).port

/** The hello with one more extension of this type. */
export function withExtension(hello: Buffer, type: number): Buffer {
  const extra = Buffer.from([type >> 8, type & 255, 0, 4, 1, 2, 3, 4])
  let at = 9 + 34
  at += 1 + (hello[at] as number)
  at += 2 + hello.readUInt16BE(at)
  at += 1 + (hello[at] as number)
  const out = Buffer.concat([hello, extra])
  out.writeUInt16BE(hello.readUInt16BE(at) + extra.length, at)
  out.writeUIntBE(hello.readUIntBE(6, 3) + extra.length, 6, 3)
  out.writeUInt16BE(hello.readUInt16BE(3) + extra.length, 3)
  return out
}

/** A door that closes with its test, in which the flow has then had no defect. */
export async function doorOf(context: TestContext, options: DoorOptions = {}): Promise<Door> {
  const made = await openDoor(options)
  context.after(async () => {
    await made.accept.stop()
    assert.deepEqual(made.defects, [])
  })
  return made
}
