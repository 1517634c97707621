// What was revoked stays revoked over restarts, until a person stores the secret anew or takes the revocation back.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const shape = z.strictObject({ workloads: z.array(z.string()), credentials: z.array(z.string()) })

export interface Revocations {
  readonly workloads: ReadonlySet<string>
  readonly credentials: ReadonlySet<string>
  add(what: { readonly workload?: string | undefined; readonly credential?: string | undefined }): void
  lift(what: { readonly workload?: string | undefined; readonly credential?: string | undefined }): void
}

/** Throws an Error when the file is there and cannot be read: a lost revocation is worse than no start. */
export function openRevocations(dataDir: string): Revocations {
  const path = join(dataDir, 'revoked.json')
  const kept = read(path)
  const workloads = new Set(kept.workloads)
  const credentials = new Set(kept.credentials)
  const write = (): void => {
    writeFileSync(`${path}.new`, JSON.stringify({ workloads: [...workloads], credentials: [...credentials] }), { mode: 0o600, flush: true })
    renameSync(`${path}.new`, path)
  }
  return {
    workloads,
    credentials,
    add({ workload, credential }) {
      if (workload !== undefined) workloads.add(workload)
      if (credential !== undefined) credentials.add(credential)
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
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { workloads: [], credentials: [] }
    throw new Error(`${path} cannot be read, so nobody knows what was revoked: mend it, or write {"workloads":[],"credentials":[]}`)
  }
}
