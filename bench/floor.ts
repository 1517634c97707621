// The floor of the bench: CONNECT and TLS in, TLS out, and constant bytes between: what this platform costs before anybody
// reads a byte of HTTP. argv: port, ground. It must never be taken for a proxy.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import tls from 'node:tls'
import type { Ground } from './ground.ts'
import { askFields, chat } from './load.ts'

const [port = '', given = '{}'] = process.argv.slice(2)
const ground = JSON.parse(given) as Ground
const body = chat.replace('""', `"${'x'.repeat(300 - chat.length)}"`)
const fields = askFields.map((line) => line.replace('placeholder', ground.credential)).join('\r\n')
const request = Buffer.from(
  `POST /v1/responses HTTP/1.1\r\nHost: ${ground.host}\r\n${fields}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
)
const answer = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 600\r\n\r\n${'x'.repeat(600)}`)
const secureContext = tls.createSecureContext({ cert: readFileSync(ground.leafCert), key: readFileSync(ground.leafKey) })
const ca = readFileSync(ground.upstreamCa)

createServer((plain) => {
  plain.setNoDelay(true)
  plain.on('error', () => plain.destroy())
  plain.once('data', () => {
    plain.write('HTTP/1.1 200 Connection established\r\n\r\n')
    const inner = new tls.TLSSocket(plain, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] })
    const outer = tls.connect({ port: ground.upstreamPort, host: ground.upstreamAddress, servername: ground.host, ca })
    outer.setNoDelay(true)
    for (const [one, other] of [
      [inner, outer],
      [outer, inner],
    ] as const)
      one.on('error', () => other.destroy()).on('close', () => other.destroy())
    inner.on('data', () => outer.write(request))
    outer.on('data', () => inner.write(answer))
  })
}).listen(Number(port), '127.0.0.1')
