// Stand-ins for three vendors, behind TLS and under the vendors' own host names. Each checks what the vendor checks of
// header, version and body, answers in the vendor's JSON and SSE, and records the exact bytes that it got.
// They are strict on purpose: a credential in the wrong slot, a second one, or a placeholder is a 401.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { createSecureServer } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Server, Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { chatAnswer, chatEvents, event, messageAnswer, messageEvents, responseAnswer, responseEvents } from './answers.ts'
import { createRealtime, type Upgraded } from './realtime.ts'

export interface Seen {
  readonly vendor: VendorName
  readonly httpVersion: string
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Request head exactly as it came. */
  readonly raw: string
}

export type VendorName = 'openai' | 'anthropic' | 'gemini'

export interface VendorsOptions {
  /** Certificate and key for a host, from an authority that the proxy under test trusts. */
  readonly certificate: (hosts: readonly string[]) => { readonly cert: string; readonly key: string }
  /** The only Gemini key that is accepted. */
  readonly geminiKey: string
  /** Static keys and a set-up token that are accepted too. */
  readonly keys?: { readonly openai?: string; readonly anthropic?: string; readonly setUpToken?: string }
  /** Uploaded key sets, as an operator would upload them at the vendor. */
  readonly jwks: () => Promise<Readonly<Record<'openai' | 'anthropic', JSONWebKeySet>>>
  readonly expectedAudience: Readonly<Record<'openai' | 'anthropic', string>>
  /** Life of issued tokens. */
  readonly tokenSeconds?: number
}

export interface Vendors {
  readonly seen: Seen[]
  /** Called with path and body when a request has come, or a message, before it is answered. */
  readonly watch: { arrived: (what: string) => void }
  readonly upgraded: readonly Upgraded[]
  /** Everything that was ever issued or accepted as a credential: what must never reach an agent. */
  readonly secrets: Set<string>
  readonly ports: Readonly<Record<VendorName, number>>
  readonly hosts: Readonly<Record<VendorName, readonly string[]>>
  /** Makes every token issued so far worthless at the vendor. */
  forget(): void
  close(): Promise<void>
}

export const vendorHosts = {
  openai: ['api.openai.com', 'auth.openai.com'],
  anthropic: ['api.anthropic.com'],
  gemini: ['generativelanguage.googleapis.com'],
} as const

interface Asked {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly url: URL
  readonly body: string
  readonly json: Record<string, unknown>
}

