// The stage for paths.test.ts: the story's, with services in clear, hosts of this network, a tunnel, and policies that forbid one host
// and one model. Only for tests.
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'

export interface PathsStage {
  readonly stage: Stage
  /** Requests that came to a host at all, whichever. */
  count(): number
  /** Called with what came, before it is answered. */
  arrived(run: (what: string) => void): void
  /** Turns the label that every permit depends on. */
  production(on: boolean): Promise<void>
  close(): Promise<void>
}

/** Every name resolves to an address of this network. */
async function startResolver(): Promise<{ readonly port: number; close(): void }> {
  const socket = createSocket('udp4')
  socket.on('message', (asked, from) => {
    const question = asked.subarray(12, asked.indexOf(0, 12) + 5)
    const four = question.readUInt16BE(question.length - 4) === 1
    const head = Buffer.from([asked[0] as number, asked[1] as number, 0x81, 0x80, 0, 1, 0, four ? 1 : 0, 0, 0, 0, 0])
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 1, 2, 3])
    socket.send(Buffer.concat([head, question, four ? answer : Buffer.alloc(0)]), from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return { port: socket.address().port, close: () => socket.close() }
}

/** A host in clear, and one whose certificate only its own clients know. */
function hosts(came: (what: string) => void) {
  const now = Date.now()
  const clear = createHttpServer((request, response) => {
    came(request.url ?? '')
    if (request.url === '/v1/moved') response.writeHead(302, { location: 'http://other.example/v1/x' }).end()
    else if (request.url !== '/v1/slow') response.end('{"clear":true}')
    else {
      const timer = setInterval(() => response.write('data: more\n\n'), 50)
      response.on('close', () => clearInterval(timer))
    }
  })
  const leaf = issueLeaf(createRootAuthority({ commonName: 'Pinned', now, years: 1 }), ['updates.example'], now, 24 * 3_600_000)
  const pinned = createTlsServer({ cert: leaf.certPem, key: leaf.keyPem }, (socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      came(chunk.toString('latin1'))
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi')
    })
  })
  return { clear, pinned }
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

const policies = `
      @id("one tunnel") permit (principal in Group::"story", action == Action::"tunnel", resource == Host::"updates.example");
      @id("or this, which leads inside") permit (principal, action == Action::"tunnel", resource == Host::"inside-tunnel.example");
      @id("no tunnel but from production")
      forbid (principal, action == Action::"tunnel", resource) unless { context.facts.production };
      @id("whatever is inside") permit (principal in Group::"story", action == Action::"call", resource == Service::"inside");
      @id("in clear too") permit (principal in Group::"story", action == Action::"call", resource == Service::"inside-clear");
      @id("not this host") forbid (principal, action, resource == Service::"gemini");
      @id("not this host in clear") forbid (principal, action, resource == Service::"other");
      @id("not this model")
      forbid (principal, action in Action::"inference", resource)
      when { context.request has model && context.request.model == "forbidden" };
`

export async function setPathsStage(): Promise<PathsStage> {
  const stage = await setStage(Date.now())
  const resolver = await startResolver()
  let others = 0
  let run = (_what: string): void => {}
  const came = (what: string): void => {
    others++
    run(what)
  }
  const { clear, pinned } = hosts(came)
  const ports = { clear: await listening(clear), pinned: await listening(pinned) }
  const until = new Date(Date.now() + 30 * 86_400_000).toISOString().slice(0, 10)
  const fixed = (host: string, port: number): string =>
    `    - { host: ${host}, address: "127.0.0.1:${port}", reason: a test plays it, until: ${until} }\n`
  const inClear = 'scheme: http, credential: none, actions: [{ action: inference, path: "/v1/**" }]'
  const text = readFileSync(stage.configFile, 'utf8')
    .replace('egress:\n', `egress:\n  resolver: "127.0.0.1:${resolver.port}"\n`)
    .replace(
      '  dangerouslyFixedAddresses:\n',
      `  dangerouslyFixedAddresses:\n${fixed('clear.example', ports.clear)}${fixed('other.example', ports.clear)}${fixed('updates.example', ports.pinned)}`,
    )
    .replace(
      '  gemini: {}\n',
      `  gemini: {}
  clear: { hosts: [clear.example], ${inClear} }
  other: { hosts: [other.example], ${inClear} }
  inside: { hosts: [inside.example], credential: none }
  inside-clear: { hosts: [inside-clear.example], scheme: http, credential: none }
tunnels:
  - { host: updates.example, reason: pins its certificate }
  - { host: inside-tunnel.example, reason: pins its certificate }
  - { host: forbidden.example, reason: no policy permits it }
`,
    )
  const label = 'stage: production'
  const load = async (on: boolean): Promise<void> => {
    writeFileSync(stage.configFile, `${on ? text : text.replace(label, 'stage: test')}${policies}`, { mode: 0o600 })
    const done = await stage.admin('POST', '/reload')
    if (done.ok !== true) throw new Error(`the configuration of the paths does not load: ${JSON.stringify(done)}`)
  }
  await load(true)
  const { vendors } = stage
  vendors.watch.arrived = (what) => run(what)
  return {
    stage,
    count: () => vendors.seen.filter((one) => !one.path.includes('oauth')).length + vendors.upgraded.length + others,
    arrived: (next) => {
      run = next
    },
    production: load,
    close: async () => {
      await stage.close()
      resolver.close()
      for (const server of [clear, pinned]) server.close()
      clear.closeAllConnections()
    },
  }
}
