// Puts a command into its own mount and PID namespace in which Ostiary's things and the user's own do not exist or cannot be
// written. Two layers of util-linux' unshare: the outer one makes the covers, the inner one is a user namespace in which they
// are locked, so that umount gives nothing back (in a single one it would). What is covered is said by covers.ts.
import { spawnSync } from 'node:child_process'
import type { Step } from './covers.ts'

export interface Sandbox {
  readonly custody: 'namespace' | 'shared-user'
  /** Why there is no namespace; empty where there is one. */
  readonly why: string
}

/** Can this machine make the namespaces for this user? Tried with the script itself. */
export function probeSandbox(uid: number, isolated = false): Sandbox {
  const words = sandboxWords(
    [
      ['replace', '/tmp'],
      ['dev', '/dev'],
    ],
    uid,
    process.getgid?.() ?? -1,
    ['true'],
    isolated,
  )
  const probe = spawnSync(words[0] as string, words.slice(1), { encoding: 'utf8', timeout: 10_000, cwd: '/' })
  if (probe.status === 0) return { custody: 'namespace', why: '' }
  const why = probe.error === undefined ? probe.stderr.trim().split('\n')[0] || `unshare ended with ${probe.status}` : probe.error.message
  return { custody: 'shared-user', why }
}

function outerFlags(uid: number, isolated: boolean): readonly string[] {
  const flags = [
    ...(isolated ? ['--net'] : []),
    '--mount',
    '--pid',
    '--ipc',
    '--fork',
    '--kill-child',
    '--mount-proc',
    '--propagation',
    'private',
  ]
  return uid === 0 ? flags : ['--user', '--map-root-user', ...flags]
}

// Runs as root of the outer namespace, as its PID 1; words come as arguments, never as text of the script. New folders are built
// below /dev/shm, which the new /dev then covers (or which is unmounted, where /dev stays).
const script = `
set -eu
uid=$1 gid=$2 count=$3; shift 3
new=/dev/shm plain=yes roots=
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs $new
printf '{}' > $new/json
over() { if [ -d "$1" ]; then mount --rbind "$1" "$1"; else mount --bind "$1" "$1"; fi; }
lock() {
  mount -o remount,bind,ro "$1" 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev "$1" 2>/dev/null ||
    mount -o remount,bind,ro,nosuid,nodev,noexec "$1"
}
while [ "$count" -gt 0 ]; do
  what=$1 path=$2; shift 2; count=$((count - 1))
  [ -e "$path" ] || continue
  case $what in
    keep)
      if [ -d "$path" ]; then mkdir -p "$new$path"; else mkdir -p "$new\${path%/*}"; : > "$new$path"; fi
      mount --rbind "$path" "$new$path" ;;
    replace)
      mkdir -p "$new$path"
      case $path in /tmp) chmod 1777 "$new$path" ;; *) chmod 0700 "$new$path" ;; esac
      mount --rbind "$new$path" "$path" ;;
    pin) over "$path" ;;
    lock) lock "$path" ;;
    ro) over "$path"; lock "$path" ;;
    # Others' sockets come and go: one that went just now needs no cover, one that stays gets it or nothing starts.
    hidden) mount -t tmpfs -o size=4k,mode=0555,ro,nosuid,nodev,noexec tmpfs "$path" || [ ! -e "$path" ] ;;
    blank) mount --bind /dev/null "$path" || [ ! -e "$path" ] ;;
    json) mount --bind $new/json "$path"; lock "$path" ;;
    roots) roots=$path ;;
    nss)
      [ -n "$roots" ] || continue
      mkdir -p "$new$path"; chmod 0700 "$new$path"
      cp "$roots" "$new$path/cert9.db"
      mount --rbind "$new$path" "$path" ;;
    dev)
      plain=no
      mkdir $new/dev $new/dev/pts $new/dev/shm
      for node in null zero full random urandom tty; do : > $new/dev/$node; mount --bind /dev/$node $new/dev/$node; done
      mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts $new/dev/pts
      mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs $new/dev/shm
      ln -s pts/ptmx $new/dev/ptmx
      ln -s /proc/self/fd $new/dev/fd
      for n in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/\${n%%:*} $new/dev/\${n#*:}; done
      mount --rbind $new/dev /dev ;;
    # The launcher puts the relay into the new network namespace; without its word nothing is started.
    net) echo made >&3; read -r go <&3 && [ "$go" = go ] || exit 2; exec 3<&- ;;
    names) echo 'nameserver 127.0.0.1' > $new/names; mount --bind $new/names "$path"; lock "$path" ;;
  esac
done
if [ $plain = yes ]; then umount -l $new; fi
cd "$PWD"
trap : INT TERM HUP
unshare --user --mount --map-user="$uid" --map-group="$gid" --propagation unchanged -- \\
  setpriv --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
`

/** What makes the network of an isolated command: first of all steps, and with fd 3 as the gate (see isolate.ts). */
export const networkSteps: readonly Step[] = [
  ['net', '/'],
  ['names', '/etc/resolv.conf'],
  // Whoever asks these for a name sends it out of the machine.
  ['hidden', '/run/systemd/resolve'],
  ['hidden', '/run/nscd'],
  ['hidden', '/run/avahi-daemon'],
  ['hidden', '/var/lib/sss/pipes'],
]

/** The words that start `command` inside; the working directory is the caller's. */
export function sandboxWords(
  steps: readonly Step[],
  uid: number,
  gid: number,
  command: readonly string[],
  isolated = false,
): readonly string[] {
  const words = ['ostiary-run', String(uid), String(gid), String(steps.length), ...steps.flat()]
  // Killed, the launcher takes everything with it: unshare dies by this, and its child by --kill-child, and the namespace by that.
  return ['setpriv', '--pdeathsig', 'KILL', '--', 'unshare', ...outerFlags(uid, isolated), '--', 'sh', '-c', script, ...words, ...command]
}
