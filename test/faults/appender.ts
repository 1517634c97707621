// A process that appends to a log as fast as it can, for the faults that kill it: says each entry that was acknowledged, once it was.
// Words: the folder of the log, the file of its key, the name of the round, milliseconds between checkpoints.
import { createPrivateKey } from 'node:crypto'
import { readFileSync, writeSync } from 'node:fs'
import { openAudit } from '../../src/audit/audit.ts'
import { systemClock } from '../../src/model/clock.ts'
import { type Limits, limits } from '../../src/model/limits.ts'

const [dir, keyFile, round, checkpointMs] = process.argv.slice(2) as [string, string, string, string]
const say = (what: string, fields?: unknown): void => void writeSync(2, `${what} ${JSON.stringify(fields)}\n`)
const audit = await openAudit({
  dir,
  origin: 'faults.example/test/0',
  clock: systemClock,
  limits: { ...limits, checkpointMs: Number(checkpointMs), auditReserveBytes: 0 } as unknown as Limits,
  log: { debug: () => {}, info: () => {}, warn: say, error: say },
  key: createPrivateKey(readFileSync(keyFile)),
})
/** Said before anything else happens, also where the parent is slow to read. */
function acknowledged(text: string): void {
  for (;;) {
    try {
      return void writeSync(1, text)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
  }
}

const notes = ['x'.repeat(400)]
let next = 0
async function one(): Promise<void> {
  for (;;) {
    const call = `${round}-${next++}`
    try {
      await audit.append({ kind: 'intent', time: systemClock.now(), call, workload: 'w', host: 'api.example', port: 443, notes })
    } catch {
      // Refused from here on; the parent looks at what was acknowledged.
      if (audit.status().failed) return
      await new Promise((resolve) => setTimeout(resolve, 5))
      continue
    }
    acknowledged(`${call}\n`)
    audit.write({ kind: 'outcome', time: systemClock.now(), call })
  }
}
await Promise.all(Array.from({ length: 64 }, one))
writeSync(2, 'failed\n')
