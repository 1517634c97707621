// Starts the reader as its units do: another uid, its capabilities and no other, a socket that was opened for it. Only for tests.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chownSync, renameSync } from 'node:fs'
import { createServer } from 'node:net'
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

/** Listens at `path` for `uid` alone and hands the socket to `words`, as systemd does; the caller ends the child. */
export async function withSocket(path: string, uid: number, name: string, words: readonly string[]): Promise<ChildProcess> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(`${path}.new`, resolve))
  // Closing it would remove the file by the name that it was made with.
  renameSync(`${path}.new`, path)
  chownSync(path, uid, uid)
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle
  const child = spawn('sh', ['-c', `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=${name} exec "$0" "$@"`, ...words], {
    stdio: ['ignore', 'ignore', 'pipe', fd],
    cwd: '/',
  })
  server.close()
  return child
}

/** Resolves once it said that it answers. */
export async function startReader(
  path: string,
  capabilities: readonly string[] = both,
): Promise<{ readonly child: ChildProcess; readonly said: () => string }> {
  const words = [...asUnit(uids.reader, capabilities), process.execPath, '--disable-warning=ExperimentalWarning', main, String(uids.broker)]
  const child = await withSocket(path, uids.broker, 'facts', words)
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
