// Every other TCP port of an isolated run: nft leads it to one listener of the relay, so that it lands in the proxy and is refused on
// record. Without nft nobody listens there, which refuses it too, without a record. It is never what keeps a run in.
import { spawnSync } from 'node:child_process'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { originalPort } from '../net/kernel.ts'

const programs = ['nft', '/usr/sbin/nft', '/sbin/nft']

/** `direct`: ports at which the relay itself listens. Returns why not, or nothing. */
export async function catchRest(direct: readonly number[], take: (socket: Socket, port: number) => void): Promise<string> {
  const servers: Server[] = []
  const listen = async (host: string, at: number): Promise<number> => {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, (socket) => {
      const port = originalPort(socket)
      if (port > 0) take(socket, port)
      else socket.resetAndDestroy()
    })
    servers.push(server)
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen({ port: at, host, ipv6Only: true }, resolve))
    server.on('error', () => {})
    return (server.address() as AddressInfo).port
  }
  const port = await listen('0.0.0.0', 0)
  // A kernel without IPv6 has nothing to lead there.
  await listen('::', port).catch(() => {})
  for (const program of programs) {
    const done = spawnSync(program, ['-f', '-'], { input: rules(direct, port), encoding: 'utf8', timeout: 5_000 })
    if ((done.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') continue
    if (done.status === 0) return ''
    for (const server of servers) server.close()
    return `nft: ${done.error?.message ?? done.stderr.trim().split('\n')[0]}`
  }
  for (const server of servers) server.close()
  return 'there is no nft on this machine'
}

/** What is dialled on the run's own loopback stays there. */
function rules(direct: readonly number[], port: number): string {
  return `table inet ostiary {
  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    tcp dport { ${direct.join(', ')} } accept
    meta l4proto tcp redirect to :${port}
  }
}
`
}
