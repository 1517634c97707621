// The files of an installation on a server, as data: who Ostiary is, what it owns, and the units that confine it. No word in
// here is an agent's; what a unit must not set is said where it would stand.

export interface Placed {
  readonly path: string
  readonly text: string
}

export interface Doors {
  /** host:port, as the configuration has them. */
  readonly proxy: string
  readonly baseUrl: string
}

/** Where everything lies on a server. */
export const places = {
  program: '/opt/ostiary',
  node: '/opt/ostiary/bin/node',
  command: '/usr/local/bin/ostiary',
  configDir: '/etc/ostiary',
  config: '/etc/ostiary/ostiary.yaml',
  data: '/var/lib/ostiary',
  publicData: '/var/lib/ostiary.run',
  cache: '/var/cache/ostiary',
  units: '/etc/systemd/system',
  users: '/etc/sysusers.d/ostiary.conf',
  owned: '/etc/tmpfiles.d/ostiary.conf',
} as const

export const user = 'ostiary'

/** Each file that is ours begins so; another one is never overwritten or removed. */
export const ours = '# Written by `ostiary install`.'

export const sockets = ['ostiary.socket', 'ostiary-base-url.socket', 'ostiary-facts.socket'] as const
export const services = ['ostiary-facts.service', 'ostiary.service'] as const

/** As bin/ostiary.mjs has them; a test compares. */
export const nodeFlags = ['--disallow-code-generation-from-strings', '--disable-sigusr1', '--disable-warning=ExperimentalWarning']
/** Behind them for the broker. Why: bin/ostiary.mjs. */
export const brokerFlags = [
  '--max-semi-space-size=32',
  '--semi-space-growth-factor=32',
  '--heap-growing-percent=300',
  '--expose-gc',
  '--wasm-lazy-validation',
]

const confined = `NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
PrivateIPC=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
LimitCORE=0
UMask=0077
# Not set, and why:
# MemoryDenyWriteExecute= V8 compiles to machine code: it makes memory writable, then executable.
# ProtectProc=, ProcSubset= and PrivateUsers= would hide the processes of the agents, who are told apart by kernel facts.`

/** `extension`: what the program was copied as, sources or emitted. */
export function unitFiles(doors: Doors, extension: 'ts' | 'js'): readonly Placed[] {
  const code = `${places.program}/${extension === 'ts' ? 'src' : 'dist'}`
  const node = `${places.node} ${nodeFlags.join(' ')}`
  const unit = (name: string, text: string): Placed => ({
    path: `${places.units}/${name}`,
    text: `${ours} Changes belong into a drop-in: systemctl edit ${name}\n${text}`,
  })
  return [
    unit('ostiary.socket', tcpSocket('proxy', doors.proxy)),
    unit('ostiary-base-url.socket', tcpSocket('base-url', doors.baseUrl)),
    unit('ostiary.service', brokerService(`${node} ${brokerFlags.join(' ')} ${code}/main.${extension}`)),
    unit('ostiary-facts.socket', factsSocket),
    unit('ostiary-facts.service', factsService(`${node} ${code}/accept/evidence/reader-main.${extension}`)),
  ]
}

/** Held by systemd from boot on: while Ostiary is away callers wait, and nobody else can listen there. */
function tcpSocket(name: string, address: string): string {
  return `[Unit]
Description=Ostiary, door of agents (${name})

[Socket]
ListenStream=${address}
FileDescriptorName=${name}
Service=ostiary.service
# An address that is not there yet at boot is no reason to leave the port to others, nor is a server that cannot start.
FreeBind=yes
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
`
}

