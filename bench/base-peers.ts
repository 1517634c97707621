// The peers of the bench that a client reaches by a base URL, plain in and TLS out, each at its leanest: they set the
// credential and record nothing. Portkey stores no keys, so its client carries the real one.
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { envoyBase as envoyConfig, envoyPath } from './envoy.ts'
import { cache, freePort, root } from './ground.ts'
import { credentialNames } from './load.ts'
import { envoyWord, type Making, nginx } from './peers.ts'

export const nginxBase: Making = (ground) => nginx(ground, 'nginx', false)

export const haproxy: Making = async (ground) => {
  if (spawnSync('sh', ['-c', 'command -v haproxy']).status !== 0) return 'haproxy: apt-get install haproxy'
  const dir = ground.folder('haproxy')
  const port = await freePort()
  writeFileSync(
    join(dir, 'haproxy.cfg'),
    `global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:${port}
${credentialNames.map((name) => `  http-request del-header ${name}`).join('\n')}
  http-request set-header Authorization "Bearer ${ground.credential}"
  http-request set-header Host ${ground.host}
  default_backend api
backend api
  server api ${ground.upstreamAddress}:${ground.upstreamPort} ssl verify required ca-file ${ground.upstreamCa} sni str(${ground.host}) verifyhost ${ground.host}
`,
  )
  return { name: 'haproxy', port, way: 'plain', words: ['haproxy', '-db', '-f', join(dir, 'haproxy.cfg')], ca: ground.caCert }
}

export const envoyBase: Making = async (ground) => {
  const envoy = envoyPath()
  if (envoy === null) return envoyWord
  const port = await freePort()
  const config = join(ground.folder('envoy'), 'envoy.json')
  writeFileSync(config, JSON.stringify(envoyConfig(ground, port)))
  const words = [envoy, '-c', config, '--concurrency', '1', '--use-dynamic-base-id', '--disable-hot-restart', '-l', 'error']
  return { name: 'Envoy', port, way: 'plain', words, ca: ground.caCert }
}

export const portkey: Making = async (ground) => {
  const file = join(cache, 'portkey', 'node_modules', '@portkey-ai', 'gateway', 'build', 'start-server.js')
  if (!existsSync(file)) return 'Portkey: npm i --prefix CACHE/portkey @portkey-ai/gateway@1.15.2'
  const port = await freePort()
  return {
    name: 'Portkey',
    port,
    way: 'plain',
    words: [process.execPath, '--import', join(root, 'bench', 'loopback.mjs'), file, '--headless', `--port=${port}`],
    environment: {
      NODE_EXTRA_CA_CERTS: ground.upstreamCa,
      BENCH_HOST: ground.host,
      BENCH_ADDRESS: ground.upstreamAddress,
      NODE_ENV: 'production',
    },
    ca: ground.caCert,
    fields: ['x-portkey-provider: openai'],
    bearer: ground.credential,
  }
}

export const liteLlm: Making = async (ground) => {
  const bin = join(cache, 'litellm', 'bin', 'litellm')
  if (!existsSync(bin)) return "LiteLLM: python3 -m venv CACHE/litellm && CACHE/litellm/bin/pip install 'litellm[proxy]'"
  const port = await freePort()
  const config = join(ground.folder('litellm'), 'config.json')
  const bearer = `sk-${'bench7Qx'.repeat(5)}`
  const params = {
    model: 'openai/bench',
    api_base: `https://${ground.upstreamAddress}:${ground.upstreamPort}/v1`,
    api_key: ground.credential,
  }
  writeFileSync(
    config,
    JSON.stringify({ model_list: [{ model_name: 'bench', litellm_params: params }], general_settings: { master_key: bearer } }),
  )
  return {
    name: 'LiteLLM',
    port,
    way: 'plain',
    words: [bin, '--config', config, '--host', '127.0.0.1', '--port', String(port), '--num_workers', '1', '--telemetry', 'False'],
    environment: {
      SSL_CERT_FILE: ground.upstreamCa,
      LITELLM_LOCAL_MODEL_COST_MAP: 'True',
      LITELLM_LOG: 'ERROR',
      NO_PROXY: ground.upstreamAddress,
    },
    ca: ground.caCert,
    bearer,
    readyMs: 90_000,
  }
}
