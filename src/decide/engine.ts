// Cedar itself, in WebAssembly. Pure: a program and a request in, a verdict out. An error or a warning is never an allow.
// Cedar skips a policy that errs, a forbid too, hence every error makes the whole verdict one.

import { createRequire } from 'node:module'
import { limits } from '../model/limits.ts'

const cedar = createRequire(import.meta.url)('@cedar-policy/cedar-wasm/nodejs') as typeof import('@cedar-policy/cedar-wasm/nodejs')

/** A set of policies with the schema that its requests must fit. `key` stands for both, exactly. */
export interface Program {
  readonly key: string
  readonly policies: Readonly<Record<string, string>>
  readonly schema: Readonly<Record<string, unknown>>
}

export interface EngineRequest {
  readonly principal: string
  readonly groups: readonly string[]
  readonly attributes: Record<string, unknown>
  readonly action: string
  readonly resource: { readonly type: 'Service' | 'Host'; readonly id: string }
  readonly context: Record<string, unknown>
}

export interface Verdict {
  readonly allowed: boolean
  /** Ids of the policies that decided. */
  readonly reasons: readonly string[]
  readonly error: string | null
}

// The module keeps parsed sets per thread and can overwrite but not remove one, so ids are few and fixed. This table
// says which program lies under which id; it mirrors a state that is global in the module already.
const slots = new Map<string, string>()
const free = Array.from({ length: limits.engineSlotsMax }, (_, index) => `ostiary-${index}`)

function slotOf(program: Program): string {
  const known = slots.get(program.key)
  if (known !== undefined) {
    slots.delete(program.key)
    slots.set(program.key, known)
    return known
  }
  const id = free.pop() ?? evictOldest()
  try {
    load(id, program)
  } catch (error) {
    free.push(id)
    throw error
  }
  slots.set(program.key, id)
  return id
}

function evictOldest(): string {
  const [key, id] = slots.entries().next().value as [string, string]
  slots.delete(key)
  return id
}

function load(id: string, program: Program): void {
  const policies = cedar.preparsePolicySet(id, { staticPolicies: { ...program.policies } })
  if (policies.type === 'failure') throw new Error(policies.errors.map((error) => error.message).join('; '))
  const schema = cedar.preparseSchema(id, program.schema as Parameters<typeof cedar.preparseSchema>[1])
  if (schema.type === 'failure') throw new Error(schema.errors.map((error) => error.message).join('; '))
}

const failed = (error: string): Verdict => ({ allowed: false, reasons: [], error })

export function evaluate(program: Program, request: EngineRequest): Verdict {
  try {
    const slot = slotOf(program)
    const principal = { type: 'Workload', id: request.principal }
    const answer = cedar.statefulIsAuthorized({
      principal,
      action: { type: 'Action', id: request.action },
      resource: request.resource,
      context: request.context as Parameters<typeof cedar.statefulIsAuthorized>[0]['context'],
      preparsedSchemaName: slot,
      validateRequest: true,
      preparsedPolicySetId: slot,
      entities: [
        {
          uid: principal,
          attrs: request.attributes as Record<string, string>,
          parents: request.groups.map((id) => ({ type: 'Group', id })),
        },
      ],
    })
    if (answer.type === 'failure') return failed(answer.errors.map((error) => error.message).join('; '))
    const { decision, diagnostics } = answer.response
    if (diagnostics.errors.length > 0) return failed(diagnostics.errors.map((one) => `${one.policyId}: ${one.error.message}`).join('; '))
    if (answer.warnings.length > 0) return failed(answer.warnings.map((warning) => warning.message).join('; '))
    return { allowed: decision === 'allow', reasons: diagnostics.reason, error: null }
  } catch (error) {
    return failed(error instanceof Error ? error.message : String(error))
  }
}

export interface Complaint {
  readonly policy: string
  readonly message: string
  readonly help: string | null
  readonly sourceLocations: readonly { readonly start: number; readonly label: string | null }[]
}

/** Strict validation; errors and warnings alike. */
export function validate(policies: Readonly<Record<string, string>>, schema: Readonly<Record<string, unknown>>): readonly Complaint[] {
  const answer = cedar.validate({
    schema: schema as Parameters<typeof cedar.validate>[0]['schema'],
    policies: { staticPolicies: { ...policies } },
  })
  if (answer.type === 'failure') return answer.errors.map((error) => toComplaint('', error))
  return [
    ...[...answer.validationErrors, ...answer.validationWarnings].map((one) => toComplaint(one.policyId, one.error)),
    ...answer.otherWarnings.map((error) => toComplaint('', error)),
  ]
}

function toComplaint(
  policy: string,
  error: { message: string; help: string | null; sourceLocations?: { start: number; label: string | null }[] },
): Complaint {
  return { policy, message: error.message, help: error.help, sourceLocations: error.sourceLocations ?? [] }
}
