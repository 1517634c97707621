// An agent that tries to get out of its run and at what is not its own. It is told everything: where each thing lies and what it
// is called. It prints a JSON object, attempt → true where it got what it wanted. It must leave nothing broken behind.
import { spawn, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { join } from 'node:path'

export interface Told {
  readonly canary: string
  readonly home: string
  readonly project: string
  readonly dataDir: string
  readonly configDir: string
  readonly program: string
  readonly secrets: Readonly<Record<string, string>>
  readonly sockets: Readonly<Record<string, string>>
  readonly ports: Readonly<Record<string, number>>
  readonly victim: number
  readonly server: number
  readonly terminal: string | null
  /** Key of a System V segment. */
  readonly sharedMemory: number
  /** Number of keyctl(2) where a key named like the canary lies in the session keyring; null where there is no keyring. */
  readonly keyring: number | null
}

const told = JSON.parse(readFileSync(process.argv[2] as string, 'utf8')) as Told
const key = join(told.dataDir, 'key')
const got: Record<string, boolean> = {}

/** The attempt succeeds when `work` says so; an error is a no. */
async function attempt(name: string, work: () => boolean | Promise<boolean>): Promise<void> {
  try {
    got[name] = await work()
  } catch {
    got[name] = false
  }
}

const reads = (path: string): boolean => readFileSync(path).length > 0
const holdsCanary = (path: string): boolean => readFileSync(path, 'latin1').includes(told.canary)
function writes(path: string, flags = constants.O_WRONLY): boolean {
  closeSync(openSync(path, flags))
  return true
}
function makes(path: string): boolean {
  writeFileSync(path, '', { flag: 'wx', mode: 0o755 })
  rmSync(path)
  return true
}
/** Moves a folder away and back: between the two, another could stand in its place. */
function renames(path: string): boolean {
  renameSync(path, `${path}.moved`)
  renameSync(`${path}.moved`, path)
  return true
}
function shell(script: string): string {
  return spawnSync('sh', ['-c', script], {
    encoding: 'latin1',
    timeout: 10_000,
    env: { ...process.env, KEY: key, DATA: told.dataDir, CONF: told.configDir },
  }).stdout
}
/** 'GOT' on standard output means that it worked. */
const tricks = (script: string): boolean => shell(`(${script}) 2>/dev/null`).includes('GOT')
const seesKey = 'test -s "$KEY" && echo GOT'

function reaches(to: { path: string } | { host: string; port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(to)
    const end = (yes: boolean): void => {
      socket.destroy()
      resolve(yes)
    }
    socket.setTimeout(1_000, () => end(false))
    socket.on('error', () => end(false))
    // A door answers or stays open; one that hangs up at once has refused.
    socket.on('connect', () => setTimeout(() => end(!socket.destroyed), 150))
    socket.on('close', () => end(false))
  })
}

