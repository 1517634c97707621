// Names what happened to a row of entries, given the row of leaf hashes that it should have. Pure.
// It must name something wherever the rows differ; which name is a reading of the evidence, not a proof of how it was done.

export type FindingKind = 'edit' | 'removal' | 'swap' | 'duplicate' | 'truncation' | 'rollback' | 'fork' | 'signature'

export interface Finding {
  readonly kind: FindingKind
  /** `entry 7`, `tile/0/000`, `checkpoint`, `journal entry 9`. */
  readonly at: string
  readonly says: string
}

export interface Named extends Finding {
  /** The foreign hash, where it may be a copy of an entry that stands before these rows. */
  readonly copyOf?: string
}

const insertedMax = 512
const findingsMax = 100

/** `is` and `should` are leaf hashes as text from entry `base` on; both must reach the end of what is compared. */
export function compareRows(is: readonly string[], should: readonly string[], base: number): Named[] {
  const row = [...is]
  const places = new Map(should.map((hash, place) => [hash, place]))
  const found: Named[] = []
  let i = 0
  let j = 0
  while (i < row.length && j < should.length && found.length < findingsMax) {
    const here = row[i] as string
    const due = should[j] as string
    const place = places.get(here) ?? -1
    if (here === due) {
      i += 1
      j += 1
    } else if (place > j && row[i + place - j] === due) {
      const far = place - j
      let length = 0
      for (; length < far && row[i + length] === should[place + length] && row[i + length + far] === should[j + length]; length += 1) {
        row[i + length + far] = row[i + length] as string
        row[i + length] = should[j + length] as string
      }
      found.push({ kind: 'swap', at: `entry ${base + j}`, says: `${blocks(base + j, base + place, length)} have changed places` })
    } else if (row[i + 1] === should[j + 1]) {
      found.push(replaced(here, place, base, j))
      i += 1
      j += 1
    } else if (place > j) {
      found.push({ kind: 'removal', at: `entry ${base + j}`, says: `${range(base + j, base + place)} removed` })
      j = place
    } else {
      const next = row.indexOf(due, i + 1)
      const inserted = next > 0 && next - i <= insertedMax ? next - i : 0
      for (let k = 0; k < inserted; k += 1) found.push(added(row[i + k] as string, places, base, j))
      if (inserted === 0) {
        found.push(replaced(here, place, base, j))
        j += 1
      }
      i += Math.max(1, inserted)
    }
  }
  if (found.length >= findingsMax) return found
  if (j < should.length)
    found.push({ kind: 'truncation', at: `entry ${base + j}`, says: `${range(base + j, base + should.length)} cut off the end` })
  for (; i < row.length && found.length < findingsMax; i += 1) found.push(added(row[i] as string, places, base, should.length))
  return found
}

function range(from: number, to: number): string {
  return to - from === 1 ? `entry ${from} was` : `entries ${from} to ${to - 1} were`
}

function blocks(a: number, b: number, length: number): string {
  return length === 1 ? `entries ${a} and ${b}` : `entries ${a} to ${a + length - 1} and ${b} to ${b + length - 1}`
}

function replaced(hash: string, place: number, base: number, j: number): Named {
  if (place >= 0)
    return { kind: 'duplicate', at: `entry ${base + j}`, says: `a copy of entry ${base + place} stands in place of entry ${base + j}` }
  return { kind: 'edit', at: `entry ${base + j}`, says: `entry ${base + j} was changed: it does not fit its hash`, copyOf: hash }
}

function added(hash: string, places: ReadonlyMap<string, number>, base: number, j: number): Named {
  const place = places.get(hash)
  if (place !== undefined)
    return { kind: 'duplicate', at: `entry ${base + j}`, says: `a copy of entry ${base + place} was put in before entry ${base + j}` }
  return { kind: 'edit', at: `entry ${base + j}`, says: `a foreign entry was put in before entry ${base + j}`, copyOf: hash }
}
