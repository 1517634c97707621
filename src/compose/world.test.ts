import assert from 'node:assert/strict'
import { test } from 'node:test'
import { catalog } from '../catalog/catalog.ts'
import type { Config } from '../config/config.ts'
import { issuerKeyName } from './broker-world.ts'

const config = (host: string | null): Config =>
  ({
    services: catalog,
    credentials: [{ name: 'fed', service: 'openai' }],
    egress: {
      dangerouslyFixedAddresses: host === null ? [] : [{ host, address: '127.0.0.1', port: 1, reason: 'test', until: '2099-01-01' }],
    },
  }) as unknown as Config

test('a federation to a fixed address, of the API or of its token endpoint, never signs with the key that the vendor knows', () => {
  assert.equal(issuerKeyName(config(null), 'fed'), 'fed')
  assert.equal(issuerKeyName(config('api.anthropic.com'), 'fed'), 'fed')
  for (const host of ['api.openai.com', 'auth.openai.com']) assert.notEqual(issuerKeyName(config(host), 'fed'), 'fed')
})
