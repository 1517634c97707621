// Where keys lie on a developer's machine: files by what they are for. Finds names only and opens nothing; follows no symbolic
// link below the first folder, leaves no file system, and stops at its limits with a sentence.
import { type Dirent, lstatSync, readdirSync, statSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { type Clock, systemClock } from '../../model/clock.ts'
import { limits } from '../../model/limits.ts'

export type PlaceKind =
  | 'env file'
  | 'shell history'
  | 'shell start file'
  | 'agent configuration'
  | 'MCP configuration'
  | 'transcript'
  | 'credentials file'

export interface Place {
  readonly path: string
  readonly kind: PlaceKind
}

export interface Places {
  readonly places: readonly Place[]
  /** What was not looked at, and why. */
  readonly left: readonly string[]
}

const histories = [
  '.bash_history',
  '.zsh_history',
  '.zhistory',
  '.histfile',
  '.sh_history',
  '.local/share/fish/fish_history',
  '.python_history',
  '.node_repl_history',
]
const startFiles = [
  '.bashrc',
  '.bash_profile',
  '.bash_login',
  '.bash_aliases',
  '.profile',
  '.zshrc',
  '.zshenv',
  '.zprofile',
  '.zlogin',
  '.envrc',
  '.pam_environment',
  '.config/fish/config.fish',
  '.config/fish/fish_variables',
  '.config/zsh/.zshrc',
  '.xprofile',
  '.xsessionrc',
]
const configurations = [
  '.claude.json',
  '.aider.conf.yml',
  '.aider/aider.conf.yml',
  '.continue/config.json',
  '.continue/config.yaml',
  '.continue/config.ts',
  '.openai/auth',
  '.config/openai/auth.json',
  '.npmrc',
  '.pypirc',
  '.netrc',
]
const credentials = ['.aws/credentials']
const mcp = [
  '.mcp.json',
  '.cursor/mcp.json',
  '.vscode/mcp.json',
  '.config/Claude/claude_desktop_config.json',
  'Library/Application Support/Claude/claude_desktop_config.json',
  '.codeium/windsurf/mcp_config.json',
  '.gemini/settings.json',
  '.config/goose/config.yaml',
  '.config/zed/settings.json',
  '.config/opencode/opencode.json',
]

/** Folders of agents: everything in them that is text, a few levels down. */
const agentFolders: readonly (readonly [folder: string, kind: PlaceKind, depth: number])[] = [
  ['.claude', 'transcript', 4],
  ['.codex', 'transcript', 5],
  ['.gemini', 'transcript', 4],
  ['.cursor', 'agent configuration', 2],
  ['.continue', 'transcript', 2],
  ['.aider', 'agent configuration', 1],
  ['.config', 'agent configuration', 2],
  ['.local/share/opencode', 'transcript', 5],
]
const textual = /\.(?:jsonl?|json5|ya?ml|toml|env|txt|md|conf|ini|sh|zsh|fish|log)$|^\.env|history$|\.[0-9a-f]{12}\.ostiary$/
const inProjects =
  /^(?:\.env(?:\..+)?|\.envrc|.+\.env|\.mcp\.json|mcp\.json|\.aider\.conf\.yml|\.aider\.(?:chat|input)\.history(?:\.md)?|settings(?:\.local)?\.json|opencode\.json|.+\.[0-9a-f]{12}\.ostiary)$/
const settingsOf = new Set(['.claude', '.gemini', '.vscode', '.cursor', '.codex', '.continue'])
const skipped = new Set([
  'node_modules',
  '.git',
  '.cache',
  '.npm',
  '.cargo',
  '.rustup',
  '.local',
  '.config',
  'Library',
  '.Trash',
  '.venv',
  'venv',
  '__pycache__',
  'site-packages',
  'dist',
  'build',
  'target',
  '.mozilla',
  'google-chrome',
  'google-chrome-beta',
  'chromium',
  'BraveSoftware',
  'microsoft-edge',
  'vivaldi',
  '.var',
  'snap',
  'go',
  '.gradle',
  '.m2',
  '.nvm',
  '.pyenv',
  '.bun',
  '.deno',
])

/** Logins of agents (see logins.ts) and the person's own of gh: no static key lies there for init to take; a run does not see them. */
const logins = new Set(['.config/gh/hosts.yml', '.claude/.credentials.json', '.gemini/oauth_creds.json', '.gemini/google_accounts.json'])

export function placesIn(home: string, cwd: string, own: readonly string[], clock: Clock = systemClock): Places {
  const found = new Map<string, PlaceKind>()
  const left: string[] = []
  const until = clock.monotonic() + limits.initSearchMs
  let entries = 0
  const listed: readonly (readonly [readonly string[], PlaceKind])[] = [
    [histories, 'shell history'],
    [startFiles, 'shell start file'],
    [configurations, 'agent configuration'],
    [credentials, 'credentials file'],
    [mcp, 'MCP configuration'],
  ]
  const add = (path: string, kind: PlaceKind): void => {
    if (!logins.has(relative(home, path)) && !own.some((one) => path === one || path.startsWith(`${one}/`)) && !found.has(path))
      found.set(path, kind)
  }
  const walk = (folder: string, depth: number, device: number, take: (entry: Dirent, folder: string) => PlaceKind | null): void => {
    if (clock.monotonic() > until || entries > limits.initEntriesMax) {
      if (!left.includes(tooMany)) left.push(tooMany)
      return
    }
    for (const entry of entriesOf(folder)) {
      entries++
      const path = join(folder, entry.name)
      if (entry.isDirectory()) {
        if (depth > 0 && !skipped.has(entry.name) && deviceOf(path) === device) walk(path, depth - 1, device, take)
      } else {
        // A symbolic link to a file counts: what it leads to is what an agent would read.
        const kind = entry.isFile() || entry.isSymbolicLink() ? take(entry, folder) : null
        if (kind !== null) add(path, kind)
      }
    }
  }
  for (const [names, kind] of listed) for (const name of names) if (isFile(join(home, name))) add(join(home, name), kind)
  for (const [folder, kind, depth] of agentFolders)
    walk(join(home, folder), depth, deviceOf(home), (entry) => (textual.test(entry.name) ? kindOf(entry.name, kind) : null))
  const project = (entry: Dirent, folder: string): PlaceKind | null => {
    if (!inProjects.test(entry.name)) return null
    if (/^settings|^mcp/.test(entry.name) && !settingsOf.has(basename(folder))) return null
    return kindOf(entry.name, 'agent configuration')
  }
  walk(cwd, limits.initDepthMax, deviceOf(cwd), project)
  walk(home, limits.initDepthMax, deviceOf(home), project)
  return { places: [...found].map(([path, kind]) => ({ path, kind })), left }
}

const tooMany = 'not every folder below the home was looked at (too many, or too slow): run `ostiary init` in the projects that matter'

function kindOf(name: string, otherwise: PlaceKind): PlaceKind {
  if (/\.env$|^\.env/.test(name)) return 'env file'
  if (/mcp/.test(name)) return 'MCP configuration'
  if (/history/.test(name) || name.endsWith('.jsonl')) return 'transcript'
  return /^settings|config/.test(name) ? 'agent configuration' : otherwise
}

function entriesOf(folder: string): readonly Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch {
    return []
  }
}

function deviceOf(path: string): number {
  try {
    return lstatSync(path).dev
  } catch {
    return -1
  }
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    return false
  }
}
