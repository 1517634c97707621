// Asks the Linux kernel who is at the other end of a socket. The only file with node:ffi, which is experimental: so it is
// wrapped here, and where it is absent /proc/net/tcp answers (slower, the same words). It must never guess: what the kernel
// does not say is null.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { networkInterfaces } from 'node:os'

export interface SocketOwner {
  readonly uid: number
  readonly inode: number
}

export interface UnixPeer {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

export interface FourTuple {
  /** The side whose owner is asked for. */
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
}

interface Libc {
  socket(domain: number, type: number, protocol: number): number
  send(fd: number, buffer: bigint, size: bigint, flags: number): bigint
  recv(fd: number, buffer: bigint, size: bigint, flags: number): bigint
  getsockopt(fd: number, level: number, name: number, value: bigint, size: bigint): number
  prctl(option: number, a: bigint, b: bigint, c: bigint, d: bigint): number
  close(fd: number): number
  setrlimit(resource: number, value: bigint): number
  malloc_trim(pad: bigint): number
  ioctl(fd: number, request: bigint, value: bigint): number
  syscall(number: bigint, a: bigint, b: bigint, c: bigint, d: bigint, e: bigint): bigint
}

interface Ffi {
  dlopen(path: string, functions: Record<string, { arguments: string[]; return: string }>): { functions: Libc }
  getRawPointer(buffer: Buffer): bigint
}

const signatures = {
  socket: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
  send: { arguments: ['i32', 'pointer', 'u64', 'i32'], return: 'i64' },
  recv: { arguments: ['i32', 'pointer', 'u64', 'i32'], return: 'i64' },
  getsockopt: { arguments: ['i32', 'i32', 'i32', 'pointer', 'pointer'], return: 'i32' },
  prctl: { arguments: ['i32', 'u64', 'u64', 'u64', 'u64'], return: 'i32' },
  close: { arguments: ['i32'], return: 'i32' },
  setrlimit: { arguments: ['i32', 'pointer'], return: 'i32' },
  malloc_trim: { arguments: ['u64'], return: 'i32' },
  ioctl: { arguments: ['i32', 'u64', 'u64'], return: 'i32' },
  syscall: { arguments: ['i64', 'i64', 'i64', 'i64', 'i64', 'i64'], return: 'i64' },
}

interface Kernel {
  readonly ffi: Ffi
  readonly libc: Libc
}

function open(): Kernel | null {
  if (process.platform !== 'linux') return null
  const warn = process.emitWarning
  try {
    process.emitWarning = (() => {}) as typeof process.emitWarning // "experimental": said in the docs, not at every start
    const ffi = createRequire(import.meta.url)('node:ffi') as Ffi
    return { ffi, libc: ffi.dlopen('libc.so.6', signatures).functions }
  } catch {
    return null
  } finally {
    process.emitWarning = warn
  }
}

let opened: Kernel | null | undefined
function kernel(): Kernel | null {
  if (opened === undefined) opened = open()
  return opened
}

/** Is the kernel asked directly here? */
export function kernelIsAsked(): boolean {
  return kernel() !== null
}

// Buffers that the kernel writes into: kept, so that their address stays.
const request = Buffer.alloc(72)
const answer = Buffer.alloc(8_192)
let netlink = -1
let sequence = 0

/** uid and inode of the socket with this exact four-tuple, by sock_diag; null when there is none. */
export function socketOwner(tuple: FourTuple): SocketOwner | null {
  const asked = kernel()
  if (asked === null) return socketOwnerByProc(tuple)
  if (netlink < 0) netlink = asked.libc.socket(16, 3 | 0o2000000, 4)
  if (netlink < 0) return socketOwnerByProc(tuple)
  const six = tuple.localAddress.includes(':')
  const families = six ? [10, 2] : [2, 10]
  for (const family of families) {
    const found = askDiag(asked, family, tuple)
    if (found !== null) return found
  }
  return null
}

/** uid of who opened the socket that a connection to this local address would reach; null when nobody listens there. */
export function listenerUid(address: string, port: number): number | null {
  const any = address.includes(':') ? '::' : '0.0.0.0'
  return socketOwner({ localAddress: address, localPort: port, remoteAddress: any, remotePort: 0 })?.uid ?? null
}

/** struct inet_diag_req_v2 behind a netlink header (linux/inet_diag.h). */
function askDiag({ ffi, libc }: Kernel, family: number, tuple: FourTuple): SocketOwner | null {
  const [local, remote] = [addressBytes(tuple.localAddress, family), addressBytes(tuple.remoteAddress, family)]
  if (local === null || remote === null) return null
  sequence = (sequence + 1) >>> 0
  request.fill(0)
  request.writeUInt32LE(72, 0)
  request.writeUInt16LE(20, 4)
  request.writeUInt16LE(1, 6)
  request.writeUInt32LE(sequence, 8)
  request[16] = family
  request[17] = 6
  request.writeUInt32LE(0xffffffff, 20)
  request.writeUInt16BE(tuple.localPort, 24)
  request.writeUInt16BE(tuple.remotePort, 26)
  local.copy(request, 28)
  remote.copy(request, 44)
  request.fill(0xff, 64, 72)
  if (libc.send(netlink, ffi.getRawPointer(request), 72n, 0) !== 72n) return null
  // The kernel has answered before send returns; MSG_DONTWAIT so that a surprise is a null and not a stop of the event loop.
  for (let turn = 0; turn < 8; turn++) {
    const size = Number(libc.recv(netlink, ffi.getRawPointer(answer), BigInt(answer.length), 0x40))
    if (size < 16) return null
    if (answer.readUInt32LE(8) !== sequence) continue
    if (size < 16 + 72 || answer.readUInt16LE(4) !== 20) return null
    // Without an established socket the kernel looks for a listener at the local port: that is not the one asked for.
    if (answer.readUInt16BE(20) !== tuple.localPort || answer.readUInt16BE(22) !== tuple.remotePort) return null
    return owned(answer.readUInt32LE(16 + 64), answer.readUInt32LE(16 + 68))
  }
  return null
}

/** A socket in TIME_WAIT or without a file has inode 0: nobody owns it. */
function owned(uid: number, inode: number): SocketOwner | null {
  return Number.isSafeInteger(uid) && Number.isSafeInteger(inode) && inode > 0 ? { uid, inode } : null
}

/** The address in the family's layout; null where the family cannot carry it. */
function addressBytes(address: string, family: number): Buffer | null {
  const bytes = Buffer.alloc(16)
  const four = /^(?:::ffff:)?(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/i.exec(address)
  if (four === null) {
    if (family === 2 || !/^[0-9a-f:]+$/i.test(address)) return null
    expand(address).forEach((group, at) => void bytes.writeUInt16BE(group, at * 2))
    return bytes
  }
  const octets = four.slice(1).map(Number)
  if (octets.some((octet) => octet > 255)) return null
  octets.forEach((octet, at) => void bytes.writeUInt8(octet, family === 2 ? at : 12 + at))
  if (family === 10) bytes.writeUInt16BE(0xffff, 10)
  return bytes
}

function expand(address: string): number[] {
  const [front = '', back] = address.split('::')
  const parts = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)))
  const head = parts(front)
  const tail = back === undefined ? [] : parts(back)
  return [...head, ...new Array(back === undefined ? 0 : 8 - head.length - tail.length).fill(0), ...tail]
}

