// The house rules as a test: text is read, nothing is run. What breaks a rule for a reason stands in ONE table with the reason;
// a row that is no longer needed fails too, so the table only ever holds what is true.
import assert from 'node:assert/strict'
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** rule → `file` or `file: what` → why it is meant. */
const exceptions: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  layers: {
    'src/cli/audit.ts: audit': 'verifies and reads the log where it lies, without a server',
    'src/cli/init/keys.ts: catalog': 'a key is known by its shape',
    'src/cli/init/verify.ts: catalog': 'warns of keys in the words of the command, by their shape',
    'src/cli/run.ts: catalog': 'warns of keys in the words of the command, by their shape',
    'src/config/kinds.ts: decide/condition.ts': 'type of the contract: the list is handed in',
    'src/config/kinds.ts: identify/trust-provider.ts': 'type of the contract: the list is handed in',
    'src/config/kinds.ts: obtain/credential-provider.ts': 'type of the contract: the list is handed in',
  },
  reveal: {
    'src/compose/vault.ts': 'the CA key and the memory of tokens are sealed values that it owns',
    'src/identify/oidc/oidc.ts': 'a token is verified as text',
  },
  clock: {},
  functions: {
    'src/accept/listeners.ts: createListeners': 'a factory: short functions over one state',
    'src/endpoints/admin/admin.ts: adminRoutes': 'a table of routes, a line or two each',
    'src/endpoints/run-door.ts: createRunDoor': 'a factory: short functions over one state',
    'src/runs/runs.ts: createRuns': 'a factory: short functions over one state',
    'test/fakes/vendors.ts: startVendors': 'a factory: three stand-ins over one record of what came in',
    'examples/story/stage.ts: setStage': 'the stage is set in one go, top to bottom',
  },
  files: {},
  opening: {},
  names: {},
}

/** Which rooms a room may import. A step names no other step. */
const tools = ['model', 'http', 'net', 'crypto']
const layers: Readonly<Record<string, readonly string[]>> = {
  // config: where the compile cache lies, before anything else is loaded.
  'main.ts': ['cli', 'config'],
  'plane.ts': ['compose', 'config', 'wire'],
  model: [],
  http: ['model'],
  net: ['model', 'crypto'],
  crypto: ['model', 'net'],
  catalog: ['model'],
  accept: tools,
  identify: tools,
  decide: tools,
  obtain: tools,
  inject: tools,
  forward: tools,
  scrub: tools,
  audit: tools,
  mint: ['model', 'crypto'],
  runs: ['model'],
  store: ['model', 'crypto'],
  config: ['model'],
  launch: ['model', 'net'],
  deploy: ['model'],
  endpoints: ['model', 'http', 'net'],
  wire: ['model', 'crypto'],
  flow: ['model'],
  cli: ['compose', 'config', 'deploy', 'launch', 'model', 'net', 'crypto'],
}
/** The only one that knows everybody. */
const knowsAll = 'compose'
const packagesOf: Readonly<Record<string, readonly string[]>> = {
  model: ['zod', 'node:util', 'node:crypto', 'node:net'],
  'store/sqlite.ts': ['node:sqlite'],
  'net/kernel.ts': ['node:ffi'],
}

interface Source {
  readonly path: string
  readonly text: string
  readonly lines: readonly string[]
}

function read(pattern: string): readonly Source[] {
  return globSync(pattern, { cwd: root })
    .map((file) => file.replaceAll('\\', '/'))
    .sort()
    .map((path) => {
      const text = readFileSync(join(root, path), 'utf8')
      return { path, text, lines: text.replace(/\n$/, '').split('\n') }
    })
}

const isTest = (path: string): boolean => /\.test\.ts$|\.test-kit\.ts$|\/fake-[^/]*\.ts$/.test(path)
const sources = read('src/**/*.ts')
const product = sources.filter(({ path }) => !isTest(path))
const beside = ['test', 'tools', 'bench', 'examples'].flatMap((folder) => read(`${folder}/**/*.ts`))
const everything = [...sources, ...beside]
const own = 'test/tidy.test.ts'

/** Specifiers: of `import`, `export from`, `import()`, `require()` and what createRequire makes. Types are found as well. */
function importsOf({ text }: Source): readonly string[] {
  const found = text.matchAll(
    /^(?:import|export)\b[^'"`;]*?\bfrom '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)|\brequire\('([^']+)'\)|\bcreateRequire\([^)]*\)\('([^']+)'\)/gm,
  )
  return [...found].map((match) => match.slice(1).find((one) => one !== undefined) as string)
}

/** Path below src/ of what a relative specifier names; null for packages. */
function below(path: string, specifier: string): string | null {
  return specifier.startsWith('.') ? posix.relative('src', posix.join(posix.dirname(path), specifier)) : null
}

