import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Asked } from '../../model/facts.ts'
import type { ConditionHost } from '../../model/kind.ts'
import { timeWindow } from './time-window.ts'
import { datesOf, daysOf, minutesOf } from './window.ts'

const asked = {} as Asked

/** Is the window open at an instant? */
async function open(config: Record<string, unknown>, at: string, file = ''): Promise<boolean> {
  const host = {
    clock: { now: () => Date.parse(at), monotonic: () => 0 },
    readFile: async () => Buffer.from(file),
  } as unknown as ConditionHost
  const window = timeWindow.start(timeWindow.schema.parse(config), host, 'w')
  return (await window.facts(asked, AbortSignal.timeout(1_000))) as boolean
}

const office = { zone: 'Europe/Berlin', days: 'mon-fri', from: '08:00', to: '18:00' }

const cases: readonly (readonly [what: string, config: Record<string, unknown>, at: string, expected: boolean])[] = [
  ['winter, first minute (UTC+1)', office, '2026-01-14T07:00:00Z', true],
  ['winter, a minute before', office, '2026-01-14T06:59:59.999Z', false],
  ['summer, first minute (UTC+2)', office, '2026-07-15T06:00:00Z', true],
  ['summer, where a fixed offset would still be closed', office, '2026-07-15T06:30:00Z', true],
  ['summer, where a fixed offset would still be open', office, '2026-07-15T16:30:00Z', false],
  ['the end is exclusive', office, '2026-01-14T17:00:00Z', false],
  ['Saturday', office, '2026-01-17T10:00:00Z', false],
  ['Monday there while Sunday in UTC', { ...office, zone: 'Pacific/Auckland' }, '2026-01-11T20:00:00Z', true],
  // Berlin: 29 March 2026 02:00 → 03:00; 25 October 2026 03:00 → 02:00.
  ['spring gap: 03:00 local follows 01:59', { zone: 'Europe/Berlin', from: '02:30', to: '04:00' }, '2026-03-29T01:00:00Z', true],
  ['spring gap: 01:59 local is before', { zone: 'Europe/Berlin', from: '02:30', to: '04:00' }, '2026-03-29T00:59:00Z', false],
  ['autumn: 02:30 the first time', { zone: 'Europe/Berlin', from: '02:00', to: '03:00' }, '2026-10-25T00:30:00Z', true],
  ['autumn: 02:30 the second time', { zone: 'Europe/Berlin', from: '02:00', to: '03:00' }, '2026-10-25T01:30:00Z', true],
  ['autumn: 03:00', { zone: 'Europe/Berlin', from: '02:00', to: '03:00' }, '2026-10-25T02:00:00Z', false],
  ['New York changes on another day than Berlin', { ...office, zone: 'America/New_York' }, '2026-03-12T12:00:00Z', true],
  ['a zone with half an hour', { ...office, zone: 'Asia/Kolkata' }, '2026-01-14T02:29:00Z', false],
  ['a zone with half an hour, open', { ...office, zone: 'Asia/Kolkata' }, '2026-01-14T02:30:00Z', true],
  ['past midnight belongs to the day before', { zone: 'UTC', days: 'fri', from: '22:00', to: '06:00' }, '2026-01-17T05:59:00Z', true],
  ['past midnight of another day', { zone: 'UTC', days: 'fri', from: '22:00', to: '06:00' }, '2026-01-16T05:59:00Z', false],
  [
    'a night that begins on a holiday does not begin',
    { zone: 'UTC', from: '22:00', to: '06:00', holidays: ['2026-01-16'] },
    '2026-01-17T01:00:00Z',
    false,
  ],
  [
    'a night that ends on a holiday does',
    { zone: 'UTC', from: '22:00', to: '06:00', holidays: ['2026-01-17'] },
    '2026-01-17T01:00:00Z',
    true,
  ],
  ['a holiday', { ...office, holidays: ['2026-01-14'] }, '2026-01-14T10:00:00Z', false],
  ['a holiday by local date', { zone: 'Pacific/Auckland', holidays: ['2026-01-15'] }, '2026-01-14T12:00:00Z', false],
  ['whole days', { zone: 'UTC' }, '2026-01-14T23:59:59Z', true],
  ['days over the end of the week', { zone: 'UTC', days: 'sat-mon' }, '2026-01-18T12:00:00Z', true],
]
for (const [what, config, at, expected] of cases) {
  test(`${what}: ${at}`, async () => {
    assert.equal(await open(config, at), expected)
  })
}

test('holidays from a file', async () => {
  const config = { ...office, holidays: { file: 'h.txt' } }
  assert.equal(await open(config, '2026-01-14T10:00:00Z', '# closed\n- 2026-01-14 # a day\n'), false)
  assert.equal(await open(config, '2026-01-15T10:00:00Z', '2026-01-14\n'), true)
  await assert.rejects(open(config, '2026-01-15T10:00:00Z', '14.01.2026\n'), /line 1 is not a date/)
})

test('the answer of one minute is not kept for the next', () => {
  let now = Date.parse('2026-01-14T16:59:59Z')
  const host = { clock: { now: () => now, monotonic: () => 0 } } as unknown as ConditionHost
  const window = timeWindow.start(timeWindow.schema.parse(office), host, 'w') as unknown as { factsNow(): boolean }
  assert.equal(window.factsNow(), true)
  now += 1_000
  assert.equal(window.factsNow(), false)
  now -= 3_600_000
  assert.equal(window.factsNow(), true)
})

test('what is not a zone, a time, a day or a date is a mistake', () => {
  const wrong = [
    { ...office, zone: 'Berlin' },
    { ...office, zone: '+02:00' },
    { ...office, zone: 'Europe/Nowhere' },
    { ...office, from: '8:00' },
    { ...office, to: '24:01' },
    { ...office, days: 'mo-fr' },
    { ...office, days: [] },
    { ...office, holidays: ['2026-02-30'] },
    { days: 'mon-fri' },
  ]
  for (const config of wrong) assert.equal(timeWindow.schema.safeParse(config).success, false, JSON.stringify(config))
  assert.equal(timeWindow.check?.(timeWindow.schema.parse({ ...office, from: '18:00' })).length, 1)
  assert.equal(minutesOf('24:00'), 1440)
  assert.deepEqual(daysOf('fri-mon'), [5, 6, 7, 1])
  assert.throws(() => datesOf('2026-13-01'))
})
