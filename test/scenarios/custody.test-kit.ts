// A home with everything that an agent could want, an Ostiary of its user, and the hostile agent in a run: what it got, as a
// table. Used by the test and by tools/custody.ts, which writes the table into SECURITY.md.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  globSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { createServer, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { probeSandbox } from '../../src/launch/sandbox.ts'
import type { Told } from '../fakes/hostile-agent.ts'

const program = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
const bin = join(program, 'bin', 'ostiary.mjs')

export const modes = ['root', 'ordinary user', '`--isolate`', 'shared-user'] as const
export type Mode = (typeof modes)[number]
/** Attempt → did it get what it wanted? */
export type Result = Readonly<Record<string, boolean>>

/** uid of the mode here; a text says why it cannot be played. */
export function uidOf(mode: Mode): number | string {
  const own = process.getuid?.() ?? -1
  if (mode === 'root' && own !== 0) return 'only root starts as root'
  if (mode === 'root') return probeSandbox(0).custody === 'namespace' ? 0 : 'no namespaces here, not even for root'
  const uid = own === 0 ? 61_234 : own
  const reads =
    own !== 0 || spawnSync('setpriv', [...become(uid), 'cat', join(program, 'src', 'main.ts')], { stdio: 'ignore' }).status === 0
  if (!reads) return 'an ordinary user cannot read this clone'
  const probe =
    own === 0
      ? spawnSync('setpriv', [...become(uid), 'unshare', '-Urmn', 'true']).status === 0
      : probeSandbox(uid, true).custody === 'namespace'
  return mode === 'shared-user' || probe ? uid : 'no namespaces for an ordinary user here'
}

const become = (uid: number): readonly string[] => ['--reuid', String(uid), '--regid', String(uid), '--clear-groups']

interface Ground {
  readonly base: string
  readonly uid: number
  readonly environment: Readonly<Record<string, string>>
  readonly told: Omit<Told, 'server'>
  readonly close: () => void
}

/** As the user: through setpriv where the test is root. */
function spawnAs(ground: Pick<Ground, 'uid' | 'environment'>, words: readonly string[], cwd: string): ChildProcess {
  const same = ground.uid === process.getuid?.()
  const all = same ? words : ['setpriv', ...become(ground.uid), ...words]
  return spawn(all[0] as string, all.slice(1), { cwd, env: { ...ground.environment }, stdio: ['ignore', 'pipe', 'pipe'] })
}

function plantSecrets(home: string, project: string, canary: string): Readonly<Record<string, string>> {
  const files: Readonly<Record<string, string>> = {
    '~/.aws/credentials': '.aws/credentials',
    '~/.config/gh/hosts.yml': '.config/gh/hosts.yml',
    '~/.netrc': '.netrc',
    '~/.git-credentials': '.git-credentials',
    'a keyring': '.local/share/keyrings/login.keyring',
    'the login of Claude Code': '.claude/.credentials.json',
    'the login of Codex': '.codex/auth.json',
    'the login of Gemini CLI': '.gemini/oauth_creds.json',
    '~/.npmrc with a token': '.npmrc',
    '~/.docker/config.json': '.docker/config.json',
    '~/.kube/config': '.kube/config',
    'a private SSH key': '.ssh/id_ed25519',
    'the profile of a browser': '.mozilla/firefox/cookies.sqlite',
    'the history of a shell': '.bash_history',
  }
  const places = {
    ...Object.fromEntries(Object.entries(files).map(([name, path]) => [name, join(home, path)])),
    '.env of the project': join(project, '.env'),
  }
  for (const [name, path] of Object.entries(places)) {
    mkdirSync(dirname(path), { recursive: true })
    const text = name.includes('SSH') ? `-----BEGIN OPENSSH ${'PRIVATE'} KEY-----\n${canary}\n` : `_authToken=${canary}\n`
    writeFileSync(path, text, { mode: 0o600 })
  }
  return places
}

function plantLater(home: string, project: string): void {
  for (const folder of ['.config/systemd/user', '.local/bin', '.local/share', '.githooks', 'dotfiles', '.cache'])
    mkdirSync(join(home, folder), { recursive: true })
  for (const file of ['.bashrc', 'dotfiles/zshrc']) writeFileSync(join(home, file), '# mine\n')
  symlinkSync('dotfiles/zshrc', join(home, '.zshrc'))
  writeFileSync(join(home, '.gitconfig'), '[core]\n  hooksPath = ~/.githooks\n')
  writeFileSync(join(home, '.local/bin/tool'), '#!/bin/sh\n', { mode: 0o755 })
  mkdirSync(join(project, '.git', 'hooks'), { recursive: true })
}

