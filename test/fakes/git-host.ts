// A git host of GitHub's ways behind TLS: the real `git http-backend` (git-http-backend(1)) over a small CGI bridge, private
// repositories that answer 401 until the one token comes as the password of x-access-token, and a corner of the API.
// It is strict on purpose: a second Authorization, a placeholder, or a token in the wrong scheme is a 401.
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createGunzip } from 'node:zlib'

export interface GitHostOptions {
  readonly certificate: { readonly cert: string; readonly key: string }
  readonly folder: string
  readonly token: string
  /** `owner/name` of repositories that need no token to be read. */
  readonly open: readonly string[]
}

export interface GitSeen {
  readonly line: string
  readonly headers: IncomingMessage['headers']
}

export interface GitHost {
  readonly port: number
  readonly seen: GitSeen[]
  /** Makes an empty repository; its folder. */
  create(name: string): string
  close(): Promise<void>
}

export async function startGitHost(options: GitHostOptions): Promise<GitHost> {
  const seen: GitSeen[] = []
  const server = createServer(options.certificate, (request, response) => {
    seen.push({ line: `${request.method} ${request.headers.host}${request.url}`, headers: request.headers })
    const given = request.rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'authorization').length
    if (given > 1) refuse(response, 400)
    else if (request.headers.host === 'api.github.com') answerApi(request, response, options)
    else bridge(request, response, options)
  })
  // A client that expects it is told at once (RFC 9110 §10.1.1).
  server.on('checkContinue', (request, response) => {
    response.writeContinue()
    server.emit('request', request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    create(name) {
      const folder = join(options.folder, `${name}.git`)
      mkdirSync(folder, { recursive: true })
      execFileSync('git', ['init', '-q', '--bare', folder])
      for (const [key, value] of [
        ['http.receivepack', 'true'],
        ['safe.bareRepository', 'all'],
      ])
        execFileSync('git', ['-C', folder, 'config', key as string, value as string])
      return folder
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'www-authenticate': 'Basic realm="GitHub"', 'content-type': 'text/plain' }).end('no\n')
}

function answerApi(request: IncomingMessage, response: ServerResponse, { token }: GitHostOptions): void {
  const { authorization } = request.headers
  if (authorization !== undefined && authorization !== `Bearer ${token}`) return refuse(response, 401)
  response
    .writeHead(200, { 'content-type': 'application/json' })
    .end(JSON.stringify({ login: authorization === undefined ? null : 'robot' }))
}

function bridge(request: IncomingMessage, response: ServerResponse, { folder, token, open }: GitHostOptions): void {
  const [path = '', query = ''] = (request.url ?? '').split('?')
  const name = /^\/([^/]+\/[^/]+?)(?:\.git)?\//.exec(path)?.[1]?.toLowerCase() ?? ''
  const { authorization } = request.headers
  const known = authorization === `Basic ${Buffer.from(`x-access-token:${token}`).toString('base64')}`
  if (authorization !== undefined && !known) return refuse(response, 401)
  if (!known && (!open.includes(name) || `${path}?${query}`.includes('receive-pack'))) return refuse(response, 401)
  const cgi = spawn('git', ['http-backend'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      PATH: process.env['PATH'],
      GIT_PROJECT_ROOT: folder,
      GIT_HTTP_EXPORT_ALL: '1',
      // The repositories belong to whoever runs the test, the home need not.
      HOME: folder,
      PATH_INFO: path.replace(/^\/[^/]+\/[^/]+?(?:\.git)?\//, `/${name}.git/`),
      QUERY_STRING: query,
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      REMOTE_USER: known ? 'robot' : '',
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
    },
  })
  const body = request.headers['content-encoding'] === 'gzip' ? request.pipe(createGunzip()) : request
  body.pipe(cgi.stdin)
  cgi.stdin.on('error', () => undefined)
  let head = Buffer.alloc(0)
  let begun = false
  cgi.stdout.on('data', (chunk: Buffer) => {
    if (begun) {
      response.write(chunk)
      return
    }
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0) return
    begun = true
    // RFC 3875 §6.2.1
    const fields = Object.fromEntries(
      head
        .toString('latin1', 0, end)
        .split('\r\n')
        .map((line) => line.split(/: */, 2) as [string, string]),
    )
    response.writeHead(Number((fields['Status'] ?? '200').slice(0, 3)), fields)
    response.write(head.subarray(end + 4))
  })
  cgi.stdout.on('end', () => response.end())
}
