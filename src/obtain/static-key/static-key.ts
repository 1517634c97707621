// A sealed key for vendors that offer nothing better: leased in memory, for at most the configured minutes.
import { z } from 'zod'
import { limits } from '../../model/limits.ts'
import { Refusal } from '../../model/refusal.ts'
import { Secret } from '../../model/secret.ts'
import type { Service, Slot } from '../../model/service.ts'
import type { CredentialKind, Obtained } from '../credential-provider.ts'
import { awsPairOf } from './aws-pair.ts'

/** Fields that frame or route a message: a credential in one would break or bend it. */
const framing =
  /^(host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect|keep-alive|date|via|forwarded|x-forwarded-.*|proxy-.*|cookie|origin|sec-.*|accept-encoding)$/
const slotSchema = z.union([
  z.enum(['bearer', 'basic']),
  z.strictObject({ header: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9-]{0,99}$/) }),
  z.strictObject({ query: z.string().regex(/^[\w.-]{1,100}$/) }),
])
const schema = z.strictObject({
  secret: z
    .string()
    .regex(/^[\w.-]{1,100}$/)
    .describe('Name of the sealed secret: `ostiary secret set NAME --for SERVICE`.'),
  slot: slotSchema
    .optional()
    .describe("Where it goes: `bearer`, `basic`, `{ header: X-Name }` or `{ query: name }`. Default: the service's own."),
})
type Config = z.infer<typeof schema>

export const staticKey: CredentialKind<Config> = {
  name: 'static-key',
  summary: 'A sealed key, for vendors without federation.',
  schema,
  federated: false,
  check: ({ slot }) =>
    typeof slot === 'object' && 'header' in slot && framing.test(slot.header.toLowerCase())
      ? [`no credential goes into ${slot.header}`]
      : [],
  secretOf: (config) => config.secret,
  purposeOf: (config, service) => ({
    service: service.name,
    hosts: service.hosts,
    port: service.port,
    slot: slotText(config, service),
    dangerouslyFixed: false,
  }),
  wrongWith(config, service, value) {
    if (chosen(config, service).kind !== 'sigv4') return null
    const pair = awsPairOf(value)
    if (typeof pair === 'string') return pair
    for (const secret of pair.secrets) secret.wipe()
    return null
  },
  start(config, host, _name, service) {
    const purpose = staticKey.purposeOf(config, service)
    const slot = chosen(config, service)
    return {
      async obtain(_need, signal) {
        const secret = await host.secret(config.secret, purpose)
        const unusable = (why: string): Refusal => {
          secret.wipe()
          return new Refusal('inject.bad_value', `secret ${config.secret}: ${why}`)
        }
        if (signal.aborted) throw unusable('nobody waits for it')
        const leaseEnd = host.clock.now() + limits.leaseMs
        if (slot.kind === 'sigv4') {
          const pair = awsPairOf(secret.reveal())
          if (typeof pair === 'string') throw unusable(pair)
          secret.wipe()
          return { ...pair, expiresAt: Math.min(pair.expiresAt, leaseEnd) }
        }
        if (!printable(secret.reveal(), slot.kind === 'basic')) throw unusable('characters that its slot cannot carry')
        const made = credentialOf(slot, secret)
        if (made === null) throw unusable(slot.kind === 'basic' ? 'a basic credential is USER:PASSWORD' : 'its slot cannot be filled')
        return { ...withLists(made, service, secret), expiresAt: leaseEnd }
      },
    }
  },
}

function chosen(config: Config, service: Service): Slot {
  if (config.slot === undefined) return service.slots[0] ?? { kind: 'bearer' }
  if (config.slot === 'bearer' || config.slot === 'basic') return { kind: config.slot }
  return 'header' in config.slot ? { kind: 'header', name: config.slot.header.toLowerCase() } : { kind: 'query', name: config.slot.query }
}

function slotText(config: Config, service: Service): string {
  const slot = chosen(config, service)
  if (slot.kind !== 'bearer' || service.basicAt === undefined) return 'name' in slot ? `${slot.kind} ${slot.name}` : slot.kind
  return `bearer, basic ${service.basicAt.user} at ${service.basicAt.hosts.join(' ')}`
}

/** null: the value does not fit the slot. */
function credentialOf(slot: Slot, secret: Secret): Pick<Obtained, 'credential' | 'secrets'> | null {
  switch (slot.kind) {
    case 'bearer':
      return { credential: { kind: 'bearer', token: secret }, secrets: [secret] }
    case 'header':
    case 'query':
      return { credential: { kind: slot.kind, name: slot.name, value: secret }, secrets: [secret] }
    case 'basic':
      return basicOf(secret)
    case 'cookie':
    case 'subprotocol':
    case 'sigv4':
      return null
    default:
      return slot satisfies never
  }
}

/** A subscription's token is a bearer that names itself so in a list field, e.g. anthropic-beta. */
function withLists(made: Pick<Obtained, 'credential' | 'secrets'>, { login }: Service, secret: Secret): typeof made {
  if (login === undefined || made.credential.kind !== 'bearer') return made
  const isLogin = secret.reveal().subarray(0, login.keyPrefix.length).equals(Buffer.from(login.keyPrefix))
  return isLogin ? { ...made, credential: { ...made.credential, lists: login.lists } } : made
}

/** RFC 7617 §2. The pair stays a secret too: its base64 is what an origin would echo. */
function basicOf(pair: Secret): Pick<Obtained, 'credential' | 'secrets'> | null {
  const bytes = pair.reveal()
  const colon = bytes.indexOf(0x3a)
  if (colon < 0 || colon === bytes.length - 1) return null
  const password = new Secret(bytes.subarray(colon + 1))
  return { credential: { kind: 'basic', user: bytes.toString('utf8', 0, colon), password }, secrets: [pair, password] }
}

/** VCHAR, and blanks inside a password (RFC 9110 §5.5). */
function printable(bytes: Buffer, blanks: boolean): boolean {
  return bytes.length > 0 && bytes.every((byte) => byte < 0x7f && (byte > 0x20 || (blanks && byte === 0x20)))
}
