// Anthropic's workload identity federation: RFC 7523 grant for a short-lived token bound to one workspace; no stored key.
import { z } from 'zod'
import type { CredentialKind } from '../credential-provider.ts'
import { exchange, federation, statementOf } from '../exchange.ts'

const schema = z.strictObject({
  rule: z.string().min(1).max(200).describe('Id of the federation rule, `fdrl_...`.'),
  organization: z.string().min(1).max(200).describe('Id of the organization.'),
  serviceAccount: z.string().min(1).max(200).optional().describe('`svac_...`'),
  workspace: z.string().min(1).max(200).optional().describe('`wrkspc_...` or `default`.'),
  audience: z.string().default('https://api.anthropic.com').describe('The audience that the issuer at Anthropic expects.'),
})
type Config = z.infer<typeof schema>

const tokenUrl = 'https://api.anthropic.com/v1/oauth/token'
const exchangeBeta = 'oauth-2025-04-20,oidc-federation-2026-04-01'
/** Without it the API takes the token for a key. */
const callBeta = 'oauth-2025-04-20'

export const anthropicFederation: CredentialKind<Config> = {
  name: 'anthropic-federation',
  summary: 'Anthropic workload identity federation: no stored key.',
  schema,
  ...federation,
  start(config, host, name) {
    return {
      async obtain(need, signal) {
        const assertion = await host.sign(name, statementOf(need), config.audience)
        const { token, expiresAt } = await exchange(
          host,
          tokenUrl,
          { 'anthropic-beta': exchangeBeta },
          {
            grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
            assertion,
            federation_rule_id: config.rule,
            organization_id: config.organization,
            ...(config.serviceAccount === undefined ? {} : { service_account_id: config.serviceAccount }),
            ...(config.workspace === undefined ? {} : { workspace_id: config.workspace }),
          },
          signal,
        )
        return { credential: { kind: 'bearer', token, lists: { 'anthropic-beta': callBeta } }, expiresAt, secrets: [token] }
      },
    }
  },
}
