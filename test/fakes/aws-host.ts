// A stand-in for AWS behind TLS, over HTTP/1.1 and HTTP/2: answers what was signed as it must be, and says what was wrong otherwise.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createSecureServer } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { type AwsKey, wrongWith } from './aws.ts'

export interface AwsHost {
  readonly port: number
  readonly seen: AwsSeen[]
  close(): Promise<void>
}

export interface AwsSeen {
  readonly path: string
  readonly version: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  readonly wrong: string | null
}

export const awsHosts: Readonly<Record<string, string>> = {
  'sts.us-east-1.amazonaws.com': 'us-east-1/sts',
  'sts.eu-central-1.amazonaws.com': 'eu-central-1/sts',
  'bedrock-runtime.eu-central-1.amazonaws.com': 'eu-central-1/bedrock',
  'a-bucket.s3.eu-central-1.amazonaws.com': 'eu-central-1/s3',
}

const identity = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/robot</Arn><UserId>AIDAEXAMPLE</UserId><Account>123456789012</Account></GetCallerIdentityResult>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`
const converse = JSON.stringify({
  output: { message: { role: 'assistant', content: [{ text: 'Hello from a stand-in' }] } },
  stopReason: 'end_turn',
  usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 },
  metrics: { latencyMs: 1 },
})

function answerOf(host: string, method: string): readonly [type: string, text: string] {
  if (host.startsWith('sts.')) return ['text/xml', identity]
  if (!host.includes('.s3.')) return ['application/json', converse]
  // Clients take any body of a 200 that is no XML for an error.
  return ['text/plain', method === 'GET' ? 'Hello from a stand-in' : '']
}

/** `key` may change: a vendor's key does. */
export async function startAws(certificate: { readonly cert: string; readonly key: string }, key: () => AwsKey): Promise<AwsHost> {
  const seen: AwsSeen[] = []
  const sockets = new Set<Socket>()
  const server = createSecureServer({ ...certificate, allowHTTP1: true }, (asked, answered) => {
    const request = asked as unknown as IncomingMessage
    const response = answered as unknown as ServerResponse
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks)
      const host = String(request.headers[':authority'] ?? request.headers.host)
      const fields: [string, string][] = [['host', host]]
      for (let at = 0; at < request.rawHeaders.length; at += 2) {
        const [name = '', value = ''] = request.rawHeaders.slice(at, at + 2)
        if (!name.startsWith(':') && name.toLowerCase() !== 'host') fields.push([name, value])
      }
      const path = request.url ?? '/'
      const wrong = wrongWith({ method: request.method ?? '', target: path, fields, body }, key(), awsHosts[host] ?? 'nobody', Date.now())
      seen.push({ path, version: request.httpVersion, headers: request.headers as Record<string, string>, body, wrong })
      const [type, text] = answerOf(host, request.method ?? '')
      response.writeHead(wrong === null ? 200 : 403, { 'content-type': wrong === null ? type : 'text/plain' })
      response.end(request.method === 'HEAD' ? undefined : (wrong ?? text))
    })
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}
