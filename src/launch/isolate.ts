// `ostiary run --isolate`: a network namespace in which nothing is but the relay to the proxy, and the crossings that a person
// named. Whatever fails here, the command is not started: there is no half isolation.
import { type ChildProcess, spawn } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { readFileSync, readlinkSync } from 'node:fs'
import { connect, createServer, isIP, type Server, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { emitted } from '../model/emitted.ts'
import { type FromRelay, join, type RelayPlan } from './isolate-relay.ts'

/** Wrong use, or a machine on which isolation cannot be had: said to the person, and nothing is started. */
export class NoIsolation extends Error {}

export interface Crossing {
  readonly kind: 'publish' | 'reach'
  readonly host: string
  /** What the launcher dials or listens on: resolved once, so that what was judged is what is dialled. */
  readonly address: string
  readonly port: number
}

export interface CrossingsAsked {
  readonly publish: readonly string[]
  readonly reach: readonly string[]
}

/** Throws NoIsolation for what cannot be read or resolved. */
export async function readCrossings({ publish, reach }: CrossingsAsked): Promise<readonly Crossing[]> {
  const crossings: Crossing[] = publish.map((text) => ({
    kind: 'publish',
    host: '127.0.0.1',
    address: '127.0.0.1',
    port: portOf(text, text),
  }))
  for (const text of reach) {
    const match = /^(\[[0-9a-f:.]+\]|[^:[\]]+):(\d+)$/i.exec(text)
    if (match === null) throw new NoIsolation(`--reach ${text}: write HOST:PORT, for example db.internal:5432`)
    const host = (match[1] as string).replace(/^\[|\]$/g, '').toLowerCase()
    const found = isIP(host) > 0 ? { address: host } : await lookup(host, { verbatim: false }).catch(() => null)
    if (found === null) throw new NoIsolation(`--reach ${text}: this machine finds no address for ${host}`)
    crossings.push({ kind: 'reach', host, address: found.address, port: portOf(match[2] as string, text) })
  }
  return crossings
}

function portOf(text: string, whole: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port < 1 || port > 65_535) throw new NoIsolation(`${whole}: a port is a number from 1 to 65535`)
  return port
}

/** What the run door tells about the proxy. */
export interface InsideDoor {
  readonly proxy: string
  readonly baseUrl: string
  readonly inside: { readonly socket: string; readonly ports: readonly number[] }
}

export interface Network {
  close(): void
}

const standMs = 15_000
const lateMs = 500

/** Lets the command that waits in `child` (a sandbox with a `net` step, fd 3 a pipe) go on once its network stands. */
export async function makeNetwork(
  child: ChildProcess,
  door: InsideDoor,
  crossings: readonly Crossing[],
  say: (line: string) => void,
): Promise<Network> {
  const gate = child.stdio[3] as Socket
  gate.on('error', () => {})
  const reach = crossings.filter(({ kind }) => kind === 'reach')
  const published = crossings.filter(({ kind }) => kind === 'publish')
  const servers: Server[] = []
  const plan: RelayPlan = {
    socket: door.inside.socket,
    hostNetwork: readlinkSync('/proc/self/ns/net'),
    proxyPort: portAt(door.proxy),
    baseUrlPort: portAt(door.baseUrl),
    ports: door.inside.ports,
    reach: reach.map(({ host, port }) => ({ host, port })),
  }
  const taken = [plan.proxyPort, plan.baseUrlPort, ...plan.ports, 53]
  try {
    for (const { port } of published)
      if (taken.includes(port)) throw new NoIsolation(`--publish ${port}: inside, this port leads to the proxy; let the agent use another`)
    await within(once(child, gate, 'made'))
    const relay = startRelay(child, plan)
    let over = false
    const stood = new Promise<void>((resolve, reject) => {
      relay.once('exit', (code) => {
        reject(new NoIsolation(`the relay ended with ${code} before it stood`))
        // The end of the run ends it too, and may be heard a moment later.
        setTimeout(() => over || say('the relay of this run ended: its network is gone, nothing else opens'), lateMs).unref()
      })
      relay.once('error', (error) => reject(new NoIsolation(`the relay cannot be started: ${error.message}`)))
      relay.on('message', (message: FromRelay, socket: unknown) => {
        if ('ready' in message) {
          if (message.rest !== '') say(`TCP to ports other than 80, 443 and those of services is refused without a record: ${message.rest}`)
          resolve()
        } else if ('failed' in message) reject(new NoIsolation(`the relay does not stand: ${message.failed}`))
        else if (socket !== undefined) dial(reach[message.reach] as Crossing, socket as Socket)
      })
    })
    await within(stood)
    for (const { port } of published) servers.push(await openPublished(port, relay))
    gate.end('go\n')
    return {
      close() {
        over = true
        for (const server of servers) server.close()
        if (relay.connected) relay.disconnect()
      },
    }
  } catch (error) {
    for (const server of servers) server.close()
    gate.destroy()
    child.kill('SIGKILL')
    throw error
  }
}

const portAt = (address: string): number => Number(address.slice(address.lastIndexOf(':') + 1))

function within(work: Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<void>()
  const late = setTimeout(() => reject(new NoIsolation('the network of the run did not stand in time')), standMs)
  return Promise.race([work, promise]).finally(() => clearTimeout(late))
}

function once(child: ChildProcess, gate: Socket, line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new NoIsolation(`the sandbox cannot be started: ${error.message}`)))
    gate.once('data', (bytes) =>
      bytes.toString().trim() === line ? resolve() : reject(new NoIsolation('the sandbox said something else')),
    )
    gate.once('close', () => reject(new NoIsolation('the sandbox ended before its network stood')))
  })
}

/** In the namespaces of the sandbox (`unshare` forked its first process), but with the host's files: the proxy's door is there. */
function startRelay(child: ChildProcess, plan: RelayPlan): ChildProcess {
  const [first = ''] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ')
  const user = process.getuid?.() === 0 ? [] : ['--user', '--preserve-credentials']
  const relay = fileURLToPath(emitted('./isolate-relay.ts', import.meta.url))
  return spawn(
    'nsenter',
    [
      ...['--target', first, ...user, '--net', '--pid', '--'],
      ...['setpriv', '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all,+net_admin,+net_bind_service', '--'],
      ...[process.execPath, '--disable-warning=ExperimentalWarning', '--disable-sigusr1', relay, JSON.stringify(plan)],
    ],
    // Detached: a Ctrl-C of the terminal is the command's.
    { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: { PATH: process.env['PATH'] }, detached: true },
  )
}

function dial({ address, port }: Crossing, from: Socket): void {
  join(from, connect({ host: address, port, allowHalfOpen: true }))
}

function openPublished(port: number, relay: ChildProcess): Promise<Server> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    if (!relay.connected) return void socket.destroy()
    relay.send({ publish: port }, socket, {}, () => {})
  })
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(new NoIsolation(`--publish ${port}: ${error.code === 'EADDRINUSE' ? 'the port is in use on this machine' : error.message}`)),
    )
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}