const roomOf = (inSrc: string): string => inSrc.split('/')[0] as string

/** Comments go; a `//` inside of a text stays. */
const codeOf = (line: string): string => (/^\s*(\/\/|\*|\/\*)/.test(line) ? '' : line.replace(/\s\/\/ .*$/, ''))

/** What is found must be excepted, and what is excepted must be found. `found`: the keys of the table, or `key | more`. */
function judge(rule: string, found: readonly string[]): void {
  const allowed = exceptions[rule] ?? {}
  const keys = new Set(found.map((one) => one.split(' | ')[0] as string))
  assert.deepEqual(
    found.filter((one) => !Object.hasOwn(allowed, one.split(' | ')[0] as string)),
    [],
    `against the rule: ${rule}`,
  )
  assert.deepEqual(
    Object.keys(allowed).filter((key) => !keys.has(key)),
    [],
    `no longer needed in the table of exceptions: ${rule}`,
  )
}

test('there is something to read', () => {
  assert.ok(product.length > 100 && beside.length > 5)
  const several = `import type { A } from '../a.ts'\nimport {\n  b,\n} from '../b.ts'\nconst c = await import('./c.ts')`
  assert.deepEqual(importsOf({ path: '', text: several, lines: [] }), ['../a.ts', '../b.ts', './c.ts'])
})

test('every room is in the table of layers', () => {
  const rooms = readdirSync(join(root, 'src'))
  assert.deepEqual(
    rooms.filter((room) => room !== knowsAll && !Object.hasOwn(layers, room)),
    [],
  )
})

test('layers: a room imports what it may', () => {
  const found = product.flatMap((source) => {
    const room = roomOf(source.path.slice(4))
    if (room === knowsAll) return []
    const strange = importsOf(source).flatMap((specifier) => {
      const target = below(source.path, specifier)
      if (target === null || roomOf(target) === room || layers[room]?.includes(roomOf(target))) return []
      const isContract = /(?:condition|provider)\.ts$/.test(target)
      return [isContract ? target : roomOf(target)]
    })
    return [...new Set(strange)].map((target) => `${source.path}: ${target}`)
  })
  judge('layers', found)
})