function plantConfig(configDir: string, uid: number): void {
  mkdirSync(configDir, { recursive: true, mode: 0o700 })
  const at = new Date().toISOString()
  writeFileSync(
    join(configDir, 'posture.json'),
    JSON.stringify({ at, patchAgeDays: 1, pendingSecurityUpdates: 0, rebootNeeded: false, kernel: '6.1' }),
    { mode: 0o600 },
  )
  writeFileSync(join(configDir, 'policy.cedar'), '@id("all")\npermit (principal, action, resource);\n', { mode: 0o600 })
  const text = `trustDomain: custody.example
listen: { proxy: 127.0.0.1:0, baseUrl: 127.0.0.1:0 }
workloads:
  coder: { run: { startedBy: ["${uid}"] } }
  other: { run: { startedBy: ["${uid}"] } }
services: { openai: {} }
credentials:
  openai: { service: openai, for: [coder], static-key: { secret: openai } }
conditions:
  host: { posture: { file: posture.json } }
policies: [policy.cedar]
`
  writeFileSync(join(configDir, 'ostiary.yaml'), text, { mode: 0o600 })
}

/** Sockets as services of the user have them; each name is a row of the table. */
function plantSockets(home: string, runtime: string, uid: number, closing: (() => void)[]): Readonly<Record<string, string>> {
  const temporary = mkdtempSync('/tmp/ostiary-custody-')
  const paths: Record<string, string> = {
    Docker: join(home, '.docker/run/docker.sock'),
    Podman: join(runtime, 'podman/podman.sock'),
    containerd: join(runtime, 'containerd/containerd.sock'),
    'the SSH agent': join(temporary, 'agent.1'),
    'the GnuPG agent': join(home, '.gnupg/S.gpg-agent'),
    'the session bus': join(runtime, 'bus'),
    'systemd of the user': join(runtime, 'systemd/private'),
    tmux: join(`/tmp/tmux-${uid}-custody`, 'default'),
    screen: join(home, '.screen/1.pts'),
    X11: '/tmp/.X11-unix/X97',
    Wayland: join(runtime, 'wayland-7'),
    'the IDE': join(runtime, 'vscode-ipc-1.sock'),
    'a service that no list names': join(home, '.unheard-of/service.sock'),
  }
  for (const path of Object.values(paths)) {
    mkdirSync(dirname(path), { recursive: true })
    closing.push(listen(path))
    chownSync(path, uid, uid)
  }
  chownTree(temporary, uid)
  chownTree(`/tmp/tmux-${uid}-custody`, uid)
  closing.push(() => {
    for (const path of [temporary, `/tmp/tmux-${uid}-custody`, '/tmp/.X11-unix/X97']) rmSync(path, { recursive: true, force: true })
  })
  const abstract = `\0ostiary-custody-${process.pid}-${uid}`
  closing.push(listen(abstract))
  return { ...paths, 'a socket with an abstract name': abstract }
}

function listen(path: string): () => void {
  const server: Server = createServer(() => {}).listen(path)
  return () => void server.close()
}

function chownTree(path: string, uid: number): void {
  for (const one of [
    path,
    ...globSync('**/*', { cwd: path }).map((name) => join(path, name)),
    ...globSync('**/.*', { cwd: path }).map((name) => join(path, name)),
  ])
    spawnSync('chown', ['-h', `${uid}:${uid}`, one])
}

