// What a user's own machine keeps beside a run: sockets of services that act for the user, and files with secrets. A run sees
// none of them; `--expose NAME` opens one row. Paths begin with `~`, `$RUN` (/run/user/UID) or `/`; a last `*` matches names.
// It never opens two rows where one was asked for.

export interface Door {
  readonly name: string
  readonly says: string
  /** Sockets and files that become empty; folders that become empty. */
  readonly paths: readonly string[]
  /** Variables that lead there: removed. */
  readonly variables?: readonly string[]
  /** Variables whose value names files like these (lists divided by `:`). */
  readonly named?: readonly string[]
  /** Only when the file's content says so. */
  readonly when?: RegExp
  /** A login that the agent holds and uses itself, since Ostiary cannot broker it: opened, the run is `agent-held`. */
  readonly agentHeld?: true
}

const chrome = ['google-chrome', 'chromium', 'BraveSoftware', 'microsoft-edge', 'vivaldi'].map((name) => `~/.config/${name}`)

export const doors: readonly Door[] = [
  // services that act for the user
  {
    name: 'docker',
    says: 'the Docker daemon: root on this machine',
    paths: ['/run/docker.sock', '/var/run/docker.sock', '$RUN/docker.sock', '~/.docker/run', '~/.docker/desktop'],
    variables: ['DOCKER_HOST', 'DOCKER_CONTEXT'],
  },
  { name: 'podman', says: 'the Podman service', paths: ['/run/podman', '$RUN/podman'], variables: ['CONTAINER_HOST'] },
  {
    name: 'containerd',
    says: 'containerd and what is built on it',
    paths: ['/run/containerd', '/run/k3s', '/run/crio', '/run/buildkit', '$RUN/containerd', '$RUN/buildkit'],
    variables: ['CONTAINERD_ADDRESS', 'BUILDKIT_HOST'],
  },
  {
    name: 'ssh-agent',
    says: "keys of the user's SSH agent",
    paths: ['$RUN/ssh-agent.socket', '$RUN/keyring/ssh', '$RUN/gcr', '~/.ssh/agent', '~/.1password'],
    variables: ['SSH_AUTH_SOCK', 'SSH_AGENT_PID', 'SSH_ASKPASS'],
    named: ['SSH_AUTH_SOCK'],
  },
  {
    name: 'gpg-agent',
    says: "keys of the user's GnuPG agent",
    paths: ['$RUN/gnupg', '~/.gnupg/S.*', '~/.gnupg/private-keys-v1.d'],
    variables: ['GPG_AGENT_INFO'],
  },
  {
    name: 'dbus',
    says: 'the session and system bus: starts programs outside the run',
    paths: ['$RUN/bus', '$RUN/systemd', '/run/dbus', '/run/systemd/private'],
    variables: ['DBUS_SESSION_BUS_ADDRESS', 'DBUS_SYSTEM_BUS_ADDRESS', 'DBUS_SESSION_BUS_PID'],
  },
  {
    name: 'x11',
    says: 'the X11 display: reads keys and types',
    paths: ['/tmp/.X11-unix', '~/.Xauthority'],
    variables: ['DISPLAY', 'XAUTHORITY'],
    named: ['XAUTHORITY'],
  },
  { name: 'wayland', says: 'the Wayland display', paths: ['$RUN/wayland-*'], variables: ['WAYLAND_DISPLAY', 'WAYLAND_SOCKET'] },
  { name: 'tmux', says: 'terminals of tmux: types into them', paths: ['/tmp/tmux-*'], variables: ['TMUX', 'TMUX_PANE', 'TMUX_TMPDIR'] },
  { name: 'screen', says: 'terminals of screen', paths: ['/run/screen', '~/.screen'], variables: ['STY', 'SCREENDIR'] },
  {
    name: 'ide',
    says: 'the IDE that this terminal belongs to',
    paths: ['$RUN/vscode-*', '/tmp/vscode-*', '~/.claude/ide', '~/.gemini/ide', '~/.emacs.d/server', '$RUN/emacs'],
    variables: [
      'VSCODE_IPC_HOOK',
      'VSCODE_IPC_HOOK_CLI',
      'VSCODE_GIT_IPC_HANDLE',
      'VSCODE_GIT_ASKPASS_MAIN',
      'VSCODE_GIT_ASKPASS_NODE',
      'GIT_ASKPASS',
      'NVIM',
      'NVIM_LISTEN_ADDRESS',
      'CLAUDE_CODE_SSE_PORT',
      'GEMINI_CLI_IDE_SERVER_PORT',
    ],
  },
  { name: 'devices', says: '/dev as it is, other terminals and shared memory included', paths: ['/dev'] },
  // secrets in files
  { name: 'ssh-keys', says: 'private SSH keys', paths: ['~/.ssh/*'], when: /^-----BEGIN [A-Z ]*PRIVATE KEY|^PuTTY-User-Key-File/ },
  { name: 'aws', says: 'AWS logins', paths: ['~/.aws'], named: ['AWS_SHARED_CREDENTIALS_FILE', 'AWS_CONFIG_FILE'] },
  { name: 'gcloud', says: 'Google Cloud logins', paths: ['~/.config/gcloud'], named: ['GOOGLE_APPLICATION_CREDENTIALS'] },
  { name: 'azure', says: 'Azure logins', paths: ['~/.azure'], named: ['AZURE_CONFIG_DIR'] },
  {
    name: 'gh',
    says: 'logins of gh, glab and hub',
    paths: ['~/.config/gh', '~/.config/glab-cli', '~/.config/hub'],
    named: ['GH_CONFIG_DIR'],
  },
  { name: 'netrc', says: '~/.netrc', paths: ['~/.netrc', '~/_netrc', '~/.authinfo*'], named: ['NETRC'] },
  {
    name: 'git-credentials',
    says: 'stored passwords of git',
    paths: ['~/.git-credentials', '~/.config/git/credentials', '~/.git-credential-cache', '~/.cache/git'],
  },
  { name: 'kube', says: 'Kubernetes logins', paths: ['~/.kube'], named: ['KUBECONFIG'] },
  {
    name: 'docker-login',
    says: 'registry logins of Docker and Podman',
    paths: ['~/.docker/config.json', '$RUN/containers/auth.json', '~/.config/containers/auth.json'],
  },
  {
    name: 'package-logins',
    says: 'tokens of npm, pip, cargo, gem',
    paths: ['~/.npmrc', '~/.yarnrc.yml', '~/.pypirc', '~/.cargo/credentials*', '~/.gem/credentials', '~/.config/pip/pip.conf'],
    named: ['NPM_CONFIG_USERCONFIG', 'npm_config_userconfig'],
    when: /_authToken|_auth\b|_password|npmAuth|password|token|api_?key|:\/\/[^/\s:@]+:[^/\s@]+@/i,
  },
  {
    name: 'tool-logins',
    says: 'logins of other tools',
    paths: [
      '~/.vault-token',
      '~/.terraform.d/credentials.tfrc.json',
      '~/.pgpass',
      '~/.my.cnf',
      '~/.s3cfg',
      '~/.config/rclone',
      '~/.config/op',
      '~/.config/doctl',
      '~/.huggingface/token',
      '~/.cache/huggingface/token',
      '~/.config/github-copilot',
    ],
    named: ['PGPASSFILE'],
  },
  {
    name: 'keyrings',
    says: 'password stores and keyrings',
    paths: [
      '~/.local/share/keyrings',
      '~/.local/share/kwalletd',
      '~/.password-store',
      '$RUN/keyring',
      '~/.config/keepassxc',
      '~/.config/sops',
      '~/.config/age',
    ],
    variables: ['GNOME_KEYRING_CONTROL'],
  },
  { name: 'browsers', says: 'profiles of browsers', paths: ['~/.mozilla', ...chrome] },
  { name: 'history', says: 'what was typed into shells', paths: ['~/.*_history', '~/.local/share/fish/fish_history', '~/.zsh_sessions'] },
  { name: 'claude-login', says: "Claude Code's own login", paths: ['~/.claude/.credentials.json'], agentHeld: true },
  { name: 'codex-login', says: "Codex' own login", paths: ['~/.codex/auth.json'], agentHeld: true },
  {
    name: 'gemini-login',
    says: "Gemini CLI's own login",
    paths: ['~/.gemini/oauth_creds.json', '~/.gemini/google_accounts.json'],
    agentHeld: true,
  },
  {
    name: 'other-agents',
    says: 'logins of other agents',
    paths: ['~/.local/share/opencode/auth.json', '~/.config/goose', '~/.cursor/auth.json', '~/.aider.conf.yml', '~/.copilot/config.json'],
  },
  { name: 'dotenv', says: '.env files of the working directory', paths: ['./.env', './.env.*', './.envrc'] },
]

