// The credential providers that the product knows: a folder and a line each.
import { anthropicFederation } from './anthropic-federation/anthropic-federation.ts'
import type { AnyCredentialKind } from './credential-provider.ts'
import { openaiFederation } from './openai-federation/openai-federation.ts'
import { staticKey } from './static-key/static-key.ts'

export const credentialKinds: readonly AnyCredentialKind[] = [staticKey, openaiFederation, anthropicFederation]