async function prepare(mode: Mode, uid: number): Promise<Ground> {
  const own = process.getuid?.() ?? -1
  const base = mkdtempSync(join(own === 0 ? '/var/tmp' : (process.env['HOME'] as string), '.ostiary-custody-'))
  const home = join(base, 'home')
  const project = join(home, 'project')
  const runtime = join(base, 'run')
  chmodSync(base, 0o711)
  for (const folder of [project, runtime]) mkdirSync(folder, { recursive: true })
  const canary = `canary-${mode.replace(/[^a-z]+/g, '-')}-${process.pid}`
  const secrets = plantSecrets(home, project, canary)
  plantLater(home, project)
  plantConfig(join(home, '.config', 'ostiary'), uid)
  const closing: (() => void)[] = []
  const sockets = plantSockets(home, runtime, uid, closing)
  const port = await new Promise<number>((resolve) => {
    const server = createServer(() => {}).listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
    closing.push(() => void server.close())
  })
  mkdirSync(`/tmp/${canary}`, { recursive: true })
  if (own === 0) spawnSync('chown', ['-R', '-h', `${uid}:${uid}`, base, `/tmp/${canary}`])
  chmodSync(runtime, 0o700)
  const environment = {
    HOME: home,
    PATH: `${home}/.local/bin:${process.env['PATH']}`,
    XDG_RUNTIME_DIR: runtime,
    SSH_AUTH_SOCK: sockets['the SSH agent'] as string,
    DBUS_SESSION_BUS_ADDRESS: `unix:path=${runtime}/bus`,
    DISPLAY: ':97',
    TMUX: `${sockets['tmux']},1,0`,
    DOCKER_HOST: `unix://${sockets['Docker']}`,
  }
  const victim = spawnAs({ uid, environment: { ...environment, VICTIM: canary } }, ['sleep', '120'], '/')
  closing.push(() => victim.kill('SIGKILL'))
  return {
    base,
    uid,
    environment,
    told: {
      canary,
      home,
      project,
      program,
      dataDir: join(home, '.local/share/ostiary'),
      configDir: join(home, '.config/ostiary'),
      secrets,
      sockets,
      ports: { 'a service on loopback': port },
      victim: victim.pid as number,
      ...plantInKernel(canary, closing),
      terminal: await terminalOf(uid, environment, closing),
    },
    close: () => {
      for (const close of closing.reverse()) close()
      for (const path of [base, `/tmp/${canary}`]) rmSync(path, { recursive: true, force: true })
    },
  }
}

/** A System V segment and a key in the session keyring, which everything that is started from here inherits. */
function plantInKernel(canary: string, closing: (() => void)[]): Pick<Told, 'sharedMemory' | 'keyring'> {
  const ffi = createRequire(import.meta.url)('node:ffi')
  const { shmget, shmctl, syscall } = ffi.dlopen('libc.so.6', {
    shmget: { arguments: ['i32', 'u64', 'i32'], return: 'i32' },
    shmctl: { arguments: ['i32', 'i32', 'u64'], return: 'i32' },
    syscall: { arguments: ['i64', 'pointer', 'pointer', 'pointer', 'u64', 'i64'], return: 'i64' },
  }).functions
  const sharedMemory = 0x0571_0000 + (process.pid & 0xffff)
  const segment = shmget(sharedMemory, 4_096n, 0o1666)
  closing.push(() => void shmctl(segment, 0, 0n))
  const numbers = process.arch === 'x64' ? { addKey: 248n, keyctl: 250 } : process.arch === 'arm64' ? { addKey: 217n, keyctl: 219 } : null
  if (numbers === null) return { sharedMemory, keyring: null }
  const [type, description, payload] = [Buffer.from('user\0'), Buffer.from(`${canary}\0`), Buffer.from(canary)]
  const pointers = [type, description, payload].map((one) => ffi.getRawPointer(one))
  const key = syscall(numbers.addKey, ...pointers, BigInt(payload.length), -3n)
  // keyctl(KEYCTL_INVALIDATE)
  closing.push(() => void syscall(BigInt(numbers.keyctl), 21n, key, 0n, 0n, 0n))
  return { sharedMemory, keyring: key > 0n ? numbers.keyctl : null }
}

/** A terminal of the user outside the run; null where there is no script(1). */
async function terminalOf(uid: number, environment: Ground['environment'], closing: (() => void)[]): Promise<string | null> {
  const script = spawnAs({ uid, environment }, ['script', '-qfc', 'tty; exec sleep 120', '/dev/null'], '/')
  closing.push(() => script.kill('SIGKILL'))
  return await new Promise((resolve) => {
    script.on('error', () => resolve(null))
    script.on('exit', () => resolve(null))
    script.stdout?.once('data', (text: Buffer) => resolve(/\/dev\/pts\/\d+/.exec(String(text))?.[0] ?? null))
  })
}

