// Emits dist/, which is what a package of this repository runs: Node strips no types under node_modules. Exists because the
// old dist/ must be gone first (a module that was renamed would still be there) and because a missing entry must be an error.
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc')
/** Reached by name at run time, never by an import that the compiler would see. */
const byName = [
  'main.js',
  'accept/evidence/owner-worker.js',
  'accept/evidence/reader-main.js',
  'audit/tile-worker.js',
  'launch/isolate-relay.js',
]

rmSync(join(root, 'dist'), { recursive: true, force: true })
const done = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { cwd: root, stdio: ['ignore', 2, 2] })
if (done.status !== 0) process.exit(done.status ?? 1)
for (const file of byName)
  if (!existsSync(join(root, 'dist', file))) {
    process.stderr.write(`dist/${file} was not emitted\n`)
    process.exit(1)
  }
