import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type AddressClass, classifyAddress, plainAddress } from './address.ts'

const table: readonly (readonly [AddressClass, readonly string[]])[] = [
  ['public', ['8.8.8.8', '1.1.1.1', '172.15.0.1', '172.32.0.1', '100.63.255.255', '2606:4700::1111', '2a00:1450:4001::1']],
  // The same public address in its wrappings stays public where the wrapping is one that is routed.
  ['public', ['::ffff:8.8.8.8', '::ffff:808:808', '64:ff9b::8.8.8.8', '64:ff9b::808:808', '2002:808:808::1']],
  ['private', ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '100.64.0.1', 'fc00::1', 'fd12:3456::1']],
  ['private', ['::ffff:10.0.0.1', '::ffff:a00:1', '64:ff9b::a00:1', '64:ff9b::192.168.0.1', '2002:a00:1::', '2002:c0a8:101:1::1']],
  ['loopback', ['127.0.0.1', '127.255.255.254', '::1', '0:0:0:0:0:0:0:1']],
  ['loopback', ['::ffff:127.0.0.1', '::ffff:7f00:1', '64:ff9b::7f00:1', '64:ff9b::127.0.0.1', '2002:7f00:1::', '2002:7f00:1::1']],
  ['link-local', ['169.254.1.1', 'fe80::1', '::ffff:169.254.1.1', '64:ff9b::a9fe:101', '2002:a9fe:101::']],
  ['metadata', ['169.254.169.254', '169.254.170.2', '169.254.170.23', '100.100.100.200', '168.63.129.16', '192.0.0.192']],
  ['metadata', ['fd00:ec2::254', 'fd00:ec2:0:0::254', 'fd20:ce::254', 'FD00:EC2::254']],
  ['metadata', ['::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '64:ff9b::a9fe:a9fe', '2002:a9fe:a9fe::1', '::169.254.169.254']],
  // Teredo hides its client's address by flipping every bit; its server stands in clear.
  ['loopback', ['2001:0:808:808::80ff:fffe']],
  ['metadata', ['2001:0:808:808::5601:5601']],
  ['private', ['2001:0:a00:1::f7f7:f7f7']],
  // ISATAP and the deprecated compatible form.
  ['loopback', ['2606:4700::5efe:127.0.0.1', '2606:4700::200:5efe:7f00:1']],
  ['reserved', ['::127.0.0.1', '::7f00:1', '::8.8.8.8', '::2']],
  [
    'reserved',
    ['0.0.0.0', '0.1.2.3', '::', '255.255.255.255', '224.0.0.1', 'ff02::1', '240.0.0.1', '192.0.2.1', '198.18.0.1', '203.0.113.1'],
  ],
  [
    'reserved',
    [
      '64:ff9b:1::8.8.8.8',
      '64:ff9b:1:a9fe:a9:fe00:808:808',
      '::ffff:0:127.0.0.1',
      '2001:db8::1',
      '100::1',
      'fec0::1',
      '4000::1',
      '5f00::1',
    ],
  ],
  // What some resolvers take for an address is none here.
  [
    'reserved',
    ['2130706433', '0x7f000001', '127.1', '0177.0.0.1', '010.0.0.1', '127.0.0.1.', ' 127.0.0.1', '256.0.0.1', 'fe80::1%eth0', '[::1]', ''],
  ],
]

for (const [kind, addresses] of table)
  test(`${kind}: ${addresses.slice(0, 3).join(' ')} ...`, () => {
    for (const address of addresses) assert.equal(classifyAddress(address), kind, address)
  })

test('no wrapping makes an address public that is not', () => {
  fc.assert(
    fc.property(fc.ipV4(), (four) => {
      const kind = classifyAddress(four)
      const hex = four.split('.').map((part) => Number(part).toString(16).padStart(2, '0'))
      const flipped = four.split('.').map((part) => (Number(part) ^ 0xff).toString(16).padStart(2, '0'))
      const pair = (parts: readonly string[]): string => `${parts[0]}${parts[1]}:${parts[2]}${parts[3]}`
      const wrapped = [`::ffff:${four}`, `64:ff9b::${four}`, `2002:${pair(hex)}::1`, `2001:0:808:808:0:0:${pair(flipped)}`, `::${four}`]
      for (const one of wrapped) {
        const seen = classifyAddress(one)
        assert.ok(seen === kind || seen === 'reserved', `${one}: ${seen}, but ${four}: ${kind}`)
      }
    }),
    { numRuns: 500 },
  )
})

test('what a socket says of its peer compares with what was dialled', () => {
  assert.equal(plainAddress('::ffff:127.0.0.1'), '127.0.0.1')
  assert.equal(plainAddress('2606:4700:0:0:0:0:0:1111'), plainAddress('2606:4700::1111'))
  assert.notEqual(plainAddress('64:ff9b::127.0.0.1'), '127.0.0.1')
})
