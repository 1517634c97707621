// Puts a command into its own mount and PID namespace in which Ostiary's things do not exist or cannot be written.
// Two layers of util-linux' unshare: the outer one makes the covers, the inner one is a user namespace in which they are
// locked, so that umount gives nothing back (in a single one it would).
// The shell keeps them open by single digits (all that a POSIX shell promises), so at most seven folders are kept.
import { spawnSync } from 'node:child_process'

export interface Covers {
  /** Folders that do not exist for the command: the data directory, the door of the run socket. */
  readonly hidden: readonly string[]
  /** Folders it sees but cannot write: those of the configuration, Ostiary's code and Node. */
  readonly readOnly: readonly string[]
  /** Files that it finds empty: the configuration and what it names. */
  readonly blank: readonly string[]
  /** Folders that stay as they are although they lie below /tmp: the working directory, the public CA bundle. */
  readonly kept: readonly string[]
}

export interface Sandbox {
  readonly custody: 'namespace' | 'shared-user'
  /** Why there is no namespace; empty where there is one. */
  readonly why: string
}

/** Can this machine make the namespaces for this user? */
export function probeSandbox(uid: number): Sandbox {
  const probe = spawnSync(
    'unshare',
    [...outerFlags(uid), '--', 'sh', '-c', 'mount -t tmpfs tmpfs /tmp && unshare -U -m --map-user=0 true'],
    {
      encoding: 'utf8',
      timeout: 10_000,
    },
  )
  if (probe.status === 0) return { custody: 'namespace', why: '' }
  const why = probe.error === undefined ? probe.stderr.trim().split('\n')[0] || `unshare ended with ${probe.status}` : probe.error.message
  return { custody: 'shared-user', why }
}

function outerFlags(uid: number): readonly string[] {
  const flags = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private']
  return uid === 0 ? flags : ['--user', '--map-root-user', ...flags]
}

// Runs as root of the outer namespace, as its PID 1; words come as arguments, never as text of the script.
const script = `
set -eu
uid=$1 gid=$2 count=$3; shift 3
keep=; n=3
while [ "$count" -gt 0 ]; do
  what=$1 path=$2; shift 2; count=$((count - 1))
  case $what in
    kept) eval "exec $n<\\"\\$path\\""; keep="$keep $n"; eval "kept_$n=\\$path"; n=$((n + 1)) ;;
    tmp)
      mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /tmp
      for k in $keep; do
        eval "path=\\$kept_$k"
        case $path in /tmp/*) mkdir -p "$path"; mount --no-canonicalize --bind "/proc/self/fd/$k" "$path" ;; esac
        eval "exec $k<&-"
      done ;;
    hidden) if [ -d "$path" ]; then mount -t tmpfs -o size=4k,mode=0555,ro,nosuid,nodev,noexec tmpfs "$path"; fi ;;
    blank) if [ -f "$path" ]; then mount --bind /dev/null "$path"; fi ;;
    ro)
      if [ -e "$path" ]; then
        mount --bind "$path" "$path"
        mount -o remount,bind,ro "$path" 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev "$path" 2>/dev/null ||
          mount -o remount,bind,ro,nosuid,nodev,noexec "$path"
      fi ;;
  esac
done
cd "$PWD"
trap : INT TERM HUP
unshare --user --mount --map-user="$uid" --map-group="$gid" --propagation unchanged -- \\
  setpriv --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
`

/** The words that start `command` inside; the working directory is the caller's. */
export function sandboxWords(covers: Covers, uid: number, gid: number, command: readonly string[]): readonly string[] {
  const steps = [
    ...covers.kept.map((path) => ['kept', path]),
    ['tmp', '/tmp'],
    ...covers.hidden.map((path) => ['hidden', path]),
    ...covers.readOnly.map((path) => ['ro', path]),
    ...covers.blank.map((path) => ['blank', path]),
  ]
  return [
    'unshare',
    ...outerFlags(uid),
    '--',
    'sh',
    '-c',
    script,
    'ostiary-run',
    String(uid),
    String(gid),
    String(steps.length),
    ...steps.flat(),
    ...command,
  ]
}
