// Runs the tests: house rules, unit tests beside the code, scenarios end to end. Exists because the scenarios with Python
// need a virtual environment that the run makes (and says so where it cannot), and because it must say why a part is skipped.
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

if (Number(process.versions.node.split('.')[0]) < 26) {
  process.stderr.write(`The tests need Node 26, which comes with \`npm ci\`; ${process.version} is running. Use \`npm test\`.\n`)
  process.exit(2)
}

const packages = ['openai==3.22.1', 'anthropic==1.13.0', 'google-genai==3.4.0']
const venv = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  'ostiary-tests',
  `python-${packages.join('-').replace(/[^a-z0-9]+/g, '-')}`,
)

/** The interpreter with the three SDKs, or why there is none. */
function python(): { readonly path: string } | { readonly why: string } {
  const path = join(venv, 'bin', 'python')
  if (existsSync(join(venv, 'complete'))) return { path }
  if (spawnSync('python3', ['--version']).status !== 0) return { why: 'no python3 on this machine' }
  process.stdout.write('making a virtual environment with openai, anthropic and google-genai ...\n')
  mkdirSync(venv, { recursive: true })
  for (const [command, args] of [
    ['python3', ['-m', 'venv', venv]],
    [path, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages]],
    [path, ['-c', `import openai, anthropic, google.genai; open(${JSON.stringify(join(venv, 'complete'))}, 'w').close()`]],
  ] as const) {
    const done = spawnSync(command, args, { encoding: 'utf8', timeout: 240_000 })
    if (done.status !== 0) return { why: `${command} ${args[1]} failed: ${(done.stderr || String(done.error)).trim().split('\n').at(-1)}` }
  }
  return { path }
}

const only = process.argv.slice(2)
const files = only.length > 0 ? only : [...globSync('src/**/*.test.ts'), ...globSync('test/**/*.test.ts')].sort()
const found = only.length > 0 ? { why: 'single files were asked for' } : python()
if ('why' in found) process.stdout.write(`Python SDKs: skipped, ${found.why}\n`)
const environment = {
  ...process.env,
  OSTIARY_TEST_PYTHON: 'path' in found ? found.path : '',
  OSTIARY_TEST_PYTHON_WHY: 'why' in found ? found.why : '',
}
/** They start whole products: after the rest, two at a time. */
const scenario = (file: string): boolean => file.startsWith('test/scenarios/') || file.startsWith('test/pack')
/** These look at the clock, or use all that the machine has. */
const alone = new Set(['abuse', 'crash', 'two-hundred', 'weights'].map((name) => `test/scenarios/${name}.test.ts`))
const phases = [
  { files: files.filter((file) => !scenario(file)), concurrency: 2 },
  { files: files.filter((file) => scenario(file) && !alone.has(file)), concurrency: 2 },
  { files: files.filter((file) => alone.has(file)), concurrency: 1 },
]
let failed = false
for (const phase of phases) {
  if (phase.files.length === 0) continue
  const flags = ['--test', '--test-timeout=120000', `--test-concurrency=${phase.concurrency}`, '--disable-warning=ExperimentalWarning']
  const done = spawnSync(process.execPath, [...flags, ...phase.files], { stdio: 'inherit', env: environment })
  failed ||= done.status !== 0
}
process.exit(failed ? 1 : 0)
