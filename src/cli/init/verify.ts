// One real call with a sealed key, as an agent would make it: in a run, with the placeholder, through identify, decide, obtain,
// inject and audit. It never sees the key.
import { join } from 'node:path'
import { looksLikeKey } from '../../catalog/leaks.ts'
import { DoorClosed, launch } from '../../launch/launch.ts'
import { probes } from './vendors.ts'

// Exit codes of the call: 0 a 2xx; 10 the vendor's no to the key; 11 another answer; 12 Ostiary's own no; 13 none.
const script = `
const [path, field, scheme, variable, more] = process.argv.slice(1)
const say = (text, code) => { process.stderr.write('  the call: ' + text + '\\n'); process['exitCode'] = code }
fetch(process.env.OSTIARY_BASE_URL + path, {
  headers: { ...JSON.parse(more), [field]: scheme + process.env[variable] }, redirect: 'manual', signal: AbortSignal.timeout(30000),
}).then(async (answer) => {
  if (answer.ok) return
  const text = await answer.text()
  const code = /problem/.test(answer.headers.get('content-type') ?? '') ? /"code":"([a-z_.]+)"/.exec(text)?.[1] : undefined
  if (code !== undefined) return say('refused by Ostiary, ' + code + ': ostiary explain ' + code, 12)
  say('the vendor answered ' + answer.status, [401, 403].includes(answer.status) ? 10 : 11)
}).catch((error) => say('no answer (' + (error.cause?.code ?? error.name) + ')', 13))
`

const meanings: Readonly<Record<number, string>> = {
  10: 'the vendor does not take this key',
  11: 'the vendor did not answer as it does to a good key',
  12: 'Ostiary refuses the call',
  13: 'no answer came',
}

/** null: the vendor took it. `variable` carries the placeholder. */
export async function verifyByCall(
  where: { readonly dataDir: string },
  workload: string,
  service: string,
  variable: string,
  setUpToken: boolean,
): Promise<string | null> {
  const probe = probes[service]
  if (probe === undefined) return `there is no call to try ${service} with`
  const [field, scheme] = setUpToken ? ['authorization', 'Bearer '] : [probe.field, probe.scheme]
  try {
    const code = await launch({
      door: join(`${where.dataDir}.run`, 'door', 'run.sock'),
      workload,
      command: [process.execPath, '--no-warnings', '-e', script, '--', probe.path, field, scheme, variable, JSON.stringify(probe.headers)],
      evidenceFile: null,
      environment: process.env,
      looksLikeKey,
      say: () => {},
      plain: false,
      exposed: [],
      labels: {},
      whenBlocked: () => {},
      isolate: null,
    })
    return code === 0 ? null : (meanings[code] ?? `the call ended with ${code}`)
  } catch (error) {
    if (error instanceof DoorClosed) return error.message
    throw error
  }
}