/** The same answer from /proc/net/tcp and tcp6: fall-back, and oracle of the tests. */
export function socketOwnerByProc(tuple: FourTuple): SocketOwner | null {
  for (const [file, family] of [
    ['tcp', 2],
    ['tcp6', 10],
  ] as const) {
    let text: string
    try {
      text = readFileSync(`/proc/net/${file}`, 'latin1')
    } catch {
      continue
    }
    const [local, remote] = [
      procAddress(tuple.localAddress, tuple.localPort, family),
      procAddress(tuple.remoteAddress, tuple.remotePort, family),
    ]
    const at = local === null || remote === null ? -1 : text.indexOf(` ${local} ${remote} `)
    if (at < 0) continue
    const columns = text.slice(at, text.indexOf('\n', at)).trim().split(/ +/)
    return owned(Number(columns[6]), Number(columns[8]))
  }
  return null
}

function procAddress(address: string, port: number, family: number): string | null {
  const bytes = addressBytes(address, family)?.subarray(0, family === 2 ? 4 : 16)
  if (bytes === undefined) return null
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse()
  return `${bytes.toString('hex').toUpperCase()}:${port.toString(16).toUpperCase().padStart(4, '0')}`
}

/** Descriptor of an accepted socket; -1 where it has none. */
export function descriptorOf(socket: Socket): number {
  return (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd ?? -1
}

/** SO_PEERCRED: who called connect() on the other end of a Unix socket; null where it cannot be asked. */
export function peerOfUnixSocket(of: Socket | number): UnixPeer | null {
  const value = socketOption(of, 17, 12)
  return value === null ? null : { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) }
}

