// Asks the conditions for their facts: only those that a slice reads, within a time limit, checked against their shape.
// A fact that should exist and could not be got is a refusal that says which and how to mend it, never an absence.
import type { Asked, Facts, FactValue } from '../model/facts.ts'
import type { Identity } from '../model/identity.ts'
import { Refusal } from '../model/refusal.ts'
import type { CedarType, Condition, FactShape } from './condition.ts'

/** What a condition states: one value, or several by name. */
export type Stated = FactValue | Readonly<Record<string, FactValue>>

/** A second, optional power: states its facts at once where nothing must be waited for; null where something must. */
export interface ReadyCondition extends Condition {
  factsNow(asked: Asked): Stated | null
}

export interface NamedCondition {
  readonly name: string
  readonly condition: Condition
  readonly shape: FactShape
}

export type FactSource = (names: readonly string[], identity: Identity, service: string | null) => Facts | Promise<Facts>

export const noFacts: Facts = Object.freeze({})

export function createFactSource(conditions: readonly NamedCondition[], factMs: number): FactSource {
  const byName = new Map(conditions.map((one) => [one.name, one]))
  return (names, identity, service) => {
    if (names.length === 0) return noFacts
    const asked = askedOf(identity, service)
    const facts: Record<string, FactValue> = {}
    const waiting: NamedCondition[] = []
    for (const name of names) {
      const one = byName.get(name)
      if (one === undefined) throw new Refusal('decide.fact_missing', `${name}: there is no such condition`)
      const stated = statedNow(one, asked)
      if (stated === null) waiting.push(one)
      else flatten(one, stated, facts)
    }
    return waiting.length === 0 ? facts : waitFor(waiting, asked, facts, factMs)
  }
}

export function askedOf(identity: Identity, service: string | null): Asked {
  const { workload, labels, proven, provider, onThisHost, address } = identity
  return { workload, labels, proven, provider, onThisHost, address, service }
}

function statedNow(one: NamedCondition, asked: Asked): Stated | null {
  if (!('factsNow' in one.condition)) return null
  try {
    return (one.condition as ReadyCondition).factsNow(asked)
  } catch (error) {
    throw missing(one.name, error)
  }
}

async function waitFor(waiting: readonly NamedCondition[], asked: Asked, facts: Record<string, FactValue>, factMs: number): Promise<Facts> {
  const signal = AbortSignal.timeout(factMs)
  const tooLate = Promise.withResolvers<never>()
  // A condition that ignores the signal must not hold the request either.
  const giveUp = (): void => tooLate.reject(new Refusal('decide.fact_missing', `not stated within ${factMs} ms`))
  signal.addEventListener('abort', giveUp, { once: true })
  tooLate.promise.catch(() => {})
  try {
    await Promise.all(
      waiting.map(async (one) => {
        try {
          flatten(one, await Promise.race([one.condition.facts(asked, signal), tooLate.promise]), facts)
        } catch (error) {
          throw missing(one.name, error)
        }
      }),
    )
    return facts
  } finally {
    signal.removeEventListener('abort', giveUp)
  }
}

function missing(name: string, error: unknown): Refusal {
  const why = error instanceof Refusal ? error.detail || error.code : error instanceof Error ? error.message : String(error)
  return new Refusal('decide.fact_missing', `${name}: ${why}`, error)
}

/** `host` with `patchAgeDays` becomes `host.patchAgeDays`. */
function flatten(one: NamedCondition, stated: Stated, into: Record<string, FactValue>): void {
  const { name, shape } = one
  if (typeof shape === 'string') {
    into[name] = fitting(name, shape, stated as FactValue)
    return
  }
  if (typeof stated !== 'object' || stated === null || Array.isArray(stated)) throw misstated(name, 'a record')
  const record = stated as Readonly<Record<string, FactValue>>
  for (const [key, type] of Object.entries(shape)) {
    const optional = key.endsWith('?')
    const fact = optional ? key.slice(0, -1) : key
    const value = Object.hasOwn(record, fact) ? record[fact] : undefined
    if (value !== undefined) into[`${name}.${fact}`] = fitting(`${name}.${fact}`, type, value)
    else if (!optional) throw new Refusal('decide.fact_missing', `${name}.${fact} was not stated`)
  }
}

function fitting(name: string, type: CedarType, value: FactValue): FactValue {
  if (type === 'Set<String>') {
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) throw misstated(name, type)
    return [...new Set(value as readonly string[])].sort()
  }
  const fits =
    type === 'Bool'
      ? typeof value === 'boolean'
      : type === 'Long'
        ? Number.isSafeInteger(value)
        : typeof value === 'string' && value.isWellFormed()
  if (!fits) throw misstated(name, type)
  return value
}

function misstated(name: string, type: string): Refusal {
  return new Refusal('decide.fact_missing', `${name} is not ${type}`)
}
