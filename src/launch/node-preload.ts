// What each Node of a run loads first: connections that a client dials itself, with TLS at port 443, go by CONNECT through the
// proxy of the run. Without it clients with an agent of their own (ws, Stripe, HTTP/2 of the AWS SDK) and Nodes before
// NODE_USE_ENV_PROXY go past it. A convenience and no boundary: the command may unset it. It must never stop a Node from starting,
// and a connection that it cannot tunnel fails: it is not dialled past the proxy.
import type { Socket } from 'node:net'
import type { ConnectionOptions, TLSSocket } from 'node:tls'

/** The file's text: the function below, as it is, for any Node from 16 on. */
export function nodePreload(): string {
  return `'use strict'\n;(${dialByProxy})(require)\n`
}

/** Knows nothing of this file but its argument. */
function dialByProxy(require: NodeJS.Require): void {
  const { connect: dial, isIP } = require('node:net') as typeof import('node:net')
  const { Duplex } = require('node:stream') as typeof import('node:stream')
  const { syncBuiltinESMExports } = require('node:module') as typeof import('node:module')
  const tls = require('node:tls') as typeof import('node:tls')
  const direct = tls.connect

  const proxyFor = (host: string): URL | null => {
    const text = process.env['https_proxy'] ?? process.env['HTTPS_PROXY'] ?? ''
    if (!/^http:\/\//.test(text)) return null
    const without = (process.env['no_proxy'] ?? process.env['NO_PROXY'] ?? '').split(/[\s,]+/).map((one) => one.replace(/^\*?\./, ''))
    return without.some((one) => one === '*' || (one !== '' && (host === one || host.endsWith(`.${one}`)))) ? null : new URL(text)
  }

  const tunnel = (host: string, proxy: URL): InstanceType<typeof Duplex> => {
    const socket: Socket = dial(Number(proxy.port || 80), proxy.hostname)
    const authority = `${isIP(host) === 6 ? `[${host}]` : host}:443`
    const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`
    const credentials = user === ':' ? '' : `Proxy-Authorization: Basic ${Buffer.from(user).toString('base64')}\r\n`
    let head: Buffer | null = Buffer.alloc(0)
    let waiting: (() => void) | null = null
    const duplex = new Duplex({
      read: () => void socket.resume(),
      write: (chunk, _encoding, done) => {
        if (head === null) socket.write(chunk, done)
        else waiting = () => socket.write(chunk, done)
      },
      final: (done) => void socket.end(done),
      destroy: (error, done) => {
        socket.destroy()
        done(error)
      },
    })
    const passOn = (chunk: Buffer): void => {
      if (chunk.length > 0 && !duplex.push(chunk)) socket.pause()
    }
    socket.on('connect', () => socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credentials}\r\n`))
    socket.on('data', (chunk: Buffer) => {
      if (head === null) return passOn(chunk)
      head = Buffer.concat([head, chunk])
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return head.length > 65_536 ? void duplex.destroy(new Error('the proxy did not answer as one')) : undefined
      const line = head.toString('latin1', 0, head.indexOf('\r\n'))
      if (!/^HTTP\/1\.[01] 2\d\d/.test(line)) return void duplex.destroy(new Error(`the proxy refused ${host}: ${line}`))
      const rest = head.subarray(end + 4)
      head = null
      waiting?.()
      passOn(rest)
    })
    socket.on('end', () => duplex.push(null))
    socket.on('error', (error) => duplex.destroy(error))
    socket.on('close', () => duplex.destroy())
    return duplex
  }

  const connect = (...words: unknown[]): TLSSocket => {
    const options = (words.find((one) => typeof one === 'object' && one !== null) ?? {}) as ConnectionOptions
    const named =
      typeof words[0] === 'object' ? {} : { port: Number(words[0]), ...(typeof words[1] === 'string' ? { host: words[1] } : {}) }
    const asked: ConnectionOptions = { ...options, ...named }
    const host = asked.host ?? 'localhost'
    const proxy = asked.socket || asked.path || Number(asked.port) !== 443 ? null : proxyFor(host)
    if (proxy === null) return (direct as (...all: unknown[]) => TLSSocket)(...words)
    const done = words.at(-1)
    const servername = asked.servername ?? (isIP(host) === 0 ? host : '')
    return direct({ ...asked, servername, socket: tunnel(host, proxy) }, typeof done === 'function' ? (done as () => void) : undefined)
  }
  ;(tls as { connect: unknown }).connect = connect
  syncBuiltinESMExports()
}
