// The JSON that an operator's own collector writes. Strict: an unknown or missing field is a mistake, not a default.

import { z } from 'zod'
import type { FactValue } from '../../model/facts.ts'
import { limits } from '../../model/limits.ts'

export interface PostureFacts extends Readonly<Record<string, FactValue>> {
  readonly patchAgeDays: number
  readonly pendingSecurityUpdates: number
  readonly rebootNeeded: boolean
  readonly kernel: string
}

export interface Posture {
  /** Milliseconds since the epoch at which it was true. */
  readonly at: number
  readonly facts: PostureFacts
}

const document = z.strictObject({
  at: z.iso.datetime({ offset: true }),
  patchAgeDays: z.int().min(0),
  pendingSecurityUpdates: z.int().min(0),
  rebootNeeded: z.boolean(),
  kernel: z.string().min(1).max(256),
})

export function parsePosture(bytes: Buffer): Posture {
  if (bytes.length > limits.postureBytesMax) throw new Error(`the posture document is larger than ${limits.postureBytesMax} bytes`)
  const parsed = document.safeParse(jsonOf(bytes))
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new Error(`the posture document is wrong at ${issue?.path.join('.') || 'its top'}: ${issue?.message}`)
  }
  const { at, ...facts } = parsed.data
  return { at: Date.parse(at), facts }
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    throw new Error('the posture document is not JSON')
  }
}