/** What runs later, outside the run, without anybody asking for it. Read-only; where one does not exist it may not appear. */
export const runsLater: readonly string[] = [
  ...['.bashrc', '.bash_profile', '.bash_login', '.bash_logout', '.bash_aliases', '.profile', '.inputrc'],
  ...['.zshrc', '.zshenv', '.zprofile', '.zlogin', '.zlogout', '.kshrc', '.cshrc', '.tcshrc', '.login', '.logout'],
  ...['.xinitrc', '.xprofile', '.xsession', '.xsessionrc', '.pam_environment', '.config/environment.d', '.config/fish'],
  ...['.config/nushell', '.config/autostart', '.config/autostart-scripts', '.config/plasma-workspace', '.config/systemd'],
  ...['.local/share/systemd', '.local/share/dbus-1', '.local/share/applications', '.config/upstart'],
  ...['.gitconfig', '.config/git', '.ssh', '.config/direnv', '.direnvrc'],
  ...['.vimrc', '.vim', '.config/nvim', '.emacs', '.emacs.d', '.config/emacs', '.tmux.conf', '.config/tmux', '.screenrc'],
  ...['.oh-my-zsh', '.nvm/nvm.sh', '.cargo/env', '.cargo/config.toml', '.local/bin/env', '.gdbinit', '.lldbinit', '.pythonrc'],
].map((path) => `~/${path}`)

/** Of root: what an identity of uid 0 may read without any capability, and what is the machine's own. */
export const rootsOwn: readonly string[] = ['/etc/shadow', '/etc/shadow-', '/etc/gshadow', '/etc/gshadow-', '/etc/ssl/private']

/** System sockets that answer names and nothing else: covered, they would only make look-ups slow. */
export const harmlessSockets = /^\/(?:var\/)?(?:run|lib)\/(?:nscd|sss\/pipes|systemd\/(?:resolve|userdb|journal)|avahi-daemon)\//
