// Clients that need nothing installed, unmodified, in a run; and that the page of all the others says what was measured.
// The whole list is tried by `npm run clients`.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { ClientRow } from '../../tools/clients-page.ts'
import { list } from '../clients/list.ts'
import { type ClientStage, setClientStage } from '../clients/others.ts'
import { commandOf } from '../clients/places.ts'
import { tryClient } from '../clients/try.ts'

const has = (program: string): boolean => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0
const rows: readonly ClientRow[] = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../docs/reference/clients.json', import.meta.url)), 'utf8'),
)
let set: ClientStage

before(async () => {
  set = await setClientStage(has('git'))
  set.git?.create('acme/site')
})
after(() => set?.close())

for (const client of list.filter(({ cheap }) => cheap === true)) {
  const program = client.group === 'Node' ? null : client.group === 'Python' ? 'python3' : client.name
  test(`${client.group}: ${client.title}`, async (context) => {
    if (program !== null && !has(program)) return context.skip(`no ${program} on this machine`)
    const tried = await tryClient(set, client, commandOf(client, false), {})
    assert.deepEqual(tried, { ...tried, ok: true, why: '' })
    const row = rows.find(({ group, title }) => group === client.group && title === client.title)
    assert.equal(tried.slot, row?.slot)
  })
}

test('a try can fail: without what a run sets, Node goes past the proxy, and its vendor sees nothing', async () => {
  const client = list.find(({ name }) => name === 'fetch')
  assert.ok(client)
  const tried = await tryClient(set, client, commandOf(client, false), { without: ['NODE_USE_ENV_PROXY', 'NODE_OPTIONS'] })
  assert.equal(tried.ok, false)
  assert.equal(tried.slot, null)
})

test('each client of the list has its row, and a row that says it works says where the credential stood', () => {
  const key = ({ group, title }: { group: string; title: string }): string => `${group} ${title}`
  assert.deepEqual(rows.map(key), list.map(key))
  for (const row of rows) if ((row.ways ?? []).length > 0) assert.ok(row.slot !== null, key(row))
})
