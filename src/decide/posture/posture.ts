// States how well a host is kept: age of its patches, pending security updates, reboot needed, kernel. The host's own
// collector speaks only for workloads that were proven to run here; else a file or an address that the operator names.
// It must never state what is older than configured: stale is missing, and missing is a no.

import { z } from 'zod'
import type { Asked } from '../../model/facts.ts'
import type { ConditionHost } from '../../model/kind.ts'
import { limits } from '../../model/limits.ts'
import { Refusal } from '../../model/refusal.ts'
import type { Condition, ConditionKind } from '../condition.ts'
import { type Posture, type PostureFacts, parsePosture } from './document.ts'
import { collectHere } from './host-collector.ts'

const schema = z.strictObject({
  collector: z.literal('host').optional().describe('Collects on this host (Debian, Ubuntu)'),
  file: z.string().min(1).optional().describe('JSON file with at, patchAgeDays, pendingSecurityUpdates, rebootNeeded, kernel'),
  url: z
    .url({ protocol: /^https$/ })
    .optional()
    .describe('https address that answers with the same JSON'),
  maxAgeMinutes: z
    .int()
    .min(1)
    .max(60 * 24 * 31)
    .default(60)
    .describe('Older facts count as missing'),
  listsMaxAgeHours: z
    .int()
    .min(1)
    .max(24 * 365)
    .default(168)
    .describe('Collector only: older package lists count as missing'),
})

export type PostureConfig = z.output<typeof schema>

export const posture: ConditionKind<PostureConfig> = {
  name: 'posture',
  summary: 'Age of patches, pending security updates, reboot needed and kernel of the host.',
  schema: schema as z.ZodType<PostureConfig>,
  check: (config) =>
    [config.collector, config.file, config.url].filter((source) => source !== undefined).length === 1
      ? []
      : ['name exactly one source: collector: host, file or url'],
  shape: () => ({ patchAgeDays: 'Long', pendingSecurityUpdates: 'Long', rebootNeeded: 'Bool', kernel: 'String' }),
  start,
}

/** How long a source is believed before it is asked again. */
const fileFreshMs = 1_000
const urlFreshMs = 30_000
const collectorFreshMs = 5 * 60_000

interface Source {
  readonly freshMs: number
  /** May an older statement stand in while a new one is fetched, or when it cannot be? */
  readonly lasting: boolean
  readonly mend: string
  read(signal: AbortSignal | null): Promise<Posture>
}

function start(config: PostureConfig, host: ConditionHost): Condition & { factsNow(asked: Asked): PostureFacts | null } {
  const source = sourceOf(config, host)
  let known: Posture | null = null
  let readAt = 0
  let reading: Promise<Posture> | null = null

  const read = (): Promise<Posture> => {
    // One reading for all who ask; it belongs to nobody's signal, and each who waits leaves by his own.
    reading ??= source
      .read(null)
      .then((found) => {
        known = found
        readAt = host.clock.monotonic()
        return found
      })
      .finally(() => {
        reading = null
      })
    return reading
  }
  const inForce = (found: Posture): PostureFacts => {
    const ageMs = host.clock.now() - found.at
    if (ageMs > config.maxAgeMinutes * 60_000)
      throw missing(`stale: ${Math.round(ageMs / 60_000)} minutes old, allowed are ${config.maxAgeMinutes}; ${source.mend}`)
    if (ageMs < -host.limits.clockSkewMs) throw missing(`dated in the future; ${source.mend}`)
    return found.facts
  }
  const fresh = (): boolean => known !== null && host.clock.monotonic() - readAt < source.freshMs
  const stillGood = (): boolean => known !== null && host.clock.now() - known.at <= config.maxAgeMinutes * 60_000
  return {
    factsNow(asked) {
      demandHere(config, asked)
      if (known !== null && fresh()) return inForce(known)
      if (known === null || !source.lasting || !stillGood()) return null
      read().catch((error: unknown) => host.log.warn('posture could not be read', { error: String(error) }))
      return inForce(known)
    },
    async facts(asked, signal) {
      demandHere(config, asked)
      signal.throwIfAborted()
      if (known !== null && fresh()) return inForce(known)
      try {
        return inForce(await until(read(), signal))
      } catch (error) {
        if (known !== null && source.lasting && stillGood()) return inForce(known)
        if (error instanceof Refusal && error.code === 'decide.fact_missing') throw error
        const why = error instanceof Error ? error.message : String(error)
        throw new Refusal('decide.fact_missing', `${why}; ${source.mend}`, error)
      }
    },
  }
}

const missing = (detail: string): Refusal => new Refusal('decide.fact_missing', detail)

function demandHere(config: PostureConfig, asked: Asked): void {
  if (config.collector === 'host' && !asked.onThisHost)
    throw missing('the collector speaks only for workloads that were proven to run on this host; name a file or url for others')
}

function sourceOf(config: PostureConfig, host: ConditionHost): Source {
  const { file, url } = config
  if (file !== undefined) {
    const read = async (): Promise<Posture> => parsePosture(await host.readFile(file))
    return { freshMs: fileFreshMs, lasting: false, mend: `let your collector write ${file} anew`, read }
  }
  if (url !== undefined) {
    const read = async (): Promise<Posture> => {
      const answer = await host.fetch({ method: 'GET', url, bytesMax: limits.postureBytesMax, timeoutMs: limits.postureMs })
      if (answer.status !== 200) throw new Error(`the posture endpoint answered ${answer.status}`)
      return parsePosture(answer.body)
    }
    return { freshMs: urlFreshMs, lasting: true, mend: 'see that the posture endpoint answers', read }
  }
  const read = (): Promise<Posture> => collectHere({ now: host.clock.now(), listsMaxAgeMs: config.listsMaxAgeHours * 3_600_000 })
  return { freshMs: collectorFreshMs, lasting: true, mend: 'run apt-get update and the pending upgrades', read }
}

async function until<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const left = Promise.withResolvers<never>()
  const leave = (): void => left.reject(signal.reason)
  left.promise.catch(() => {})
  signal.addEventListener('abort', leave, { once: true })
  try {
    return await Promise.race([promise, left.promise])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}
