// The peers of the bench, each at its leanest and doing less than we must: they intercept and set one header; they identify
// nobody, decide nothing, scrub nothing and record nothing.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Peer {
  readonly name: string
  readonly port: number
  /** Words to start it, the working directory being its own. */
  readonly words: readonly string[]
  /** CA that its clients trust. */
  readonly ca: string
}

export interface Ground {
  readonly dir: string
  readonly upstreamPort: number
  /** Certificate and key of an authority, as files. */
  readonly caCert: string
  readonly caKey: string
  readonly upstreamCa: string
  readonly credential: string
  readonly host: string
}

/** Every peer strips the same twelve names and sets one. */
const credentialNames = [
  'Authorization',
  'X-Api-Key',
  'Api-Key',
  'X-Goog-Api-Key',
  'Xi-Api-Key',
  'Private-Token',
  'Job-Token',
  'X-Subscription-Token',
  'Dd-Api-Key',
  'Dd-Application-Key',
  'X-Amz-Security-Token',
  'Cookie',
]

const has = (command: string): boolean => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0

export function squid(ground: Ground): Peer | string {
  const certgen = '/usr/lib/squid/security_file_certgen'
  if (!has('squid') || spawnSync('test', ['-x', certgen]).status !== 0) return 'squid-openssl is not installed'
  const dir = join(ground.dir, 'squid')
  mkdirSync(dir)
  writeFileSync(join(dir, 'ca.pem'), execFileSync('cat', [ground.caCert, ground.caKey]))
  execFileSync(certgen, ['-c', '-s', join(dir, 'certs'), '-M', '4MB'])
  writeFileSync(
    join(dir, 'squid.conf'),
    `http_port 127.0.0.1:3129 ssl-bump tls-cert=${join(dir, 'ca.pem')} generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
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
    port: 3129,
    words: ['squid', '-N', '-n', `ostiary${process.pid}`, '-f', join(dir, 'squid.conf')],
    ca: ground.caCert,
  }
}

export function mitmproxy(ground: Ground): Peer | string {
  if (!has('mitmdump')) return 'mitmproxy is not installed'
  const dir = join(ground.dir, 'mitmproxy')
  mkdirSync(dir)
  writeFileSync(join(dir, 'mitmproxy-ca.pem'), execFileSync('cat', [ground.caKey, ground.caCert]))
  writeFileSync(
    join(dir, 'addon.py'),
    `NAMES = ${JSON.stringify(credentialNames.map((name) => name.toLowerCase()))}
def server_connect(data):
    data.server.address = ("127.0.0.1", ${ground.upstreamPort})
def request(flow):
    for name in NAMES:
        flow.request.headers.pop(name, None)
    flow.request.headers["authorization"] = "Bearer ${ground.credential}"
`,
  )
  const set = [
    '--set',
    `confdir=${dir}`,
    '--set',
    'http2=false',
    '--set',
    `ssl_verify_upstream_trusted_ca=${ground.upstreamCa}`,
    '--set',
    'flow_detail=0',
    '--set',
    'connection_strategy=lazy',
  ]
  return {
    name: 'mitmproxy',
    port: 3130,
    words: ['mitmdump', '-q', '--listen-host', '127.0.0.1', '--listen-port', '3130', ...set, '-s', join(dir, 'addon.py')],
    ca: ground.caCert,
  }
}

export function ostiary(ground: Ground, root: string, port: number): Peer {
  const dir = join(ground.dir, 'ostiary')
  mkdirSync(dir, { mode: 0o700 })
  writeFileSync(
    join(dir, 'ostiary.yaml'),
    `trustDomain: bench.example
listen: { proxy: 127.0.0.1:${port}, baseUrl: 127.0.0.1:${port + 1} }
log: error
egress:
  extraCa: ${ground.upstreamCa}
  dangerouslyFixedAddresses:
    - { host: ${ground.host}, address: "127.0.0.1:${ground.upstreamPort}", reason: the upstream of the bench, until: ${new Date(Date.now() + 86_400_000).toISOString().slice(0, 10)} }
workloads:
  bench: { groups: [bench], labels: { stage: production }, identify: { process: { user: ${process.getuid?.()} } } }
services: { openai: {} }
credentials:
  openai: { service: openai, for: [bench], static-key: { secret: openai } }
conditions:
  businessHours: { time-window: { zone: UTC, days: mon-sun, from: "00:00", to: "24:00" } }
policies:
  - cedar: |
      @id("bench")
      permit (principal in Group::"bench", action in Action::"inference", resource == Service::"openai")
      when { context.facts.businessHours && principal.labels.stage == "production" };
`,
    { mode: 0o600 },
  )
  const words = [process.execPath, join(root, 'bin', 'ostiary.mjs'), '--config', join(dir, 'ostiary.yaml'), '--data', join(dir, 'store')]
  return { name: 'ostiary', port, words: [...words, 'start'], ca: join(dir, 'store.run', 'ca.pem') }
}
