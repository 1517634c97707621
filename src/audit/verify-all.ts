// Verifies every log of an installation. It must never say ok where a log is missing that was there.
import type { KeyObject } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { logName, logsIn } from './logs.ts'
import { type Verification, verifyLog } from './verify.ts'

export interface VerifyAllOptions {
  readonly dataDir: string
  /** One key signs all logs; `origin` is that of the first. */
  readonly publicKey: KeyObject
  readonly origin: string
  /** Text of an earlier or outside checkpoint of one of them; its first line says which. */
  readonly since?: string
}

export interface VerifiedLog extends Verification {
  readonly log: number
}

/** In their order. Throws an Error where no log has the origin of `since`. */
export async function verifyLogs({ dataDir, publicKey, origin, since }: VerifyAllOptions): Promise<readonly VerifiedLog[]> {
  const logs = [...logsIn(dataDir), ...missing(dataDir)]
  const originOf = (n: number): string => origin.replace(/\/\d+$/, `/${n}`)
  const sinceOrigin = since?.split('\n')[0]
  if (since !== undefined && logs.length > 1 && !logs.some(({ n }) => originOf(n) === sinceOrigin))
    throw new Error(`the checkpoint is of ${sinceOrigin}, and none of the logs here is`)
  const verified: VerifiedLog[] = []
  for (const { n, dir } of logs) {
    const earlier = since !== undefined && (logs.length === 1 || originOf(n) === sinceOrigin) ? { since } : {}
    verified.push({ log: n, ...(await verifyLog({ dir, publicKey, origin: originOf(n), ...earlier })) })
  }
  return verified
}

/** A log whose public key was written and whose folder is gone: verifying it finds that nothing is there. */
function missing(dataDir: string) {
  return readdirSync(dataDir).flatMap((name) => {
    const n = Number(/^audit-([1-9]\d?)\.pub$/.exec(name)?.[1] ?? 0)
    const dir = join(dataDir, logName(n))
    return n === 0 || existsSync(dir) ? [] : [{ n, dir }]
  })
}
