// The only way out: resolve once, vet every answer, dial what was vetted, look again at who answered (invariant 6).
import { connect, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import { classifyAddress, plainAddress } from './address.ts'
import type { Resolve } from './resolve.ts'

export interface Dialled {
  readonly socket: Socket
  readonly address: string
  /** Dialled at an address that the configuration fixes under its dangerous name. */
  readonly fixed: boolean
}

export interface DialOptions {
  readonly resolve: Resolve
  /** By host; replaces resolution and the classes, not the refusal of metadata and of our own listeners. */
  readonly fixed: (host: string) => { readonly address: string; readonly port: number } | null
  /** Our own listeners: never dialled, by whatever address of this machine. */
  readonly ownPorts: () => readonly number[]
  /** Addresses of this machine; asked of the system unless given. */
  readonly ownAddresses?: () => ReadonlySet<string>
}

export interface DialAsked {
  /** On whose behalf: the name of a workload. */
  readonly sender?: string | undefined
  readonly allowPrivate?: boolean
  /** For all addresses together. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
}

export type Dial = (host: string, port: number, asked?: DialAsked) => Promise<Dialled>

const attemptMsMin = 1_000

/** Throws Refusal forward.resolve, forward.busy, forward.address_refused, forward.connect. */
export function createDial(options: DialOptions): Dial {
  const ownAddresses = options.ownAddresses ?? systemAddresses
  return async (host, port, asked = {}) => {
    const timeoutMs = asked.timeoutMs ?? limits.dialMs
    const fixed = options.fixed(host)
    if (fixed !== null) {
      vetFixed(host, fixed.address, fixed.port, options.ownPorts(), ownAddresses)
      return { socket: await open(fixed.address, fixed.port, timeoutMs, asked.signal), address: fixed.address, fixed: true }
    }
    const addresses = await options.resolve(host, asked.sender)
    for (const address of addresses) vet(host, address, port, asked.allowPrivate === true, options.ownPorts(), ownAddresses)
    let failure: unknown = new Refusal('forward.resolve', `${host}: no address`)
    const shareMs = Math.min(timeoutMs, Math.max(attemptMsMin, timeoutMs / Math.max(1, addresses.length)))
    for (const address of addresses) {
      try {
        return { socket: await open(address, port, shareMs, asked.signal), address, fixed: false }
      } catch (error) {
        failure = error
        if (asked.signal?.aborted === true) break
      }
    }
    throw failure
  }
}

function systemAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  return new Set(all.map((one) => plainAddress(one.address)))
}

/** One answer that may not be dialled refuses them all: a mixed answer is how rebinding begins. */
function vet(
  host: string,
  address: string,
  port: number,
  allowPrivate: boolean,
  ownPorts: readonly number[],
  ownAddresses: () => ReadonlySet<string>,
): void {
  const kind = classifyAddress(address)
  const local = kind === 'loopback' || kind === 'private'
  if (kind !== 'public' && !(allowPrivate && local))
    throw new Refusal('forward.address_refused', `${host} resolves to ${address} (${kind})`)
  const own = kind === 'loopback' || ownAddresses().has(plainAddress(address))
  if (own && ownPorts.includes(port)) throw new Refusal('forward.address_refused', `${host} leads to a listener of our own`)
  if (own && !allowPrivate) throw new Refusal('forward.address_refused', `${host} resolves to an address of this machine`)
}

function vetFixed(host: string, address: string, port: number, ownPorts: readonly number[], ownAddresses: () => ReadonlySet<string>): void {
  const kind = classifyAddress(address)
  if (kind === 'metadata' || kind === 'reserved') throw new Refusal('forward.address_refused', `${host} is fixed at ${address} (${kind})`)
  if (ownPorts.includes(port) && (kind === 'loopback' || ownAddresses().has(plainAddress(address))))
    throw new Refusal('forward.address_refused', `${host} leads to a listener of our own`)
}

function open(address: string, port: number, timeoutMs: number, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const where = `${address}:${port}`
    if (signal?.aborted === true) throw new Refusal('forward.connect', `${where}: given up`)
    const socket = connect({ host: address, port, noDelay: true, keepAlive: true, autoSelectFamily: false })
    // Whoever takes the socket listens too; without any listener a reset at the wrong moment would end the process.
    socket.on('error', (error: NodeJS.ErrnoException) => fail(new Refusal('forward.connect', `${where}: ${error.code ?? error.message}`)))
    const late = setTimeout(() => fail(new Refusal('forward.connect', `${where}: no answer`)), timeoutMs)
    const abort = (): void => fail(new Refusal('forward.connect', `${where}: given up`))
    signal?.addEventListener('abort', abort, { once: true })
    const settle = (): void => {
      clearTimeout(late)
      signal?.removeEventListener('abort', abort)
    }
    const fail = (refusal: Refusal): void => {
      settle()
      socket.destroy()
      reject(refusal)
    }
    socket.once('connect', () => {
      settle()
      if (plainAddress(socket.remoteAddress ?? '') !== plainAddress(address))
        return fail(new Refusal('forward.address_refused', 'another address answered'))
      resolve(socket)
    })
  })
}
