// Stand-ins for the WebSockets of OpenAI (realtime, responses) and Gemini Live. Strict as the vendors are: the credential in its
// header, and nowhere else. It never answers a message that it was not sent, and plays what an attacker's echo would do on request.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'

export interface Upgraded {
  readonly vendor: string
  readonly headers: IncomingMessage['headers']
  readonly path: string
  readonly messages: string[]
  closed: { readonly code: number; readonly reason: string } | null
  readonly socket: WebSocket
}

export interface Realtime {
  readonly upgraded: Upgraded[]
  /** `secrets` are the credentials that the vendor takes. */
  door(vendor: string, secrets: ReadonlySet<string>): (request: IncomingMessage, socket: Duplex, head: Buffer) => void
}

const readable =
  /^\/v1\/(?:realtime|responses)$|^\/ws\/google\.ai\.generativelanguage\.v1[a-z0-9]*\.GenerativeService\.BidiGenerateContent$/

export function createRealtime(watch: { arrived: (what: string) => void }): Realtime {
  const upgraded: Upgraded[] = []
  const server = new WebSocketServer({
    noServer: true,
    // It would compress if it was asked to.
    perMessageDeflate: true,
    handleProtocols: (offered: Set<string>) => (offered.has('realtime') ? 'realtime' : false),
  })
  return {
    upgraded,
    door: (vendor, secrets) => (request, socket, head) => {
      const said = vendor === 'gemini' ? request.headers['x-goog-api-key'] : request.headers.authorization?.replace('Bearer ', '')
      const secret = typeof said === 'string' && secrets.has(said) ? said : null
      socket.on('error', () => {})
      const url = new URL(request.url ?? '/', 'https://vendor.example')
      const refuse = (status: string, body: string): void => {
        socket.end(
          `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
        )
      }
      if (url.searchParams.get('model') === 'moved')
        return refuse('302 Found\r\nLocation: https://api.anthropic.com/v1/realtime', '{"error":"moved"}')
      if (secret === null || url.searchParams.has('key')) return refuse('401 Unauthorized', '{"error":{"message":"Incorrect API key"}}')
      if (!readable.test(url.pathname) || url.searchParams.get('model') === 'gone')
        return refuse('404 Not Found', '{"error":"no such model"}')
      server.handleUpgrade(request, socket, head, (ws) => {
        const seen: Upgraded = { vendor, headers: request.headers, path: request.url ?? '', messages: [], closed: null, socket: ws }
        upgraded.push(seen)
        ws.on('error', () => {})
        ws.on('close', (code: number, reason: Buffer) => {
          seen.closed = { code, reason: reason.toString() }
        })
        ws.on('message', (bytes: Buffer) => {
          seen.messages.push(bytes.toString())
          watch.arrived(bytes.toString())
          answer(vendor, ws, JSON.parse(bytes.toString()), secret)
        })
        if (url.pathname === '/v1/realtime')
          ws.send(JSON.stringify({ type: 'session.created', session: { model: url.searchParams.get('model') } }))
      })
    },
  }
}

// biome-ignore lint/suspicious/noExplicitAny: messages of the vendors
function answer(vendor: string, ws: WebSocket, message: any, secret: string): void {
  if (vendor === 'gemini') {
    // Google sends its JSON in binary messages.
    const say = (json: unknown): void => ws.send(Buffer.from(JSON.stringify(json)))
    if (message.setup !== undefined) say({ setupComplete: {} })
    // The SDK of Python spells it the other way, which Google reads as well.
    if ((message.clientContent ?? message.client_content) !== undefined)
      say({ serverContent: { modelTurn: { role: 'model', parts: [{ text: 'Hello from Gemini' }] }, turnComplete: true } })
    return
  }
  if (message.type !== 'response.create') return
  const play = message.response?.metadata?.play ?? message.metadata?.play
  if (play !== undefined) return leak(ws, play, secret)
  ws.send(JSON.stringify({ type: 'response.created', response: { id: 'resp_1' } }))
  ws.send(JSON.stringify({ type: 'response.output_text.delta', delta: 'Hello from OpenAI' }))
  ws.send(JSON.stringify({ type: 'response.done', response: { id: 'resp_1', status: 'completed' } }))
}

/** Ways to give a secret back. */
function leak(ws: WebSocket, play: string, secret: string): void {
  const words = `you sent ${secret} to me`
  const done = (): void => ws.send('{"type":"done"}')
  if (play === 'text') ws.send(JSON.stringify({ words }))
  else if (play === 'binary') ws.send(Buffer.from(words))
  else if (play === 'base64') ws.send(Buffer.from(words).toString('base64'))
  else if (play === 'long') ws.send(`${'x'.repeat(70_000)}${words}${'y'.repeat(70_000)}`)
  else if (play === 'fragments') {
    for (const [at, char] of [...words].entries()) ws.send(char, { fin: at === words.length - 1 })
  } else if (play === 'messages') for (const char of words) ws.send(char)
  else if (play === 'halves') {
    ws.send(words.slice(0, words.length / 2))
    ws.send(words.slice(words.length / 2))
  } else if (play === 'reason') return ws.close(4000, words.slice(0, 120))
  done()
}
