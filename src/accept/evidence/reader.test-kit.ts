// Starts the reader as its units do: another uid, its capabilities and no other, a socket that was opened for it. Only for tests.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, renameSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { fileURLToPath } from 'node:url'

export const uids = { broker: 64_911, agent: 64_912, reader: 64_913, stranger: 64_914 } as const
export const both = ['sys_ptrace', 'dac_read_search']
const main = fileURLToPath(new URL('./reader-main.ts', import.meta.url))

/** Why other users cannot be played here; false where they can. */
export function noOthers(): string | false {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'only root can be other users'
  const says = spawnSync('setpriv', ['--reuid', '64911', '--clear-groups', '--bounding-set=-all', process.execPath, main], {
    encoding: 'utf8',
    cwd: '/',
  })
  if (says.error !== undefined) return 'no setpriv on this machine'
  return says.stderr.includes('no user "" to answer') ? false : 'other users cannot read this program, or capabilities cannot be dropped'
}

/** setpriv's words for a uid with exactly these capabilities. */
export function asUnit(uid: number, capabilities: readonly string[]): readonly string[] {
  const exactly = ['-all', ...capabilities.map((name) => `+${name}`)].join(',')
  const sets = ['inh-caps', 'ambient-caps', 'bounding-set'].map((set) => `--${set}=${exactly}`)
  return ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--no-new-privs', ...sets]
}

/** Hands listening sockets to `words`, as systemd does: descriptors from 3, in the order of their names. */
export function passing(servers: Readonly<Record<string, Server>>, words: readonly string[]): ChildProcess {
  const fds = Object.values(servers).map((server) => (server as unknown as { _handle: { fd: number } })._handle.fd)
  const variables = `LISTEN_PID=$$ LISTEN_FDS=${fds.length} LISTEN_FDNAMES=${Object.keys(servers).join(':')}`
  const child = spawn('sh', ['-c', `${variables} exec "$0" "$@"`, ...words], { stdio: ['ignore', 'pipe', 'pipe', ...fds], cwd: '/' })
  for (const server of Object.values(servers)) server.close()
  return child
}

export async function listenAt(address: string | { readonly host: string; readonly port: number }): Promise<Server> {
  const server = createServer().unref()
  await new Promise<void>((resolve) => (typeof address === 'string' ? server.listen(address, resolve) : server.listen(address, resolve)))
  return server
}

/** The reader, once it said that it answers. `words` starts it, given those that set uid and capabilities. */
export async function startReader(
  path: string,
  capabilities: readonly string[] = both,
  words: readonly string[] = [process.execPath, '--disable-warning=ExperimentalWarning', main, String(uids.broker)],
  before: readonly string[] = [],
): Promise<{ readonly child: ChildProcess; readonly said: () => string }> {
  const facts = await listenAt(`${path}.new`)
  // Closing it would remove the file by the name that it was made with.
  renameSync(`${path}.new`, path)
  chownSync(path, uids.broker, uids.broker)
  chmodSync(path, 0o600)
  const child = passing({ facts }, [...before, ...asUnit(uids.reader, capabilities), ...words])
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (said.includes('answers uid')) resolve()
    })
    child.once('exit', () => reject(new Error(said)))
  })
  return { child, said: () => said }
}
