// JSON Schema in a person's words, for the reference page. Says the type and its bounds, never the meaning.

export interface JsonSchema {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly default?: unknown
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly JsonSchema[]
  readonly items?: JsonSchema
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[] | undefined
  readonly additionalProperties?: boolean | JsonSchema
  readonly minimum?: number
  readonly maximum?: number
  readonly format?: string
}

export function typeOf(schema: JsonSchema): string {
  if (schema.const !== undefined) return `\`${String(schema.const)}\``
  if (schema.enum !== undefined) return schema.enum.map((one) => `\`${String(one)}\``).join(' or ')
  if (schema.anyOf !== undefined) return [...new Set(schema.anyOf.map(typeOf))].join(' or ')
  if (Array.isArray(schema.type)) return schema.type.map((type: string) => typeOf({ type })).join(' or ')
  if (schema.type === 'array') return schema.items === undefined ? 'list' : `list of ${itemsOf(schema.items)}`
  if (schema.type === 'object') return objectWords(schema)
  if (schema.type === 'integer' || schema.type === 'number') return numberWords(schema)
  if (schema.type === 'string') return schema.format === 'uri' ? 'URL' : schema.format === 'date' ? 'date' : 'text'
  return typeof schema.type === 'string' ? schema.type : 'anything'
}

/** Many choices stand better behind a bracket than in a row. */
function itemsOf(items: JsonSchema): string {
  return items.enum !== undefined && items.enum.length > 4 ? `(${typeOf(items).replaceAll(' or ', ', ')})` : typeOf(items)
}

function objectWords({ properties, additionalProperties }: JsonSchema): string {
  if (properties !== undefined && Object.keys(properties).length > 0) {
    const names = Object.keys(properties)
    return names.length > 4 ? 'record' : `\`{ ${names.join(', ')} }\``
  }
  const value =
    typeof additionalProperties === 'object' && Object.keys(additionalProperties).length > 0 ? typeOf(additionalProperties) : null
  return value === null ? 'record' : `names with ${value}`
}

function numberWords({ type, minimum, maximum }: JsonSchema): string {
  const bounds = [minimum, maximum].map((one) => (one === undefined || Math.abs(one) > 2 ** 40 ? null : one))
  const words = type === 'integer' ? 'whole number' : 'number'
  if (bounds[0] === null) return bounds[1] === null ? words : `${words} up to ${bounds[1]}`
  return bounds[1] === null ? `${words} from ${bounds[0]}` : `${words} ${bounds[0]} to ${bounds[1]}`
}
