// The documents against the product: generated pages are fresh, links lead somewhere, and what a reader copies works.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { kinds, loadConfig } from '../src/compose/kinds.ts'
import { jsonSchema } from '../src/config/json-schema.ts'
import { ConfigMistakes, refusals } from '../src/model/refusal.ts'
import { references, stale } from '../tools/docs.ts'
import { example, meanings } from '../tools/worked-example.ts'
import { holes } from './scenarios/paths.test-kit.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const pages = [...globSync('*.md', { cwd: root }), ...globSync('docs/**/*.md', { cwd: root })].sort()
// Under the home: what lies in a folder that everybody may write is not believed.
const temporary = mkdtempSync(join(homedir(), '.ostiary-docs-test-'))
after(() => rmSync(temporary, { recursive: true, force: true }))

const textOf = (page: string): string => readFileSync(join(root, page), 'utf8')

/** As the reader is told to: `alice` is whoever reads. */
function written(name: string, yaml: string): string {
  const file = join(temporary, name)
  writeFileSync(file, yaml.replaceAll('alice', userInfo().username), { mode: 0o600 })
  return file
}

function mistakesOf(file: string): readonly string[] {
  try {
    loadConfig(file, join(temporary, 'data'))
    return []
  } catch (error) {
    if (!(error instanceof ConfigMistakes)) throw error
    return error.mistakes.map((one) => `${one.line} ${one.path}: ${one.wrong}`)
  }
}

function blocksOf(page: string, language: string): readonly string[] {
  return [...textOf(page).matchAll(/^```(\w+)\n(.*?)^```$/gms)].flatMap(([, name, text]) => (name === language ? [text as string] : []))
}

/** As headings become anchors on the web. */
function anchorsOf(page: string): ReadonlySet<string> {
  const heads = textOf(page)
    .replaceAll(/^```.*?^```$/gms, '')
    .matchAll(/^#+ (.+)$/gm)
  const anchor = ([, head]: RegExpMatchArray): string =>
    (head as string)
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-')
  return new Set([...heads].map(anchor))
}

test('generated pages are fresh', () => assert.deepEqual(stale(), [], 'npm run docs'))

test('generating twice gives the same', () => assert.deepEqual([...references()], [...references()]))

test('each refusal has its row', () => {
  const page = textOf('docs/reference/refusals.md')
  for (const code of Object.keys(refusals)) assert.ok(page.includes(`| \`${code}\` |`), code)
})

test('each check of each way in has its test, or a reason why it cannot stand there', () => {
  const titles = (file: string): readonly string[] => (existsSync(join(root, file)) ? textOf(file).split('\n') : [])
  const hasTest = (file: string, title: string): boolean => titles(file).some((line) => line.startsWith(`test('${title}`))
  assert.deepEqual(holes(hasTest), [])
  assert.notDeepEqual(
    holes(() => false),
    [],
    'the check can fail',
  )
})

test('each field has a meaning, said in one place', () => {
  const page = textOf('docs/reference/configuration.md')
  const blank = page.split('\n').filter((line) => / \|\s*\|$/.test(line))
  assert.deepEqual(blank, [])
  const unused = Object.entries(meanings).filter(([, meaning]) => !page.includes(`| ${meaning} |`))
  assert.deepEqual(unused, [], 'the schema says these itself now, or the field is gone')
})

test('the JSON Schema is JSON and is what `check --schema` prints', () => {
  assert.deepEqual(JSON.parse(textOf('docs/reference/configuration.schema.json')), JSON.parse(JSON.stringify(jsonSchema(kinds))))
})

test('relative links lead to files and headings', () => {
  assert.ok(pages.length > 10)
  const dead = pages.flatMap((page) =>
    [
      ...textOf(page)
        .replaceAll(/^```.*?^```$/gms, '')
        .matchAll(/\]\(([^)\s]+)\)/g),
    ].flatMap(([, link]) => {
      if (/^[a-z]+:/.test(link as string)) return []
      const [path, anchor] = (link as string).split('#') as [string, string?]
      const file = path === '' ? page : join(dirname(page), path)
      if (!existsSync(join(root, file))) return [`${page}: ${link}`]
      return anchor === undefined || anchorsOf(file).has(anchor) ? [] : [`${page}: ${link}`]
    }),
  )
  assert.deepEqual(dead, [])
})

test('every YAML block is a configuration that holds', () => {
  const blocks = pages.flatMap((page) => blocksOf(page, 'yaml').map((text, at) => ({ page, at, text })))
  assert.ok(blocks.some(({ page }) => page === 'README.md'))
  assert.ok(blocks.some(({ text }) => text === example))
  for (const { page, at, text } of blocks) assert.deepEqual(mistakesOf(written('block.yaml', text)), [], `${page}, block ${at + 1}`)
})

test('the check can fail', () => {
  const text = blocksOf('README.md', 'yaml')[0] as string
  assert.notDeepEqual(mistakesOf(written('wrong.yaml', text.replace('resource == Service', 'resource = Service'))), [])
  assert.notDeepEqual(mistakesOf(written('wrong.yaml', text.replace('openai: {}', 'openia: {}'))), [])
})

test('`ostiary check` says the same of the README', () => {
  const file = written('readme.yaml', blocksOf('README.md', 'yaml')[0] as string)
  const words = [join(root, 'bin', 'ostiary.mjs'), '--data', join(temporary, 'data'), '--config', file, 'check', '--json']
  const said = spawnSync(process.execPath, words, { encoding: 'utf8', timeout: 30_000 })
  assert.equal(said.status, 0, said.stdout + said.stderr)
  assert.equal(JSON.parse(said.stdout).policies, 1)
})

test('every command that a page tells to type exists', () => {
  const help = textOf('docs/reference/cli.md')
  const named = pages.flatMap((page) =>
    [...textOf(page).matchAll(/(?:`|^|bin\/)ostiary(?:\.mjs)? ([a-z][a-z-]+)/gm)].map(([, word]) => ({ page, word: word as string })),
  )
  assert.ok(named.length > 5)
  const unknown = named.filter(({ word }) => !help.includes(`\n## ostiary ${word}\n`) && !help.includes(`\n### ostiary ${word}\n`))
  assert.deepEqual(unknown, [])
})

test('each threat of SECURITY.md names tests that are there, or says that it is open', () => {
  const [, table = ''] = /<!-- threats -->\n([\s\S]*?)<!-- end of threats -->/.exec(textOf('SECURITY.md')) ?? []
  const rows = table.split('\n').filter((line) => /^\| T\d/.test(line))
  const wanted = [...Array.from({ length: 22 }, (_, at) => at + 1), 26, 28, 33, 34, 35].map((one) => `T${one}`)
  assert.deepEqual(
    rows.map((row) => (row.split('|')[1] as string).trim()),
    wanted,
  )
  for (const row of rows) {
    const files = [...row.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1] as string)
    assert.ok(files.length > 0, row)
    for (const file of files) {
      assert.match(file, /\.test\.ts$/)
      assert.match(readFileSync(join(root, file), 'utf8'), /\btest\(/, file)
    }
  }
})
