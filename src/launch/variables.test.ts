import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shutVariables } from './covers.ts'
import { runEnvironment } from './variables.ts'

const run = {
  id: 'run-1',
  pointer: 'run-p',
  workload: 'coder',
  proxy: '127.0.0.1:7070',
  baseUrl: '127.0.0.1:7071',
  caFile: '/r/ca.pem',
  bundleFile: '/r/bundle.pem',
  javaStoreFile: '/r/bundle.jks',
  nodePreloadFile: '/r/node-preload.cjs',
  services: [{ name: 'openai', keyVariables: ['OPENAI_API_KEY'], baseUrlVariables: [], placeholder: 'sk-proj-Ost1ary' }],
}
const looksLikeKey = (value: string): string | null => (value.startsWith('ghp_') ? 'github' : null)

test('inherited secrets go, by name and by value, and are named; the rest stays', () => {
  const { variables, removed } = runEnvironment(
    {
      OPENAI_API_KEY: 'sk-real',
      AWS_SECRET_ACCESS_KEY: 'x',
      DB: 'postgres://u:pw@h/d',
      NOTE: 'ghp_abc',
      PATH: '/bin',
      MY_TOKEN: 't',
      SSH_AUTH_SOCK: '/s',
      HOME: '/h',
    },
    run,
    looksLikeKey,
  )
  assert.deepEqual(removed, ['AWS_SECRET_ACCESS_KEY', 'DB', 'MY_TOKEN', 'NOTE', 'OPENAI_API_KEY'])
  assert.equal(variables['OPENAI_API_KEY'], 'sk-proj-Ost1ary')
  assert.equal(variables['PATH'], '/bin')
  assert.equal(variables['SSH_AUTH_SOCK'], '/s')
})

test('variables that lead to a shut door go; an open one keeps its own', () => {
  const inherited = { SSH_AUTH_SOCK: '/s', DOCKER_HOST: 'unix:///d', DISPLAY: ':0', TMUX: '/t', HOME: '/h' }
  const { variables, removed } = runEnvironment(inherited, run, looksLikeKey, shutVariables(['ssh-agent']))
  assert.deepEqual(removed, [])
  assert.equal(variables['SSH_AUTH_SOCK'], '/s')
  for (const name of ['DOCKER_HOST', 'DISPLAY', 'TMUX']) assert.equal(variables[name], undefined, name)
})

test('proxy and CA variables are set in both cases; SSL_CERT_DIR goes', () => {
  const { variables } = runEnvironment({ SSL_CERT_DIR: '/etc/ssl/certs', https_proxy: 'http://evil' }, run, looksLikeKey)
  assert.equal(variables['https_proxy'], 'http://run-p:x@127.0.0.1:7070')
  assert.equal(variables['HTTPS_PROXY'], variables['https_proxy'])
  assert.equal(variables['SSL_CERT_FILE'], '/r/bundle.pem')
  assert.equal(variables['NODE_EXTRA_CA_CERTS'], '/r/ca.pem')
  assert.equal(variables['SSL_CERT_DIR'], undefined)
})

test("Java gets proxy and roots as options, behind the user's own", () => {
  const { variables } = runEnvironment({ JAVA_TOOL_OPTIONS: '-Xmx64m' }, { ...run, javaStoreFile: '/a place/bundle.jks' }, looksLikeKey)
  const options = variables['JAVA_TOOL_OPTIONS'] ?? ''
  assert.ok(options.startsWith('-Xmx64m -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=7070 '), options)
  assert.ok(options.includes(" '-Djavax.net.ssl.trustStore=/a place/bundle.jks' "), options)
})
