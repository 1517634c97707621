import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Service } from '../model/service.ts'
import { catalog } from './catalog.ts'
import { looksLikeKey } from './leaks.ts'
import { createServiceTable } from './service-table.ts'

const table = createServiceTable(catalog)
const service = (name: string): Service => table.byName(name) as Service

/** Method and path of each action, as the official SDKs send them. */
const expected: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  openai: {
    inference: `POST /v1/responses, POST /v1/responses/input_tokens, POST /v1/responses/compact, GET /v1/responses, POST /v1/chat/completions,
      POST /v1/completions, POST /v1/embeddings, POST /v1/moderations, POST /v1/images/generations, POST /v1/images/edits,
      POST /v1/images/variations, POST /v1/audio/speech, POST /v1/audio/transcriptions, POST /v1/audio/translations, GET /v1/realtime,
      POST /v1/realtime/calls, POST /v1/realtime/calls/c/accept, POST /v1/live/sessions, POST /v1/live/sessions/s/fork, GET /v1/models,
      GET /v1/models/gpt-5, GET /v1/models/ft%3Agpt-5, POST /v1/decisions, POST /v1/content_provenance_checks`,
    state: `GET /v1/responses/r, DELETE /v1/responses/r, POST /v1/responses/r/cancel, GET /v1/chat/completions, DELETE /v1/chat/completions/c,
      POST /v1/conversations, GET /v1/conversations/c/items, POST /v1/files, GET /v1/files/f/content, POST /v1/uploads/u/parts,
      POST /v1/vector_stores, POST /v1/vector_stores/v/search, POST /v1/assistants, POST /v1/threads, POST /v1/threads/t/messages,
      POST /v1/containers, POST /v1/skills, DELETE /v1/models/m, POST /v1/audio/voices, GET /v1/chatkit/threads,
      POST /v1/chatkit/sessions/s/cancel`,
    deferred: `POST /v1/batches, GET /v1/batches/b, POST /v1/batches/b/cancel, POST /v1/fine_tuning/jobs, POST /v1/evals/e/runs, POST /v1/videos,
      POST /v1/agents/sessions, POST /v1/threads/runs, POST /v1/threads/t/runs, POST /v1/threads/t/runs/r/submit_tool_outputs`,
    mint: `POST /v1/realtime/client_secrets, POST /v1/realtime/translations/client_secrets, POST /v1/realtime/sessions,
      POST /v1/realtime/transcription_sessions, POST /v1/chatkit/sessions, POST /v1/organization/admin_api_keys,
      POST /v1/organization/projects/p/service_accounts/s/api_keys, POST /v1/organization/projects/p/service_accounts,
      GET /v1/organization/projects/p/api_keys, POST /v1/webhook_endpoints, POST /v1/webhook_endpoints/w/rotate_secret,
      POST /v1/oauth/token, POST /oauth/token, POST /dashboard/user/api_keys, POST /v1/dashboard/user/api_keys`,
    admin: `GET /v1/organization/users, POST /v1/organization/workload_identity_providers, POST /v1/organization/federation_rules,
      GET /v1/organization/audit_logs, GET /v1/organization/usage/completions, POST /v1/organization/projects, POST /v1/projects/p/roles,
      POST /v1/vaults/v/credentials, GET /v1/webhook_endpoints, GET /v1/dashboard/billing/usage,
      POST /v1/fine_tuning/checkpoints/c/permissions, GET /v1/safety/alerts/a`,
    call: 'POST /v1/something_new, GET /, GET /v2/responses',
  },
  anthropic: {
    inference:
      'POST /v1/messages, POST /v1/messages/count_tokens, POST /v1/complete, GET /v1/models, GET /v1/models/claude, POST /v1/chat/completions',
    state: 'POST /v1/files, GET /v1/files/f/content, POST /v1/skills, POST /v1/memory_stores/m/memories',
    deferred: `POST /v1/messages/batches, GET /v1/messages/batches/b/results, POST /v1/sessions, POST /v1/agents, POST /v1/deployments/d/run,
      POST /v1/dreams, POST /v1/environments/e/work/w/ack`,
    mint: `POST /v1/oauth/token, POST /api/oauth/claude_cli/create_api_key, POST /v1/tunnels/t/reveal_token, POST /v1/tunnels/t/rotate_token,
      POST /v1/user_profiles/u/enrollment_url, POST /v1/organizations/webhooks, POST /v1/organizations/api_keys`,
    admin: `GET /v1/organizations/me, GET /v1/organizations/api_keys, POST /v1/organizations/api_keys/k, POST /v1/organizations/users/u,
      POST /v1/organizations/federation_rules, POST /v1/organizations/federation_issuers, POST /v1/organizations/workspaces,
      POST /v1/vaults, POST /v1/tunnels, GET /v1/user_profiles`,
    call: 'POST /api/event_logging/batch, GET /v1/messages, POST /v1/new',
  },
  gemini: {
    inference: `POST /v1beta/models/g:generateContent, POST /v1/models/g:streamGenerateContent, POST /v1beta/models/g:embedContent,
      POST /v1beta/models/g:batchEmbedContents, POST /v1beta/models/g:countTokens, POST /v1beta/models/g:predict,
      POST /v1beta/tunedModels/t:generateContent, POST /v1beta/openai/chat/completions, POST /v1beta/openai/embeddings,
      GET /v1beta/models, GET /v1beta/models/g, GET /v1beta/models/m/operations/o, POST /v1beta/interactions,
      GET /ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent`,
    state: `GET /v1beta/files, POST /upload/v1beta/files, POST /v1beta/cachedContents, POST /v1beta/fileSearchStores/f/documents,
      GET /v1beta/interactions/i, POST /v1beta/files:register`,
    deferred: `POST /v1beta/models/g:batchGenerateContent, POST /v1beta/models/g:asyncBatchEmbedContent, GET /v1beta/batches/b,
      POST /v1beta/batches/b:cancel, POST /v1beta/models/veo:predictLongRunning, POST /v1beta/tunedModels, POST /v1beta/agents,
      POST /v1beta/triggers, POST /v1beta/openai/batches`,
    mint: 'POST /batch, POST /batch/x, POST /v1alpha/auth_tokens, POST /v1beta/auth_tokens/x, POST /v1alpha/authTokens, POST /v1beta/webhooks, POST /v1beta/webhooks/w:rotateSigningSecret',
    admin:
      'POST /v1beta/tunedModels/t/permissions, POST /v1beta/tunedModels/t:transferOwnership, GET /v1beta/webhooks, POST /v1beta/credentials',
    call: 'POST /v1beta/unknown, GET /v1beta/models:generateContent',
  },
}

