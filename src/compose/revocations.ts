// What was revoked stays revoked over restarts, until a person stores the secret anew or takes the revocation back.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const names = z.record(z.string(), z.number())
const shape = z.strictObject({ workloads: names, credentials: names })

interface What {
  readonly workload?: string | undefined
  readonly credential?: string | undefined
}

export interface Revocations {
  /** Since when, in milliseconds since the epoch, by name. */
  readonly workloads: ReadonlyMap<string, number>
  readonly credentials: ReadonlyMap<string, number>
  add(what: What, now: number): void
  lift(what: What): void
}

/** Throws an Error when the file is there and cannot be read: a lost revocation is worse than no start. */
export function openRevocations(dataDir: string): Revocations {
  const path = join(dataDir, 'revoked.json')
  const kept = read(path)
  const workloads = new Map(Object.entries(kept.workloads))
  const credentials = new Map(Object.entries(kept.credentials))
  const write = (): void => {
    const text = JSON.stringify({ workloads: Object.fromEntries(workloads), credentials: Object.fromEntries(credentials) })
    writeFileSync(`${path}.new`, text, { mode: 0o600, flush: true })
    renameSync(`${path}.new`, path)
  }
  return {
    workloads,
    credentials,
    add({ workload, credential }, now) {
      if (workload !== undefined && !workloads.has(workload)) workloads.set(workload, now)
      if (credential !== undefined && !credentials.has(credential)) credentials.set(credential, now)
      write()
    },
    lift({ workload, credential }) {
      const lifted = (workload !== undefined && workloads.delete(workload)) || (credential !== undefined && credentials.delete(credential))
      if (lifted) write()
    },
  }
}

function read(path: string): z.infer<typeof shape> {
  try {
    return shape.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { workloads: {}, credentials: {} }
    throw new Error(`${path} cannot be read, so nobody knows what was revoked: mend it, or write {"workloads":{},"credentials":{}}`)
  }
}