test('layers: what is excepted for its type is imported as a type alone', () => {
  for (const { path, text } of product.filter((source) => source.path.startsWith('src/config/')))
    for (const [line] of text.matchAll(/^import .*'\.\.\/(?:decide|identify|obtain)\/.*$/gm)) assert.match(line, /^import type /, path)
})

test('layers: a test knows its own room and below it, unless it is of the product whole', () => {
  const upwards = sources
    .filter(({ path }) => isTest(path) && !['cli', knowsAll].includes(roomOf(path.slice(4))))
    .flatMap((source) =>
      importsOf(source).flatMap((one) => (/^(?:cli|compose)\//.test(below(source.path, one) ?? '') ? [source.path] : [])),
    )
  assert.deepEqual([...new Set(upwards)], [])
})

test('planes: a process of the data plane reaches no store, no door of the broker and no kind that identifies or obtains', () => {
  const byPath = new Map(product.map((source) => [source.path.slice(4), source]))
  const reached = new Set<string>()
  const reach = (path: string): void => {
    const source = byPath.get(path)
    if (source === undefined || reached.has(path)) return
    reached.add(path)
    // A type is gone when it runs.
    const values = { ...source, text: source.text.replace(/^(?:import|export) type [^;]*?from '[^']+'$/gm, '') }
    for (const specifier of importsOf(values)) reach(below(source.path, specifier) ?? '')
  }
  reach('plane.ts')
  assert.ok(reached.has('flow/call.ts') && reached.has('wire/channel.ts') && reached.size > 80)
  const brokers = /^(?:store|endpoints|mint|cli|launch)\/|^(?:identify|obtain)\/[^/]+\/|^(?:identify|obtain)\/[a-z]+-providers\.ts$/
  assert.deepEqual(
    [...reached].filter((path) => brokers.test(path)),
    [],
  )
})

test('layers: packages that only one room may use', () => {
  const wrong = product.flatMap((source) => {
    const inSrc = source.path.slice(4)
    return importsOf(source).flatMap((specifier) => {
      if (specifier.startsWith('.')) return []
      if (roomOf(inSrc) === 'model') return packagesOf['model']?.includes(specifier) ? [] : [`${source.path}: ${specifier}`]
      const kept = Object.entries(packagesOf).find(([room, list]) => room !== 'model' && list.includes(specifier))
      return kept === undefined || kept[0] === inSrc ? [] : [`${source.path}: ${specifier}`]
    })
  })
  assert.deepEqual(wrong, [])
})

test('http is sans-io', () => {
  const io = /^node:(?:net|tls|fs|dns|child_process|worker_threads|http2|https)/
  const wrong = product
    .filter(({ path }) => path.startsWith('src/http/'))
    .flatMap((source) => importsOf(source).filter((one) => io.test(one)))
  assert.deepEqual(wrong, [])
})

const kindRooms = [
  { room: 'identify', contract: ['identify/trust-provider.ts', 'identify/once.ts'], list: 'trust-providers.ts' },
  { room: 'obtain', contract: ['obtain/credential-provider.ts', 'obtain/exchange.ts'], list: 'credential-providers.ts' },
  { room: 'decide', contract: ['decide/condition.ts'], list: 'conditions.ts' },
] as const

for (const { room, contract, list } of kindRooms)
  test(`kinds of ${room}: complete, and each can be deleted with its line`, () => {
    const folders = readdirSync(join(root, 'src', room), { withFileTypes: true }).flatMap((one) => (one.isDirectory() ? one.name : []))
    assert.ok(folders.length > 1)
    const listed = readFileSync(join(root, 'src', room, list), 'utf8')
    for (const kind of folders) {
      const face = `src/${room}/${kind}/${kind}.ts`
      assert.ok(existsSync(join(root, face)), `${face} is missing`)
      assert.match(readFileSync(join(root, face), 'utf8'), new RegExp(`^ {2}name: '${kind}',$`, 'm'), `${face} names its kind`)
      assert.ok(listed.includes(`from './${kind}/${kind}.ts'`), `${kind} is not in ${list}`)
    }
    const allowed = [...tools.map((one) => `${one}/`), ...contract]
    for (const source of sources.filter(({ path }) => path.startsWith(`src/${room}/`))) {
      const kind = folders.find((one) => source.path.startsWith(`src/${room}/${one}/`))
      const targets = importsOf(source).flatMap((one) => below(source.path, one) ?? [])
      const strange = targets.filter((target) => {
        if (kind === undefined) return folders.some((one) => target.startsWith(`${room}/${one}/`)) && !source.path.endsWith(`/${list}`)
        return !target.startsWith(`${room}/${kind}/`) && !allowed.some((one) => target.startsWith(one))
      })
      // A test of the room may take a kind as its example, and a kind's test the room's fakes.
      if (!isTest(source.path)) assert.deepEqual(strange, [], source.path)
    }
  })

test('a service of the catalog is a file and a line, and data alone', () => {
  const files = readdirSync(join(root, 'src/catalog')).filter((name) => !/^(?:catalog|service-table|leaks)\.|\.test\./.test(name))
  const listed = readFileSync(join(root, 'src/catalog/catalog.ts'), 'utf8')
  for (const file of files) {
    assert.ok(listed.includes(`'./${file}'`), `${file} is not in catalog.ts`)
    assert.doesNotMatch(readFileSync(join(root, 'src/catalog', file), 'utf8'), /=>|\bfunction\b/, file)
  }
})

test('time comes from the Clock', () => {
  const reads = /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(|\bprocess\.hrtime\b/
  const found = product.filter(({ path, lines }) => path !== 'src/model/clock.ts' && lines.some((line) => reads.test(codeOf(line))))
  judge(
    'clock',
    found.map(({ path }) => path),
  )
})

test('a secret is revealed where it is used, and nowhere else', () => {
  const places = /^src\/(?:inject|obtain|wire|scrub)\/|^src\/crypto\/seal\.ts$/
  const found = product.filter(({ path, text }) => !places.test(path) && /\.reveal\(|\['reveal'\]/.test(text))
  judge(
    'reveal',
    found.map(({ path }) => path),
  )
})

test('only an entry ends its process', () => {
  const ends = /\bprocess\.(?:exit|abort|reallyExit)\(|\bprocess\.exitCode\s*=/
  const found = product.filter(
    ({ path, lines }) => !['src/main.ts', 'src/plane.ts'].includes(path) && lines.some((line) => ends.test(codeOf(line))),
  )
  assert.deepEqual(
    found.map(({ path }) => path),
    [],
  )
})

const banned = ['utils', 'util', 'helpers', 'helper', 'common', 'shared', 'misc', 'manager', 'handler', 'impl', 'data', 'info']

/** The words of a name; a data directory is a thing of its own. */
function wordsIn(name: string): readonly string[] {
  return name
    .replace(/[dD]ataDir/, 'Folder')
    .split(/[^A-Za-z0-9]|(?<=[a-z0-9])(?=[A-Z])/)
    .map((word) => word.toLowerCase())
}

test('names say what a thing is', () => {
  assert.deepEqual(wordsIn('defaultDataDir').concat(wordsIn('requestHandler')), ['default', 'folder', 'request', 'handler'])
  const bad = (name: string): boolean => wordsIn(name).some((word) => banned.includes(word))
  const files = everything.filter(({ path }) => bad(path.replace(/\.ts$/, '').replace(/^examples\//, ''))).map(({ path }) => path)
  const exported = everything.flatMap(({ path, text }) =>
    [...text.matchAll(/^export (?:async )?(?:abstract )?(?:function\*?|const|let|class|interface|type) (\w+)/gm)].flatMap(([, name]) =>
      bad(name as string) ? [`${path}: ${name}`] : [],
    ),
  )
  judge('names', [...files, ...exported])
})

test('no default exports, enums, decorators, namespaces, barrels, or work left as a remark', () => {
  const forms = [
    /^export default\b/,
    /^\s*export \{[^}]*\bas default\b/,
    /^(?:export )?(?:declare )?(?:const )?enum \w/,
    /^(?:export )?namespace \w/,
    /^\s*@(?!id\b)[A-Za-z]\w*\(/, // a policy in a text begins with @id
    /^export \*/,
    new RegExp(`\\b(?:${['TO', 'FIX', 'X'].map((word, at) => word + ['DO', 'ME', 'XX'][at]).join('|')})\\b`),
  ]
  const found = everything.flatMap(({ path, lines }) =>
    lines.flatMap((line, at) => (forms.some((form) => form.test(line)) ? [`${path}:${at + 1} ${line.trim()}`] : [])),
  )
  assert.deepEqual(found, [])
  assert.deepEqual(
    everything.map(({ path }) => path).filter((path) => /(?:^|\/)index\.ts$/.test(path)),
    [],
  )
})

test('a file opens with what it is for', () => {
  const found = [...product, ...beside.filter(({ path }) => !isTest(path))].filter(
    ({ lines }) => !/^(?:\/\/ |#!|\/\*\*)/.test(lines[0] ?? ''),
  )
  judge(
    'opening',
    found.map(({ path }) => path),
  )
})

test('files: 400 lines, tests 800', () => {
  const found = everything.flatMap(({ path, lines }) => {
    const linesMax = isTest(path) ? 800 : 400
    return lines.length > linesMax ? [`${path} | ${lines.length} lines`] : []
  })
  judge('files', found)
})

/** By indentation, which the formatter guarantees: from a line that opens a function to the next that closes at its depth. */
function longFunctions({ path, lines }: Source): readonly string[] {
  const opens =
    /^(\s*)(?!(?:\} else )?(?:if|for|while|switch|catch|else|do|try|return|class|interface)\b)(?:.*\bfunction\b.*\{|.*=> \{|.*\)(?:: [^={]+)? \{)$/
  return lines.flatMap((line, at) => {
    const indent = opens.exec(line)?.[1]
    if (indent === undefined) return []
    const length = lines.slice(at + 1).findIndex((next) => next.startsWith(`${indent}}`)) + 2
    return length > 70 ? [`${path}: ${nameOf(line)} | ${length} lines`] : []
  })
}

const nameOf = (line: string): string =>
  /(?:function\*? |(?:const|let) )?(\w+)\s*(?:=|\(|<)/.exec(line.replace(/^.*\bfunction\b/, ''))?.[1] ?? line.trim()

test('functions: a screen, 70 lines', () => {
  const long = ['function long() {', ...Array.from({ length: 70 }, () => '  one()'), '}']
  assert.equal(longFunctions({ path: 'x', text: '', lines: long }).length, 1)
  assert.equal(longFunctions({ path: 'x', text: '', lines: long.toSpliced(1, 2) }).length, 0)
  judge('functions', [...product, ...beside.filter(({ path }) => !isTest(path))].flatMap(longFunctions))
})

test('what is committed names no machine and no registry', () => {
  const never = [
    ['/wo', 'rk/(?:main|shared|\\.)'],
    ['/ro', 'ot/\\.'],
    ['bash', '_jobs'],
    ['registry\\.', 'npmjs'],
    ['pypi\\.', 'org'],
    ['pythonhosted', '\\.org'],
    ['proxy\\.', 'golang'],
    ['"resol', 'ved": "'],
  ].map((parts) => new RegExp(parts.join('')))
  const kinds = '{*.{md,json,ts,mjs},.ci/*,.gitignore,{src,test,tools,bench,examples,docs,bin}/**/*.{ts,mjs,md,json,yaml,py,cedar,sh}}'
  const texts = read(kinds)
  assert.ok(texts.length > everything.length)
  const found = texts.flatMap(({ path, text }) => never.flatMap((form) => (form.test(text) ? [`${path}: ${form.source}`] : [])))
  assert.deepEqual(found, [])
  assert.ok(!existsSync(join(root, '.npmrc')), 'a registry is a matter of the machine')
})

test('no test is left alone or left out', () => {
  const alone = everything.filter(({ path, text }) => path !== own && /\b(?:test|it|describe)\.only\(|\{ only: true/.test(text))
  assert.deepEqual(
    alone.map(({ path }) => path),
    [],
  )
})
