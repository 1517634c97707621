// Real nginx, haproxy and apache as readers of requests and of answers: each is a reverse proxy before an upstream that writes down
// what arrives, or answers with bytes of ours.
// Where a peer refuses what we accept, that is one of `exceptions`, with its reason; a message that is read otherwise never is.
// Only for tests; where one of them is not on the machine, it says how it comes there.
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { type AddressInfo, connect, createServer, isIPv4, type Server } from 'node:net'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { aimAbsolute, type Lookup } from '../../src/accept/aim.ts'
import { parseAuthority } from '../../src/accept/canonical.ts'
import { openai } from '../../src/catalog/openai.ts'
import { type Message, ours } from '../../src/http/differential.test-kit.ts'
import { findHeadEnd, readRequestHead } from '../../src/http/read-head.ts'
import { Refusal } from '../../src/model/refusal.ts'
import type { Service } from '../../src/model/service.ts'

export interface Peer {
  readonly name: string
  readonly port: number
  /** What arrived behind it since it was last emptied. */
  readonly arrived: Arrived[]
  /** One exchange at a time, for what arrives does not say of which it is: fast-check leaves its last case alone in the middle. */
  turn: Promise<unknown>
  /** What the upstream answers, byte for byte, instead of 200. */
  answer: Buffer | null
  stop(): Promise<void>
}

interface Arrived {
  readonly start: string
  readonly host: string
  readonly body: string
}

interface Kind {
  readonly name: string
  readonly program: string
  readonly debian: string
  /** Besides the program. */
  readonly needs?: string
  arguments(dir: string): readonly string[]
  configuration(dir: string, port: number, upstream: number): string
}

const modules = '/usr/lib/apache2/modules'

/** As wide as they go where ours is wide: what is compared is how they read, not how much. */
export const kinds: readonly Kind[] = [
  {
    name: 'nginx',
    program: 'nginx',
    debian: 'nginx-light',
    arguments: (dir) => ['-p', dir, '-e', 'stderr', '-c', join(dir, 'conf')],
    configuration: (dir, port, upstream) => `daemon off; master_process off; pid ${dir}/pid; error_log stderr emerg;
events { worker_connections 512; }
http {
  access_log off; client_max_body_size 0; large_client_header_buffers 8 128k;
  proxy_buffer_size 128k; proxy_buffers 8 128k; proxy_busy_buffers_size 256k; underscores_in_headers on;
  client_body_temp_path ${dir}/a; proxy_temp_path ${dir}/b; fastcgi_temp_path ${dir}/c; uwsgi_temp_path ${dir}/d; scgi_temp_path ${dir}/e;
  upstream recorder { server 127.0.0.1:${upstream}; keepalive 8; }
  server {
    listen 127.0.0.1:${port}; keepalive_requests 1000; merge_slashes off;
    location / { proxy_pass http://recorder; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; }
  }
}
`,
  },
  {
    name: 'haproxy',
    program: 'haproxy',
    debian: 'haproxy',
    arguments: (dir) => ['-db', '-f', join(dir, 'conf')],
    configuration: (_dir, port, upstream) => `global
  tune.bufsize 131072
  tune.http.maxhdr 256
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 5s
listen all
  bind 127.0.0.1:${port}
  server recorder 127.0.0.1:${upstream}
`,
  },
  {
    name: 'apache',
    program: 'apache2',
    debian: 'apache2',
    needs: join(modules, 'mod_proxy_http.so'),
    arguments: (dir) => ['-f', join(dir, 'conf'), '-DFOREGROUND'],
    configuration: (dir, port, upstream) => `ServerName a.test
ServerRoot ${dir}
DefaultRuntimeDir ${dir}
PidFile ${dir}/pid
User #65534
Group #65534
ErrorLog ${dir}/log
LogLevel crit
${['mpm_event', 'authz_core', 'proxy', 'proxy_http'].map((name) => `LoadModule ${name}_module ${modules}/mod_${name}.so`).join('\n')}
Listen 127.0.0.1:${port}
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
KeepAlive On
MaxKeepAliveRequests 0
LimitRequestLine 65536
LimitRequestFields 256
LimitRequestFieldSize 131072
AllowEncodedSlashes NoDecode
MergeSlashes Off
ProxyPreserveHost On
ProxyPassMatch "^/" "http://127.0.0.1:${upstream}" nocanon
`,
  },
]

