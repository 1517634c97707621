// check: reads the configuration and every policy offline and names each mistake with its line.
import { ConfigMistakes } from '../model/refusal.ts'
import type { Context } from './context.ts'
import { paint, printable } from './print.ts'

export async function check(context: Context, options: { readonly schema?: boolean }): Promise<number> {
  const { out, configFile, dataDir } = context
  if (options.schema === true) {
    const { jsonSchema } = await import('../config/json-schema.ts')
    const { kinds } = await import('../compose/kinds.ts')
    out.line(JSON.stringify(jsonSchema(kinds), null, 2))
    return 0
  }
  const { loadConfig } = await import('../compose/kinds.ts')
  try {
    const config = loadConfig(configFile, dataDir)
    const { custodyWarnings } = await import('../config/custody.ts')
    const warnings = custodyWarnings(config)
    const counts = {
      workloads: config.workloads.length,
      services: config.services.length,
      credentials: config.credentials.length,
      policies: config.policies.length,
    }
    out.value({ ok: true, file: config.file, ...counts, warnings }, () => {
      for (const warning of warnings) out.line(`${paint('yellow', '!')} ${printable(warning)}`)
      out.line(
        `${config.file}: no mistakes (${Object.entries(counts)
          .map(([name, count]) => `${count} ${name}`)
          .join(', ')})`,
      )
    })
    return 0
  } catch (error) {
    if (error instanceof ConfigMistakes) return printMistakes(context, error)
    throw error
  }
}

export function printMistakes({ out }: Context, { mistakes }: ConfigMistakes): number {
  if (out.json) {
    out.line(JSON.stringify({ ok: false, mistakes }, null, 2))
    return 1
  }
  for (const mistake of mistakes) {
    process.stderr.write(
      `${printable(mistake.file)}:${mistake.line}  ${paint('bold', printable(mistake.path))}\n    ${printable(mistake.wrong)}\n    ${paint('dim', `write: ${printable(mistake.write)}`)}\n`,
    )
  }
  process.stderr.write(`${mistakes.length} mistake${mistakes.length === 1 ? '' : 's'}; the last good configuration stays in force\n`)
  return 1
}
