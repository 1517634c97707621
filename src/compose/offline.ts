// The few admin commands that need no server: on the files of the data directory, while nobody else holds it.
import { adminRoutes } from '../endpoints/admin/admin.ts'
import { createIssuer } from '../mint/issuer.ts'
import { systemClock } from '../model/clock.ts'
import { storedPorts } from './admin-ports.ts'
import { loadConfig } from './kinds.ts'
import { createLogger } from './logger.ts'
import { pathsOf } from './paths.ts'
import { openVault } from './vault.ts'

export interface Offline {
  handle(method: string, path: string, body?: unknown): Promise<{ readonly status: number; readonly body: unknown }>
  close(): Promise<void>
}

export async function openOffline(where: { readonly dataDir: string; readonly configFile: string | null }): Promise<Offline> {
  const config = loadConfig(where.configFile, where.dataDir)
  const vault = await openVault(pathsOf(config.dataDir), systemClock)
  const issuer = createIssuer(vault.issuerKeys, config.audience, systemClock)
  const not = (): never => {
    throw new Error('Ostiary is not running: start it by `ostiary start`')
  }
  const stored = storedPorts(
    vault,
    issuer,
    () => config,
    systemClock,
    async () => {},
  )
  const routes = adminRoutes(
    {
      ...stored,
      credentials: { ...stored.credentials, verify: not },
      status: not,
      reload: not,
      stop: not,
      logLevel: not,
      explain: not,
      identify: not,
      revoke: not,
      runs: { list: not, resume: not, end: not },
      metrics: not,
      // Without the server nobody writes the log; the change shows by its fingerprint and version.
      record: async () => {},
    },
    createLogger('error'),
  )
  return {
    async handle(method, path, body) {
      const answer = await routes.request(`http://offline${path}`, {
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const json = answer.headers.get('content-type')?.includes('json') === true
      return { status: answer.status, body: json ? await answer.json() : await answer.text() }
    },
    close: async () => vault.close(),
  }
}