/** SO_ORIGINAL_DST (linux/netfilter_ipv4.h, _ipv6.h): at which port a redirected connection was aimed; 0 where it was not. */
export function originalPort(socket: Socket): number {
  const six = socket.localFamily === 'IPv6'
  const value = socketOption(socket, 80, six ? 28 : 16, six ? 41 : 0)
  return value === null ? 0 : value.readUInt16BE(2)
}

function socketOption(of: Socket | number, name: number, bytes: number, level = 1): Buffer | null {
  const asked = kernel()
  const fd = typeof of === 'number' ? of : descriptorOf(of)
  if (asked === null || fd < 0) return null
  const value = Buffer.alloc(bytes)
  const size = Buffer.alloc(4)
  size.writeUInt32LE(bytes, 0)
  if (asked.libc.getsockopt(fd, level, name, asked.ffi.getRawPointer(value), asked.ffi.getRawPointer(size)) !== 0) return null
  return size.readUInt32LE(0) === bytes ? value : null
}

/** A process held against the reuse of its pid, for as long as the pin is open. */
export interface Pin {
  /** In our PID namespace; -1 once the process is gone. */
  pid(): number
  close(): void
}

/** SO_PEERPIDFD (Linux 6.5): pins the peer of a Unix socket; null where the kernel cannot. */
export function pinPeer(of: Socket | number): Pin | null {
  const value = socketOption(of, 77, 4)
  return value === null ? null : pin(value.readInt32LE(0))
}

/** pidfd_open (434 on every architecture): pins a process by its pid; null where there is none. */
export function pinProcess(pid: number): Pin | null {
  const fd = kernel()?.libc.syscall(434n, BigInt(pid), 0n, 0n, 0n, 0n)
  return fd === undefined || fd < 0n ? null : pin(Number(fd))
}

function pin(fd: number): Pin {
  let open = true
  return {
    pid: () => {
      if (!open) return -1
      const line = /^Pid:\t(-?\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))
      const pid = line === null ? -1 : Number(line[1])
      return pid > 0 ? pid : -1 // 0: a process that our namespace does not hold
    },
    close: () => {
      if (open) kernel()?.libc.close(fd)
      open = false
    },
  }
}

/** kcmp(KCMP_FILES): do a process and one of its threads use one descriptor table? null where the kernel does not say. */
export function sharesDescriptors(pid: number, thread: number): boolean | null {
  const number = process.arch === 'x64' ? 312n : process.arch === 'arm64' ? 272n : null
  const asked = kernel()
  if (asked === null || number === null) return null
  const order = asked.libc.syscall(number, BigInt(pid), BigInt(thread), 2n, 0n, 0n)
  return order < 0n || order > 3n ? null : order === 0n
}