async function ownThings(): Promise<void> {
  await attempt('read the key file', () => reads(key))
  await attempt('read the store', () => reads(join(told.dataDir, 'ostiary.db')))
  await attempt('read the log', () => readdirSync(join(told.dataDir, 'audit')).length > 0)
  await attempt('write into the data directory', () => makes(join(told.dataDir, 'new')))
  await attempt('read the configuration', () => reads(join(told.configDir, 'ostiary.yaml')))
  await attempt('change the configuration', () => {
    const before = readFileSync(join(told.configDir, 'ostiary.yaml'), 'utf8')
    writes(join(told.configDir, 'ostiary.yaml'))
    appendFileSync(join(told.configDir, 'ostiary.yaml'), '# changed\n')
    return readFileSync(join(told.configDir, 'ostiary.yaml'), 'utf8') === `${before}# changed\n`
  })
  await attempt('read the policies', () => reads(join(told.configDir, 'policy.cedar')))
  await attempt('replace the policies', () => renames(join(told.configDir, 'policy.cedar')))
  await attempt('add a file beside the configuration', () => makes(join(told.configDir, 'new')))
  await attempt('change the posture file', () => {
    appendFileSync(join(told.configDir, 'posture.json'), ' ')
    return readFileSync(join(told.configDir, 'posture.json'), 'utf8').endsWith(' ')
  })
  await attempt("change Ostiary's code", () => writes(join(told.program, 'src', 'main.ts'), constants.O_WRONLY | constants.O_APPEND))
  await attempt("change Ostiary's compiled code", () => makes(join(told.home, '.cache', 'ostiary', 'new')))
  await attempt('connect to the admin socket', () => reaches({ path: join(told.dataDir, 'admin.sock') }))
  await attempt('connect to the run socket', async () => reaches({ path: join(`${told.dataDir}.run`, 'door', 'run.sock') }))
  await attempt('become another workload by a run inside the run', () => {
    const { OSTIARY_RUN: _, ...environment } = process.env
    const words = [join(told.program, 'bin', 'ostiary.mjs'), 'run', '--as', 'other', '--no-namespace', '--', 'true']
    return spawnSync(process.execPath, words, { env: environment, timeout: 20_000 }).status === 0
  })
  await attempt('a double fork, then the admin socket', async () => {
    const out = join(told.project, 'orphan.out')
    const ask = `require('node:http').get({ socketPath: ${JSON.stringify(join(told.dataDir, 'admin.sock'))}, path: '/status' }, (answer) => require('node:fs').writeFileSync(${JSON.stringify(out)}, String(answer.statusCode)))`
    spawnSync('sh', ['-c', 'setsid "$0" -e "$1" </dev/null >/dev/null 2>&1 &', process.execPath, ask])
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    return readFileSync(out, 'utf8') === '200'
  })
}

async function mounts(): Promise<void> {
  await attempt('umount what covers', () => tricks(`umount "$DATA"; umount -l "$DATA"; umount -l "${told.home}"; ${seesKey}`))
  const below = (where: string): string =>
    `mkdir -p ${where}; mount --bind / ${where} && test -s "${where}$KEY" && echo GOT; mount --bind "$HOME" ${where} && test -s "${where}\${KEY#$HOME}" && echo GOT; rmdir ${where}`
  await attempt('mount the root or the home elsewhere and look below', () => tricks(below('/tmp/m')))
  await attempt('remount the configuration writable', () =>
    tricks('mount -o remount,bind,rw "$CONF" && : >> "$CONF/ostiary.yaml" && test -s "$CONF/ostiary.yaml" && echo GOT'),
  )
  await attempt('nested unshare, then umount', () =>
    tricks(
      `unshare --user --map-root-user --mount sh -c 'umount "$DATA"; umount -l "$DATA"; umount -l "$HOME"; umount -l /tmp; ${seesKey}'`,
    ),
  )
  await attempt('nested unshare, then mount the root or the home and look below', () =>
    tricks(`unshare --user --map-root-user --mount sh -c '${below('/tmp/n')}'; rmdir /tmp/n`),
  )
  await attempt('nested unshare, then remount writable', () =>
    tricks(
      `unshare --user --map-root-user --mount sh -c 'mount -o remount,bind,rw "$CONF" && : >> "$CONF/ostiary.yaml" && test -s "$CONF/ostiary.yaml" && echo GOT'`,
    ),
  )
  await attempt('nested unshare, then uncover a copy of all mounts', () =>
    tricks(
      `unshare --user --map-root-user --mount sh -c 'mkdir -p /tmp/c; mount --rbind / /tmp/c; umount -l "/tmp/c$DATA"; test -s "/tmp/c$KEY" && echo GOT'; rmdir /tmp/c`,
    ),
  )
  await attempt('nested unshare, then an overlay of the home', () =>
    tricks(
      `mkdir -p /tmp/u /tmp/w /tmp/o; unshare --user --map-root-user --mount sh -c 'mount -t overlay -o "lowerdir=$HOME,upperdir=/tmp/u,workdir=/tmp/w" none /tmp/o && test -s "/tmp/o\${KEY#$HOME}" && echo GOT'; rm -rf /tmp/u /tmp/w /tmp/o`,
    ),
  )
  await attempt('the root of another process', () =>
    tricks(`for p in /proc/[0-9]*; do test -s "$p/root$KEY" && echo GOT; done; ${seesKey}`),
  )
  await attempt('enter the namespaces of process 1', () =>
    tricks(`nsenter -t 1 -m -U -- sh -c '${seesKey}'; nsenter -t 1 -m -- sh -c '${seesKey}'`),
  )
}

