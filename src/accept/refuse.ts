// What an agent reads when it is told no: a problem document of constant text, never a CORS header (invariants 4 and 16).
import type { ServerHttp2Stream, ServerStreamResponseOptions } from 'node:http2'
import { plainResponse, problemDocument, reasonPhrases } from '../http/write-head.ts'
import type { Refusal } from '../model/refusal.ts'

export interface RefusalForm {
  /** Answers a HEAD request: no body follows. */
  readonly head: boolean
  readonly keepAlive: boolean
  /** The code stands in the reason phrase too: clients hide the body of a refused CONNECT. */
  readonly reason: boolean
}

const nothing = Buffer.alloc(0)

export function refusalBytes(refusal: Refusal, id: string, form: RefusalForm): Buffer {
  const fields: [string, string][] = [['Content-Type', 'application/problem+json']]
  // RFC 9110 §11.7.1: a 407 carries a challenge.
  if (refusal.status === 407) fields.push(['Proxy-Authenticate', 'Basic realm="ostiary"'])
  const reason = form.reason ? `${reasonPhrases[refusal.status] ?? 'Refused'} ostiary:${refusal.code}` : ''
  return plainResponse(refusal.status, reason, fields, form.head ? nothing : problemDocument(refusal, id), form.keepAlive)
}

/** The same document in a stream of HTTP/2. */
export function refuseStream(stream: ServerHttp2Stream, refusal: Refusal, id: string): void {
  if (stream.destroyed || stream.closed || stream.headersSent) return
  const document = problemDocument(refusal, id)
  // Node ends our side of a HEAD request by itself.
  const endStream = stream.writableEnded
  const fields = ['content-type', 'application/problem+json', 'content-length', String(document.length)]
  respond(stream, [':status', String(refusal.status), ...fields], { endStream })
  if (!endStream) stream.end(document)
}

/** Nothing of our own beside what the list says: a Date is the API's (the option is missing from the types). */
export function respond(stream: ServerHttp2Stream, list: readonly string[], options: ServerStreamResponseOptions): void {
  stream.respond(list, { ...options, sendDate: false } as ServerStreamResponseOptions)
}