test('every path of a vendor has its action', () => {
  const wrong: string[] = []
  for (const [name, actions] of Object.entries(expected)) {
    for (const [action, asks] of Object.entries(actions)) {
      for (const ask of asks.split(',').map((text) => text.trim())) {
        const [method, path] = ask.split(' ') as [string, string]
        const found = table.action(service(name), method, path)
        if (found !== action) wrong.push(`${name} ${ask}: ${found}, not ${action}`)
      }
    }
  }
  assert.deepEqual(wrong, [])
})

test('a guarded path is not hidden by case, a closing slash or percent-encoding', () => {
  for (const path of [
    '/v1/Realtime/Client_Secrets',
    '/v1/realtime/client_secrets/',
    '/v1/realtime/client%5Fsecrets',
    '/v1/%72ealtime/client_secrets',
    '/v1/chat/completion%73',
  ])
    assert.equal(table.action(service('openai'), 'POST', path), 'mint', path)
  // A colon that a vendor decodes turns one method of Gemini into another.
  assert.equal(table.action(service('gemini'), 'POST', '/v1beta/models/g%3AgenerateContent'), 'mint')
  // What nothing hides behind stays what it is.
  assert.equal(table.action(service('openai'), 'GET', '/v1/files/a%20b'), 'state')
})

