// The stage for clients of every kind: the story's, and stand-ins of seven more vendors behind one TLS server, each with a
// service in the configuration. Strict as they are: anything but the real credential in the vendor's own field is a 401.
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createSecureServer } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { awsHosts, startAws } from '../fakes/aws-host.ts'
import { type GitHost, startGitHost } from '../fakes/git-host.ts'

interface Other {
  readonly service: string
  readonly host: string
  readonly key: string
  readonly variables: readonly string[]
  /** What the vendor answers to any call, by path. */
  readonly answer: (path: string) => unknown
}

const chat = { id: 'c', object: 'chat.completion', created: 1, model: 'x' }
const said = { role: 'assistant', content: 'Hello from a stand-in' }
const choices = [{ index: 0, finish_reason: 'stop', message: said }]
const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }
const random = (bytes: number): string => Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString('hex')

export const others: readonly Other[] = [
  {
    service: 'stripe',
    host: 'api.stripe.com',
    key: `sk_live_${random(24)}`,
    variables: ['STRIPE_API_KEY'],
    answer: () => ({ object: 'balance', livemode: true, available: [{ amount: 42, currency: 'eur' }], pending: [] }),
  },
  {
    service: 'slack',
    host: 'slack.com',
    key: `xoxb-${random(24)}`,
    variables: ['SLACK_BOT_TOKEN'],
    answer: () => ({ ok: true, url: 'https://slack.example/', team: 'T', user: 'robot', team_id: 'T1', user_id: 'U1' }),
  },
  {
    service: 'cohere',
    host: 'api.cohere.com',
    key: random(20),
    variables: ['CO_API_KEY'],
    answer: () => ({
      id: 'c',
      finish_reason: 'COMPLETE',
      message: { role: 'assistant', content: [{ type: 'text', text: said.content }] },
    }),
  },
  {
    service: 'mistral',
    host: 'api.mistral.ai',
    key: random(16),
    variables: ['MISTRAL_API_KEY'],
    answer: () => ({ ...chat, choices, usage }),
  },
  {
    service: 'groq',
    host: 'api.groq.com',
    key: `gsk_${random(26)}`,
    variables: ['GROQ_API_KEY'],
    answer: () => ({ ...chat, choices, usage }),
  },
  {
    service: 'replicate',
    host: 'api.replicate.com',
    key: `r8_${random(20).slice(0, 37)}`,
    variables: ['REPLICATE_API_TOKEN'],
    answer: () => ({ type: 'user', username: 'robot', name: 'Robot' }),
  },
  {
    service: 'bedrock',
    host: 'bedrock-runtime.us-east-1.amazonaws.com',
    key: `ABSK${random(24)}`,
    variables: ['AWS_BEARER_TOKEN_BEDROCK'],
    answer: () => ({
      output: { message: { role: 'assistant', content: [{ text: said.content }] } },
      stopReason: 'end_turn',
      usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 },
      metrics: { latencyMs: 1 },
    }),
  },
]

/** Of AWS, which takes signatures and no key. Bedrock stands in another region than that of the row above, which has an API key. */
const awsKey = { id: `AKIA${random(8).toUpperCase()}`, secret: random(20) }

/** What an upstream saw of one call. */
export interface Arrived {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}

export interface ClientStage {
  readonly stage: Stage
  readonly git: GitHost | null
  /** Every real credential. */
  secrets(): ReadonlySet<string>
  /** Asked later, it tells what has arrived anywhere since, except the broker's own calls for a token. */
  mark(): () => readonly Arrived[]
  close(): Promise<void>
}

