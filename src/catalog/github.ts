// What the product knows of GitHub: its API, git over HTTPS, and the hosts that only pass on what was signed. Data only; it
// must never hold a token.
import type { ActionRule, Service } from '../model/service.ts'

const api = ['api.github.com', 'uploads.github.com']
const git = ['github.com']
const files = ['codeload.github.com', 'raw.githubusercontent.com']
const reading = ['GET', 'HEAD']

/** git's own routes: gitprotocol-http(5). What names neither service is the stricter of the two. */
const gitRules: readonly ActionRule[] = [
  { action: 'git.fetch', hosts: git, methods: ['GET'], path: '/*/*/info/refs', query: '?service=git-upload-pack' },
  { action: 'git.fetch', hosts: git, methods: ['POST'], path: '/*/*/git-upload-pack' },
  { action: 'git.push', hosts: git, path: '/*/*/info/refs' },
  { action: 'git.push', hosts: git, path: '/*/*/git-receive-pack' },
  // Up or down stands in the body of the batch, and locks belong to both.
  { action: 'git.lfs', hosts: git, path: '/*/*/info/lfs/**' },
  { action: 'git.fetch', hosts: files, methods: reading, path: '/*/*/**' },
  // Releases and archives by their web address: these answer with an address elsewhere.
  { action: 'git.fetch', hosts: git, methods: reading, path: '/*/*/releases/download/**' },
  { action: 'git.fetch', hosts: git, methods: reading, path: '/*/*/archive/**' },
  { action: 'git.fetch', hosts: git, methods: reading, path: '/*/*/raw/**' },
  { action: 'mint', hosts: git, path: '/login/**' },
  { action: 'mint', hosts: git, path: '/settings/**' },
]

