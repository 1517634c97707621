// A key of somebody else, sent to an allowed host from inside a run: refused, an alert, and known again in two records by a hash
// that nobody can compute without this installation's key.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, test } from 'node:test'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { startWire } from './wire.test-kit.ts'

let stage: Stage

before(async () => {
  stage = await setStage(Date.now())
})
after(() => stage?.close())

const attackers = `sk-ant-api03-${'Q'.repeat(40)}`

test('the same foreign key is recognised in two records, and stands in none', async () => {
  const wire = startWire(stage)
  const send = (host: string, path: string, field: string) =>
    wire.send({
      via: 'connect',
      host,
      raw: `POST ${path} HTTP/1.1\r\nHost: ${host}\r\n${field}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
    })
  for (const [host, path, field] of [
    ['api.openai.com', '/v1/responses', `Authorization: Bearer ${attackers}`],
    ['api.anthropic.com', '/v1/messages', `x-api-key: ${attackers}`],
  ] as const)
    assert.equal((await send(host, path, field)).code, 'inject.foreign_credential')
  await wire.end()
  const { out } = await stage.cli(['audit', 'tail', '--count', '200', '--json'])
  const alerts = out
    .split('\n')
    .filter((line) => line.includes('"kind":"alert"'))
    .map((line) => JSON.parse(line))
    .filter((one) => one.alert === 'inject.foreign_credential')
  assert.equal(alerts.length, 2, out)
  const marks = alerts.map((one) => /anthropic key hmac-sha256:([0-9a-f]{32})$/.exec(one.detail)?.[1])
  assert.ok(marks[0] !== undefined && marks[0] === marks[1], JSON.stringify(alerts))
  assert.ok(!out.includes(attackers.slice(0, 30)), 'the key itself is in no record')
  // Whoever has the log and a guess cannot tell whether it is right.
  for (const text of [attackers, `foreign${attackers}`]) assert.ok(!createHash('sha256').update(text).digest('hex').startsWith(marks[0]))
  assert.ok(
    alerts.every((one) => one.workload === 'story-agent'),
    'the sender is named',
  )
})
