// Runs every client of test/clients/list.ts in a run and writes what came of it to docs/reference/clients.json and its page.
// Exists so that no row of that page is a guess. `npm run clients -- NAME...` tries those alone and keeps the other rows. A client
// that heeds no proxy variable calls the real host, with a placeholder: nothing secret leaves.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Client, list } from '../test/clients/list.ts'
import { type ClientStage, setClientStage } from '../test/clients/others.ts'
import { commandOf, installGroup, versionOf } from '../test/clients/places.ts'
import { type Tried, tryClient, type Way } from '../test/clients/try.ts'
import { type ClientRow, clientsPage, type RowWay } from './clients-page.ts'

const folder = fileURLToPath(new URL('../docs/reference/', import.meta.url))
const wanted = process.argv.slice(2)
const key = ({ group, title }: Pick<ClientRow, 'group' | 'title'>): string => `${group} ${title}`

/** As it is; where that fails, by all that may help. */
async function rowOf(set: ClientStage, client: Client): Promise<ClientRow> {
  const command = commandOf(client, true)
  const attempt = (way: Way): Promise<Tried> => tryClient(set, client, command, way)
  const plain = await attempt({})
  const row = { group: client.group, title: client.title, version: versionOf(client), note: client.note ?? null }
  const needed = plain.ok ? await neededBy(client, attempt) : null
  if (plain.ok && needed !== 'NODE_OPTIONS')
    return {
      ...row,
      slot: plain.slot,
      why: null,
      ways: [needed === null ? { kind: 'proxy', says: '' } : { kind: 'variable', says: needed }],
    }
  // Where the preload is what helps, what else would without it is of use too: a command may not be able to take it.
  const bare: Way = needed === null ? {} : { without: [needed] }
  const ways: (readonly [RowWay, Way])[] = []
  if (client.set !== undefined)
    ways.push([
      { kind: 'set', says: client.set.join('=') },
      { ...bare, set: client.set },
    ])
  if (client.baseUrl !== undefined)
    ways.push([
      { kind: 'base', says: client.baseUrl.join('=') },
      { ...bare, set: client.baseUrl },
    ])
  ways.push([
    { kind: 'isolate', says: '' },
    { ...bare, isolate: true },
  ])
  const works: RowWay[] = needed === null ? [] : [{ kind: 'variable', says: needed }]
  let slot = plain.slot
  for (const [says, way] of ways) {
    const tried = await attempt(way)
    if (!tried.ok) process.stdout.write(`  ${says.kind} ${says.says}: ${tried.why}\n`)
    else {
      works.push(says)
      slot = tried.slot
    }
  }
  return { ...row, slot, why: plain.ok ? null : plain.why, ways: works }
}

/** The variable without which it no longer works; null: the proxy variables are enough. */
async function neededBy(client: Client, attempt: (way: Way) => Promise<Tried>): Promise<string | null> {
  for (const without of client.without ?? []) if (!(await attempt({ without })).ok) return without[0]
  return null
}

async function tryAll(set: ClientStage, clients: readonly Client[]): Promise<readonly ClientRow[]> {
  const rows: ClientRow[] = []
  const missing = new Map<Client['group'], string | null>()
  for (const client of clients) {
    if (!missing.has(client.group)) missing.set(client.group, installGroup(client.group))
    const there = client.program === undefined || existsSync(client.program)
    const lacks = there ? (missing.get(client.group) ?? null) : 'no such program on this machine'
    const row =
      lacks === null
        ? await rowOf(set, client)
        : { group: client.group, title: client.title, version: null, note: null, slot: null, why: lacks, ways: null }
    process.stdout.write(
      `${key(row)}: ${row.ways?.map(({ kind, says }) => `${kind} ${says}`.trim()).join(', ') ?? 'skipped'}${row.why === null ? '' : ` (${row.why})`}\n`,
    )
    rows.push(row)
  }
  return rows
}

const chosen = list.filter(({ group, name, title }) => wanted.length === 0 || wanted.some((one) => [group, name, title].includes(one)))
if (chosen.length === 0) {
  process.stderr.write(`no such client. One of ${[...new Set(list.map(({ name }) => name))].join(', ')}, or a group: Node, Python, ...\n`)
  process.exit(2)
}
const set = await setClientStage(true)
set.git?.create('acme/site')
try {
  const fresh = new Map((await tryAll(set, chosen)).map((row) => [key(row), row]))
  const kept = wanted.length === 0 ? [] : (JSON.parse(readFileSync(`${folder}clients.json`, 'utf8')) as ClientRow[])
  const rows = list.flatMap((client) => fresh.get(key(client)) ?? kept.filter((row) => key(row) === key(client)))
  writeFileSync(`${folder}clients.json`, `${JSON.stringify(rows, null, 2)}\n`)
  writeFileSync(`${folder}clients.md`, clientsPage(rows))
} finally {
  await set.close()
}