test('finds a service by scheme, host and port, and by nothing else', () => {
  assert.equal(table.find('https', 'eu.api.openai.com', 443)?.name, 'openai')
  assert.equal(table.find('http', 'api.openai.com', 443), null)
  assert.equal(table.find('https', 'api.openai.com', 8443), null)
  assert.equal(table.find('https', 'auth.openai.com', 443), null)
  assert.equal(table.find('https', 'evil-api.openai.com', 443), null)
  assert.equal(table.byName('nope'), null)
})

test('a service without rules knows only call; patterns are literal but for their stars', () => {
  const plain: Service = { ...service('openai'), name: 'plain', actions: [] }
  const scoped: Service = { ...plain, name: 'scoped', actions: [{ action: 'git.push', path: '/a.b/*/x-*/**', methods: ['POST'] }] }
  const own = createServiceTable([plain, scoped])
  assert.equal(own.action(plain, 'POST', '/v1/oauth/%74oken'), 'call')
  assert.equal(own.action(scoped, 'POST', '/a.b/c/x-1'), 'git.push')
  assert.equal(own.action(scoped, 'POST', '/a.b/c/x-1/y/z'), 'git.push')
  assert.equal(own.action(scoped, 'GET', '/a.b/c/x-1'), 'call')
  assert.equal(own.action(scoped, 'POST', '/aXb/c/x-1'), 'call')
  assert.equal(own.action(scoped, 'POST', '/a.b/c/d/x-1'), 'call')
})

test('names of slots are lower-case, prefixes and variables stand in each service', () => {
  for (const one of catalog) {
    for (const slot of one.slots) if ('name' in slot) assert.equal(slot.name, slot.name.toLowerCase())
    // A base URL leads to one host, and those of AWS are many.
    const based = one.baseUrlVariables.length > 0 || one.hosts.length === 0
    const named = one.keyPrefix.length > 0 && one.keyVariables.length > 0 && based
    assert.ok(named || one.credential === 'none')
    assert.equal(new Set(one.hosts).size, one.hosts.length)
  }
})

test('the model of Gemini stands in its path', () => {
  const model = (path: string) => service('gemini').modelPath?.exec(path)?.[1]
  assert.equal(model('/v1beta/models/gemini-pro:generateContent'), 'gemini-pro')
  assert.equal(model('/v1beta/tunedModels/mine:generateContent'), 'tunedModels/mine')
  assert.equal(model('/v1beta/openai/models/x'), undefined)
  assert.equal(model('/v1beta/files/f'), undefined)
})

test('keys of vendors are recognised, ordinary values are not', () => {
  const a = (count: number) => 'a1B2'.repeat(count)
  const keys: Readonly<Record<string, string>> = {
    anthropic: `sk-ant-api03-${a(20)}`,
    openai: `sk-proj-${a(20)}`,
    openrouter: `sk-or-v1-${'0a'.repeat(32)}`,
    google: `AIza${a(9)}`,
    aws: 'AKIAABCDEFGHIJKLMNOP',
    groq: `gsk_${a(13)}`,
    github: `ghs_123_eyJ${a(10)}`,
    slack: `xoxb-${a(5)}`,
    stripe: `sk_live_${a(5)}`,
    huggingface: `hf_${'abcd'.repeat(9)}`,
  }
  for (const [vendor, key] of Object.entries(keys)) {
    assert.equal(looksLikeKey(key), vendor, key)
    assert.equal(looksLikeKey(`Bearer ${key}`), vendor, key)
  }
  for (const plain of [
    '',
    'production',
    '/usr/local/bin:/usr/bin',
    'https://api.openai.com/v1',
    'en_US.UTF-8',
    'a-long-but-quite-ordinary-value',
    '1234567890123456789012',
  ])
    assert.equal(looksLikeKey(plain), null, plain)
})

