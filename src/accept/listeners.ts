// Listening sockets, and the count of what they let in. It knows neither HTTP nor TLS.
import { type AddressInfo, createServer, isIP, type Server, type Socket } from 'node:net'
import type { Log } from '../model/kind.ts'
import type { Limits } from '../model/limits.ts'
import type { Authority } from './canonical.ts'

export interface Listeners {
  readonly sockets: ReadonlySet<Socket>
  readonly ports: readonly number[]
  /** `passed`: a descriptor that listens there already. */
  listen(address: Authority, take: (socket: Socket) => void, passed?: number): Promise<Authority>
  listenUnix(path: string, take: (socket: Socket) => void): Promise<() => void>
  /** Counts the socket until it closes; false where there are too many already. */
  admit(socket: Socket): boolean
  /** Counts it for who was found behind it as well. */
  claim(socket: Socket, sender: string): boolean
  close(): void
  /** Resolves when every admitted socket is closed, at the latest after `waitMs`. */
  emptied(waitMs: number): Promise<void>
}

export function createListeners(limits: Limits, log: Log): Listeners {
  // The kernel takes less where it is set to less. What comes to a full queue seems connected and hears nothing.
  const { acceptQueueMax: backlog } = limits
  const sockets = new Set<Socket>()
  const perSender = new Map<string, number>()
  const servers: Server[] = []
  const ports: number[] = []
  let whenEmpty = (): void => {}

  function left(socket: Socket): void {
    sockets.delete(socket)
    if (sockets.size === 0) whenEmpty()
  }

  function letGo(sender: string): void {
    const count = (perSender.get(sender) ?? 1) - 1
    if (count > 0) perSender.set(sender, count)
    else perSender.delete(sender)
  }

  async function serve(take: (socket: Socket) => void, listen: (server: Server) => void): Promise<Server> {
    const server = createServer({ noDelay: true, allowHalfOpen: false }, (socket) => {
      // Without a listener an error of a raw socket would end the process.
      socket.on('error', () => socket.destroy())
      take(socket)
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.once('listening', () => {
        server.off('error', reject)
        resolve()
      })
      listen(server)
    })
    // EMFILE and its like: the listener stays.
    server.on('error', (error) => log.error('a listener failed', { code: (error as NodeJS.ErrnoException).code ?? '' }))
    servers.push(server)
    return server
  }

  return {
    sockets,
    ports,
    async listen({ host, port }, take, passed) {
      const server = await serve(take, (one) => one.listen({ ...(passed === undefined ? { port, host } : { fd: passed }), backlog }))
      if (passed !== undefined) checkPassed(server.address(), { host, port })
      const bound = (server.address() as { port: number }).port
      ports.push(bound)
      return { host, port: bound }
    },
    async listenUnix(path, take) {
      const server = await serve(take, (one) => {
        one.maxConnections = limits.connectionsMax
        one.listen({ path, backlog })
      })
      return () => {
        server.close()
        servers.splice(servers.indexOf(server), 1)
      }
    },
    admit(socket) {
      if (sockets.size >= limits.connectionsMax) return false
      sockets.add(socket)
      socket.once('close', () => left(socket))
      return true
    },
    claim(socket, sender) {
      if (socket.destroyed) return true
      const count = perSender.get(sender) ?? 0
      if (count >= limits.connectionsPerSenderMax) return false
      perSender.set(sender, count + 1)
      socket.once('close', () => letGo(sender))
      return true
    },
    close() {
      for (const server of servers.splice(0)) server.close()
    },
    emptied(waitMs) {
      if (sockets.size === 0) return Promise.resolve()
      return new Promise((resolve) => {
        const late = setTimeout(resolve, waitMs)
        whenEmpty = () => {
          clearTimeout(late)
          resolve()
        }
      })
    },
  }
}

/** Agents are told the configured address: another one that somebody opened for us is a mistake, said at once. */
export function checkPassed(found: AddressInfo | string | null, { host, port }: Authority): void {
  const there = found === null || typeof found === 'string' ? null : found
  if (there !== null && there.port === port && (isIP(host) === 0 || there.address === host)) return
  const says = there === null ? 'no TCP socket' : `${there.address}:${there.port}`
  throw new Error(
    `the socket that was passed is ${says}, and listen says ${host}:${port}: \`ostiary install\` writes the socket units anew`,
  )
}
