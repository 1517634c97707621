// explain CODE says what a refusal means and what to do; explain "METHOD URL" says what would become of a request and why.
import { type RefusalCode, refusals } from '../model/refusal.ts'
import { must } from './admin-client.ts'
import type { Context } from './context.ts'
import { paint, printable, WrongUse } from './print.ts'

export async function explain(
  context: Context,
  words: readonly string[],
  options: { readonly as?: string; readonly body?: string },
): Promise<number> {
  const { out, dataDir } = context
  const text = words.join(' ').trim()
  if (Object.hasOwn(refusals, text)) {
    const row = refusals[text as RefusalCode]
    out.value({ code: text, ...row }, () => {
      out.line(`${paint('bold', text)}  (HTTP ${row.status})`)
      out.line(`  ${row.says}`)
      out.line(`  ${row.mend}`)
    })
    return 0
  }
  const match = /^(?:([A-Z]+)\s+)?(https?:\/\/\S+)$/.exec(text)
  if (match === null) {
    const near = Object.keys(refusals).filter((code) => code.includes(text) || text.includes(code.split('.')[1] as string))
    const meant = text !== '' && near.length > 0 ? `; did you mean ${near.join(', ')}?` : ''
    throw new WrongUse(
      `${text} is neither a code nor a request${meant}\nostiary explain decide.denied\nostiary explain "POST https://api.openai.com/v1/responses" --as WORKLOAD`,
    )
  }
  if (options.as === undefined) throw new WrongUse('name the workload that would ask: --as WORKLOAD')
  const body = await must(dataDir, 'POST', '/explain', {
    workload: options.as,
    method: match[1] ?? 'GET',
    url: match[2],
    ...(options.body === undefined ? {} : { body: options.body }),
  })
  out.value(body, () => {
    out.line(
      body.permitted
        ? `${paint('green', 'permitted')} by ${body.policies.map((one: string) => `"${printable(one)}"`).join(', ')}`
        : `${paint('red', 'refused')}  ${printable(body.code)}`,
    )
    for (const says of body.says as string[]) out.line(`  ${printable(says)}`)
  })
  return body.permitted ? 0 : 1
}
