// secret set|list|remove|rotate: values go in, never out, and never by argv.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { mustOrOffline } from './admin-client.ts'
import { type Context, refusedWithSecrets } from './context.ts'
import { printable, table, WrongUse } from './print.ts'
import { typedLine } from './prompt.ts'

export interface SecretSource {
  readonly for?: string
  readonly fromFile?: string
  readonly fromEnv?: string
  readonly stdin?: boolean
}

const secretBytesMax = 64 * 1024

export async function setSecret(context: Context, name: string, source: SecretSource, rotate: boolean): Promise<number> {
  const { out } = context
  outsideOnly()
  if (!/^[\w.-]{1,100}$/.test(name)) throw new WrongUse(`${name} is no name for a secret: letters, digits, ., - and _`)
  const sources = [source.fromFile, source.fromEnv, source.stdin].filter((one) => one !== undefined)
  if (sources.length > 1) throw new WrongUse('one source of the value at a time: --from-file, --from-env or --stdin')
  const service = source.for ?? (await purposeOf(context, name))
  const value = await readValue(name, source)
  try {
    const wrong = wrongWith(value)
    if (wrong !== null) throw new WrongUse(wrong)
    const body = await mustOrOffline(context, 'PUT', `/secrets/${encodeURIComponent(name)}`, {
      service,
      value: value.toString('base64'),
      rotate,
    })
    const done = rotate ? 'rotated' : 'sealed'
    out.value(body, () =>
      out.line(`${done} ${printable(body.name)} for ${printable(body.service)}, fingerprint ${printable(body.fingerprint)}`),
    )
    return 0
  } finally {
    value.fill(0)
  }
}

function outsideOnly(): void {
  const refused = refusedWithSecrets()
  if (refused !== null) throw new WrongUse(refused)
}

/** A rotation keeps the purpose; a new purpose needs the secret typed again under its name. */
async function purposeOf(context: Context, name: string): Promise<string> {
  const { secrets } = await mustOrOffline(context, 'GET', '/secrets')
  const found = secrets.find((one: Record<string, unknown>) => one['name'] === name)
  if (found === undefined) throw new WrongUse(`there is no secret ${name} to rotate: ostiary secret set ${name} --for SERVICE`)
  return String(found['service'])
}

async function readValue(name: string, source: SecretSource): Promise<Buffer> {
  if (source.fromFile !== undefined) return trimmed(readBounded(source.fromFile))
  if (source.fromEnv !== undefined) {
    const text = process.env[source.fromEnv]
    if (text === undefined) throw new WrongUse(`there is no variable ${source.fromEnv}`)
    return Buffer.from(text)
  }
  if (source.stdin === true || !process.stdin.isTTY) return trimmed(await readStdin())
  return typedLine(`Value of ${name} (not shown): `, secretBytesMax + 1)
}

/** A pipe of a shell (`<(...)`) is no regular file, so the limit counts what is read. */
function readBounded(file: string): Buffer {
  const opened = openSync(file, 'r')
  try {
    if (fstatSync(opened).isDirectory()) throw new WrongUse(`${file} is a folder`)
    const bytes = Buffer.alloc(secretBytesMax + 3)
    let size = 0
    for (;;) {
      const read = readSync(opened, bytes, size, bytes.length - size, null)
      size += read
      if (read === 0 || size === bytes.length) return bytes.subarray(0, size)
    }
  } finally {
    closeSync(opened)
  }
}

async function readStdin(): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Buffer)
    size += (chunk as Buffer).length
    if (size > secretBytesMax + 2) break
  }
  return Buffer.concat(chunks)
}

/** Text editors end a file with a newline that is not part of the value. */
function trimmed(bytes: Buffer): Buffer {
  let end = bytes.length
  if (end > 0 && bytes[end - 1] === 0x0a) {
    end--
    if (end > 0 && bytes[end - 1] === 0x0d) end--
  }
  return bytes.subarray(0, end)
}

export function wrongWith(value: Buffer): string | null {
  if (value.length === 0) return 'the value is empty'
  if (value.length > secretBytesMax) return 'the value is larger than 64 KiB'
  // A pair of AWS may come as the JSON that its tools print, over several lines.
  const json = value[0] === 0x7b
  if (value.some((byte) => byte === 0 || (!json && (byte === 0x0a || byte === 0x0d))))
    return 'the value holds CR, LF or NUL, which no header field can carry: store only the key itself'
  return null
}

export async function listSecrets(context: Context): Promise<number> {
  const { out } = context
  const { secrets } = await mustOrOffline(context, 'GET', '/secrets')
  out.value({ secrets }, () => {
    if (secrets.length === 0) return out.line('no secret is sealed: ostiary secret set NAME --for SERVICE')
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
  outsideOnly()
  const body = await mustOrOffline(context, 'DELETE', `/secrets/${encodeURIComponent(name)}`)
  context.out.value(body, () => context.out.line(`removed ${printable(name)}`))
  return 0
}