/** No core dump, no ptrace, no /proc/self/environ for others of the same uid (PR_SET_DUMPABLE; RLIMIT_CORE 0 for children). */
export function setUndumpable(): boolean {
  const asked = kernel()
  if (asked === null) return false
  asked.libc.setrlimit(4, asked.ffi.getRawPointer(Buffer.alloc(16)))
  return asked.libc.prctl(4, 0n, 0n, 0n, 0n) === 0
}

/** What was freed goes back to the kernel: glibc keeps it in the arenas of its threads. */
export function trimMemory(): void {
  kernel()?.libc.malloc_trim(0n)
}

/** A session keyring of our own, and of our children, in place of the user's: KEYCTL_JOIN_SESSION_KEYRING without a name. */
export function leaveSessionKeyring(): boolean {
  const number = process.arch === 'x64' ? 250n : process.arch === 'arm64' ? 219n : null
  const answer = number === null ? undefined : kernel()?.libc.syscall(number, 1n, 0n, 0n, 0n, 0n)
  return answer !== undefined && answer >= 0n
}

/** Throws away what was typed into, or pushed into (TIOCSTI), the terminal at `fd` and not read: TCFLSH, TCIFLUSH. */
export function flushTerminal(fd: number): void {
  kernel()?.libc.ioctl(fd, 0x540bn, 0n)
}

/** Orphans of our descendants become our children (PR_SET_CHILD_SUBREAPER). */
export function setSubreaper(): boolean {
  return kernel()?.libc.prctl(36, 1n, 0n, 0n, 0n) === 0
}

/**
 * NETLINK_ROUTE: brings `lo` up and makes every address local to it (AnyIP), so that whatever is dialled ends in this network
 * namespace. Never to be asked where other interfaces are: it would cut them. Returns what went wrong, or nothing.
 */
export function makeAllLocal(): string {
  const asked = kernel()
  if (asked === null) return 'the kernel cannot be asked (node:ffi)'
  if (Object.keys(networkInterfaces()).length > 0) return 'the network namespace is not empty'
  const { ffi, libc } = asked
  const fd = libc.socket(16, 3 | 0o2000000, 0)
  if (fd < 0) return 'no netlink socket'
  // struct ifinfomsg: index 1, IFF_UP set. struct rtmsg: family, no prefix, table local, protocol boot, scope, type local;
  // behind it RTA_OIF = 1 (linux/rtnetlink.h).
  const up = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
  const route = (family: number, scope: number): readonly number[] => [
    family,
    0,
    0,
    0,
    255,
    3,
    scope,
    2,
    0,
    0,
    0,
    0,
    8,
    0,
    4,
    0,
    1,
    0,
    0,
    0,
  ]
  const tell = (type: number, flags: number, body: readonly number[]): number => {
    const message = Buffer.alloc(16 + body.length)
    message.writeUInt32LE(message.length, 0)
    message.writeUInt16LE(type, 4)
    message.writeUInt16LE(flags | 5, 6) // NLM_F_REQUEST, NLM_F_ACK
    Buffer.from(body).copy(message, 16)
    if (libc.send(fd, ffi.getRawPointer(message), BigInt(message.length), 0) !== BigInt(message.length)) return -1
    const size = Number(libc.recv(fd, ffi.getRawPointer(answer), BigInt(answer.length), 0x40))
    return size >= 20 && answer.readUInt16LE(4) === 2 ? answer.readInt32LE(16) : -1
  }
  try {
    for (const [what, code] of [
      ['lo up', tell(16, 0, up)],
      ['all IPv4 addresses local', tell(24, 0x600, route(2, 254))],
    ] as const)
      if (code !== 0) return `${what}: error ${-code}`
    // A kernel without IPv6 has nothing to lead astray.
    tell(24, 0x600, route(10, 0))
    return ''
  } finally {
    libc.close(fd)
  }
}

/** Of a peer's address: only what cannot come from another host. Tunnelled spellings (6to4, NAT64) can, and are not. */
export function isLoopback(address: string): boolean {
  return address === '::1' || (addressBytes(address, 2)?.[0] === 127 && address.includes('127.'))
}
