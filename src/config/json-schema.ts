// JSON Schema for editors, generated from the one source.
import { z } from 'zod'
import type { Kinds } from './kinds.ts'
import { fileShape } from './shape.ts'

export function jsonSchema(kinds: Kinds): unknown {
  const schema = z.toJSONSchema(fileShape, { io: 'input', unrepresentable: 'any' }) as {
    properties: Record<string, Record<string, unknown>>
  }
  const choice = (
    list: readonly { readonly name: string; readonly summary: string; readonly schema: z.ZodType }[],
  ): Record<string, unknown> =>
    Object.fromEntries(
      list.map((kind) => [
        kind.name,
        { description: kind.summary, ...z.toJSONSchema(kind.schema, { io: 'input', unrepresentable: 'any' }) },
      ]),
    )
  const credentials = schema.properties['credentials'] as { additionalProperties: { properties: Record<string, unknown> } }
  Object.assign(credentials.additionalProperties.properties, choice(kinds.credential))
  for (const [section, list] of [
    ['trustProviders', kinds.trust],
    ['conditions', kinds.condition],
  ] as const) {
    ;(schema.properties[section] as Record<string, unknown>)['additionalProperties'] = {
      type: 'object',
      properties: choice(list),
      additionalProperties: false,
      maxProperties: 1,
    }
  }
  return schema
}