/** `git`: a repository behind github.com too, which needs git on this machine. */
export async function setClientStage(git: boolean): Promise<ClientStage> {
  const now = Date.now()
  const stage = await setStage(now)
  const ca = createRootAuthority({ commonName: 'Stand-ins for clients', now, years: 1 })
  const seen: Arrived[] = []
  const leaf = (hosts: readonly string[]): { cert: string; key: string } => {
    const { certPem, keyPem } = issueLeaf(ca, hosts, now, 24 * 3_600_000)
    return { cert: certPem, key: keyPem }
  }
  const sockets = new Set<Socket>()
  const server = createSecureServer({ ...leaf(others.map(({ host }) => host)), allowHTTP1: true }, (request, response) =>
    serve(request as unknown as IncomingMessage, response as unknown as ServerResponse, seen),
  )
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const githubToken = `ghp_${random(18)}`
  const folder = join(stage.dir, 'repositories')
  mkdirSync(folder)
  const gitHost = git
    ? await startGitHost({ certificate: leaf(['github.com', 'api.github.com']), folder, token: githubToken, open: [] })
    : null
  const aws = await startAws(leaf(Object.keys(awsHosts)), () => awsKey)
  appendFileSync(join(stage.dir, 'config', 'vendors-ca.pem'), ca.certPem)
  const port = (server.address() as AddressInfo).port
  writeFileSync(
    stage.configFile,
    extended(readFileSync(stage.configFile, 'utf8'), { others: port, aws: aws.port, git: gitHost?.port ?? null }, now),
    { mode: 0o600 },
  )
  const loaded = await stage.admin('POST', '/reload')
  if (loaded.ok !== true) throw new Error(`the configuration of the clients does not load: ${JSON.stringify(loaded)}`)
  const more = { gemini: stage.geminiKey, aws: `${awsKey.id}:${awsKey.secret}` }
  const keys = [...others.map(({ service, key }) => [service, key] as const), ...Object.entries(more)]
  for (const [service, key] of gitHost === null ? keys : [...keys, ['github', githubToken] as const]) {
    const stored = await stage.cli(['secret', 'set', service, '--for', service, '--stdin'], key)
    if (stored.code !== 0) throw new Error(stored.err)
  }
  return {
    stage,
    git: gitHost,
    secrets: () => new Set([...stage.vendors.secrets, ...others.map(({ key }) => key), githubToken, awsKey.id, awsKey.secret]),
    mark: () => {
      const lists = [
        () => stage.vendors.seen.filter(({ path }) => !path.endsWith('/oauth/token')),
        () => stage.vendors.upgraded,
        () => seen,
        () => aws.seen,
      ]
      const counts = lists.map((one) => one().length)
      const gits = gitHost?.seen.length ?? 0
      return () => [
        ...lists.flatMap((one, at) =>
          one()
            .slice(counts[at])
            .map(({ path, headers }) => ({ path, headers: headers as Arrived['headers'] })),
        ),
        ...(gitHost?.seen.slice(gits) ?? []).map(({ line, headers }) => ({ path: line, headers: headers as Arrived['headers'] })),
      ]
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await Promise.all([new Promise((resolve) => server.close(resolve)), gitHost?.close(), aws.close(), stage.close()])
    },
  }
}

function serve(request: IncomingMessage, response: ServerResponse, seen: Arrived[]): void {
  const host = String(request.headers[':authority'] ?? request.headers.host)
  const path = request.url ?? '/'
  request.resume().on('end', () => {
    seen.push({ path, headers: request.headers as Record<string, string> })
    const other = others.find((one) => one.host === host)
    const known = other !== undefined && request.headers.authorization === `Bearer ${other.key}`
    const body = JSON.stringify(known ? other.answer(path) : { error: { message: 'Invalid API Key provided' } })
    response.writeHead(known ? 200 : 401, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
  })
}

interface Ports {
  readonly others: number
  readonly aws: number
  readonly git: number | null
}

function extended(text: string, ports: Ports, now: number): string {
  const until = new Date(now + 30 * 86_400_000).toISOString().slice(0, 10)
  const places = [
    ...others.map(({ host }) => ({ host, at: ports.others })),
    ...Object.keys(awsHosts).map((host) => ({ host, at: ports.aws })),
    ...(ports.git === null ? [] : ['github.com', 'api.github.com'].map((host) => ({ host, at: ports.git }))),
  ]
  const fixed = places.map(({ host, at }) => `    - { host: ${host}, address: "127.0.0.1:${at}", reason: a stand-in, until: ${until} }\n`)
  const services = others.map(
    ({ service, host, variables }) => `  ${service}: { hosts: [${host}], slot: bearer, keyVariables: [${variables.join(', ')}] }\n`,
  )
  const signed = `  aws: { hosts: [${Object.keys(awsHosts).join(', ')}] }\n`
  const names = [...others.map(({ service }) => service), 'aws', ...(ports.git === null ? [] : ['github'])]
  const credentials = names.map((name) => `  ${name}-clients: { service: ${name}, for: [story], static-key: { secret: ${name} } }\n`)
  return text
    .replace('dangerouslyFixedAddresses:\n', (line) => line + fixed.join(''))
    .replace('\nservices:\n', (line) => line + services.join('') + signed + (ports.git === null ? '' : '  github: {}\n'))
    .replace('\ncredentials:\n', (line) => line + credentials.join(''))
    .replace(
      '  - cedar: |\n',
      (line) =>
        `${line}      @id("clients")\n      permit (principal in Group::"story", action in Action::"call", resource);\n      permit (principal in Group::"story", action in Action::"mint", resource == Service::"aws");\n`,
    )
}
