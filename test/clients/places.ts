// Where the clients are installed, and how each is started from there. Installs once, at pinned versions, below the user's cache;
// it never touches this project's own packages.
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Client } from './list.ts'

const cache = join(homedir(), '.cache', 'ostiary-tests')
const here = fileURLToPath(new URL('.', import.meta.url))
const installMs = 600_000

const npm = `openai@7.57.0 @anthropic-ai/sdk@1.12.0 @google/genai@3.1.0 ai@7.0.173 @ai-sdk/openai@4.0.118 @ai-sdk/anthropic@4.0.105
  @langchain/core@1.4.0 @langchain/openai@1.6.0 @langchain/anthropic@1.5.11 octokit@5.0.5 stripe@23.1.0 @slack/web-api@8.2.0
  axios@1.21.1 got@16.1.0 undici@8.13.1 ws@8.23.0 node-fetch@3.3.2 @aws-sdk/client-bedrock-runtime@3.1164.0 cohere-ai@8.1.0
  @mistralai/mistralai@2.7.0 groq-sdk@1.6.0 replicate@1.4.0`
const pip = `openai==3.22.1 anthropic==1.13.0 google-genai==3.6.1 langchain-openai==1.7.4 langchain-anthropic==1.7.10 litellm==1.110.2
  boto3==1.44.8 aiohttp==3.14.5 urllib3==2.8.0 httpx==0.28.1 requests==2.34.2 websockets==17.4 stripe==16.1.0 slack-sdk==3.48.0`
const reqwest = '0.13.5'

const has = (program: string, ...words: readonly string[]): boolean => spawnSync(program, words, { stdio: 'ignore' }).status === 0
const firstLine = (program: string, ...words: readonly string[]): string => {
  const { stdout, stderr } = spawnSync(program, words, { encoding: 'utf8' })
  return `${stdout}${stderr}`.split('\n')[0] ?? ''
}

function install(folder: string, words: readonly string[], environment: Readonly<Record<string, string>> = {}): string | null {
  const [program = '', ...rest] = words
  const done = spawnSync(program, rest, { cwd: folder, timeout: installMs, encoding: 'utf8', env: { ...process.env, ...environment } })
  if (done.status === 0) return null
  return `${words.slice(0, 2).join(' ')} failed: ${done.error?.message ?? done.stderr.trim().split('\n').at(-1)}`
}

function folderOf(name: string): string {
  const folder = join(cache, `clients-${name}`)
  mkdirSync(folder, { recursive: true })
  return folder
}

/** Null, or why the clients of that language cannot be tried here. */
const installs: Readonly<Record<Client['group'], () => string | null>> = {
  Node: () => {
    const folder = folderOf('npm')
    copyFileSync(join(here, 'node.mjs'), join(folder, 'node.mjs'))
    const wanted = npm.split(/\s+/)
    const stamp = join(folder, 'installed')
    if (existsSync(stamp) && readFileSync(stamp, 'utf8') === npm) return null
    writeFileSync(join(folder, 'package.json'), '{ "private": true }')
    const wrong = install(folder, ['npm', 'install', '--ignore-scripts', '--no-audit', '--no-fund', '--save-exact', ...wanted])
    if (wrong === null) writeFileSync(stamp, npm)
    return wrong
  },
  Python: () => {
    if (!has('python3', '--version')) return 'no Python on this machine'
    const folder = folderOf('python')
    const stamp = join(folder, 'installed')
    if (existsSync(stamp) && readFileSync(stamp, 'utf8') === pip) return null
    const wrong =
      install(folder, ['python3', '-m', 'venv', folder]) ??
      install(folder, [join(folder, 'bin', 'pip'), 'install', '-q', ...pip.split(/\s+/)])
    if (wrong === null) writeFileSync(stamp, pip)
    return wrong
  },
  'Command line': () => null,
  Go: () => {
    if (!has('go', 'version')) return 'no Go on this machine'
    const folder = folderOf('go')
    return install(folder, ['go', 'build', '-o', join(folder, 'client'), join(here, 'client.go')])
  },
  Rust: () => {
    if (!has('cargo', '--version')) return 'no Rust on this machine'
    const folder = folderOf('rust')
    mkdirSync(join(folder, 'src'), { recursive: true })
    copyFileSync(join(here, 'client.rs'), join(folder, 'src', 'main.rs'))
    writeFileSync(
      join(folder, 'Cargo.toml'),
      `[package]\nname = "client"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\nreqwest = { version = "=${reqwest}", features = ["blocking"] }\n`,
    )
    return install(folder, ['cargo', 'build', '-q'])
  },
  Java: () => (has('java', '--version') && has('javac', '--version') ? null : 'no Java on this machine'),
}

export function installGroup(group: Client['group']): string | null {
  return installs[group]()
}

/** `installed`: from the cache, else what the machine has anyway. */
export function commandOf(client: Client, installed: boolean): readonly string[] {
  const at = (name: string, ...more: readonly string[]): string => join(cache, `clients-${name}`, ...more)
  if (client.group === 'Node')
    return [client.program ?? process.execPath, installed ? at('npm', 'node.mjs') : join(here, 'node.mjs'), client.name]
  if (client.group === 'Python') return [installed ? at('python', 'bin', 'python') : 'python3', join(here, 'python.py'), client.name]
  if (client.group === 'Go') return [at('go', 'client')]
  if (client.group === 'Rust') return [at('rust', 'target', 'debug', 'client')]
  if (client.group === 'Java') return ['java', join(here, 'Client.java'), ...(client.name === 'java old' ? ['old'] : [])]
  return ['sh', join(here, 'client.sh'), client.name]
}

/** Null where the machine lacks it. */
export function versionOf(client: Client): string | null {
  if (client.group === 'Node') {
    if (client.package === undefined)
      return `Node ${client.program === undefined ? process.versions.node : firstLine(client.program, '--version').slice(1)}`
    return JSON.parse(readFileSync(join(cache, 'clients-npm', 'node_modules', client.package, 'package.json'), 'utf8')).version
  }
  if (client.group === 'Python') {
    if (client.package === undefined) return firstLine('python3', '--version')
    return new RegExp(`${client.package}==(\\S+)`).exec(pip)?.[1] ?? null
  }
  if (client.group === 'Rust') return reqwest
  const words = { go: ['go', 'version'], java: ['java', '--version'], curl: ['curl', '--version'], git: ['git', '--version'] }
  const line = firstLine(...(words[client.name.split(' ')[0] as 'go'] as [string, string]))
  return /\d+\.\d[\w.]*/.exec(line)?.[0] ?? null
}
