// The environment of a run: proxy, CA and placeholder variables for the runtimes that agents use, and no inherited secret.
import type { Service } from '../model/service.ts'
import { gitVariables, leadsGitToCredentials } from './git.ts'

export interface RunDescription {
  readonly id: string
  readonly pointer: string
  readonly workload: string
  /** host:port of the explicit proxy and of the base-URL listener. */
  readonly proxy: string
  readonly baseUrl: string
  readonly caFile: string
  /** System roots and our CA: for variables that replace the roots. */
  readonly bundleFile: string
  /** The same for the JVM. */
  readonly javaStoreFile: string
  readonly nodePreloadFile: string
  readonly services: readonly (Pick<Service, 'name' | 'keyVariables' | 'runVariables' | 'baseUrlVariables' | 'basicAt'> & {
    readonly placeholder: string
  })[]
}

export interface RunEnvironment {
  readonly variables: Readonly<Record<string, string>>
  /** Names of inherited variables that were removed because they hold, or look like, a secret. */
  readonly removed: readonly string[]
}

/** Names whose value is a credential whatever it looks like. */
const secretNames =
  /(^|_)(API_?KEY|AUTH_?TOKEN|ACCESS_?TOKEN|SECRET|SECRET_?KEY|SECRET_ACCESS_KEY|SESSION_?TOKEN|PASSWORD|PASSWD|PRIVATE_?KEY|CREDENTIALS?|BEARER_TOKEN|IDENTITY_TOKEN)($|_)|(^|_)(TOKEN|KEY|PAT|PASS)$/i
/** Names that match the pattern above and hold no secret. */
const harmless = /^(SSH_AUTH_SOCK|GPG_KEY|GNUPGHOME|COLORTERM|XDG_.*|KEYMAP|OSTIARY_.*)$/

const replacesRoots = [
  'SSL_CERT_FILE',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'AWS_CA_BUNDLE',
  'PIP_CERT',
  'npm_config_cafile',
  'CARGO_HTTP_CAINFO',
  'NIX_SSL_CERT_FILE',
  'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE',
  'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH',
]
const addsToRoots = ['NODE_EXTRA_CA_CERTS', 'DENO_CERT', 'CODEX_CA_CERTIFICATE']

export function runEnvironment(
  inherited: Readonly<Record<string, string | undefined>>,
  run: RunDescription,
  looksLikeKey: (value: string) => string | null,
  /** Names that lead to doors which are shut. */
  shut: ReadonlySet<string> = new Set(),
): RunEnvironment {
  const variables: Record<string, string> = {}
  const removed: string[] = []
  for (const [name, value] of Object.entries(inherited)) {
    if (value === undefined || shut.has(name) || leadsGitToCredentials(name)) continue
    const secret = (secretNames.test(name) && !harmless.test(name)) || looksLikeKey(value) !== null || carriesPassword(value)
    if (secret && value !== '') removed.push(name)
    else variables[name] = value
  }
  // It would be searched before SSL_CERT_FILE by curl and would hide our CA.
  delete variables['SSL_CERT_DIR']
  const proxy = `http://${run.pointer}:x@${run.proxy}`
  for (const name of ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY', 'https_proxy', 'http_proxy', 'all_proxy', 'grpc_proxy'])
    variables[name] = proxy
  for (const name of ['NO_PROXY', 'no_proxy']) variables[name] = 'localhost,127.0.0.1,::1'
  for (const name of replacesRoots) variables[name] = run.bundleFile
  for (const name of addsToRoots) variables[name] = run.caFile
  // What files of the user's say of proxy and roots wins over the usual variables, but not over a tool's own.
  for (const name of ['npm_config_proxy', 'npm_config_https_proxy', 'PIP_PROXY', 'CARGO_HTTP_PROXY']) variables[name] = proxy
  variables['NODE_USE_ENV_PROXY'] = '1'
  // For what heeds neither; see node-preload.ts. Node reads quotes and \ in this variable.
  variables['NODE_OPTIONS'] = `${variables['NODE_OPTIONS'] ?? ''} --require=${JSON.stringify(run.nodePreloadFile)}`.trim()
  Object.assign(variables, gitVariables(run.services, proxy))
  const [host = '', port = ''] = run.proxy.split(/:(?=\d+$)/)
  variables['JAVA_TOOL_OPTIONS'] = [variables['JAVA_TOOL_OPTIONS'] ?? '', ...javaOptions(run, host, port)].join(' ').trim()
  variables['CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC'] = '1'
  for (const service of run.services) {
    for (const name of service.keyVariables) variables[name] = service.placeholder
    for (const [name, value] of Object.entries(service.runVariables ?? {}))
      if (value === null) delete variables[name]
      else variables[name] = value
  }
  variables['OSTIARY_RUN'] = run.id
  variables['OSTIARY_WORKLOAD'] = run.workload
  variables['OSTIARY_BASE_URL'] = `http://${run.baseUrl}/r/${run.pointer}`
  return { variables, removed: removed.sort() }
}

/** The JVM heeds no proxy variable and no PEM file; of two options of one name the last counts. */
function javaOptions(run: RunDescription, host: string, port: string): readonly string[] {
  const proxies = ['https', 'http'].flatMap((scheme) => [`-D${scheme}.proxyHost=${host}`, `-D${scheme}.proxyPort=${port}`])
  const store = `-Djavax.net.ssl.trustStore=${run.javaStoreFile}`
  // A store of the user's may have had another type and a password.
  return [
    ...proxies,
    /\s/.test(store) ? `'${store}'` : store,
    '-Djavax.net.ssl.trustStoreType=JKS',
    '-Djavax.net.ssl.trustStorePassword=changeit',
  ]
}

/** `scheme://user:password@host` in any inherited value. */
function carriesPassword(value: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\/[^/\s:@]*:[^/\s@]+@/i.test(value)
}
