// The upstream of the bench: TLS, reads the whole body before it answers (an early answer falsifies every figure of squid),
// 403 unless exactly the right credential arrived. argv: certificate, key, port, credential. Prints nothing.
import { readFileSync } from 'node:fs'
import tls from 'node:tls'

const [cert = '', key = '', port = '', credential = ''] = process.argv.slice(2)
const body = JSON.stringify({ id: 'resp_1', output: 'x'.repeat(560) })
  .padEnd(600)
  .slice(0, 600)
const yes = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
const no = Buffer.from('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
const wanted = new RegExp(`^authorization: bearer ${credential}\r$`, 'gim')

tls
  .createServer({ cert: readFileSync(cert), key: readFileSync(key), ALPNProtocols: ['http/1.1'] }, (socket) => {
    let waiting: Buffer = Buffer.alloc(0)
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk])
      for (;;) {
        const head = waiting.indexOf('\r\n\r\n')
        if (head < 0) return
        const text = waiting.toString('latin1', 0, head + 2)
        const length = Number(/^content-length: (\d+)/im.exec(text)?.[1] ?? 0)
        if (waiting.length < head + 4 + length) return
        waiting = waiting.subarray(head + 4 + length)
        socket.write((text.match(wanted) ?? []).length === 1 ? yes : no)
      }
    })
  })
  .listen(Number(port), '127.0.0.1')
