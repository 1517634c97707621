// The load of the bench: CONNECT and TLS once a connection, then POST 300 B and wait for the answer, over and over.
// argv: proxy host:port, target host:port, CA file, connections, warm-up ms, measured ms. Prints one JSON line when the
// measured time begins and one when it ends.
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import tls from 'node:tls'

const [proxy = '', target = '', caFile = '', connections = '', warmMs = '', runMs = ''] = process.argv.slice(2)
const [host = '', port = ''] = proxy.split(':')
const ca = readFileSync(caFile)
const body = JSON.stringify({ model: 'bench', input: 'x'.repeat(300) })
  .slice(0, 298)
  .padEnd(300, '}')
const request = Buffer.from(
  `POST /v1/responses HTTP/1.1\r\nHost: ${target.split(':')[0]}\r\nAuthorization: Bearer placeholder\r\nContent-Type: application/json\r\nAccept: application/json\r\nUser-Agent: bench/1\r\nX-Stainless-Lang: js\r\nX-Stainless-Runtime: node\r\nContent-Length: 300\r\n\r\n${body}`,
)
let done = 0
let refused = 0
let times: number[] = []

function open(): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), host, () => socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`))
    socket.setNoDelay(true)
    socket.once('error', reject)
    socket.once('data', (line: Buffer) => {
      if (!/^HTTP\/1\.[01] 200/.test(line.toString())) return reject(new Error(line.toString().slice(0, 300)))
      const secure = tls.connect({ socket, servername: target.split(':')[0] as string, ca, ALPNProtocols: ['http/1.1'] }, () =>
        resolve(secure),
      )
      secure.once('error', reject)
    })
  })
}

function drive(socket: tls.TLSSocket): void {
  let waiting = ''
  let sentAt = performance.now()
  socket.on('data', (chunk: Buffer) => {
    waiting += chunk.toString('latin1')
    const head = waiting.indexOf('\r\n\r\n')
    if (head < 0) return
    const length = Number(/^content-length: (\d+)/im.exec(waiting)?.[1] ?? -1)
    const chunked = length < 0 && waiting.endsWith('0\r\n\r\n')
    if (!chunked && (length < 0 || waiting.length < head + 4 + length)) return
    if (!waiting.startsWith('HTTP/1.1 200')) refused++
    waiting = ''
    done++
    times.push(performance.now() - sentAt)
    sentAt = performance.now()
    socket.write(request)
  })
  socket.write(request)
}

const sockets = await Promise.all(Array.from({ length: Number(connections) }, open))
for (const socket of sockets) drive(socket)
await new Promise((resolve) => setTimeout(resolve, Number(warmMs)))
done = 0
refused = 0
times = []
const began = performance.now()
process.stdout.write(`${JSON.stringify({ began: true })}\n`)
await new Promise((resolve) => setTimeout(resolve, Number(runMs)))
times.sort((a, b) => a - b)
const at = (share: number): number => Math.round((times[Math.floor(times.length * share)] ?? 0) * 100) / 100
process.stdout.write(`${JSON.stringify({ done, refused, seconds: (performance.now() - began) / 1000, p50: at(0.5), p99: at(0.99) })}\n`)
process.exit(0)
