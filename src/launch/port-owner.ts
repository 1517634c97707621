// Before an agent is sent to the proxy's port: does Ostiary hold it? While the server is away another user could listen there,
// and would get all that the agent says. Asked of the kernel, never of who answers at the port.
import { lookup } from 'node:dns/promises'
import { isLoopback, listenerUid } from '../net/kernel.ts'

/** Why nobody may be sent to `authority` (host:port); null where it is the broker's, or systemd's, who keeps it for it. */
export async function strangerAtPort(authority: string, brokerUid: number | null): Promise<string | null> {
  if (process.platform !== 'linux') return null
  const at = authority.lastIndexOf(':')
  const host = authority.slice(0, at).replace(/^\[(.*)\]$/, '$1')
  const address = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : (await lookup(host)).address
  const uid = listenerUid(address, Number(authority.slice(at + 1)))
  // Another host's port nobody of this one can take.
  if (uid === null) return isLoopback(address) ? `nobody listens at ${authority}, where the proxy should be: \`ostiary status\`` : null
  if (brokerUid === null) return 'the kernel does not say who listens at the run door: nothing is started'
  if (uid === brokerUid || uid === 0) return null
  return `uid ${uid} holds ${authority}, and Ostiary is uid ${brokerUid}: nothing is started. Find it by \`ss -ltnp\` and end it`
}
