// TLS over a socket that was dialled: verified against the roots that are given, under the name that was asked for.
// No environment variable can turn the verification off.
import { isIP, type Socket } from 'node:net'
import tls from 'node:tls'
import { Refusal } from '../model/refusal.ts'
import { protocolList } from './alpn.ts'

export interface SecureAsked {
  readonly host: string
  readonly context: tls.SecureContext
  readonly timeoutMs: number
  readonly session?: Buffer | undefined
  /** What is offered by ALPN; HTTP/1.1 alone where left out. */
  readonly protocols?: readonly string[] | undefined
  /** What passes may be read by nobody else: an issuer that `context` does not know is then somebody on the way. */
  readonly guarded?: boolean
  /** A ticket with which the next handshake of the same host is shorter. */
  readonly onSession?: (ticket: Buffer) => void
}

/** Closes the socket and throws Refusal forward.certificate or forward.connect where the handshake fails. */
export function secure(socket: Socket, asked: SecureAsked): Promise<tls.TLSSocket> {
  const { host, context, session } = asked
  return new Promise((resolve, reject) => {
    const wrapped = tls.connect({
      socket,
      host,
      // RFC 6066 §3: no address as a server name; the certificate is checked against `host` all the same.
      ...(isIP(host) === 0 ? { servername: host } : {}),
      secureContext: context,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      ALPNProtocols: protocolList(asked.protocols ?? ['http/1.1']),
      ...(session === undefined ? {} : { session }),
    })
    const fail = (error: Error): void => {
      clearTimeout(late)
      wrapped.destroy()
      socket.destroy()
      reject(tlsRefusal(host, error, asked.guarded === true))
    }
    const closed = (): void => fail(new Error('closed during the handshake'))
    const late = setTimeout(() => fail(new Error('no end of the handshake')), asked.timeoutMs)
    // It stays: an error after this has been settled only destroys what is destroyed.
    wrapped.on('error', fail)
    wrapped.once('close', closed)
    if (asked.onSession !== undefined) wrapped.on('session', asked.onSession)
    wrapped.once('secureConnect', () => {
      clearTimeout(late)
      wrapped.off('close', closed)
      if (!wrapped.authorized) return fail(wrapped.authorizationError ?? new Error('CERT_UNVERIFIED'))
      resolve(wrapped)
    })
  })
}

function tlsRefusal(host: string, error: Error, guarded: boolean): Refusal {
  const code = (error as NodeJS.ErrnoException).code ?? error.message
  if (guarded && /ISSUER|SELF_SIGNED|VERIFY_LEAF/.test(code)) return new Refusal('forward.inspected', `${host}: ${code}`)
  const certificate = /CERT|SELF_SIGNED|ISSUER|ALTNAME|HOSTNAME|VERIFY|LEAF|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH|CRL|EE_KEY|CA_/.test(
    code,
  )
  return new Refusal(certificate ? 'forward.certificate' : 'forward.connect', `${host}: ${code}`)
}
