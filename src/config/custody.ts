// Whatever Ostiary believes is in custody too: files that a workload could write are named.
import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Config } from './config.ts'

/** One sentence a file that somebody else may write, or whose folder they may. */
export function custodyWarnings(config: Config): readonly string[] {
  const own = process.getuid?.() ?? -1
  const warnings: string[] = []
  for (const file of new Set([...config.files, ...(config.egress.extraCa === null ? [] : [config.egress.extraCa])])) {
    for (const path of [file, dirname(file)]) {
      try {
        const { mode, uid } = statSync(path)
        const sticky = (mode & 0o1000) !== 0
        if ((mode & 0o022) !== 0 && !sticky) warnings.push(`${path} can be written by others: chmod go-w ${path}`)
        else if (uid !== own && uid !== 0) warnings.push(`${path} belongs to uid ${uid}, who could change what Ostiary believes`)
      } catch {
        // that it cannot be read is said elsewhere
      }
    }
  }
  for (const one of config.egress.dangerouslyFixedAddresses)
    warnings.push(`dangerouslyFixedAddresses: ${one.host} is dialled at ${one.address}:${one.port} until ${one.until} (${one.reason})`)
  return [...new Set(warnings)]
}
