// Prometheus metrics on a listener of their own, where one is configured.
import { createServer, type Server } from 'node:http'

export function serveMetrics(address: { readonly host: string; readonly port: number }, text: () => Promise<string>): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.url !== '/metrics' || request.method !== 'GET') return void response.writeHead(404).end()
    void text().then((body) => response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(body))
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(address.port, address.host, () => resolve(server))
  })
}