export async function startVendors(options: VendorsOptions): Promise<Vendors> {
  const seen: Seen[] = []
  const secrets = new Set<string>([options.geminiKey, ...Object.values(options.keys ?? {})])
  const issued = { openai: new Set<string>(), anthropic: new Set<string>() }
  const watch = { arrived: (_what: string): void => {} }
  const realtime = createRealtime(watch)
  const usedStatements = new Set<string>()

  const exchange = async (vendor: 'openai' | 'anthropic', statement: unknown, prefix: string): Promise<Record<string, unknown>> => {
    const keys = createLocalJWKSet((await options.jwks())[vendor])
    const { payload } = await jwtVerify(String(statement), keys, {
      audience: options.expectedAudience[vendor],
      algorithms: ['ES256'],
      requiredClaims: ['iss', 'sub', 'iat', 'exp', 'jti'],
    })
    if (usedStatements.has(String(payload.jti))) throw new Error('jti was used')
    usedStatements.add(String(payload.jti))
    const token = `${prefix}${Buffer.from(crypto.getRandomValues(new Uint8Array(36))).toString('base64url')}`
    issued[vendor].add(token)
    secrets.add(token)
    return {
      access_token: token,
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      token_type: 'Bearer',
      expires_in: options.tokenSeconds ?? 3600,
    }
  }

  const openai = async (asked: Asked): Promise<void> => {
    const { request, response, url, json } = asked
    if (request.headers.host === 'auth.openai.com') {
      if (url.pathname !== '/oauth/token' || json['grant_type'] !== 'urn:ietf:params:oauth:grant-type:token-exchange')
        return reply(asked, 400, { error: 'unsupported_grant_type' })
      if (typeof json['identity_provider_id'] !== 'string' || typeof json['service_account_id'] !== 'string')
        return reply(asked, 400, { error: 'invalid_request' })
      return exchange('openai', json['subject_token'], 'sk-svcacct-wif-').then(
        (answer) => reply(asked, 200, answer),
        (error: Error) => reply(asked, 401, { error: 'invalid_grant', error_description: error.message }),
      )
    }
    const token = bearer(request)
    if (token === null || !(issued.openai.has(token) || token === options.keys?.openai)) {
      return reply(asked, 401, {
        error: {
          message: `Incorrect API key provided: ${String(token).slice(0, 8)}****. You can find your API key in your account.`,
          type: 'invalid_request_error',
          code: 'invalid_api_key',
        },
      })
    }
    if (url.pathname === '/v1/models')
      return reply(asked, 200, { object: 'list', data: [{ id: 'gpt-5', object: 'model', created: 1, owned_by: 'openai' }] })
    if (typeof json['model'] !== 'string')
      return reply(asked, 400, { error: { message: 'you must provide a model parameter', type: 'invalid_request_error' } })
    if (json['model'] === 'echo')
      return echo(asked, {
        object: 'chat.completion',
        id: 'c',
        created: 1,
        model: 'echo',
        choices: [
          { index: 0, finish_reason: 'stop', message: { role: 'assistant', content: `you sent ${request.headers.authorization}` } },
        ],
      })
    if (json['model'] === 'echo-plain') return reply(asked, 200, { words: `you sent ${request.headers.authorization}` })
    if (json['model'] === 'echo-split') return stream(asked, [...`data: you sent ${request.headers.authorization}\n\n`], false)
    if (json['model'] === 'moved') {
      response.writeHead(302, { location: 'https://api.anthropic.com/v1/messages', 'content-length': 0 })
      response.end()
      return
    }
    if (url.pathname === '/v1/chat/completions')
      return json['stream'] === true ? stream(asked, chatEvents(json), json['model'] === 'slow') : reply(asked, 200, chatAnswer(json))
    if (url.pathname === '/v1/responses')
      return json['stream'] === true
        ? stream(asked, responseEvents(json), json['model'] === 'slow')
        : reply(asked, 200, responseAnswer(json))
    return reply(asked, 404, { error: { message: 'Unknown request URL', type: 'invalid_request_error' } })
  }

  const anthropic = async (asked: Asked): Promise<void> => {
    const { request, url, json } = asked
    const beta = String(request.headers['anthropic-beta'] ?? '')
    if (url.pathname === '/v1/oauth/token') {
      if (!beta.includes('oidc-federation-2026-04-01') || json['grant_type'] !== 'urn:ietf:params:oauth:grant-type:jwt-bearer')
        return reply(asked, 400, { error: 'unsupported_grant_type' })
      if (typeof json['federation_rule_id'] !== 'string' || typeof json['organization_id'] !== 'string')
        return reply(asked, 400, { error: 'invalid_request' })
      return exchange('anthropic', json['assertion'], 'sk-ant-oat01-').then(
        (answer) => reply(asked, 200, answer),
        (error: Error) => reply(asked, 401, { error: 'invalid_grant', error_description: error.message }),
      )
    }
    const token = bearer(request)
    const bad = (status: number, type: string, message: string): void => reply(asked, status, { type: 'error', error: { type, message } })
    const key = request.headers['x-api-key']
    if (key !== undefined && (token !== null || key !== options.keys?.anthropic))
      return bad(401, 'authentication_error', 'invalid x-api-key')
    if (key === undefined) {
      const known = token !== null && (issued.anthropic.has(token) || token === options.keys?.setUpToken)
      if (!known || !beta.split(',').some((one) => one.trim() === 'oauth-2025-04-20'))
        return bad(401, 'authentication_error', 'invalid bearer token')
    }
    if (request.headers['anthropic-version'] === undefined)
      return bad(400, 'invalid_request_error', 'anthropic-version: header is required')
    if (url.pathname === '/v1/models') return reply(asked, 200, { data: [{ type: 'model', id: 'claude-x' }], has_more: false })
    if (url.pathname !== '/v1/messages') return bad(404, 'not_found_error', 'Not found')
    if (typeof json['model'] !== 'string' || typeof json['max_tokens'] !== 'number')
      return bad(400, 'invalid_request_error', 'model and max_tokens are required')
    return json['stream'] === true ? stream(asked, messageEvents(json), false) : reply(asked, 200, messageAnswer(json))
  }

  const gemini = async (asked: Asked): Promise<void> => {
    const { request, url } = asked
    const bad = (code: number, status: string, message: string): void => reply(asked, code, { error: { code, message, status } })
    if (url.searchParams.has('key') || request.headers.authorization !== undefined)
      return bad(400, 'INVALID_ARGUMENT', 'Multiple authentication credentials received.')
    if (request.headers['x-goog-api-key'] !== options.geminiKey)
      return bad(401, 'UNAUTHENTICATED', 'API key not valid. Please pass a valid API key.')
    if (url.pathname === '/v1beta/models') return reply(asked, 200, { models: [{ name: 'models/gemini-x' }] })
    const match = /^\/v1(?:beta|alpha)?\/models\/([^/:]+):(generateContent|streamGenerateContent)$/.exec(url.pathname)
    if (match === null) return bad(404, 'NOT_FOUND', 'Not found')
    const part = (text: string, end: boolean) => ({
      candidates: [{ index: 0, content: { role: 'model', parts: [{ text }] }, ...(end ? { finishReason: 'STOP' } : {}) }],
      usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 1, totalTokenCount: 2 },
      modelVersion: match[1],
    })
    if (match[2] === 'generateContent') return reply(asked, 200, part('Hello from Gemini', true))
    return stream(asked, [event(part('Hello ', false)), event(part('from Gemini', true))], false)
  }

  const servers: Server[] = []
  const sockets = new Set<Socket>()
  const start = async (vendor: VendorName, act: (asked: Asked) => Promise<void>): Promise<number> => {
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      const chunks: Buffer[] = []
      request.on('error', () => response.destroy())
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const body = Buffer.concat(chunks).toString('utf8')
        const url = new URL(request.url ?? '/', `https://${request.headers.host ?? vendorHosts[vendor][0]}`)
        const raw = [`${request.method} ${request.url} HTTP/1.1`, ...pairs(request.rawHeaders)].join('\r\n')
        seen.push({
          vendor,
          httpVersion: request.httpVersion,
          method: request.method ?? '',
          path: request.url ?? '',
          headers: request.headers as Record<string, string>,
          body,
          raw,
        })
        watch.arrived(`${request.url} ${body}`)
        let json: Record<string, unknown> = {}
        try {
          json = body === '' ? {} : JSON.parse(body)
        } catch {
          return reply({ request, response, url, body, json }, 400, { error: { message: 'invalid JSON' } })
        }
        void act({ request, response, url, body, json }).catch(() => response.destroy())
      })
    }
    // One of them offers HTTP/2 beside HTTP/1.1, as all the real ones do.
    const certificate = options.certificate(vendorHosts[vendor])
    const server =
      vendor === 'anthropic'
        ? createSecureServer({ ...certificate, allowHTTP1: true }, answer as never)
        : createHttpsServer(certificate, answer)
    server.on('upgrade', realtime.door(vendor, secrets))
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  }
  const ports = {
    openai: await start('openai', openai),
    anthropic: await start('anthropic', anthropic),
    gemini: await start('gemini', gemini),
  }
  return {
    seen,
    watch,
    upgraded: realtime.upgraded,
    secrets,
    ports,
    hosts: vendorHosts,
    forget: () => {
      issued.openai.clear()
      issued.anthropic.clear()
    },
    close: async () => {
      const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)))
      for (const socket of sockets) socket.destroy()
      await Promise.all(closed)
    },
  }
}

