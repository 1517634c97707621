// A real squid as the proxy of a network: plain CONNECT, one that wants a login, or one that opens TLS with a CA of its own. Only for
// tests; where there is no squid it says so.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createRootAuthority } from '../../src/crypto/x509.ts'

const program = '/usr/sbin/squid'
const certificates = '/usr/lib/squid/security_file_certgen'

/** Why not here; null where it can be tried. `bump`: TLS is opened, which not every squid can. */
export function noSquid(bump: boolean): string | null {
  if (!existsSync(program)) return 'no squid on this machine'
  return bump && !existsSync(certificates) ? 'this squid cannot open TLS (squid-openssl)' : null
}

export interface Squid {
  readonly port: number
  /** PEM of the CA with which it opens TLS. */
  readonly ca: string
  log(): string
  stop(): Promise<void>
}

export interface SquidWanted {
  readonly mode: 'plain' | 'login' | 'bump'
  readonly hosts: Readonly<Record<string, string>>
  /** What it trusts itself. */
  readonly trusts: string
  readonly port?: number
}

let counter = 0

export async function startSquid(parent: string, { mode, hosts, trusts, port: wanted }: SquidWanted): Promise<Squid> {
  const name = `t${process.pid}n${counter++}`
  const dir = join(parent, name)
  const at = (file: string): string => join(dir, file)
  mkdirSync(dir)
  // As root it becomes the user proxy.
  chmodSync(dir, 0o777)
  const port = wanted ?? (await freePort())
  const ca = createRootAuthority({ commonName: 'Corporate inspection', now: Date.now(), years: 1 })
  writeFileSync(
    at('hosts'),
    Object.entries(hosts)
      .map(([host, address]) => `${address} ${host}\n`)
      .join(''),
  )
  writeFileSync(at('ca.pem'), `${ca.certPem}\n${ca.key.export({ type: 'pkcs8', format: 'pem' })}`, { mode: 0o644 })
  writeFileSync(at('trusts.pem'), trusts)
  const bump = `ssl-bump cert=${at('ca.pem')} generate-host-certificates=on dynamic_cert_mem_cache_size=4MB`
  writeFileSync(
    at('squid.conf'),
    `http_port 127.0.0.1:${port} ${mode === 'bump' ? bump : ''}
visible_hostname corp.test
hosts_file ${at('hosts')}
dns_nameservers 127.0.0.1
pid_filename none
cache deny all
cache_log ${at('cache.log')}
access_log stdio:${at('access.log')}
coredump_dir ${dir}
pinger_enable off
shutdown_lifetime 0 seconds
${mode === 'login' ? 'auth_param basic program /usr/lib/squid/basic_fake_auth\nacl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all' : 'http_access allow all'}
${mode === 'bump' ? `sslcrtd_program ${certificates} -s ${at('db')} -M 4MB\nsslcrtd_children 1\nssl_bump bump all\ntls_outgoing_options cafile=${at('trusts.pem')}` : ''}
`,
  )
  if (mode === 'bump') {
    spawnSync(certificates, ['-c', '-s', at('db'), '-M', '4MB'])
    spawnSync('chown', ['-R', 'proxy', at('db')])
  }
  const child = spawn(program, ['-N', '-f', at('squid.conf'), '-n', name], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text: Buffer) => {
    said += text
  })
  await answering(child, port, () => `${said}\n${existsSync(at('cache.log')) ? readFileSync(at('cache.log'), 'utf8') : ''}`)
  return {
    port,
    ca: ca.certPem,
    log: () => (existsSync(at('access.log')) ? readFileSync(at('access.log'), 'utf8') : ''),
    stop: () =>
      new Promise((done) => {
        if (child.exitCode !== null || child.signalCode !== null) return done()
        child.once('exit', () => done())
        child.kill('SIGKILL')
      }),
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  await new Promise((done) => server.close(done))
  return port
}

async function answering(child: ChildProcess, port: number, said: () => string): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (child.exitCode !== null) throw new Error(`squid ended at its start: ${said()}`)
    const open = await new Promise<boolean>((done) => {
      const socket = connect(port, '127.0.0.1', () => done(true))
      socket.on('error', () => done(false)).on('connect', () => socket.destroy())
    })
    if (open) return
    await sleep(50)
  }
  child.kill('SIGKILL')
  throw new Error(`squid does not answer: ${said()}`)
}