const found = (program: string): boolean =>
  [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'].some((dir) => dir !== '' && existsSync(join(dir, program)))

/** Why not here; null where it can be tried. */
export function missing({ program, debian, needs, name }: Kind): string | null {
  const here = found(program) && (needs === undefined || existsSync(needs))
  return here ? null : `no ${name} on this machine: apt-get install -y --no-install-recommends ${debian}`
}

export async function startPeer(kind: Kind, parent: string): Promise<Peer> {
  const dir = join(parent, kind.name)
  mkdirSync(dir)
  const arrived: Arrived[] = []
  const peer: Peer = { name: kind.name, port: await freePort(), arrived, turn: Promise.resolve(), answer: null, stop }
  const recorder = http.createServer({ maxHeaderSize: 256 * 1024, keepAliveTimeout: 60_000 }, (request, response) => {
    const pieces: Buffer[] = []
    request.on('data', (piece: Buffer) => pieces.push(piece))
    request.on('end', () => {
      const body = Buffer.concat(pieces).toString('latin1')
      if (peer.answer !== null) {
        request.socket.end(peer.answer)
        return
      }
      arrived.push({ start: `${request.method} ${request.url}`, host: request.headers.host ?? '', body })
      // Without a body, so that every answer begins where one before it ended.
      response.writeHead(200, { 'content-length': '0' }).end()
    })
  })
  await listening(recorder)
  writeFileSync(join(dir, 'conf'), kind.configuration(dir, peer.port, portOf(recorder)))
  const env = { ...process.env, PATH: `${process.env.PATH}${delimiter}/usr/sbin` }
  const child = spawn(kind.program, kind.arguments(dir), { stdio: ['ignore', 'ignore', 'pipe'], env })
  let said = ''
  child.stderr.on('data', (text: Buffer) => {
    said += text
  })
  child.on('error', (error) => {
    said += error.message
  })
  async function stop(): Promise<void> {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      const gone = new Promise((done) => child.once('exit', done))
      // apache ends its children itself, if it is let.
      child.kill('SIGTERM')
      const late = setTimeout(() => child.kill('SIGKILL'), 3_000)
      await gone
      clearTimeout(late)
    }
    recorder.close()
    recorder.closeAllConnections()
  }
  try {
    await answering(child, peer.port)
  } catch {
    await stop()
    throw new Error(`${kind.name} does not start: ${said}`)
  }
  return peer
}

const portOf = (of: Server): number => (of.address() as AddressInfo).port
const listening = (of: Server): Promise<void> => new Promise((done) => of.listen(0, '127.0.0.1', done))

async function freePort(): Promise<number> {
  const server = createServer()
  await listening(server)
  const port = portOf(server)
  await new Promise((done) => server.close(done))
  return port
}

async function answering(child: ChildProcess, port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null || child.pid === undefined) break
    const open = await new Promise<boolean>((done) => {
      const socket = connect(port, '127.0.0.1', () => done(true))
      socket.on('error', () => done(false)).on('connect', () => socket.destroy())
    })
    if (open) return
    await sleep(50)
  }
  throw new Error('it does not answer')
}

const farewell = 'GET /farewell HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n'

/** What the peer's clients were answered, and what its upstream saw, of exactly the messages that we accept: no byte behind them but
 *  a last request, which is seen as such only by a reader for which they end where they end for us. */
async function exchange(peer: Peer, bytes: Buffer, mine: readonly Message[]): Promise<{ statuses: number[]; arrived: Arrived[] }> {
  peer.arrived.length = 0
  const end = mine.at(-1)
  const socket = connect({ port: peer.port, host: '127.0.0.1', noDelay: true })
  let text = ''
  const statuses = (): number[] =>
    [...text.matchAll(/(?:^|\r\n\r\n)HTTP\/1\.[01] (\d{3})/g)].map((match) => Number(match[1])).filter((status) => status >= 200)
  await new Promise<void>((done) => {
    const late = setTimeout(() => socket.destroy(), 5_000)
    socket.on('error', () => {})
    socket.on('data', (piece) => {
      text += piece.toString('latin1')
      // Who closes late would hold up the next one; whether it closes is not the question.
      if (end?.last === true && text.endsWith('\r\n\r\n') && statuses().length >= mine.length) socket.destroy()
    })
    socket.on('close', () => {
      clearTimeout(late)
      done()
    })
    socket.write(Buffer.concat([bytes.subarray(0, end?.end), Buffer.from(end?.last === true ? '' : farewell)]))
  })
  return { statuses: statuses(), arrived: [...peer.arrived] }
}