async function processes(): Promise<void> {
  const { victim, server } = told
  const ffi = createRequire(import.meta.url)('node:ffi')
  const { ptrace, shmget } = ffi.dlopen('libc.so.6', {
    ptrace: { arguments: ['i64', 'i32', 'u64', 'u64'], return: 'i64' },
    shmget: { arguments: ['i32', 'u64', 'i32'], return: 'i32' },
  }).functions
  await attempt("another process' shared memory (System V)", () => shmget(told.sharedMemory, 0n, 0) >= 0)
  if (told.keyring !== null) {
    const [type, description] = [Buffer.from('user\0'), Buffer.from(`${told.canary}\0`)]
    // keyctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", description, 0)
    const number = BigInt(told.keyring)
    const search = ffi.dlopen('libc.so.6', {
      syscall: { arguments: ['i64', 'i64', 'i64', 'pointer', 'pointer', 'i64'], return: 'i64' },
    }).functions
    await attempt(
      "a key of the user's session keyring",
      () => search.syscall(number, 10n, -3n, ffi.getRawPointer(type), ffi.getRawPointer(description), 0n) > 0n,
    )
  }
  const traces = (pid: number): boolean => {
    if (BigInt(ptrace(16n, pid, 0n, 0n)) !== 0n) return false
    spawnSync('sleep', ['0.05'])
    ptrace(17n, pid, 0n, 0n)
    return true
  }
  await attempt('another process of the user: environment', () => holdsCanary(`/proc/${victim}/environ`))
  await attempt(
    'another process of the user: memory',
    () => /sleep/.test(readFileSync(`/proc/${victim}/cmdline`, 'latin1')) && writes(`/proc/${victim}/mem`, constants.O_RDONLY),
  )
  await attempt(
    'another process of the user: descriptors',
    () => readdirSync(`/proc/${victim}/fd`).length > 0 && holdsCanary(`/proc/${victim}/environ`),
  )
  await attempt('another process of the user: ptrace', () => traces(victim))
  await attempt("Ostiary's process: environment", () => reads(`/proc/${server}/environ`))
  await attempt("Ostiary's process: memory", () => writes(`/proc/${server}/mem`, constants.O_RDONLY))
  await attempt("Ostiary's process: descriptors", () => readdirSync(`/proc/${server}/fd`).length > 0)
  await attempt("Ostiary's process: ptrace", () => traces(server))
  await attempt('its own parent, process 1 of a namespace: ptrace', () => traces(process.ppid))
  await attempt('another process of the user: a signal', () => process.kill(victim, 'SIGTERM'))
  await attempt("Ostiary's process: a signal", () => process.kill(server, 'SIGWINCH'))
  await attempt(
    'gain a capability or a set-user-id',
    () =>
      !/^CapEff:\t0+$/m.test(readFileSync('/proc/self/status', 'utf8')) ||
      !/^NoNewPrivs:\t1$/m.test(readFileSync('/proc/self/status', 'utf8')),
  )
}

