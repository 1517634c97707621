// The upstream of the bench: TLS, reads the whole body before it answers (an early answer falsifies every figure of squid),
// 403 unless exactly the right credential arrived. argv: certificate, key, address, port, credential. Prints nothing.
// The query says what it answers: `bytes=N` of text, compressed if that was asked for; `events=N` a second without end.
import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import { gzipSync } from 'node:zlib'

const [cert = '', key = '', address = '', port = '', credential = ''] = process.argv.slice(2)
const piece = Buffer.alloc(64 * 1024, 'lorem ipsum dolor sit amet, consectetur adipiscing elit. ')
const completion = { id: 'chatcmpl-1', object: 'chat.completion', created: 1_700_000_000, model: 'bench' }
const usage = { prompt_tokens: 9, completion_tokens: 12, total_tokens: 21 }

function answer(bytes: number): string {
  const made = (content: string): string =>
    JSON.stringify({ ...completion, choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }], usage })
  let text = ''
  // Words that differ, so that gzip has something to do: about 4 to 1.
  for (let at = 1; text.length < bytes; at++) text += `${((at * 2_654_435_761) % 1_000_000).toString(36)} word and another `
  return made(text.slice(0, Math.max(0, bytes - made('').length)))
}

const made = new Map<string, Buffer>()
function whole(bytes: number, gzip: boolean): Buffer {
  const name = `${bytes} ${gzip}`
  const known = made.get(name)
  if (known !== undefined) return known
  const plain = Buffer.from(answer(bytes))
  const body = gzip ? gzipSync(plain) : plain
  const coding = gzip ? 'Content-Encoding: gzip\r\n' : ''
  const head = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${coding}Content-Length: ${body.length}\r\n\r\n`
  const message = Buffer.concat([Buffer.from(head), body])
  made.set(name, message)
  return message
}

const no = Buffer.from('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
const wanted = new RegExp(`^authorization: bearer ${credential}\r$`, 'gim')
const event = Buffer.from(`data: ${JSON.stringify({ ...completion, choices: [{ index: 0, delta: { content: ' word' } }] })}\n\n`)
const eventChunk = Buffer.concat([Buffer.from(`${event.length.toString(16)}\r\n`), event, Buffer.from('\r\n')])

function pour(socket: tls.TLSSocket, bytes: number): void {
  socket.write(`HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ${bytes}\r\n\r\n`)
  let left = bytes
  const push = (): void => {
    while (left > 0 && !socket.destroyed) {
      const part = left >= piece.length ? piece : piece.subarray(0, left)
      left -= part.length
      if (!socket.write(part)) return void socket.once('drain', push)
    }
  }
  push()
}

function respond(socket: tls.TLSSocket, head: string): void {
  if ((head.match(wanted) ?? []).length !== 1) return void socket.write(no)
  const query = new URLSearchParams(/^\S+ [^? ]*\?(\S*)/.exec(head)?.[1] ?? '')
  const bytes = Number(query.get('bytes') ?? 600)
  if (query.has('events')) {
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n')
    socket.write(eventChunk)
    const timer = setInterval(() => socket.write(eventChunk), 1000 / Number(query.get('events')))
    return void socket.on('close', () => clearInterval(timer))
  }
  if (query.has('pour')) return pour(socket, bytes)
  socket.write(whole(bytes, /^accept-encoding:.*gzip/im.test(head)))
}

tls
  .createServer({ cert: readFileSync(cert), key: readFileSync(key), ALPNProtocols: ['http/1.1'] }, (socket) => {
    let waiting: Buffer = Buffer.alloc(0)
    let head = ''
    let left = -1 // of a body; -1: within a head; -2: chunks, until the last
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk])
      for (;;) {
        if (left === -1) {
          const end = waiting.indexOf('\r\n\r\n')
          if (end < 0) return
          head = waiting.toString('latin1', 0, end + 2)
          waiting = waiting.subarray(end + 4)
          left = /^transfer-encoding: *chunked/im.test(head) ? -2 : Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0)
        }
        if (left === -2) {
          if (!waiting.subarray(-7).toString('latin1').endsWith('0\r\n\r\n')) {
            waiting = Buffer.from(waiting.subarray(-7))
            return
          }
          waiting = Buffer.alloc(0)
        } else {
          const eaten = Math.min(left, waiting.length)
          left -= eaten
          waiting = waiting.subarray(eaten)
          if (left > 0) return
        }
        left = -1
        respond(socket, head)
        if (waiting.length === 0) return
      }
    })
  })
  .listen(Number(port), address, 4096)
