// Clients of Node, unmodified: one function each, which asks its vendor once and prints the answer. Copied beside the installed
// packages and run as `node node.mjs NAME`. BASE, where it is set, is the base URL of the vendor's service.
import http2 from 'node:http2'
import https from 'node:https'

const openaiUrl = 'https://api.openai.com/v1/responses'
const asked = { model: 'gpt-5', input: 'hi' }
const headers = { authorization: `Bearer ${process.env.OPENAI_API_KEY}`, 'content-type': 'application/json' }
const message = { model: 'claude-sonnet-4-5', max_tokens: 64, messages: [{ role: 'user', content: 'hi' }] }
const talk = [{ role: 'user', content: 'hi' }]
const env = process.env
const socketUrl = `${env.BASE === undefined ? 'wss://api.openai.com/v1' : env.BASE.replace('http', 'ws')}/realtime?model=gpt-realtime`
const converse = { modelId: 'amazon.nova-lite-v1:0', messages: [{ role: 'user', content: [{ text: 'hi' }] }] }

const realtime = (socket, on) =>
  new Promise((resolve, reject) => {
    on('open', () => socket.send('{"type":"response.create"}'))
    on('error', (error) => reject(error.error ?? error))
    on('message', (event) => {
      const text = String(event.data ?? event)
      if (text.includes('response.done')) resolve(`Hello from OpenAI`)
    })
  })

const textOf = async (stream) => {
  let text = ''
  for await (const chunk of stream) text += chunk
  return text
}

const byHttps = (more) =>
  new Promise((resolve, reject) => {
    const request = https.request(openaiUrl, { method: 'POST', headers, ...more }, (answer) => resolve(textOf(answer)))
    request.on('error', reject).end(JSON.stringify(asked))
  })

