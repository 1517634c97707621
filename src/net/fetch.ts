// An ordinary bounded https request for the control plane: token endpoints and key sets. Vetted address, no redirect,
// no retry; a body is never logged.
import { request } from 'node:https'
import tls from 'node:tls'
import type { Fetch, PlainAnswer, PlainRequest } from '../model/kind.ts'
import { Refusal } from '../model/refusal.ts'
import type { Dial } from './dial.ts'

/** Throws Refusal forward.*; a 3xx is an answer like any other. */
export function createFetch(dial: Dial, roots: () => readonly string[]): Fetch {
  return async (asked) => {
    const url = new URL(asked.url)
    if (url.protocol !== 'https:' || url.username !== '' || url.password !== '')
      throw new Refusal('forward.connect', 'only plain https URLs are fetched')
    const port = url.port === '' ? 443 : Number(url.port)
    const { socket } = await dial(url.hostname, port)
    const secure = tls.connect({ socket, servername: url.hostname, ca: [...roots()], ALPNProtocols: ['http/1.1'] })
    return send(asked, url, secure)
  }
}

function send(asked: PlainRequest, url: URL, secure: tls.TLSSocket): Promise<PlainAnswer> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      secure.destroy()
      const code = (error as NodeJS.ErrnoException).code ?? error.message
      const certificate = /CERT|SELF_SIGNED|ISSUER|ALTNAME|VERIFY/.test(code)
      reject(error instanceof Refusal ? error : new Refusal(certificate ? 'forward.certificate' : 'forward.reset', `${url.host}: ${code}`))
    }
    const late = setTimeout(() => fail(new Refusal('forward.timeout', url.host)), asked.timeoutMs)
    asked.signal?.addEventListener('abort', () => fail(new Refusal('forward.timeout', 'given up')), { once: true })
    secure.once('error', fail)
    const headers = { accept: 'application/json', 'accept-encoding': 'identity', connection: 'close', ...asked.headers }
    const length = asked.body === undefined ? {} : { 'content-length': String(asked.body.length) }
    const sent = request(
      {
        createConnection: () => secure,
        method: asked.method,
        host: url.hostname,
        port: url.port,
        path: `${url.pathname}${url.search}`,
        headers: { host: url.host, ...headers, ...length },
      },
      (answer) => {
        const chunks: Buffer[] = []
        let size = 0
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > asked.bytesMax) fail(new Refusal('forward.bad_answer', `${url.host}: more than ${asked.bytesMax} bytes`))
          else chunks.push(chunk)
        })
        answer.once('error', fail)
        answer.once('end', () => {
          clearTimeout(late)
          secure.destroy()
          const fields = Object.fromEntries(Object.entries(answer.headers).map(([name, value]) => [name, String(value)]))
          resolve({ status: answer.statusCode ?? 0, headers: fields, body: Buffer.concat(chunks) })
        })
      },
    )
    sent.once('error', (error) => {
      clearTimeout(late)
      fail(error)
    })
    sent.end(asked.body)
  })
}
