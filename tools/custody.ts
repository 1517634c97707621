// Writes the table of custody into SECURITY.md: the hostile agent plays each mode, as root, and what it got stands there.
// Exists so that no cell of it is ever written by hand. Needs root, for only root can play them all.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Mode, markers, measure, modes, type Result, tableOf, uidOf } from '../test/scenarios/custody.test-kit.ts'

const page = fileURLToPath(new URL('../SECURITY.md', import.meta.url))
const results: Partial<Record<Mode, Result>> = {}
for (const mode of modes) {
  const uid = uidOf(mode)
  if (typeof uid === 'string') {
    process.stderr.write(`${mode}: ${uid}; the table needs all of them\n`)
    process.exit(1)
  }
  const { result, said } = await measure(mode, uid)
  results[mode] = result
  process.stdout.write(`${mode}: ${Object.values(result).filter((open) => !open).length} of ${Object.keys(result).length} held\n${said}\n`)
}
const [begin, end] = markers
const text = readFileSync(page, 'utf8')
const table = `${begin}\n${tableOf(results)}\n${end}`
if (!text.includes(begin)) process.stdout.write(`${table}\n`)
else writeFileSync(page, text.slice(0, text.indexOf(begin)) + table + text.slice(text.indexOf(end) + end.length))
process.exit(0)
