// credential list|setup, issuer jwks|rotate, ca print: what a vendor or a client must be given.
import { must, mustOrOffline } from './admin-client.ts'
import { type Context, refusedWithSecrets } from './context.ts'
import { paint, printable, table, WrongUse } from './print.ts'

export async function listCredentials(context: Context): Promise<number> {
  const { out } = context
  const { credentials } = await mustOrOffline(context, 'GET', '/credentials')
  out.value({ credentials }, () => {
    const rows = credentials.map((one: Record<string, unknown>) => [
      one['name'],
      one['kind'],
      one['service'],
      (one['for'] as string[]).join(' '),
      one['ready'] === true ? 'ready' : String(one['lacks']),
    ])
    for (const line of table(['name', 'kind', 'service', 'for', 'state'], rows)) out.line(line)
  })
  return 0
}

/** Walks through the vendor's side, then verifies with a real exchange. */
export async function setupCredential(context: Context, name: string, options: { readonly verifyOnly?: boolean }): Promise<number> {
  const { out, dataDir } = context
  const { credentials } = await must(dataDir, 'GET', '/credentials')
  const found = credentials.find((one: Record<string, unknown>) => one['name'] === name)
  if (found === undefined) {
    const known = credentials.map((one: Record<string, unknown>) => one['name']).join(', ')
    throw new WrongUse(`there is no credential ${name}; one of: ${known || 'none is configured'}`)
  }
  if (!out.json && options.verifyOnly !== true) {
    for (const line of found.steps as string[]) out.line(printable(line))
    if (found.federated === true) {
      out.line(paint('dim', 'The key set to upload:'))
      out.line(JSON.stringify(await must(dataDir, 'GET', `/issuer/jwks?credential=${encodeURIComponent(name)}`), null, 2))
    }
  }
  const verified = await must(dataDir, 'POST', `/credentials/${encodeURIComponent(name)}/verify`)
  out.value({ name, ...verified }, () =>
    out.line(
      verified.ok
        ? `${paint('green', 'verified')}: the vendor issued a credential that ends ${new Date(verified.expires).toISOString()}`
        : `${paint('red', 'not yet')}: ${printable(verified.detail)}`,
    ),
  )
  return verified.ok ? 0 : 1
}

export async function issuerJwks(context: Context, credential: string): Promise<number> {
  context.out.line(
    JSON.stringify(await mustOrOffline(context, 'GET', `/issuer/jwks?credential=${encodeURIComponent(credential)}`), null, 2),
  )
  return 0
}

export async function issuerRotate(context: Context, credential: string): Promise<number> {
  const refused = refusedWithSecrets()
  if (refused !== null) throw new WrongUse(refused)
  const body = await must(context.dataDir, 'POST', '/issuer/rotate', { credential })
  context.out.value(body, () => context.out.line('the next key signs now; upload the new key set, it holds the one after it'))
  return 0
}

export async function printCa(context: Context): Promise<number> {
  process.stdout.write(String(await mustOrOffline(context, 'GET', '/ca')))
  return 0
}
