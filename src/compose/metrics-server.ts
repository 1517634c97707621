// Prometheus metrics on a listener of their own, where one is configured.
import type { Server } from 'node:http'

// Not by `import`: see http/write-head.ts.
const { createServer } = process.getBuiltinModule('node:http')

export function serveMetrics(address: { readonly host: string; readonly port: number }, text: () => Promise<string>): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.url !== '/metrics' || request.method !== 'GET') return void response.writeHead(404).end()
    text().then(
      (all) => response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(all),
      () => response.writeHead(503).end(),
    )
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(address.port, address.host, () => resolve(server))
  })
}
