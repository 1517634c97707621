// secret set|list|remove|rotate: values go in, never out, and never by argv.
import { readFileSync } from 'node:fs'
import { mustOrOffline } from './admin-client.ts'
import { type Context, refusedWithSecrets } from './context.ts'
import { table } from './print.ts'

export interface SecretSource {
  readonly for?: string
  readonly fromFile?: string
  readonly fromEnv?: string
  readonly stdin?: boolean
}

const secretBytesMax = 64 * 1024

export async function setSecret(context: Context, name: string, source: SecretSource, rotate: boolean): Promise<number> {
  const { out } = context
  const refused = refusedWithSecrets()
  if (refused !== null) {
    out.problem(refused)
    return 2
  }
  const value = await readValue(name, source)
  const wrong = wrongWith(value)
  if (wrong !== null) {
    out.problem(wrong)
    return 2
  }
  const body = await mustOrOffline(context, 'PUT', `/secrets/${encodeURIComponent(name)}`, {
    service: source.for ?? '',
    value: value.toString('base64'),
    rotate,
  })
  value.fill(0)
  out.value(body, () => out.line(`${rotate ? 'rotated' : 'sealed'} ${body.name} for ${body.service}, fingerprint ${body.fingerprint}`))
  return 0
}

async function readValue(name: string, source: SecretSource): Promise<Buffer> {
  if (source.fromFile !== undefined) return trimmed(readFileSync(source.fromFile))
  if (source.fromEnv !== undefined) return Buffer.from(process.env[source.fromEnv] ?? '')
  if (source.stdin === true || !process.stdin.isTTY) {
    const chunks: Buffer[] = []
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
    return trimmed(Buffer.concat(chunks))
  }
  return typed(`Value of ${name} (not shown): `)
}

/** Text editors end a file with a newline that is not part of the value. */
function trimmed(bytes: Buffer): Buffer {
  let end = bytes.length
  if (end > 0 && bytes[end - 1] === 0x0a) end--
  if (end > 0 && bytes[end - 1] === 0x0d) end--
  return bytes.subarray(0, end)
}

function wrongWith(value: Buffer): string | null {
  if (value.length === 0) return 'the value is empty'
  if (value.length > secretBytesMax) return 'the value is larger than 64 KiB'
  if (value.some((byte) => byte === 0 || byte === 0x0a || byte === 0x0d))
    return 'the value holds CR, LF or NUL, which no header field can carry: store only the key itself'
  return null
}

function typed(prompt: string): Promise<Buffer> {
  const { stdin, stderr } = process
  stderr.write(prompt)
  stdin.setRawMode(true)
  return new Promise((resolve, reject) => {
    let bytes: number[] = []
    const done = (): void => {
      stdin.setRawMode(false)
      stdin.pause()
      stdin.removeAllListeners('data')
      stderr.write('\n')
    }
    stdin.on('data', (chunk: Buffer) => {
      for (const byte of chunk) {
        if (byte === 0x0d || byte === 0x0a) {
          done()
          return resolve(Buffer.from(bytes))
        }
        if (byte === 3) {
          done()
          return reject(new Error('cancelled'))
        }
        if (byte === 0x7f || byte === 8) bytes = bytes.slice(0, -1)
        else bytes.push(byte)
      }
    })
  })
}

export async function listSecrets(context: Context): Promise<number> {
  const { out } = context
  const { secrets } = await mustOrOffline(context, 'GET', '/secrets')
  out.value({ secrets }, () => {
    const rows = secrets.map((one: Record<string, unknown>) => [
      one['name'],
      one['service'],
      one['fingerprint'],
      one['version'],
      new Date(Number(one['created'])).toISOString().slice(0, 16),
    ])
    for (const line of table(['name', 'for', 'fingerprint', 'version', 'sealed'], rows)) out.line(line)
  })
  return 0
}

export async function removeSecret(context: Context, name: string): Promise<number> {
  const refused = refusedWithSecrets()
  if (refused !== null) {
    context.out.problem(refused)
    return 2
  }
  const body = await mustOrOffline(context, 'DELETE', `/secrets/${encodeURIComponent(name)}`)
  context.out.value(body, () => context.out.line(`removed ${name}`))
  return 0
}