/** A URL in a request line as the path that it asks for: the door saw to it that Host names the same host (`accepted`). */
const pathOf = (start: string): string => start.replace(/ https?:\/\/[^/?]*\/?/, ' /')
const plainHost = (host: string): string => host.replace(/:80$/, '')

/** Null where the peer reads these bytes as we do; else what it made of them. */
export async function disagreement(peer: Peer, bytes: Buffer, mine: readonly Message[]): Promise<string | null> {
  const turn = peer.turn.then(() => exchange(peer, bytes, mine))
  peer.turn = turn
  const { statuses, arrived } = await turn
  const expected = mine.map(({ start, fields, body }) => ({ start: pathOf(start), host: plainHost(hostOf(fields)), body }))
  if (mine.at(-1)?.last === false) expected.push({ start: 'GET /farewell', host: 'a.test', body: '' })
  const theirs = arrived.map(({ start, host, body }) => ({ start: pathOf(start), host: plainHost(host), body }))
  const answered = statuses.length === expected.length && statuses.every((status) => status === 200)
  if (answered && JSON.stringify(theirs) === JSON.stringify(expected)) return null
  return `${peer.name} answers ${statuses.join(' ') || 'nothing'} and sees ${JSON.stringify(theirs)}, not ${JSON.stringify(expected)}`
}

const hostOf = (fields: readonly string[]): string => fields.find((line) => line.startsWith('host: '))?.slice(6) ?? ''

interface Exception {
  readonly peer: string
  readonly why: string
  of(message: Message): boolean
  /** Accepted by us, refused by the peer, to this day. */
  readonly sample: string
}

const sample = (line: string, fields = ''): string => `${line} HTTP/1.1\r\nHost: a.test\r\n${fields}\r\n`
const climbs = 'what a path means, not where it ends: it leads above its root (where our rules look at paths, accept.ambiguous_path)'

export const exceptions: readonly Exception[] = [
  { peer: 'nginx', why: climbs, of: above, sample: sample('GET /a/../..') },
  { peer: 'apache', why: climbs, of: above, sample: sample('GET /%2e%2e/b') },
  {
    peer: 'haproxy',
    why: 'a URL whose query follows its host: urllib sends it to a proxy so; we pass it on with a path',
    of: ({ start }) => / http:\/\/[^/]*\?/.test(start),
    sample: sample('GET http://a.test?b'),
  },
  {
    peer: 'haproxy',
    why: 'the length of a name has one byte there',
    of: ({ fields }) => fields.some((line) => line.indexOf(':') > 255),
    sample: sample('GET /', `${'N'.repeat(256)}: a\r\n`),
  },
  {
    peer: 'apache',
    why: 'a host whose last label begins with a digit is an address there, and none that it knows',
    of: ({ fields }) => {
      const host = hostOf(fields).replace(/:\d+$/, '')
      return /(?:^|\.)\d[^.]*\.?$/.test(host) && !isIPv4(host)
    },
    sample: sample('GET /').replace('a.test', 'a.0b'),
  },
  {
    peer: 'apache',
    why: 'a proxy of the last hop, and what is no number of hops (RFC 9110 §7.6.2 means TRACE and OPTIONS alone)',
    of: ({ fields }) => fields.some((line) => line.startsWith('max-forwards: ') && !/: 0*[1-9]\d{0,8}$/.test(line)),
    sample: sample('GET /', 'Max-Forwards: 0\r\n'),
  },
]

function above({ start }: Message): boolean {
  const path = pathOf(start).replace(/^\S+ |\?.*$/g, '')
  let depth = 0
  for (const part of path.replace(/%2e/gi, '.').replace(/%2f/gi, '/').split('/')) {
    if (part === '..') depth--
    else if (part !== '' && part !== '.') depth++
    if (depth < 0) return true
  }
  return false
}

/** How many messages were compared; throws where the peer reads one otherwise. */
export async function compare(peer: Peer, bytes: Buffer): Promise<number> {
  const all = accepted(bytes)
  const excused = all.findIndex((message) => exceptions.some((one) => one.peer === peer.name && one.of(message)))
  const mine = excused < 0 ? all : all.slice(0, excused)
  if (mine.length === 0) return 0
  const found = await disagreement(peer, bytes, mine)
  if (found !== null) throw new Error(`${found}\nof ${JSON.stringify(bytes.toString('latin1'))}`)
  return mine.length
}

