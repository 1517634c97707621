// What the admin door can do that needs no running data plane; the server adds the rest, offline commands do without.
import type { Config } from '../config/config.ts'
import type { AdminPorts } from '../endpoints/admin/admin.ts'
import type { Issuer } from '../mint/issuer.ts'
import type { Clock } from '../model/clock.ts'
import { issuerKeyName } from './broker-world.ts'
import { kindOf, sealFor, type Vault } from './vault.ts'

export type StoredPorts = Pick<AdminPorts, 'secrets' | 'issuer' | 'caPem'> & {
  readonly credentials: Pick<AdminPorts['credentials'], 'list'>
}

export function storedPorts(
  vault: Vault,
  issuer: Issuer,
  config: () => Config,
  clock: Clock,
  changed: (secret: string) => Promise<void>,
): StoredPorts {
  return {
    caPem: () => vault.ca.certPem,
    secrets: {
      async list() {
        const rows = await vault.values.list('secret')
        // Each part of a purpose is written with its length before it.
        return rows.map(({ purpose, ...row }) => ({ ...row, service: /^\d+:([^,]+)/.exec(purpose)?.[1] ?? '' }))
      },
      async set(name, service, value, rotate, keep) {
        if (rotate && !(await vault.values.list('secret')).some((row) => row.name === name))
          throw new Error(`there is no secret ${name} to rotate: ostiary secret set ${name} --for ${service}`)
        const { purpose: _, ...row } = await sealFor(vault, config(), name, service, value, clock.now(), keep)
        await changed(name)
        return row
      },
      async remove(name) {
        const removed = await vault.values.remove('secret', name)
        await changed(name)
        return removed
      },
    },
    credentials: {
      async list() {
        const stored = new Set((await vault.values.list('secret')).map((row) => row.name))
        return config().credentials.map((rule) => {
          const secret = kindOf(rule.kind)?.secretOf(rule.config) ?? null
          const ready = secret === null || stored.has(secret)
          return {
            name: rule.name,
            kind: rule.kind,
            service: rule.service,
            for: rule.for,
            federated: kindOf(rule.kind)?.federated === true,
            ready,
            lacks: ready ? null : `ostiary secret set ${secret} --for ${rule.service}`,
            steps: stepsOf(rule.kind, rule.name, rule.service, config(), secret),
          }
        })
      },
    },
    issuer: {
      async jwks(credential) {
        if (credential === null || !config().credentials.some((rule) => rule.name === credential))
          throw new Error(
            `name a credential: ${
              config()
                .credentials.map((rule) => rule.name)
                .join(', ') || 'none is configured'
            }`,
          )
        return { ...(await issuer.jwks(issuerKeyName(config(), credential))) }
      },
      async rotate(credential) {
        if (!config().credentials.some((rule) => rule.name === credential)) throw new Error(`there is no credential ${credential}`)
        await issuer.rotate(issuerKeyName(config(), credential))
        return { ok: true, credential }
      },
    },
  }
}

function stepsOf(kind: string, name: string, service: string, config: Config, secret: string | null): readonly string[] {
  if (kind === 'openai-federation') {
    return [
      `1. At OpenAI, as organization owner: make a workload identity provider with issuer ${config.audience},`,
      '   audience https://api.openai.com/v1 (or what `audience` says here), verification "uploaded JWKS": the key set below.',
      `2. Make a federation rule on it that matches sub = spiffe://${config.trustDomain}/... and names a service account.`,
      '3. Write the ids of provider and service account into the configuration, then `ostiary reload`.',
    ]
  }
  if (kind === 'anthropic-federation') {
    return [
      `1. In the Anthropic console: make a federation issuer ${config.audience} with an inline JWKS, the key set below.`,
      `2. Make a rule on it that matches the subject prefix spiffe://${config.trustDomain}/ with scope workspace:inference.`,
      '3. Write rule, organization, service account and workspace into the configuration, then `ostiary reload`.',
    ]
  }
  return [
    `1. Make a key for ${service} with the narrowest rights that it offers.`,
    `2. ostiary secret set ${secret ?? name} --for ${service}`,
  ]
}
