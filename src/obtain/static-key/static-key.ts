// A sealed key for vendors that offer nothing better: leased in memory, for at most the configured minutes.
import { z } from 'zod'
import type { Credential } from '../../model/credential.ts'
import { limits } from '../../model/limits.ts'
import { Refusal } from '../../model/refusal.ts'
import { Secret } from '../../model/secret.ts'
import type { Service, Slot } from '../../model/service.ts'
import type { CredentialKind } from '../credential-provider.ts'

const slotSchema = z.union([
  z.literal('bearer'),
  z.strictObject({ header: z.string().regex(/^[A-Za-z0-9-]+$/) }),
  z.strictObject({ query: z.string().regex(/^[\w.-]+$/) }),
])
const schema = z.strictObject({
  secret: z
    .string()
    .regex(/^[\w.-]{1,100}$/)
    .describe('Name of the sealed secret: `ostiary secret set NAME --for SERVICE`.'),
  slot: slotSchema.optional().describe("Where it goes: `bearer`, `{ header: X-Name }` or `{ query: name }`. Default: the service's own."),
})
type Config = z.infer<typeof schema>

export const staticKey: CredentialKind<Config> = {
  name: 'static-key',
  summary: 'A sealed key, for vendors without federation.',
  schema,
  federated: false,
  secretOf: (config) => config.secret,
  purposeOf: (config, service) => ({
    service: service.name,
    hosts: service.hosts,
    port: service.port,
    slot: slotText(config, service),
    dangerouslyFixed: false,
  }),
  start(config, host, _name, service) {
    const purpose = staticKey.purposeOf(config, service)
    return {
      async obtain() {
        const sealed = await host.secret(config.secret, purpose)
        const secret = new Secret(sealed.reveal())
        sealed.wipe()
        if (!headerSafe(secret.reveal())) throw new Refusal('inject.bad_value', `secret ${config.secret}`)
        return { credential: credentialOf(config, service, secret), expiresAt: host.clock.now() + limits.leaseMs, secrets: [secret] }
      },
    }
  },
}

function chosen(config: Config, service: Service): Slot {
  if (config.slot === undefined) return service.slots[0] ?? { kind: 'bearer' }
  if (config.slot === 'bearer') return { kind: 'bearer' }
  return 'header' in config.slot ? { kind: 'header', name: config.slot.header.toLowerCase() } : { kind: 'query', name: config.slot.query }
}

function slotText(config: Config, service: Service): string {
  const slot = chosen(config, service)
  return 'name' in slot ? `${slot.kind} ${slot.name}` : slot.kind
}

function credentialOf(config: Config, service: Service, secret: Secret): Credential {
  const slot = chosen(config, service)
  if (slot.kind === 'header') return { kind: 'header', name: slot.name, value: secret }
  if (slot.kind === 'query') return { kind: 'query', name: slot.name, value: secret }
  return { kind: 'bearer', token: secret }
}

function headerSafe(bytes: Buffer): boolean {
  return bytes.length > 0 && bytes.every((byte) => byte > 0x20 && byte < 0x7f)
}