/** Of answers, told by their text: what a peer does not pass on as it is. Our own clients never see a field of framing as a trailer. */
export const answerExceptions: readonly { readonly peer: string; readonly why: string; readonly of: RegExp; readonly sample: string }[] = [
  {
    peer: 'nginx',
    why: 'the first answer is the last there: none may come early (RFC 9110 §15.2), as it does from real APIs',
    of: /^HTTP\/1\.1 1/,
    sample: 'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  },
  {
    peer: 'nginx',
    why: 'an order to nginx itself',
    of: /\r\nX-Accel-Redirect:/i,
    sample: 'HTTP/1.1 200 OK\r\nX-Accel-Redirect: /x\r\nContent-Length: 0\r\n\r\n',
  },
  {
    peer: 'haproxy',
    why: 'it takes fields of framing as trailers, or refuses them; here they are dropped',
    of: /\r\n0+\r\n(?:.+\r\n)*(?:Content-Length|Transfer-Encoding):/i,
    sample: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: x\r\n\r\n',
  },
  {
    peer: 'apache',
    why: 'a line of 8 KiB is the longest there',
    of: /^[!-9;-~]+: [^\r\n]{8000}/m,
    sample: `HTTP/1.1 200 OK\r\nX: ${'v'.repeat(9_000)}\r\nContent-Length: 0\r\n\r\n`,
  },
]

/** The same for an answer, as a client of the peer gets it: its status and its whole body. */
export async function compareAnswer(peer: Peer, bytes: Buffer, method: string): Promise<number> {
  const mine = ours(bytes, 'answer', method)
  const last = mine.at(-1)
  const text = bytes.toString('latin1', 0, last?.end)
  const excused = answerExceptions.some((one) => one.peer === peer.name && one.of.test(text))
  if (last === undefined || !last.complete || Number(last.start) < 200 || excused) return 0
  const theirs = await askAlone(peer, bytes.subarray(0, last.end), method)
  if (theirs === `${last.start} ${last.body}`) return 1
  throw new Error(`a client of ${peer.name} sees ${theirs}\nof ${JSON.stringify(text)}`)
}

/** What a client of the peer is answered: status and body. */
export async function askAlone(peer: Peer, bytes: Buffer, method: string): Promise<string> {
  const turn = peer.turn.then(() => ask(peer, bytes, method))
  peer.turn = turn
  return turn
}

async function ask(peer: Peer, bytes: Buffer, method: string): Promise<string> {
  peer.answer = bytes
  const seen = await new Promise<string>((done) => {
    const request = http.request({ host: '127.0.0.1', port: peer.port, method, agent: false, maxHeaderSize: 256 * 1024 })
    const late = setTimeout(() => request.destroy(), 5_000)
    request.on('response', (answer) => {
      const pieces: Buffer[] = []
      answer.on('data', (piece: Buffer) => pieces.push(piece))
      answer.on('error', () => {})
      answer.on('close', () => done(`${answer.statusCode} ${Buffer.concat(pieces).toString('latin1')}${answer.complete ? '' : ' ...'}`))
    })
    request.on('upgrade', (_answer, socket) => socket.destroy())
    request.on('error', (error) => done(error.message))
    request.on('close', () => clearTimeout(late))
    request.end()
  })
  peer.answer = null
  return seen
}

/** The complete messages that our reader and the names of our door accept, until the first that one of them refuses. */
export function accepted(bytes: Buffer): Message[] {
  const all = ours(bytes, 'request')
  const refused = all.findIndex(({ complete }, index) => !complete || !throughDoor(bytes, all[index - 1]?.end ?? 0))
  return refused < 0 ? all : all.slice(0, refused)
}

/** A service at every host, without rules for paths: the widest that a door can be. */
const service: Service = { ...openai, actions: [], methods: [] }
const anyHost: Lookup = { find: () => service, byName: () => service, action: () => '' }

function throughDoor(bytes: Buffer, start: number): boolean {
  const head = readRequestHead(bytes, start, findHeadEnd(bytes, start))
  try {
    if (head.kind === 'absolute') aimAbsolute(head, anyHost)
    else parseAuthority(head.host, 80)
    return true
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return false
  }
}
