// CONNECT by name through the proxy of this network. What is vetted and dialled is the proxy's own address; it is told a name and
// a port and nothing else, and of what it answers nothing but an empty yes is taken for a tunnel.
import { isIP, type Socket } from 'node:net'
import { findHeadEnd, readResponseHead } from '../http/read-head.ts'
import { limits as standard } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { classifyAddress } from '../net/address.ts'
import type { Dial } from '../net/dial.ts'
import type { Resolve } from '../net/resolve.ts'
import { type Route, viaName } from '../net/route.ts'

export interface ThroughOptions {
  /** To hosts without a proxy, and to the proxy. */
  readonly direct: Dial
  readonly resolve: Resolve
  readonly route: Route
  readonly limits?: { readonly proxyConnectMs: number; readonly headBytesMax: number; readonly earlyAnswersMax: number }
}

/** Throws Refusal forward.address_refused, forward.proxy, forward.proxy_authentication, and what `direct` throws. */
export function createThroughProxy(options: ThroughOptions): Dial {
  const limits = options.limits ?? standard
  return async (host, port, asked = {}) => {
    const via = options.route(host)
    if (via === null) return options.direct(host, port, asked)
    await vetName(host, options.resolve, asked.sender)
    const name = viaName(via)
    // The proxy of a network has a private address, or stands on this machine: a listener of ours or metadata it is never.
    const dialled = await options.direct(via.host, via.port, { ...asked, allowPrivate: true }).catch((error) => {
      if (!(error instanceof Refusal) || error.code === 'forward.address_refused') throw error
      throw new Refusal('forward.proxy', `${name}: ${error.code} ${error.detail}`, error)
    })
    const { socket } = dialled
    try {
      await openTunnel(socket, `${host}:${port}`, name, limits, asked.signal)
    } catch (error) {
      socket.destroy()
      throw error
    }
    return { ...dialled, fixed: false }
  }
}

/**
 * The proxy resolves the name, and what it finds nobody here sees (DESIGN invariant 6): so an address is not asked of it, nor a name
 * that leads somewhere private here, nor one that only means something inside a network.
 */
async function vetName(host: string, resolve: Resolve, sender: string | undefined): Promise<void> {
  const refused = (why: string): Refusal =>
    new Refusal(
      'forward.address_refused',
      `${host}${why}, and is not asked of egress.proxy: name it under egress.noProxy to reach it directly`,
    )
  if (isIP(host) !== 0) throw refused(' is an address')
  if (!host.includes('.') || /\.(?:localhost|local|internal|localdomain|home\.arpa)$/.test(host)) throw refused(' is a name of a network')
  // Behind a proxy the names of the world often do not resolve at all. But no sender may stop us from looking.
  const addresses = await resolve(host, sender).catch((error) => {
    if (error instanceof Refusal && error.code === 'forward.busy') throw error
    return []
  })
  for (const address of addresses) {
    const kind = classifyAddress(address)
    if (kind !== 'public') throw refused(` resolves to ${address} (${kind})`)
  }
}

/** Leaves the socket as if it had just been opened to the host. RFC 9110 §9.3.6. */
function openTunnel(
  socket: Socket,
  authority: string,
  name: string,
  limits: NonNullable<ThroughOptions['limits']>,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let buffer: Buffer = Buffer.alloc(0)
    const no = (why: string): void => settle(new Refusal('forward.proxy', `${name}: ${why}`))
    const late = setTimeout(() => no('no answer in time'), limits.proxyConnectMs)
    const abort = (): void => no('given up')
    const closed = (): void => no('closed before it answered')
    const settle = (refusal: Refusal | null): void => {
      clearTimeout(late)
      signal?.removeEventListener('abort', abort)
      socket.off('readable', read)
      socket.off('close', closed)
      socket.off('end', closed)
      if (refusal === null) resolve()
      else reject(refusal)
    }
    // By `readable`, so that who gets the socket can still choose how to read from it.
    const read = (): void => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read()) buffer = Buffer.concat([buffer, chunk])
      try {
        const done = readAnswer(buffer, name, limits)
        if (done) settle(null)
      } catch (error) {
        settle(error as Refusal)
      }
    }
    if (signal?.aborted === true) return abort()
    signal?.addEventListener('abort', abort, { once: true })
    socket.on('readable', read)
    socket.once('close', closed)
    socket.once('end', closed)
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`)
  })
}

/** false: it is not all there yet. */
function readAnswer(buffer: Buffer, name: string, limits: NonNullable<ThroughOptions['limits']>): boolean {
  const no = (why: string): Refusal => new Refusal('forward.proxy', `${name}: ${why}`)
  let at = 0
  for (let early = 0; ; early++) {
    const end = findHeadEnd(buffer, at)
    if ((end < 0 ? buffer.length : end) - at > limits.headBytesMax) throw no('its answer is longer than headBytesMax')
    if (end < 0) return false
    if (early > limits.earlyAnswersMax) throw no('it says 1xx again and again')
    const status = statusOf(buffer, at, end, name)
    at = end
    if (status === 407) throw new Refusal('forward.proxy_authentication', name)
    if (status === 101 || status >= 300) throw no(`it answered ${status}`)
    if (status < 200) continue
    // TLS begins with us: whoever speaks before has put something in front of it.
    if (buffer.length > at) throw no('bytes behind its answer')
    return true
  }
}

function statusOf(buffer: Buffer, at: number, end: number, name: string): number {
  try {
    return readResponseHead(buffer, at, end, 'CONNECT').status
  } catch (error) {
    throw new Refusal('forward.proxy', `${name}: its answer is not valid HTTP (${(error as Refusal).detail})`, error)
  }
}
