// The clients that are tried, one line each: what is called, what must come back, and what may be of help where it does not work
// as it is. Nothing here says that a client works: only a try does.

export interface Client {
  readonly group: 'Node' | 'Python' | 'Command line' | 'Go' | 'Rust' | 'Java'
  /** As the programs name it. */
  readonly name: string
  /** As a reader names it. */
  readonly title: string
  /** Whose version stands in the row. */
  readonly package?: string
  readonly answer: RegExp
  /** Needs nothing installed but its language. */
  readonly cheap?: true
  /** Variables of a run, the first named for all, without which it is tried as well: was it those? */
  readonly without?: readonly (readonly [string, ...string[]])[]
  /** Another Node than the one that tries. */
  readonly program?: string
  /** Tried where it fails as it is. The value may use $OSTIARY_BASE_URL. */
  readonly baseUrl?: readonly [variable: string, value: string]
  /** Tried where it fails as it is; what a user would set, and in whose words. */
  readonly set?: readonly [variable: string, value: string]
  /** What a reader should know who finds it refused. */
  readonly note?: string
}

const openai = /Hello from OpenAI/
const anthropic = /Hello from Anthropic/
const gemini = /Hello from Gemini/
const other = /Hello from a stand-in/
const node = { group: 'Node', without: [['NODE_OPTIONS'], ['NODE_USE_ENV_PROXY', 'NODE_OPTIONS']] } as const
const python = { group: 'Python' } as const
const base = (variable: string, path: string): readonly [string, string] => [variable, `$OSTIARY_BASE_URL${path}`]