const clients = {
  fetch: async () => (await fetch(openaiUrl, { method: 'POST', headers, body: JSON.stringify(asked) })).text(),
  https: () => byHttps({}),
  'https agent': () => byHttps({ agent: new https.Agent({ keepAlive: true }) }),
  http2: async () => {
    const session = http2.connect('https://api.openai.com')
    const failed = new Promise((_, reject) => session.on('error', reject))
    const stream = session.request({ ':method': 'POST', ':path': '/v1/responses', ...headers })
    stream.end(JSON.stringify(asked))
    return Promise.race([failed, textOf(stream)])
  },
  websocket: async () => {
    const socket = new WebSocket(socketUrl, ['realtime', `openai-insecure-api-key.${env.OPENAI_API_KEY}`])
    return realtime(socket, (name, act) => socket.addEventListener(name, act))
  },
  undici: async () => {
    const { request } = await import('undici')
    return (await request(openaiUrl, { method: 'POST', headers, body: JSON.stringify(asked) })).body.text()
  },
  axios: async () => JSON.stringify((await (await import('axios')).default.post(openaiUrl, asked, { headers })).data),
  got: async () => (await import('got')).default.post(openaiUrl, { json: asked, headers }).text(),
  'node-fetch': async () =>
    (await (await import('node-fetch')).default(openaiUrl, { method: 'POST', headers, body: JSON.stringify(asked) })).text(),
  ws: async () => {
    const { WebSocket: Ws } = await import('ws')
    const socket = new Ws(socketUrl, { headers })
    return realtime(socket, (name, act) => socket.on(name, act))
  },
  openai: async () => {
    const { default: OpenAI } = await import('openai')
    return (await new OpenAI({ maxRetries: 0 }).responses.create(asked)).output_text
  },
  'openai realtime': async () => {
    const { default: OpenAI } = await import('openai')
    const { OpenAIRealtimeWS } = await import('openai/realtime/ws')
    const rt = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, new OpenAI())
    return new Promise((resolve, reject) => {
      rt.socket.on('open', () => rt.send({ type: 'response.create' }))
      rt.on('error', reject)
      rt.on('response.output_text.delta', (event) => resolve(event.delta))
    })
  },
  anthropic: async () => {
    const { default: Anthropic } = await import('@anthropic-ai/sdk')
    return (await new Anthropic({ maxRetries: 0 }).messages.create(message)).content[0].text
  },
  genai: async () => {
    const { GoogleGenAI } = await import('@google/genai')
    return (await new GoogleGenAI({}).models.generateContent({ model: 'gemini-2.5-flash', contents: 'hi' })).text
  },
  'genai live': async () => {
    const { GoogleGenAI } = await import('@google/genai')
    const ai = new GoogleGenAI({})
    return new Promise((resolve, reject) => {
      const callbacks = {
        onmessage: ({ serverContent }) => serverContent?.turnComplete && resolve(serverContent.modelTurn.parts[0].text),
        onerror: (event) => reject(event.error ?? new Error(event.message)),
        onclose: (event) => reject(new Error(`closed ${event.code} ${event.reason}`)),
      }
      ai.live
        .connect({ model: 'gemini-live-2.5', config: {}, callbacks })
        .then((session) => session.sendClientContent({ turns: 'hi', turnComplete: true }), reject)
    })
  },
  'ai (openai)': async () => {
    const [{ generateText }, { openai }] = [await import('ai'), await import('@ai-sdk/openai')]
    return (await generateText({ model: openai('gpt-5'), prompt: 'hi', maxRetries: 0 })).text
  },
  'ai (anthropic)': async () => {
    const [{ generateText }, { anthropic }] = [await import('ai'), await import('@ai-sdk/anthropic')]
    return (await generateText({ model: anthropic('claude-sonnet-4-5'), prompt: 'hi', maxRetries: 0 })).text
  },
  'langchain (openai)': async () => {
    const { ChatOpenAI } = await import('@langchain/openai')
    return (await new ChatOpenAI({ model: 'gpt-5', maxRetries: 0 }).invoke('hi')).text
  },
  'langchain (anthropic)': async () => {
    const { ChatAnthropic } = await import('@langchain/anthropic')
    return (await new ChatAnthropic({ model: 'claude-sonnet-4-5', maxRetries: 0 }).invoke('hi')).text
  },
  octokit: async () => {
    const { Octokit } = await import('octokit')
    return (await new Octokit({ auth: env.GITHUB_TOKEN }).rest.users.getAuthenticated()).data.login
  },
  stripe: async () => {
    const { default: Stripe } = await import('stripe')
    const balance = await new Stripe(env.STRIPE_API_KEY, { maxNetworkRetries: 0 }).balance.retrieve()
    return `${balance.object} ${balance.available[0].amount}`
  },
  slack: async () => {
    const { WebClient } = await import('@slack/web-api')
    return (await new WebClient(env.SLACK_BOT_TOKEN, { retryConfig: { retries: 0 } }).auth.test()).user
  },
  cohere: async () => {
    const { CohereClientV2 } = await import('cohere-ai')
    const client = new CohereClientV2({ maxRetries: 0 })
    return (await client.chat({ model: 'command-a', messages: talk })).message.content[0].text
  },
  mistral: async () => {
    const { Mistral } = await import('@mistralai/mistralai')
    const client = new Mistral({ apiKey: env.MISTRAL_API_KEY })
    return (await client.chat.complete({ model: 'mistral-small', messages: talk })).choices[0].message.content
  },
  groq: async () => {
    const { default: Groq } = await import('groq-sdk')
    return (await new Groq({ maxRetries: 0 }).chat.completions.create({ model: 'llama', messages: talk })).choices[0].message.content
  },
  replicate: async () => {
    const { default: Replicate } = await import('replicate')
    return (await new Replicate().accounts.current()).username
  },
  bedrock: async () => {
    const { BedrockRuntimeClient, ConverseCommand } = await import('@aws-sdk/client-bedrock-runtime')
    const client = new BedrockRuntimeClient({ region: 'us-east-1', maxAttempts: 1 })
    return (await client.send(new ConverseCommand(converse))).output.message.content[0].text
  },
  'bedrock signed': async () => {
    // Else the SDK takes it instead of signing.
    delete process.env.AWS_BEARER_TOKEN_BEDROCK
    const { BedrockRuntimeClient, ConverseCommand } = await import('@aws-sdk/client-bedrock-runtime')
    const client = new BedrockRuntimeClient({ region: 'eu-central-1', maxAttempts: 1 })
    return (await client.send(new ConverseCommand(converse))).output.message.content[0].text
  },
}

const [name] = process.argv.slice(2)
try {
  process.stdout.write(`${await clients[name]()}\n`, () => process.exit(0))
} catch (error) {
  process.stderr.write(`${error?.cause ?? ''} ${error?.stack ?? error}\n`, () => process.exit(1))
}
