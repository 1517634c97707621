// What init knows of vendors beside the shapes of their keys: variables that carry one, where one is replaced, and the cheapest
// question that shows that one works. Tables alone; no key ever stands here.

export interface Probe {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** Field that carries the placeholder, and what stands before it. */
  readonly field: string
  readonly scheme: string
}

/** Services of the catalog whose keys init seals, each with a call that costs nothing. */
export const probes: Readonly<Record<string, Probe>> = {
  openai: { path: '/openai/v1/models', headers: {}, field: 'authorization', scheme: 'Bearer ' },
  anthropic: { path: '/anthropic/v1/models', headers: { 'anthropic-version': '2023-06-01' }, field: 'x-api-key', scheme: '' },
  github: { path: '/github/user', headers: { accept: 'application/vnd.github+json' }, field: 'authorization', scheme: 'Bearer ' },
  gemini: { path: '/gemini/v1beta/models', headers: {}, field: 'x-goog-api-key', scheme: '' },
}

/** Variables whose value is that vendor's key whatever it looks like. */
export const vendorOfVariable: Readonly<Record<string, string>> = {
  OPENAI_API_KEY: 'openai',
  CODEX_API_KEY: 'openai',
  ANTHROPIC_API_KEY: 'anthropic',
  ANTHROPIC_AUTH_TOKEN: 'anthropic',
  CLAUDE_CODE_OAUTH_TOKEN: 'anthropic',
  GEMINI_API_KEY: 'google',
  GOOGLE_API_KEY: 'google',
  GOOGLE_GENERATIVE_AI_API_KEY: 'google',
  MISTRAL_API_KEY: 'mistral',
  COHERE_API_KEY: 'cohere',
  CO_API_KEY: 'cohere',
  DEEPSEEK_API_KEY: 'deepseek',
  TOGETHER_API_KEY: 'together',
  VOYAGE_API_KEY: 'voyage',
  FIREWORKS_API_KEY: 'fireworks',
  AZURE_OPENAI_API_KEY: 'azure',
  AZURE_API_KEY: 'azure',
  AWS_SECRET_ACCESS_KEY: 'aws',
  aws_secret_access_key: 'aws',
  AZURE_CLIENT_SECRET: 'azure',
  TWILIO_AUTH_TOKEN: 'twilio',
  BRAVE_API_KEY: 'brave',
  EXA_API_KEY: 'exa',
  SERPER_API_KEY: 'serper',
  FIRECRAWL_API_KEY: 'firecrawl',
  CONTEXT7_API_KEY: 'context7',
  GITHUB_PERSONAL_ACCESS_TOKEN: 'github',
  GITHUB_TOKEN: 'github',
  GH_TOKEN: 'github',
}

/** Shapes that other text has too: believed only where a variable or a field is given the value. */
export const loose: ReadonlySet<string> = new Set([
  'voyage',
  'azure',
  'twilio',
  'fireworks',
  'replicate',
  'sentry',
  'perplexity',
  'elevenlabs',
])

/** Shapes of what is no static API key: sessions, key pairs and public halves. */
export const unmeant = /^(?:eyJ|-----BEGIN|pk_|ya29\.|auth_tokens\/|GOCSPX-|ek_|ASIA|AKIA|sk-ant-(?:ort|sid))/

/** Where a person replaces a key; no link, since what is opened from here would be trusted. */
export const rotateAt: Readonly<Record<string, string>> = {
  openai: 'platform.openai.com/api-keys',
  anthropic: 'platform.claude.com/settings/keys (a set-up token: claude.ai/settings/claude-code)',
  google: 'aistudio.google.com/apikey',
  openrouter: 'openrouter.ai/settings/keys',
  aws: 'console.aws.amazon.com/iam, Users, Security credentials',
  azure: 'portal.azure.com, the resource, Keys and Endpoint',
  groq: 'console.groq.com/keys',
  xai: 'console.x.ai, API Keys',
  fireworks: 'app.fireworks.ai/settings/users/api-keys',
  perplexity: 'perplexity.ai/settings/api',
  huggingface: 'huggingface.co/settings/tokens',
  replicate: 'replicate.com/account/api-tokens',
  elevenlabs: 'elevenlabs.io/app/settings/api-keys',
  voyage: 'dashboard.voyageai.com/api-keys',
  databricks: 'your workspace, Settings, Developer, Access tokens',
  github: 'github.com/settings/tokens',
  gitlab: 'gitlab.com/-/user_settings/personal_access_tokens',
  slack: 'api.slack.com/apps, the app, OAuth & Permissions',
  stripe: 'dashboard.stripe.com/apikeys',
  notion: 'notion.so/my-integrations',
  linear: 'linear.app/settings/account/security',
  atlassian: 'id.atlassian.com/manage-profile/security/api-tokens',
  pinecone: 'app.pinecone.io, API Keys',
  tavily: 'app.tavily.com',
  sendgrid: 'app.sendgrid.com/settings/api_keys',
  twilio: 'console.twilio.com, Account, API keys & tokens',
  datadog: 'app.datadoghq.com/organization-settings/api-keys',
  sentry: 'sentry.io/settings/account/api/auth-tokens',
  npm: '`npm token list`, then `npm token revoke`',
  mistral: 'console.mistral.ai/api-keys',
  cohere: 'dashboard.cohere.com/api-keys',
  deepseek: 'platform.deepseek.com/api_keys',
  together: 'api.together.ai/settings/api-keys',
  brave: 'api-dashboard.search.brave.com/app/keys',
  exa: 'dashboard.exa.ai/api-keys',
  serper: 'serper.dev/api-key',
  firecrawl: 'firecrawl.dev/app/api-keys',
  context7: 'context7.com/dashboard',
}