/** Plays one mode from the start of Ostiary to the end of the run, and a little longer. */
export async function measure(mode: Mode, uid: number): Promise<{ readonly result: Result; readonly said: string }> {
  const ground = await prepare(mode, uid)
  const { home, project, dataDir } = ground.told
  const server = spawnAs(ground, [process.execPath, bin, 'start'], home)
  const log: string[] = []
  for (const stream of [server.stdout, server.stderr]) stream?.on('data', (text: Buffer) => log.push(String(text)))
  try {
    await until(
      () => existsSync(join(`${dataDir}.run`, 'door', 'run.sock')) && existsSync(join(dataDir, 'admin.sock')),
      () => `Ostiary did not start:\n${log.join('')}`,
    )
    const planFile = join(project, 'told.json')
    writeFileSync(planFile, JSON.stringify({ ...ground.told, server: serverPid(server, uid) }))
    chmodSync(planFile, 0o644)
    const agent = fileURLToPath(new URL('../fakes/hostile-agent.ts', import.meta.url))
    const words = [
      process.execPath,
      bin,
      'run',
      ...['--as', 'coder'],
      ...(mode === 'shared-user' ? ['--no-namespace'] : []),
      ...(mode === '`--isolate`' ? ['--isolate'] : []),
      '--',
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      agent,
      planFile,
    ]
    const run = spawnAs(ground, words, project)
    const [out, said] = await Promise.all([text(run.stdout), text(run.stderr), new Promise((resolve) => run.once('close', resolve))])
    const line = out.trim().split('\n').at(-1) ?? ''
    if (!line.startsWith('{')) throw new Error(`the agent did not answer:\n${out}\n${said}\n${log.join('')}`)
    const got = { ...(JSON.parse(line) as Record<string, boolean>) }
    // What was tried inside is judged by what stands there now.
    got['make a shell start file that was not there'] &&= existsSync(join(home, '.bash_profile'))
    got['replace the link that is a shell start file'] &&=
      !lstatSync(join(home, '.zshrc')).isSymbolicLink() || readlinkSync(join(home, '.zshrc')) !== 'dotfiles/zshrc'
    got['add to autostart that was not there'] &&= existsSync(join(home, '.config/autostart'))
    await new Promise((resolve) => setTimeout(resolve, 3_500))
    got['a daemon that outlives the run'] = existsSync(join(project, 'daemon.alive'))
    const code = existsSync(join(project, 'daemon.out')) ? readFileSync(join(project, 'daemon.out'), 'utf8') : ''
    got['a daemon that uses the run after its end'] = code !== '' && !/^identify\./.test(code)
    return { result: got, said }
  } finally {
    server.kill('SIGTERM')
    await Promise.race([new Promise((resolve) => server.once('exit', resolve)), new Promise((resolve) => setTimeout(resolve, 5_000))])
    ground.close()
  }
}

/** setpriv becomes Ostiary by exec, so the pid stays. */
function serverPid(server: ChildProcess, uid: number): number {
  if (statSync(`/proc/${server.pid}`).uid !== uid && statSync(`/proc/${server.pid}`).uid !== 0) throw new Error('not the server')
  return server.pid as number
}

async function text(stream: NodeJS.ReadableStream | null): Promise<string> {
  const parts: string[] = []
  for await (const part of stream ?? []) parts.push(String(part))
  return parts.join('')
}

async function until(done: () => boolean, why: () => string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (done()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(why())
}

export const markers = ['<!-- custody table: made by `node tools/custody.ts` -->', '<!-- end of the custody table -->'] as const

export function tableOf(results: Readonly<Partial<Record<Mode, Result>>>): string {
  const names = Object.keys(results['ordinary user'] ?? results['shared-user'] ?? {})
  const cell = (mode: Mode, name: string): string =>
    results[mode]?.[name] === true ? '**open**' : results[mode]?.[name] === false ? 'held' : 'not tried'
  const rows = names.map((name) => `| ${name} | ${modes.map((mode) => cell(mode, name)).join(' | ')} |`)
  return [`| attempt | ${modes.join(' | ')} |`, `|---|${modes.map(() => '---|').join('')}`, ...rows].join('\n')
}

/** The cells that SECURITY.md states. */
export function statedIn(page: string, mode: Mode): Result {
  const [begin, end] = markers
  const lines = page
    .slice(page.indexOf(begin), page.indexOf(end))
    .split('\n')
    .filter((line) => line.startsWith('| '))
  const column = 2 + modes.indexOf(mode)
  const cells = lines.slice(1).map((line) => line.split('|').map((cell) => cell.trim()))
  return Object.fromEntries(cells.flatMap((row) => (row[column] === 'not tried' ? [] : [[row[1] as string, row[column] === '**open**']])))
}
