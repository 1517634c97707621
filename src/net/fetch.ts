// An ordinary bounded https request for the control plane: token endpoints and key sets. Vetted address, no redirect,
// no retry; a body is never logged.
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import tls from 'node:tls'
import type { Fetch, PlainAnswer, PlainRequest } from '../model/kind.ts'
import { limits } from '../model/limits.ts'
import { Refusal } from '../model/refusal.ts'
import type { Dial } from './dial.ts'
import { secure } from './secure.ts'

/**
 * Throws Refusal forward.*; a 3xx is an answer like any other. `guarded` hosts are reached by a way on which somebody might read:
 * then the roots are those alone that no operator added, since every request here carries a statement or believes a key.
 */
export function createFetch(
  dial: Dial,
  roots: (publicOnly: boolean) => readonly string[],
  guards: (host: string) => boolean = () => false,
): Fetch {
  let known: readonly string[] | null = null
  let context: tls.SecureContext | null = null

  async function open(asked: PlainRequest, url: URL, signal: AbortSignal): Promise<PlainAnswer> {
    const host = url.hostname.replace(/^\[|\]$/g, '')
    const guarded = guards(host)
    const trusted = roots(guarded)
    if (trusted !== known || context === null) {
      known = trusted
      context = tls.createSecureContext({ ca: [...trusted] })
    }
    const { socket } = await dial(host, url.port === '' ? 443 : Number(url.port), { signal })
    const wrapped = await secure(socket, { host, context, guarded, timeoutMs: Math.min(asked.timeoutMs, limits.handshakeMs) })
    if (!signal.aborted) return send(asked, url, wrapped, signal)
    wrapped.destroy()
    throw new Refusal('forward.timeout', url.host)
  }

  return async (asked) => {
    const url = URL.canParse(asked.url) ? new URL(asked.url) : null
    if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '')
      throw new Refusal('forward.connect', 'only plain https URLs are fetched')
    const late = AbortSignal.timeout(asked.timeoutMs)
    const signal = asked.signal === undefined ? late : AbortSignal.any([late, asked.signal])
    try {
      return await open(asked, url, signal)
    } catch (error) {
      throw signal.aborted ? new Refusal('forward.timeout', url.host) : error
    }
  }
}

function send(asked: PlainRequest, url: URL, secured: tls.TLSSocket, signal: AbortSignal): Promise<PlainAnswer> {
  return new Promise((resolve, reject) => {
    const abort = (): void => fail(new Refusal('forward.timeout', url.host))
    const settle = (): void => {
      signal.removeEventListener('abort', abort)
      secured.destroy()
    }
    const fail = (error: Error): void => {
      settle()
      reject(
        error instanceof Refusal
          ? error
          : new Refusal('forward.reset', `${url.host}: ${(error as NodeJS.ErrnoException).code ?? error.message}`),
      )
    }
    signal.addEventListener('abort', abort, { once: true })
    secured.on('error', fail)
    const sent = request({
      createConnection: () => secured,
      method: asked.method,
      host: url.hostname,
      path: `${url.pathname}${url.search}`,
      headers: {
        accept: 'application/json',
        ...asked.headers,
        host: url.host,
        'accept-encoding': 'identity',
        connection: 'close',
        ...(asked.body === undefined ? {} : { 'content-length': String(asked.body.length) }),
      },
    })
    sent.on('error', (error: NodeJS.ErrnoException) =>
      fail(error.code?.startsWith('HPE_') === true ? new Refusal('forward.bad_answer', `${url.host}: ${error.code}`) : error),
    )
    sent.once('close', () => fail(new Error('closed')))
    sent.once('upgrade', () => fail(new Refusal('forward.bad_answer', `${url.host}: an upgrade`)))
    sent.once('response', (answer) =>
      take(answer, asked.bytesMax, fail, (body) => {
        settle()
        const fields = Object.fromEntries(Object.entries(answer.headers).map(([name, value]) => [name, String(value)]))
        resolve({ status: answer.statusCode ?? 0, headers: fields, body })
      }),
    )
    sent.end(asked.body)
  })
}

function take(answer: IncomingMessage, bytesMax: number, fail: (error: Error) => void, done: (body: Buffer) => void): void {
  const chunks: Buffer[] = []
  let size = 0
  answer.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size > bytesMax) fail(new Refusal('forward.bad_answer', `more than ${bytesMax} bytes`))
    else chunks.push(chunk)
  })
  answer.once('error', fail)
  answer.once('end', () => {
    if (answer.complete && size <= bytesMax) done(Buffer.concat(chunks))
    else fail(new Error('cut short'))
  })
}