function bearer(request: IncomingMessage): string | null {
  return /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? null
}

const pairs = (raw: readonly string[]): string[] => raw.flatMap((one, at) => (at % 2 === 0 ? [`${one}: ${raw[at + 1]}`] : []))

function reply({ response }: Asked, status: number, json: unknown): void {
  const body = Buffer.from(JSON.stringify(json))
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': body.length,
    'x-request-id': 'req_stand_in',
    'set-cookie': '__cf_bm=x; path=/',
  })
  response.end(body)
}

/** Compressed, and in chunks of seven bytes: what a scrubber must see through. */
function echo({ response, request }: Asked, json: unknown): void {
  const packed = gzipSync(JSON.stringify(json))
  response.writeHead(200, {
    'content-type': 'application/json',
    'content-encoding': 'gzip',
    'x-echo': String(request.headers.authorization),
  })
  for (let at = 0; at < packed.length; at += 7) response.write(packed.subarray(at, at + 7))
  response.end()
}

function stream({ response }: Asked, events: readonly string[], slow: boolean): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  if (!slow) {
    for (const event of events) response.write(event)
    response.end()
    return
  }
  let sent = 0
  const timer = setInterval(() => {
    response.write(events[Math.min(sent++, 1)] as string)
    if (sent > 600) response.end()
  }, 50)
  response.on('close', () => clearInterval(timer))
}
