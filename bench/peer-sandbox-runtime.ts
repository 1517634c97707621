// sandbox-runtime's proxy as a peer of the bench: its TLS-ending CONNECT proxy with a decider that says yes and one header
// set. argv: folder of the install, port, ground. It must never decide or record anything: it is at its leanest.
import { type LookupAddress, lookup } from 'node:dns'
import { readFileSync, writeFileSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Ground } from './ground.ts'
import { credentialNames } from './load.ts'

const [folder = '', port = '', given = '{}'] = process.argv.slice(2)
const ground = JSON.parse(given) as Ground
const part = (name: string) =>
  import(pathToFileURL(join(folder, 'node_modules', '@anthropic-ai', 'sandbox-runtime', 'dist', 'sandbox', `${name}.js`)).href)
const { createHttpProxyServer } = await part('http-proxy')
const { createMitmCA } = await part('mitm-ca')
const mitmCA = createMitmCA({})
writeFileSync(join(ground.dir, 'sandbox-runtime-ca.pem'), mitmCA.certPem ?? readFileSync(mitmCA.certPath))
createHttpProxyServer({
  filter: () => true,
  mitmCA,
  shouldTerminateTLS: () => true,
  tlsTerminateUpstreamCA: readFileSync(ground.upstreamCa),
  lookupFor:
    () => (host: string, options: object, done: (error: Error | null, address: string | LookupAddress[], family?: number) => void) => {
      if (host !== ground.host) return lookup(host, options, done as never)
      if ('all' in options && options.all === true) return done(null, [{ address: ground.upstreamAddress, family: 4 }])
      return done(null, ground.upstreamAddress, 4)
    },
  mutateHeaders: (headers: IncomingHttpHeaders) => {
    for (const name of credentialNames) delete headers[name.toLowerCase()]
    headers.authorization = `Bearer ${ground.credential}`
  },
}).listen(Number(port), '127.0.0.1')