function brokerService(start: string): string {
  return `[Unit]
Description=Ostiary, the doorkeeper of AI agents
Requires=ostiary.socket ostiary-base-url.socket
Wants=network-online.target ostiary-facts.socket
After=network-online.target ostiary.socket ostiary-base-url.socket ostiary-facts.socket
# A unit that gives up gives up its sockets too, and then the port is anybody's.
StartLimitIntervalSec=0

[Service]
Type=exec
User=${user}
Group=${user}
Sockets=ostiary.socket ostiary-base-url.socket
Environment=OSTIARY_FACTS_SOCKET=/run/ostiary-facts.sock XDG_CACHE_HOME=/var/cache
# Other code in this process could see the secrets.
UnsetEnvironment=NODE_OPTIONS LD_PRELOAD
ExecStart=${start} --config ${places.config} --data ${places.data} start
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
# Calls under way get their time to end.
TimeoutStopSec=30
LimitNOFILE=65536
# What it says goes to the journal, which rotates itself; its own log is files of a bounded size below the data directory.

# It holds the secrets and has no capability: other users' processes are the reader's to look at.
CapabilityBoundingSet=
AmbientCapabilities=
ReadWritePaths=${places.data} ${places.publicData}
CacheDirectory=ostiary
CacheDirectoryMode=0700
ProtectHome=yes
# Netlink: the kernel is asked whose a socket is (sock_diag).
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
${confined}

[Install]
WantedBy=multi-user.target
`
}

const factsSocket = `[Unit]
Description=Ostiary, reader of process facts

[Socket]
# Directly below /run, where only root makes files: nobody else can stand in for the reader.
ListenStream=/run/ostiary-facts.sock
FileDescriptorName=facts
TriggerLimitIntervalSec=0
SocketUser=${user}
SocketMode=0600

[Install]
WantedBy=sockets.target
`

function factsService(start: string): string {
  return `[Unit]
Description=Ostiary, reader of process facts
Requires=ostiary-facts.socket
After=ostiary-facts.socket
StartLimitIntervalSec=0

[Service]
Type=exec
# A uid of its own, made for as long as it runs.
DynamicUser=yes
User=ostiary-facts
UnsetEnvironment=NODE_OPTIONS LD_PRELOAD
ExecStart=${start} ${user}
Restart=on-failure
RestartSec=2
MemoryMax=256M
TasksMax=32

# Both are needed to see which process of another user holds a socket: neither alone suffices.
CapabilityBoundingSet=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH
AmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH
# No network at all: it is asked over one Unix socket, and has no secret.
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any
# Read-only and not hidden: agents' executables may lie there.
ProtectHome=read-only
# kcmp: do two threads share their descriptors? Never ptrace itself, nor another process's memory.
SystemCallFilter=@system-service kcmp
SystemCallFilter=~@privileged @resources ptrace process_vm_readv process_vm_writev
${confined}
`
}

/** sysusers.d(5) and tmpfiles.d(5): also a staged image gets its user and its owners, at its first boot. */
export const accountFiles: readonly Placed[] = [
  { path: places.users, text: `${ours}\nu ${user} - "Ostiary, the doorkeeper of AI agents" ${places.data} /usr/sbin/nologin\n` },
  {
    path: places.owned,
    text: `${ours}
d ${places.configDir} 0750 root ${user} -
z ${places.config} 0640 root ${user} -
d ${places.data} 0700 ${user} ${user} -
d ${places.publicData} 0755 ${user} ${user} -
`,
  },
]

/** The pinned Node and the server's own places: whatever the caller's PATH and home are. */
export const commandFile: Placed = {
  path: places.command,
  text: `#!/bin/sh
${ours}
export OSTIARY_CONFIG="\${OSTIARY_CONFIG:-${places.config}}" OSTIARY_DATA="\${OSTIARY_DATA:-${places.data}}"
exec ${places.node} ${places.program}/bin/ostiary.mjs "$@"
`,
}

export const defaultConfig: Placed = {
  path: places.config,
  text: `# Ostiary on this server. Nothing is allowed until a policy says so: \`ostiary check\` names every mistake,
# \`ostiary reload\` brings a change into force. Listeners are opened by systemd: after a change of \`listen\`
# run \`ostiary install\` again.
trustDomain: ostiary.local
listen: { proxy: 127.0.0.1:7070, baseUrl: 127.0.0.1:7071 }
workloads: {}
services: {}
credentials: {}
policies: []
`,
}
