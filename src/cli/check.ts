// check: reads the configuration and every policy offline and names each mistake with its line.
import { styleText } from 'node:util'
import type { ConfigMistakes } from '../model/refusal.ts'
import type { Context } from './context.ts'
import { type Output, paint, printable } from './print.ts'

const bold = (text: string): string => styleText('bold', text, { stream: process.stderr })
const dim = (text: string): string => styleText('dim', text, { stream: process.stderr })

export async function check(context: Context, options: { readonly schema?: boolean }): Promise<number> {
  const { out, configFile, dataDir } = context
  if (options.schema === true) {
    const { jsonSchema } = await import('../config/json-schema.ts')
    const { kinds } = await import('../compose/kinds.ts')
    out.line(JSON.stringify(jsonSchema(kinds), null, 2))
    return 0
  }
  // Mistakes are thrown, and printed by the one who prints them for every command.
  const { loadConfig } = await import('../compose/kinds.ts')
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
    if (configFile === null) out.line('There is no configuration: everything is refused.')
    const list = Object.entries(counts).map(([name, count]) => `${count} ${name}`)
    out.line(`${printable(config.file)}: no mistakes (${list.join(', ')})`)
    if (config.policies.length === 0) out.line('No policy: every call is refused.')
  })
  return 0
}

/** On standard error, or as JSON on standard output; exit code 1. */
export function printMistakes(out: Pick<Output, 'json' | 'line'>, { mistakes }: ConfigMistakes): number {
  if (out.json) {
    out.line(JSON.stringify({ ok: false, mistakes }, null, 2))
    return 1
  }
  for (const mistake of mistakes) {
    process.stderr.write(
      `${printable(mistake.file)}${mistake.line > 0 ? `:${mistake.line}` : ''}  ${bold(printable(mistake.path))}\n    ${printable(mistake.wrong)}\n    ${dim(`write: ${printable(mistake.write)}`)}\n`,
    )
  }
  process.stderr.write(`${mistakes.length} mistake${mistakes.length === 1 ? '' : 's'}: this configuration does not come into force\n`)
  return 1
}