export const list: readonly Client[] = [
  { ...node, name: 'fetch', title: '`fetch`', answer: openai, cheap: true },
  { ...node, name: 'https', title: '`node:https`', answer: openai, cheap: true },
  { ...node, name: 'https agent', title: '`node:https` with an agent of its own', answer: openai, cheap: true },
  { ...node, name: 'http2', title: '`node:http2`', answer: openai, cheap: true },
  { ...node, name: 'fetch', title: '`fetch` of an older Node', answer: openai, program: '/usr/bin/node' },
  { ...node, name: 'websocket', title: '`WebSocket`', answer: openai, cheap: true },
  { ...node, name: 'undici', title: 'undici', package: 'undici', answer: openai },
  { ...node, name: 'axios', title: 'axios', package: 'axios', answer: openai },
  { ...node, name: 'got', title: 'got', package: 'got', answer: openai },
  { ...node, name: 'node-fetch', title: 'node-fetch', package: 'node-fetch', answer: openai },
  { ...node, name: 'ws', title: 'ws', package: 'ws', answer: openai, baseUrl: base('BASE', '/openai/v1') },
  { ...node, name: 'openai', title: 'OpenAI SDK', package: 'openai', answer: openai },
  {
    ...node,
    name: 'openai realtime',
    title: 'OpenAI SDK, realtime on `ws`',
    package: 'openai',
    answer: openai,
    baseUrl: base('OPENAI_BASE_URL', '/openai/v1'),
  },
  { ...node, name: 'anthropic', title: 'Anthropic SDK', package: '@anthropic-ai/sdk', answer: anthropic },
  { ...node, name: 'genai', title: 'Google GenAI SDK', package: '@google/genai', answer: gemini },
  {
    ...node,
    name: 'genai live',
    title: 'Google GenAI SDK, Live',
    package: '@google/genai',
    answer: gemini,
    baseUrl: base('GOOGLE_GEMINI_BASE_URL', '/gemini'),
  },
  { ...node, name: 'ai (openai)', title: 'Vercel AI SDK, OpenAI', package: '@ai-sdk/openai', answer: openai },
  { ...node, name: 'ai (anthropic)', title: 'Vercel AI SDK, Anthropic', package: '@ai-sdk/anthropic', answer: anthropic },
  { ...node, name: 'langchain (openai)', title: 'LangChain, OpenAI', package: '@langchain/openai', answer: openai },
  { ...node, name: 'langchain (anthropic)', title: 'LangChain, Anthropic', package: '@langchain/anthropic', answer: anthropic },
  { ...node, name: 'octokit', title: 'Octokit', package: 'octokit', answer: /robot/ },
  { ...node, name: 'stripe', title: 'Stripe', package: 'stripe', answer: /balance 42/ },
  { ...node, name: 'slack', title: 'Slack Web API', package: '@slack/web-api', answer: /robot/ },
  { ...node, name: 'cohere', title: 'Cohere', package: 'cohere-ai', answer: other },
  { ...node, name: 'mistral', title: 'Mistral', package: '@mistralai/mistralai', answer: other },
  { ...node, name: 'groq', title: 'Groq', package: 'groq-sdk', answer: other },
  { ...node, name: 'replicate', title: 'Replicate', package: 'replicate', answer: /robot/ },
  {
    ...node,
    name: 'bedrock',
    title: 'AWS SDK, Bedrock with an API key',
    package: '@aws-sdk/client-bedrock-runtime',
    answer: other,
    baseUrl: base('AWS_ENDPOINT_URL_BEDROCK_RUNTIME', '/bedrock'),
  },
  {
    ...node,
    name: 'bedrock signed',
    title: 'AWS SDK, Bedrock (signed)',
    package: '@aws-sdk/client-bedrock-runtime',
    answer: other,
  },
  { ...python, name: 'urllib', title: '`urllib`', answer: openai, cheap: true },
  { ...python, name: 'requests', title: 'requests', package: 'requests', answer: openai },
  { ...python, name: 'httpx', title: 'httpx', package: 'httpx', answer: openai },
  { ...python, name: 'urllib3', title: 'urllib3', package: 'urllib3', answer: openai },
  { ...python, name: 'aiohttp', title: 'aiohttp', package: 'aiohttp', answer: openai },
  { ...python, name: 'aiohttp (trust_env)', title: 'aiohttp with `trust_env=True`', package: 'aiohttp', answer: openai },
  { ...python, name: 'websockets', title: 'websockets', package: 'websockets', answer: openai },
  { ...python, name: 'openai', title: 'OpenAI SDK', package: 'openai', answer: openai },
  { ...python, name: 'openai realtime', title: 'OpenAI SDK, realtime', package: 'openai', answer: openai },
  { ...python, name: 'anthropic', title: 'Anthropic SDK', package: 'anthropic', answer: anthropic },
  { ...python, name: 'genai', title: 'Google GenAI SDK', package: 'google-genai', answer: gemini },
  { ...python, name: 'genai async', title: 'Google GenAI SDK, async', package: 'google-genai', answer: gemini },
  { ...python, name: 'genai live', title: 'Google GenAI SDK, Live', package: 'google-genai', answer: gemini },
  { ...python, name: 'langchain (openai)', title: 'LangChain, OpenAI', package: 'langchain-openai', answer: openai },
  { ...python, name: 'langchain (anthropic)', title: 'LangChain, Anthropic', package: 'langchain-anthropic', answer: anthropic },
  { ...python, name: 'litellm', title: 'LiteLLM as a client', package: 'litellm', answer: openai },
  {
    ...python,
    name: 'litellm async',
    title: 'LiteLLM as a client, async',
    package: 'litellm',
    answer: anthropic,
    set: ['AIOHTTP_TRUST_ENV', 'True'],
  },
  { ...python, name: 'bedrock', title: 'boto3, Bedrock with an API key', package: 'boto3', answer: other },
  { ...python, name: 'sts', title: 'boto3, STS (signed)', package: 'boto3', answer: /^\d{12}$/m },
  { ...python, name: 'bedrock signed', title: 'boto3, Bedrock (signed)', package: 'boto3', answer: other },
  { ...python, name: 's3', title: 'boto3, S3 (signed): an object put, streamed and got', package: 'boto3', answer: other },
  {
    ...python,
    name: 'stripe',
    title: 'Stripe',
    package: 'stripe',
    answer: /balance 42/,
    note: 'It trusts a bundle of its own; see the next row',
  },
  {
    ...python,
    name: 'stripe (ca_bundle_path)',
    title: "Stripe with `stripe.ca_bundle_path = os.environ['SSL_CERT_FILE']`",
    package: 'stripe',
    answer: /balance 42/,
  },
  { ...python, name: 'slack', title: 'Slack SDK', package: 'slack-sdk', answer: /robot/ },
  { group: 'Command line', name: 'curl', title: 'curl', answer: openai, cheap: true },
  { group: 'Command line', name: 'git', title: 'git over HTTPS', answer: /listed/, cheap: true },
  { group: 'Go', name: 'go', title: '`net/http`', answer: openai },
  { group: 'Rust', name: 'rust', title: 'reqwest', package: 'reqwest', answer: openai },
  { group: 'Java', name: 'java', title: '`HttpClient`', answer: openai, without: [['JAVA_TOOL_OPTIONS']] },
  { group: 'Java', name: 'java old', title: '`HttpURLConnection`', answer: openai, without: [['JAVA_TOOL_OPTIONS']] },
]