/** https://docs.github.com/rest by path. First rule that fits wins. */
const apiRules: readonly ActionRule[] = [
  // Whatever answers with a fresh secret, or puts one of the caller's choice in force.
  { action: 'mint', hosts: api, path: '/app/installations/*/access_tokens' },
  { action: 'mint', hosts: api, path: '/app/hook/**' },
  { action: 'mint', hosts: api, path: '/app-manifests/**' },
  { action: 'mint', hosts: api, path: '/applications/**' },
  { action: 'mint', hosts: api, path: '/authorizations/**' },
  { action: 'mint', hosts: api, path: '/credentials/**' },
  { action: 'mint', hosts: api, path: '/repos/*/*/actions/runners/registration-token' },
  { action: 'mint', hosts: api, path: '/orgs/*/actions/runners/registration-token' },
  { action: 'mint', hosts: api, path: '/enterprises/*/actions/runners/registration-token' },
  { action: 'mint', hosts: api, path: '/repos/*/*/actions/runners/remove-token' },
  { action: 'mint', hosts: api, path: '/orgs/*/actions/runners/remove-token' },
  { action: 'mint', hosts: api, path: '/enterprises/*/actions/runners/remove-token' },
  { action: 'mint', hosts: api, path: '/repos/*/*/actions/runners/generate-jitconfig' },
  { action: 'mint', hosts: api, path: '/orgs/*/actions/runners/generate-jitconfig' },
  { action: 'mint', hosts: api, path: '/enterprises/*/actions/runners/generate-jitconfig' },
  { action: 'mint', hosts: api, path: '/user/keys/**' },
  { action: 'mint', hosts: api, path: '/user/gpg_keys/**' },
  { action: 'mint', hosts: api, path: '/user/ssh_signing_keys/**' },
  { action: 'mint', hosts: api, path: '/user/codespaces/**' },
  { action: 'mint', hosts: api, path: '/repos/*/*/keys/**' },
  // Who may do what, and where things of the repository go.
  { action: 'admin', hosts: api, path: '/app/**' },
  { action: 'admin', hosts: api, path: '/enterprises/**' },
  { action: 'admin', hosts: api, path: '/scim/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/hooks/**' },
  { action: 'admin', hosts: api, path: '/orgs/*/hooks/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/actions/secrets/**' },
  { action: 'admin', hosts: api, path: '/orgs/*/actions/secrets/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/actions/variables/**' },
  { action: 'admin', hosts: api, path: '/orgs/*/actions/variables/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/dependabot/secrets/**' },
  { action: 'admin', hosts: api, path: '/orgs/*/dependabot/secrets/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/codespaces/secrets/**' },
  { action: 'admin', hosts: api, path: '/orgs/*/codespaces/secrets/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/actions/runners/**' },
  { action: 'admin', hosts: api, path: '/orgs/*/actions/runners/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/actions/runner-groups/**' },
  { action: 'admin', hosts: api, path: '/orgs/*/actions/runner-groups/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/actions/permissions/**' },
  { action: 'admin', hosts: api, path: '/orgs/*/actions/permissions/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/actions/oidc/**' },
  { action: 'admin', hosts: api, path: '/orgs/*/actions/oidc/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/environments/*/secrets/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/environments/*/variables/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/rulesets/**', methods: ['POST', 'PUT', 'PATCH', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/repos/*/*/collaborators/**', methods: ['PUT', 'PATCH', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/repos/*/*/invitations/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/branches/**/protection/**' },
  { action: 'admin', hosts: api, path: '/repos/*/*/environments/**', methods: ['PUT', 'POST', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/repos/*/*/transfer' },
  { action: 'admin', hosts: api, path: '/repos/*/*/pages/**', methods: ['POST', 'PUT', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/repos/*/*/autolinks/**', methods: ['POST', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/repos/*/*', methods: ['PATCH', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/repositories/*', methods: ['PATCH', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/orgs/**', methods: ['POST', 'PUT', 'PATCH', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/organizations/**', methods: ['POST', 'PUT', 'PATCH', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/teams/**', methods: ['POST', 'PUT', 'PATCH', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/user/emails/**', methods: ['POST', 'PUT', 'PATCH', 'DELETE'] },
  { action: 'admin', hosts: api, path: '/user/repository_invitations/**', methods: ['PATCH', 'DELETE'] },
  // Work that goes on after the answer, with the rights of the repository's own workflows.
  { action: 'deferred', hosts: api, path: '/repos/*/*/dispatches', methods: ['POST'] },
  { action: 'deferred', hosts: api, path: '/repos/*/*/actions/workflows/*/dispatches', methods: ['POST'] },
  { action: 'deferred', hosts: api, path: '/repos/*/*/actions/runs/**', methods: ['POST'] },
  { action: 'deferred', hosts: api, path: '/repos/*/*/actions/jobs/**', methods: ['POST'] },
  // A question of any kind, and what it is stands in the body only.
  { action: 'graphql', hosts: api, path: '/graphql' },
  { action: 'state', hosts: api, path: '/**' },
]

export const github: Service = {
  name: 'github',
  hosts: [...api, ...git, ...files],
  port: 443,
  scheme: 'https',
  // The token goes as Bearer, but as the password of git's Basic where that is asked for. A placeholder may stand in any
  // scheme of the field: gh writes `token`.
  slots: [{ kind: 'bearer' }, { kind: 'header', name: 'authorization' }],
  basicAt: { user: 'x-access-token', hosts: git },
  credential: 'required',
  // Public repositories are read without a token, and most clients of git wait for a 401 before they show any.
  placeholder: 'optional',
  methods: [],
  actions: [...gitRules, ...apiRules],
  repositoryPaths: {
    'api.github.com': /^\/repos\/([^/]+\/[^/]+)(?:\/|$)/i,
    'uploads.github.com': /^\/repos\/([^/]+\/[^/]+)(?:\/|$)/i,
    'github.com': /^\/([^/]+\/[^/]+)(?:\/|$)/,
    'codeload.github.com': /^\/([^/]+\/[^/]+)(?:\/|$)/,
    'raw.githubusercontent.com': /^\/([^/]+\/[^/]+)(?:\/|$)/,
  },
  basePrefix: '',
  allowPrivateAddresses: false,
  origins: [],
  cookies: [],
  keyPrefix: 'ghp_',
  keyVariables: ['GH_TOKEN', 'GITHUB_TOKEN'],
  baseUrlVariables: [{ name: 'GITHUB_API_URL', path: '/github' }],
  modelField: null,
  modelPath: null,
  toolsField: null,
  tokenUrl: null,
}

/** Where releases and large files lie: addresses there are signed, and a token would be sent to a store of somebody else's. */
export const githubObjects: Service = {
  ...github,
  name: 'github-objects',
  hosts: [
    'objects.githubusercontent.com',
    'release-assets.githubusercontent.com',
    'media.githubusercontent.com',
    'github-cloud.githubusercontent.com',
    'github-cloud.s3.amazonaws.com',
  ],
  slots: [],
  credential: 'none',
  placeholder: 'required',
  methods: reading,
  actions: [],
  keyPrefix: '',
  keyVariables: [],
  baseUrlVariables: [],
}
