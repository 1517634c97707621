// Which files make up the program: its own code, the packages that it names and theirs, and the Node that runs it. Finds them
// where npm put them, beside or above; writes nothing.
import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

export interface Copied {
  readonly from: string
  /** Below the folder of the program. */
  readonly to: string
}

interface Package {
  readonly dir: string
  readonly name: string
  readonly dependencies: readonly string[]
}

const packagesMax = 1_000

/** Throws where a package is missing: what is half there must not be installed. */
export function programFiles(root: string, node: string): { readonly files: readonly Copied[]; readonly extension: 'ts' | 'js' } {
  const own = readPackage(root)
  // As bin/ostiary.mjs chooses: a clone runs its sources, a package what was emitted.
  const extension = existsSync(join(root, 'src', 'main.ts')) ? 'ts' : 'js'
  const code = ['bin', extension === 'ts' ? 'src' : 'dist', 'package.json', 'LICENSE']
  const files = code.flatMap((name) => filesBelow(join(root, name), name))
  for (const [place, dir] of placedPackages(own)) files.push(...filesBelow(dir, place))
  return { files: [...files.filter(({ to }) => !isTest(to) && !isForTools(to)), { from: node, to: 'bin/node' }], extension }
}

/** What only compilers and debuggers read. */
const isForTools = (path: string): boolean => /^node_modules\/.*\.(?:d\.[cm]?ts|map)$/.test(path)

const isTest = (path: string): boolean => /^src\/.*(?:\.test|\.test-kit)\.ts$|^src\/(?:.*\/)?fake-[^/]*\.ts$/.test(path)

function readPackage(dir: string): Package {
  const { name, dependencies = {} } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'))
  return { dir: realpathSync(dir), name, dependencies: Object.keys(dependencies) }
}

/** Each package once at the top where its version is the only one, else below who needs it. */
function placedPackages(own: Package): ReadonlyMap<string, string> {
  const placed = new Map<string, string>()
  const waiting = own.dependencies.map((name) => ({ name, from: own, at: '' }))
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { name, from, at } = next
    const found = readPackage(resolvePackage(name, from.dir))
    const top = `node_modules/${name}`
    const seen = placed.get(top)
    const place = seen === undefined || seen === found.dir ? top : `${at}${at === '' ? '' : '/'}${top}`
    if (placed.has(place)) continue
    if (placed.size >= packagesMax) throw new Error(`more than ${packagesMax} packages: this is no installation of Ostiary`)
    placed.set(place, found.dir)
    for (const further of found.dependencies) waiting.push({ name: further, from: found, at: place })
  }
  return placed
}

/** Node's own rule: the nearest node_modules upwards. */
function resolvePackage(name: string, from: string): string {
  for (let dir = from; ; dir = dirname(dir)) {
    const found = join(dir, 'node_modules', name)
    if (existsSync(join(found, 'package.json'))) return found
    if (dirname(dir) === dir) throw new Error(`the package ${name} is missing: run \`npm ci\` in the clone, then install again`)
  }
}

/** Files alone: a link could lead anywhere, and a package's own node_modules are placed one by one. */
function filesBelow(from: string, to: string): Copied[] {
  const found = lstatSync(from, { throwIfNoEntry: false })
  if (found === undefined) return []
  if (found.isFile()) return [{ from, to }]
  if (!found.isDirectory()) return []
  return readdirSync(from, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name)
    const inside = relative(from, path)
    return entry.isFile() && !inside.split('/').includes('node_modules') ? [{ from: path, to: join(to, inside) }] : []
  })
}
