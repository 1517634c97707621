// Envoy's configuration as a peer of the bench: its credential injector, in front of one upstream, in its two ways in.
// It must never get more to do than the others: no access log, no statistics sink, one worker.
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cache, type Ground } from './ground.ts'
import { credentialNames } from './load.ts'

export function envoyPath(): string | null {
  const path = join(cache, 'envoy', 'bin', 'envoy')
  return existsSync(path) ? path : null
}

const typed = (type: string, more: object): object => ({ '@type': `type.googleapis.com/envoy.${type}`, ...more })
const address = (port: number, at = '127.0.0.1'): object => ({ socket_address: { address: at, port_value: port } })

function upstream(ground: Ground): object {
  return {
    name: 'api',
    type: 'STATIC',
    connect_timeout: '5s',
    circuit_breakers: { thresholds: [{ max_connections: 8_192, max_pending_requests: 8_192, max_requests: 8_192 }] },
    load_assignment: {
      cluster_name: 'api',
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(ground.upstreamPort, ground.upstreamAddress) } }] }],
    },
    transport_socket: {
      name: 'tls',
      typed_config: typed('extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
        sni: ground.host,
        common_tls_context: { validation_context: { trusted_ca: { filename: ground.upstreamCa } } },
      }),
    },
  }
}

const node = { id: 'bench', cluster: 'bench' }

/** The listener that speaks HTTP and injects. */
function injecting(ground: Ground, port: number, secure: boolean): object {
  const secret = join(ground.dir, 'envoy-secret.json')
  const token = { generic_secret: { secret: { inline_string: `Bearer ${ground.credential}` } }, name: 'key' }
  writeFileSync(secret, JSON.stringify({ resources: [typed('extensions.transport_sockets.tls.v3.Secret', token)] }))
  const injector = typed('extensions.filters.http.credential_injector.v3.CredentialInjector', {
    overwrite: true,
    credential: {
      name: 'generic',
      typed_config: typed('extensions.http.injected_credentials.generic.v3.Generic', {
        credential: { name: 'key', sds_config: { path_config_source: { path: secret } } },
      }),
    },
  })
  const manager = typed('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'in',
    http_filters: [
      { name: 'injector', typed_config: injector },
      { name: 'router', typed_config: typed('extensions.filters.http.router.v3.Router', {}) },
    ],
    route_config: {
      request_headers_to_remove: credentialNames.slice(1),
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'api', host_rewrite_literal: ground.host, timeout: '0s' } }],
        },
      ],
    },
  })
  const context = typed('extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
    common_tls_context: {
      tls_certificates: [{ certificate_chain: { filename: ground.leafCert }, private_key: { filename: ground.leafKey } }],
    },
  })
  return {
    name: 'injecting',
    address: address(port),
    filter_chains: [
      {
        filters: [{ name: 'http', typed_config: manager }],
        ...(secure ? { transport_socket: { name: 'tls', typed_config: context } } : {}),
      },
    ],
  }
}

export const envoyBase = (ground: Ground, port: number): object => ({
  node,
  static_resources: { listeners: [injecting(ground, port, false)], clusters: [upstream(ground)] },
})

/** CONNECT is ended by one listener, which leads to another that ends TLS. */
export function envoyFront(ground: Ground, ports: { readonly port: number; readonly inner: number }): object {
  const manager = typed('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'front',
    upgrade_configs: [{ upgrade_type: 'CONNECT' }],
    http_filters: [{ name: 'router', typed_config: typed('extensions.filters.http.router.v3.Router', {}) }],
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [
            {
              match: { connect_matcher: {} },
              route: { cluster: 'inner', timeout: '0s', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
            },
          ],
        },
      ],
    },
  })
  const front = { name: 'front', address: address(ports.port), filter_chains: [{ filters: [{ name: 'http', typed_config: manager }] }] }
  const inner = {
    name: 'inner',
    type: 'STATIC',
    connect_timeout: '5s',
    load_assignment: { cluster_name: 'inner', endpoints: [{ lb_endpoints: [{ endpoint: { address: address(ports.inner) } }] }] },
  }
  return { node, static_resources: { listeners: [front, injecting(ground, ports.inner, true)], clusters: [upstream(ground), inner] } }
}
