// The one way out of an isolated run: a process of its own in the run's network namespace, started by the launcher before the
// command. It makes every address local, and passes whatever connects to the proxy's Unix socket. It holds no secret and
// decides nothing: what it passes on, the proxy judges. Where it cannot stand, the command is not started.
import { createSocket } from 'node:dgram'
import { readlinkSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { limits } from '../model/limits.ts'
import { makeAllLocal } from '../net/kernel.ts'
import { answerQuestion } from './isolate-dns.ts'
import { catchRest } from './isolate-rest.ts'

export interface RelayPlan {
  /** The proxy's door for isolated runs. */
  readonly socket: string
  /** What the network namespace must not be: the launcher's. */
  readonly hostNetwork: string
  /** Ports on which the proxy variables and base URLs look for the proxy. */
  readonly proxyPort: number
  readonly baseUrlPort: number
  /** Ports at which any address leads to the proxy. */
  readonly ports: readonly number[]
  /** Destinations that the launcher dials. */
  readonly reach: readonly { readonly host: string; readonly port: number }[]
}

/** What the launcher is told, and tells. */
export type FromRelay = { readonly ready: true; readonly rest: string } | { readonly failed: string } | { readonly reach: number }
export interface ToRelay {
  readonly publish: number
}

/** RFC 2544: addresses that nobody on the internet has. */
const anywhere = '198.18.0.1'
const reachable = (index: number): string => `198.18.1.${index + 1}`

const tell = (message: FromRelay, socket?: Socket): void => void process.send?.(message, socket)

/** Returns why ports beside those of the plan are not led to the proxy, or nothing. */
async function stand(plan: RelayPlan): Promise<string> {
  if (readlinkSync('/proc/self/ns/net') === plan.hostNetwork) throw new Error('the relay is not in a network namespace of its own')
  await new Promise<void>((resolve, reject) => {
    const knock = connect(plan.socket, () => {
      knock.destroy()
      resolve()
    })
    knock.once('error', (error: NodeJS.ErrnoException) => reject(new Error(`the proxy's door does not open: ${error.code}`)))
  })
  const wrong = makeAllLocal()
  if (wrong !== '') throw new Error(wrong)
  const addresses = plan.reach.map(({ host }, index) => literalOf(host) ?? reachable(index))
  const addressOf = (name: string): string => {
    if (name === 'localhost' || name.endsWith('.localhost')) return '127.0.0.1'
    const index = plan.reach.findIndex((one) => one.host === name)
    return index < 0 ? anywhere : (addresses[index] as string)
  }
  const take = (socket: Socket): void => {
    const to = (socket.localAddress ?? '').replace(/^::ffff:/, '')
    const port = socket.localPort ?? 0
    const index = plan.reach.findIndex((one, at) => one.port === port && addresses[at] === to)
    if (index >= 0) tell({ reach: index }, socket)
    else if (port === plan.proxyPort) pass(socket, plan.socket, 'proxy')
    else if (port === plan.baseUrlPort) pass(socket, plan.socket, 'base-url')
    else pass(socket, plan.socket, `transparent ${port}`)
  }
  const ports = new Set([plan.proxyPort, plan.baseUrlPort, ...plan.ports, ...plan.reach.map((one) => one.port)])
  for (const port of ports) await listen(port, take)
  await answerNames(addressOf)
  return catchRest([...ports, 53], (socket, port) => pass(socket, plan.socket, `transparent ${port}`))
}

function literalOf(host: string): string | null {
  if (host === 'localhost') return '127.0.0.1'
  return host.includes(':') || /^[\d.]+$/.test(host) ? host : null
}

function listen(port: number, take: (socket: Socket) => void): Promise<void> {
  // Paused: not a byte is read before it is known who gets it.
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, take)
  const open = (host: string): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, limits.acceptQueueMax, () => {
        server.off('error', reject)
        server.on('error', () => {})
        resolve()
      })
    })
  // A kernel without IPv6 has only the other.
  return open('::').catch(() => open('0.0.0.0'))
}

async function answerNames(addressOf: (name: string) => string): Promise<void> {
  const udp = createSocket({ type: 'udp4' })
  udp.on('error', () => {})
  udp.on('message', (query, from) => {
    const answer = answerQuestion(query, addressOf)
    if (answer !== null) udp.send(answer, from.port, from.address)
  })
  await new Promise<void>((resolve, reject) => {
    udp.once('error', reject)
    udp.bind(53, '0.0.0.0', resolve)
  })
  // RFC 1035 §4.2.2: over TCP a length of two bytes stands before each message.
  await listen(53, (socket) => {
    let bytes = Buffer.alloc(0)
    socket.on('error', () => socket.destroy())
    socket.on('end', () => socket.end())
    socket.setTimeout(10_000, () => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
        const size = bytes.readUInt16BE(0)
        const answer = answerQuestion(bytes.subarray(2, 2 + size), addressOf)
        bytes = bytes.subarray(2 + size)
        if (answer === null) return void socket.destroy()
        const length = Buffer.alloc(2)
        length.writeUInt16BE(answer.length)
        socket.write(Buffer.concat([length, answer]))
      }
    })
    socket.resume()
  })
}

function pass(socket: Socket, path: string, way: string): void {
  const out = connect({ path, allowHalfOpen: true })
  out.write(`${way}\n`)
  join(socket, out)
}

/** Both ways, each side's end and cut passed on. */
export function join(one: Socket, other: Socket): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on('error', () => to.destroy())
    from.once('close', () => to.destroySoon())
    from.pipe(to)
  }
}

/** The launcher's side of a published port: the port inside, on whichever loopback address the agent listens. */
function publish(port: number, socket: Socket): void {
  const inside = connect({ port, host: 'localhost', autoSelectFamily: true, allowHalfOpen: true })
  join(socket, inside)
}

if (process.argv[1] === import.meta.filename) {
  // The terminal's signals are the command's. What ends this process is the end of its namespace, or of its launcher.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, () => {})
  process.on('message', (message: ToRelay, socket: unknown) => {
    if (socket !== undefined) publish(message.publish, socket as Socket)
  })
  // Without its launcher nobody judges what crosses: it ends, with every connection.
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
  stand(JSON.parse(process.argv[2] as string)).then(
    (rest) => tell({ ready: true, rest }),
    (error: Error) => tell({ failed: error.message }),
  )
}
