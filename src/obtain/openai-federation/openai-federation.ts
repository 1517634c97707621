// OpenAI's workload identity federation: a signed statement about the agent for a short-lived token; no stored key.
// https://developers.openai.com/api/reference/workload-identity-federation
import { z } from 'zod'
import type { CredentialKind } from '../credential-provider.ts'
import { exchange, federation, statementOf } from '../exchange.ts'

const schema = z.strictObject({
  provider: z.string().min(1).max(200).describe('Id of the identity provider at OpenAI, `idp_...`.'),
  serviceAccount: z.string().min(1).max(200).describe('Id of the service account that the token acts as, `sa_...`.'),
  clientId: z.string().min(1).max(200).optional(),
  audience: z.string().default('https://api.openai.com/v1').describe('The audience that is configured at OpenAI for this provider.'),
})
type Config = z.infer<typeof schema>

const tokenUrl = 'https://auth.openai.com/oauth/token'

export const openaiFederation: CredentialKind<Config> = {
  name: 'openai-federation',
  summary: 'OpenAI workload identity federation: no stored key.',
  schema,
  ...federation,
  start(config, host, name) {
    return {
      async obtain(need, signal) {
        const subject = await host.sign(name, statementOf(need), config.audience)
        const { token, expiresAt } = await exchange(
          host,
          tokenUrl,
          {},
          {
            grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
            subject_token: subject,
            subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
            identity_provider_id: config.provider,
            service_account_id: config.serviceAccount,
            ...(config.clientId === undefined ? {} : { client_id: config.clientId }),
          },
          signal,
        )
        return { credential: { kind: 'bearer', token }, expiresAt, secrets: [token] }
      },
    }
  },
}