const onGithub: Readonly<Record<string, string>> = {
  'git.fetch': `GET github.com/o/r.git/info/refs?service=git-upload-pack, POST github.com/o/r.git/git-upload-pack, POST github.com/o/r/git-upload-pack,
    GET codeload.github.com/o/r/tar.gz/refs/heads/main, GET raw.githubusercontent.com/o/r/main/hooks/x, GET github.com/o/r/releases/download/v1/x.tgz,
    GET github.com/o/r/archive/main.zip`,
  'git.push': `GET github.com/o/r.git/info/refs?service=git-receive-pack, POST github.com/o/r.git/git-receive-pack, POST github.com/o/r/Git-Receive-Pack,
    POST github.com/o/r/git-receive-pack/, GET github.com/o/r/info/refs, GET github.com/o/r/info/refs?service=git-upload-pack&service=git-receive-pack`,
  'git.lfs': 'POST github.com/o/r.git/info/lfs/objects/batch, GET github.com/o/r.git/info/lfs/locks',
  graphql: 'POST api.github.com/graphql',
  state: `GET api.github.com/repos/o/r, GET api.github.com/user, POST api.github.com/repos/o/r/issues, PUT api.github.com/repos/o/r/contents/src/hooks/a.ts,
    GET api.github.com/repos/o/r/contents/secrets/a, POST api.github.com/gists, POST uploads.github.com/repos/o/r/releases/1/assets`,
  deferred:
    'POST api.github.com/repos/o/r/dispatches, POST api.github.com/repos/o/r/actions/workflows/w/dispatches, POST api.github.com/repos/o/r/actions/runs/1/rerun',
  mint: `POST api.github.com/app/installations/1/access_tokens, POST api.github.com/repos/o/r/actions/runners/registration-token,
    POST api.github.com/user/keys, POST api.github.com/repos/o/r/keys, POST github.com/login/oauth/access_token, GET github.com/%6fwner/r/info/refs`,
  admin: `DELETE api.github.com/repos/o/r, PATCH api.github.com/repos/o/r, POST api.github.com/repos/o/r/hooks, PUT api.github.com/repos/o/r/actions/secrets/X,
    PUT api.github.com/repos/o/r/branches/a/b/protection, POST api.github.com/orgs/o/invitations, PUT api.github.com/repos/o/r/collaborators/x`,
  // Neither of git nor of the API: pages for people, which take no token.
  call: 'GET github.com/o/r, GET github.com/, POST github.com/o/r/issues, POST codeload.github.com/o/r/x',
}

test('GitHub: fetch, push and the API are told apart by host, path and query', () => {
  const wrong: string[] = []
  for (const [action, asks] of Object.entries(onGithub)) {
    for (const ask of asks.split(',').map((text) => text.trim())) {
      const [, method, host, path, query] = /^(\S+) ([^/]+)([^?]+)(\?.*)?$/.exec(ask) as unknown as string[]
      const found = table.action(service('github'), method as string, path as string, { host: host as string, query: query ?? '' })
      if (found !== action) wrong.push(`${ask}: ${found}, not ${action}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('GitHub: the repository is what the host takes it for, in one spelling', () => {
  const named = (host: string, path: string) => table.repository(service('github'), host, path)
  for (const path of ['/Acme/Site.git/info/refs', '/acme/site/git-upload-pack', '/acme/site.GIT/git-receive-pack'])
    assert.equal(named('github.com', path), 'acme/site', path)
  assert.equal(named('api.github.com', '/repos/Acme/Site/issues'), 'acme/site')
  assert.equal(named('api.github.com', '/Repos/acme/site'), 'acme/site')
  assert.equal(named('codeload.github.com', '/acme/site/zip/main'), 'acme/site')
  // A repository of somebody who is called `repos`, and what is none.
  assert.equal(named('github.com', '/repos/acme.git/info/refs'), 'repos/acme')
  assert.equal(named('github.com', '/acme/site.wiki.git/info/refs'), 'acme/site.wiki')
  for (const path of ['/user/repos', '/orgs/acme/repos', '/graphql', '/repositories/1/issues'])
    assert.equal(named('api.github.com', path), undefined, path)
  assert.equal(table.repository(service('openai'), 'api.openai.com', '/repos/a/b'), undefined)
})
