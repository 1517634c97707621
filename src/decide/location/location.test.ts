import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Asked } from '../../model/facts.ts'
import type { ConditionHost } from '../../model/kind.ts'
import { location } from './location.ts'

const signal = () => AbortSignal.timeout(5_000)
const asked = (changes: Partial<Asked>): Asked => ({ labels: {}, proven: {}, address: '127.0.0.1', ...changes }) as Asked
const start = (config: Record<string, unknown> = {}) => location.start(location.schema.parse(config), {} as ConditionHost, 'place')

test('the country of a public address, by the database that ships', async () => {
  const place = start()
  assert.deepEqual(await place.facts(asked({ address: '193.99.144.80' }), signal()), { country: 'DE' })
  assert.deepEqual(await place.facts(asked({ address: '::ffff:193.99.144.80' }), signal()), { country: 'DE' })
  assert.deepEqual(await place.facts(asked({ address: '2001:4860:4860::8888' }), signal()), { country: 'US' })
})

test('loopback, private, link-local, unix and nonsense have no country', async () => {
  const place = start({ database: '/does/not/exist' })
  for (const address of [
    '127.0.0.1',
    '::1',
    '10.1.2.3',
    '192.168.0.1',
    '172.16.0.1',
    '169.254.169.254',
    'fe80::1%eth0',
    'fd00::1',
    '100.64.0.1',
    '::ffff:10.0.0.1',
    'unix',
    '',
    '0x08.8.8.8',
    '010.8.8.8',
  ])
    assert.deepEqual(await place.facts(asked({ address }), signal()), {}, address)
})

test('the region as proven comes before the region as configured', async () => {
  const place = start()
  assert.deepEqual(await place.facts(asked({ labels: { region: 'eu' } }), signal()), { region: 'eu' })
  assert.deepEqual(await place.facts(asked({ labels: { region: 'eu' }, proven: { region: 'us' } }), signal()), { region: 'us' })
  assert.deepEqual(await start({ region: { proven: 'zone' } }).facts(asked({ labels: { region: 'eu' } }), signal()), {})
})

test('a database that cannot be read makes the fact missing, not the country absent', async () => {
  await assert.rejects(start({ database: '/does/not/exist' }).facts(asked({ address: '8.8.8.8' }), signal()), /could not be read/)
})
