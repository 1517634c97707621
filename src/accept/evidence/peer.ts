// Gathers what the kernel says of the other end of an accepted connection. It judges nothing, and what it cannot find out it
// says in `why`: no fact is guessed, none is taken from the peer's own words.
import type { Socket } from 'node:net'
import type { Clock } from '../../model/clock.ts'
import type { Evidence, PeerFacts } from '../../model/evidence.ts'
import type { Log } from '../../model/kind.ts'
import type { Limits } from '../../model/limits.ts'
import { isLoopback, peerOfUnixSocket, pinPeer, socketOwner } from '../../net/kernel.ts'
import type { Found } from './owner.ts'
import type { Reader } from './reader-client.ts'
import { createSearch, type Search } from './search.ts'

export interface GatherOptions {
  /** Host pids of the roots of live runs: their trees are sought first. */
  readonly candidates: () => readonly number[]
  readonly clock: Clock
  readonly limits: Limits
  readonly log: Log
  /** Sees other users' processes; null where there is none. */
  readonly reader: Reader | null
}

export interface Gathered {
  readonly peer: PeerFacts
  /** The cheap second look, once per new identity: is it still this process with this program? */
  readonly unchanged: Evidence['unchanged']
}

export type Gather = ((socket: Socket) => Promise<Gathered>) & { close(): Promise<void> }

export function createGather(options: GatherOptions): Gather {
  const search = createSearch(options)
  const gather = async (socket: Socket): Promise<Gathered> => {
    const address = socket.remoteAddress
    if (address === undefined) return socket.destroyed ? gone() : ofUnixSocket(socket, search)
    const secure = (socket as Socket & { encrypted?: boolean }).encrypted === true
    const base = { transport: 'tcp', address: plain(address), port: socket.remotePort ?? 0, secure } as const
    if (isLoopback(address)) return ofLoopback(socket, base, search, options)
    return { peer: { ...base, loopback: false, uid: null, process: null, why: 'another host' }, unchanged: () => true }
  }
  return Object.assign(gather, { close: () => search.close() })
}

const plain = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '')

function gone(): Gathered {
  const peer: PeerFacts = { transport: 'tcp', address: '', port: 0, loopback: false, secure: false, uid: null, process: null, why: 'gone' }
  return { peer, unchanged: () => false }
}

type Base = Pick<PeerFacts, 'address' | 'port' | 'secure'> & { readonly transport: 'tcp' }

async function ofLoopback(socket: Socket, base: Base, search: Search, options: GatherOptions): Promise<Gathered> {
  // The client's socket is asked for: its local end is our remote one.
  const tuple = {
    localAddress: socket.remoteAddress ?? '',
    localPort: socket.remotePort ?? 0,
    remoteAddress: socket.localAddress ?? '',
    remotePort: socket.localPort ?? 0,
  }
  const here = { ...base, loopback: true }
  const owner = socketOwner(tuple)
  if (owner === null)
    return { peer: { ...here, uid: null, process: null, why: 'the kernel knows no owner of the socket' }, unchanged: () => false }
  const found = await search.find(
    { uid: owner.uid, inode: owner.inode, roots: options.candidates() },
    () => !socket.destroyed && socketOwner(tuple)?.inode === owner.inode,
  )
  const after = socketOwner(tuple)
  const same = after !== null && after.inode === owner.inode && after.uid === owner.uid
  if (found.process === null || !same) {
    const why = same ? found.why : 'the socket changed its owner'
    // A uid counts alone only where the holder is of another user and closed to us; a process that hides from its own user, or
    // shares the connection, is nobody.
    const uid = same && found.unreadable && owner.uid !== process.geteuid?.() ? owner.uid : null
    return {
      peer: { ...here, uid, process: null, why: `${why} (uid ${owner.uid})` },
      unchanged: () => socketOwner(tuple)?.uid === owner.uid,
    }
  }
  return { peer: { ...here, uid: owner.uid, process: found.process, why: '' }, unchanged: sameAs(found, search) }
}

/** At once where it is ours to look at, by the reader where it is not. */
function sameAs(found: Found, search: Search): Evidence['unchanged'] {
  return () => {
    const now = found.process === null ? '' : search.likenessOf(found.process)
    return typeof now === 'string' ? now === found.likeness : now.then((likeness) => likeness === found.likeness)
  }
}

async function ofUnixSocket(socket: Socket, search: Search): Promise<Gathered> {
  const base = { transport: 'unix', address: 'unix', port: 0, loopback: true, secure: true } as const
  const pinned = pinPeer(socket)
  try {
    const peer = peerOfUnixSocket(socket)
    if (peer === null) return { peer: { ...base, uid: null, process: null, why: 'the kernel was not asked' }, unchanged: () => false }
    const nobody = (why: string): Gathered => ({ peer: { ...base, uid: peer.uid, process: null, why }, unchanged: () => true })
    const found = peer.pid > 0 ? await search.look(peer) : null
    // The pin is of the process that connected: once it is gone, its pid may be another's (SO_PEERPIDFD).
    if (found === null || (pinned !== null && pinned.pid() !== peer.pid)) return nobody('the process that connected is gone')
    if (found.process === null) return nobody(found.why)
    if (found.process.uid !== peer.uid) return nobody(`process ${peer.pid} has another uid than when it connected`)
    return { peer: { ...base, uid: peer.uid, process: found.process, why: '' }, unchanged: sameAs(found, search) }
  } finally {
    pinned?.close()
  }
}
