// The only way out: resolve once, vet every answer, dial what was vetted, look again at who answered (invariant 6).
import { connect, type Socket } from 'node:net'
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
  /** By host; replaces resolution and vetting. */
  readonly fixed: (host: string) => { readonly address: string; readonly port: number } | null
  /** Our own listeners: never dialled, by whatever local address. */
  readonly ownPorts: () => readonly number[]
}

export interface DialAsked {
  readonly allowPrivate?: boolean
  readonly timeoutMs?: number
}

export type Dial = (host: string, port: number, asked?: DialAsked) => Promise<Dialled>

/** Throws Refusal forward.resolve, forward.address_refused, forward.connect. */
export function createDial(options: DialOptions): Dial {
  return async (host, port, asked = {}) => {
    const fixed = options.fixed(host)
    if (fixed !== null) return { socket: await open(fixed.address, fixed.port, asked), address: fixed.address, fixed: true }
    const addresses = await options.resolve(host)
    for (const address of addresses) vet(host, address, port, asked.allowPrivate === true, options.ownPorts())
    let failure: unknown = null
    for (const address of addresses) {
      try {
        return { socket: await open(address, port, asked), address, fixed: false }
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }
}

/** One answer that may not be dialled refuses them all: a mixed answer is how rebinding begins. */
function vet(host: string, address: string, port: number, allowPrivate: boolean, ownPorts: readonly number[]): void {
  const kind = classifyAddress(address)
  const local = kind === 'loopback' || kind === 'private'
  if (local && ownPorts.includes(port)) throw new Refusal('forward.address_refused', `${host} leads to a listener of our own`)
  if (kind === 'public' || (allowPrivate && local)) return
  throw new Refusal('forward.address_refused', `${host} resolves to ${address} (${kind})`)
}

function open(address: string, port: number, asked: DialAsked): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, noDelay: true, keepAlive: true, autoSelectFamily: false })
    const late = setTimeout(() => fail(new Refusal('forward.connect', `${address}:${port}: no answer`)), asked.timeoutMs ?? limits.dialMs)
    const fail = (error: Error): void => {
      clearTimeout(late)
      socket.destroy()
      reject(
        error instanceof Refusal
          ? error
          : new Refusal('forward.connect', `${address}:${port}: ${(error as NodeJS.ErrnoException).code ?? error.message}`),
      )
    }
    socket.once('error', fail)
    socket.once('connect', () => {
      clearTimeout(late)
      socket.off('error', fail)
      if (plainAddress(socket.remoteAddress ?? '') !== plainAddress(address))
        return fail(new Refusal('forward.address_refused', 'another address answered'))
      resolve(socket)
    })
  })
}
