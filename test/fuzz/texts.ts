// Everything that reads text of a person or of an agent: the configuration, policies, and JSON bodies.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { catalog } from '../../src/catalog/catalog.ts'
import { readConfig } from '../../src/config/read.ts'
import { readBody } from '../../src/decide/body.ts'
import { conditionKinds } from '../../src/decide/conditions.ts'
import { checkPolicies } from '../../src/decide/policies.ts'
import { trustKinds } from '../../src/identify/trust-providers.ts'
import { ConfigMistakes, Refusal } from '../../src/model/refusal.ts'
import { credentialKinds } from '../../src/obtain/credential-providers.ts'
import { nearly, outcome, type Target, target } from './target.ts'

const kinds = { trust: trustKinds, credential: credentialKinds, condition: conditionKinds }
const policies = [
  `@id("research may use models")
permit (principal in Group::"research", action in Action::"inference", resource == Service::"openai")
when { context.facts.open && principal.labels.stage == "production" };`,
  `@id("only one model")
forbid (principal, action in Action::"inference", resource)
unless { context.request has model && context.request.model like "gpt-*" };`,
  `forbid (principal == Workload::"agent", action in [Action::"mint", Action::"inference"], resource)
when { context.facts.place has region && ["eu", "us"].contains(context.facts.place.region) || context.facts.host.patchAgeDays > 30 };`,
]
const cedarTokens = [
  'permit',
  'forbid',
  '(',
  ')',
  '{',
  '}',
  'when',
  '"',
  '\\',
  ';',
  '//',
  '@id("x")',
  'context',
  '.',
  'has',
  'like',
  '*',
  '==',
  'in',
  '[',
  ']',
  '::',
  '\0',
  '\xff',
  '9223372036854775808',
  '\u{1f600}',
  'ip("::1")',
  '?principal',
  'if true then',
  '-',
  '!',
]
const config = `trustDomain: acme.example
audience: https://ostiary.acme.example
listen: { proxy: 127.0.0.1:0, baseUrl: 127.0.0.1:0 }
workloads:
  agent: { groups: [research], labels: { stage: production }, run: { startedBy: [root] } }
  pods: { groups: [pods], observe: { until: 2099-12-31 }, run: { within: [agent] } }
services:
  openai: {}
  docs: { hosts: [docs.acme.example], credential: none, methods: [GET, HEAD] }
credentials:
  openai-static: { service: openai, for: [research], static-key: { secret: openai }, leaseMinutes: 15 }
conditions:
  open: { time-window: { zone: UTC, days: mon-fri, from: "08:00", to: "18:00" } }
  host: { posture: { file: posture.json, maxAgeMinutes: 60 } }
  place: { location: {} }
policies:
  - cedar: |
      permit (principal, action in Action::"inference", resource) when { context.facts.open };
egress:
  dangerouslyFixedAddresses:
    - { host: api.openai.com, address: "127.0.0.1:1", reason: a test, until: 2026-12-01 }
`
const yamlTokens = [
  '\n',
  '  ',
  ': ',
  '- ',
  '{',
  '}',
  '[',
  ']',
  '&a ',
  '*a',
  '<<: *a',
  '!!js/function ',
  '!!binary ',
  '|',
  '>',
  '"',
  "'",
  '#',
  '---\n',
  '...\n',
  '\t',
  '\0',
  '\xff',
  '? ',
  '%YAML 9\n',
  'null',
  '1e999',
  '__proto__',
  'constructor',
  '$HOME',
  '!include x',
  '0x10',
  '.inf',
  '2026-13-45',
]

let dir = ''
const options = {
  env: {},
  now: Date.parse('2026-11-24T12:00:00Z'),
  kinds,
  catalog,
  checkPolicies: (read: Parameters<NonNullable<Parameters<typeof readConfig>[1]['checkPolicies']>>[0]) =>
    checkPolicies(read.policies, {
      conditions: read.conditions.map((one) => ({
        name: one.name,
        shape: conditionKinds.find((kind) => kind.name === one.kind)?.shape(one.config) ?? 'Bool',
      })),
      services: read.services,
      workloads: read.workloads,
    }),
}
const conditions = [
  { name: 'open', shape: 'Bool' as const },
  { name: 'host', shape: { patchAgeDays: 'Long' as const } },
  { name: 'place', shape: { 'region?': 'String' as const } },
]
const workloads = [{ name: 'agent', groups: ['research'], labels: { stage: 'production' } }]
const bodies = [
  '{"model":"gpt-5","input":"hi","tools":[{"type":"function","name":"f"}],"stream":true}',
  '{"model":"gpt-5","messages":[{"role":"user","content":[{"type":"text","text":"caf\\u00e9"}]}]}',
  '{"a":{"b":[1,2,{"c":null}]},"model":"\\ud83d\\ude00"}',
  '[]',
  '"x"',
  '{}',
]
const openai = catalog.find(({ name }) => name === 'openai')

export const textTargets: readonly Target[] = [
  target(
    'config',
    nearly([config], yamlTokens),
    (bytes) => {
      const file = join(dir, 'ostiary.yaml')
      writeFileSync(file, bytes, { mode: 0o600 })
      const read = outcome(() => readConfig(file, options), ConfigMistakes)
      if (read instanceof ConfigMistakes) {
        assert.ok(read.mistakes.length > 0)
        for (const one of read.mistakes) assert.ok(one.wrong.length > 0 && !/\n {4}at /.test(one.wrong), JSON.stringify(one))
      } else if (!(read instanceof Error)) assert.equal(Object.getPrototypeOf({}), Object.prototype)
      assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
    },
    {
      open: async () => {
        dir = mkdtempSync(join(tmpdir(), 'ostiary-fuzz-'))
      },
      close: async () => rmSync(dir, { recursive: true, force: true }),
    },
  ),
  target('cedar', nearly(policies, cedarTokens), (bytes) => {
    const text = bytes.toString('utf8')
    const mistakes = checkPolicies([{ id: 'one', text, file: 'a.cedar', line: 1 }], { services: catalog, conditions, workloads })
    for (const one of mistakes) assert.ok(one.wrong.length > 0 && one.line >= 1, JSON.stringify(one))
  }),
  target(
    'json-body',
    fc.tuple(
      nearly(bodies, [
        '"',
        '\\',
        '\\u0000',
        '{',
        '}',
        '[',
        ']',
        ',',
        ':',
        '\xff',
        '\xef\xbb\xbf',
        '"model":"x",',
        '"Model":"x",',
        'NaN',
        '-0',
        '1e999',
        '/**/',
      ]),
      fc.boolean(),
    ),
    ([bytes]) => {
      const read = outcome(() => readBody(openai as NonNullable<typeof openai>, '/v1/responses', bytes, 64), Refusal)
      if (read instanceof Error || bytes.length === 0) return
      const parsed = JSON.parse(bytes.toString('utf8'))
      // Whoever parses it after us sees what we saw.
      assert.equal(read.model, parsed.model)
    },
  ),
]