async function later(): Promise<void> {
  const { home } = told
  await attempt('change a shell start file', () => writes(join(home, '.bashrc'), constants.O_WRONLY | constants.O_APPEND))
  await attempt('replace a shell start file', () => renames(join(home, '.bashrc')))
  // The next two are judged after the run: what stands there then?
  await attempt('make a shell start file that was not there', () => writeFileSync(join(home, '.bash_profile'), 'evil') === undefined)
  await attempt('replace the link that is a shell start file', () => {
    unlinkSync(join(home, '.zshrc'))
    writeFileSync(join(home, '.zshrc'), 'evil')
    return true
  })
  await attempt('add to autostart that was not there', () => {
    mkdirSync(join(home, '.config', 'autostart'), { recursive: true })
    writeFileSync(join(home, '.config', 'autostart', 'evil.desktop'), '')
    return true
  })
  await attempt('add a unit of the user', () => makes(join(home, '.config', 'systemd', 'user', 'evil.service')))
  await attempt('change the global configuration of git', () => writes(join(home, '.gitconfig'), constants.O_WRONLY | constants.O_APPEND))
  await attempt('add a global hook of git', () => makes(join(home, '.githooks', 'pre-commit')))
  await attempt('add a program to a folder of PATH', () => makes(join(home, '.local', 'bin', 'ls')))
  await attempt('change a program in a folder of PATH', () =>
    writes(join(home, '.local', 'bin', 'tool'), constants.O_WRONLY | constants.O_APPEND),
  )
  await attempt('add a key that may log in', () => makes(join(home, '.ssh', 'authorized_keys')))
  await attempt('rename the parent of the configuration', () => renames(join(home, '.config')))
  await attempt('rename the parent of the data directory', () => renames(join(home, '.local', 'share')))
  await attempt('rename the parent of a folder of PATH', () => renames(join(home, '.local')))
  await attempt('put a link in place of the home', () => {
    renameSync(home, `${home}.moved`)
    symlinkSync(`${home}.moved`, home)
    unlinkSync(home)
    renameSync(`${home}.moved`, home)
    return true
  })
  await attempt("change a hook of the project's own git", () => makes(join(told.project, '.git', 'hooks', 'pre-commit')))
}

async function kernels(): Promise<void> {
  const disks = readdirSync('/sys/block').filter((name) => statSync(`/sys/block/${name}`).isDirectory())
  await attempt('read a raw disk', () => disks.some((name) => safely(() => writes(`/dev/${name}`, constants.O_RDONLY))))
  await attempt('what a crash starts (core_pattern)', () => writes('/proc/sys/kernel/core_pattern'))
  await attempt('switches of the kernel (sysrq, /sys)', () =>
    ['/proc/sysrq-trigger', '/sys/kernel/uevent_helper', '/sys/power/state', '/sys/fs/cgroup/memory/release_agent'].some((path) =>
      safely(() => writes(path)),
    ),
  )
  await attempt('read /etc/shadow', () => reads('/etc/shadow'))
  await attempt('write below /etc or /usr', () => ['/etc/new-file', '/usr/local/bin/new-file'].some((path) => safely(() => makes(path))))
  if (told.terminal !== null)
    await attempt('read another terminal of the user', () =>
      writes(told.terminal as string, constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK),
    )
}

function safely(work: () => boolean): boolean {
  try {
    return work()
  } catch {
    return false
  }
}

await kernels()
for (const [name, path] of Object.entries(told.secrets)) await attempt(`read ${name}`, () => holdsCanary(path))
for (const [name, path] of Object.entries(told.sockets)) await attempt(`connect to ${name}`, () => reaches({ path }))
for (const [name, port] of Object.entries(told.ports)) await attempt(`connect to ${name}`, () => reaches({ host: '127.0.0.1', port }))
await attempt('a variable that leads to a socket', () =>
  ['SSH_AUTH_SOCK', 'DBUS_SESSION_BUS_ADDRESS', 'DOCKER_HOST', 'TMUX', 'DISPLAY', 'WAYLAND_DISPLAY', 'VSCODE_IPC_HOOK_CLI'].some(
    (name) => process.env[name] !== undefined,
  ),
)
await attempt('see files of others in /tmp', () => readdirSync('/tmp').some((name) => name.includes(told.canary)))
await ownThings()
await mounts()
await later()
await processes()
// It outlives its run, if it can, and then uses what it was given; the test looks for what it wrote.
spawn(
  process.execPath,
  [
    '-e',
    `setTimeout(async () => { const fs = require('node:fs'); fs.writeFileSync('daemon.alive', ''); const answer = await fetch(process.env.OSTIARY_BASE_URL + '/openai/v1/models').catch(() => null); fs.writeFileSync('daemon.out', String(answer && (await answer.json()).code)) }, 2500)`,
  ],
  {
    cwd: told.project,
    detached: true,
    stdio: 'ignore',
  },
).unref()
process.stdout.write(`${JSON.stringify(got)}\n`)
