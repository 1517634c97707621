import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import fc from 'fast-check'
import { catalog } from '../catalog/catalog.ts'
import { conditionKinds } from '../decide/conditions.ts'
import { checkPolicies } from '../decide/policies.ts'
import { trustKinds } from '../identify/trust-providers.ts'
import { ConfigMistakes, type Mistake } from '../model/refusal.ts'
import { credentialKinds } from '../obtain/credential-providers.ts'
import type { Config } from './config.ts'
import { custodyMistakes, custodyWarnings } from './custody.ts'
import { jsonSchema } from './json-schema.ts'
import { meant } from './nearest.ts'
import { placesOf } from './places.ts'
import { readConfig } from './read.ts'

const kinds = { trust: trustKinds, credential: credentialKinds, condition: conditionKinds }
const now = Date.parse('2026-11-24T12:00:00Z')
const root = mkdtempSync(join(tmpdir(), 'ostiary-config-'))
after(() => rmSync(root, { recursive: true, force: true }))
let count = 0

function place(files: Readonly<Record<string, string | Uint8Array>>): string {
  const dir = join(root, String(++count))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(dir, name, '..'), { recursive: true })
    writeFileSync(join(dir, name), text)
  }
  return dir
}

function read(file: string | null): Config {
  return readConfig(file, {
    env: {},
    now,
    kinds,
    catalog,
    checkPolicies: (config) =>
      checkPolicies(config.policies, {
        conditions: config.conditions.map((one) => ({
          name: one.name,
          shape: conditionKinds.find((kind) => kind.name === one.kind)?.shape(one.config) ?? 'Bool',
        })),
        services: config.services,
        workloads: config.workloads,
      }),
  })
}

const parse = (text: string, files: Readonly<Record<string, string>> = {}): Config =>
  read(join(place({ 'o.yaml': text, ...files }), 'o.yaml'))

function mistakesOf(work: () => unknown): readonly Mistake[] {
  try {
    work()
  } catch (error) {
    if (error instanceof ConfigMistakes) return error.mistakes
    throw error
  }
  return []
}

const wrongWith = (text: string, files: Readonly<Record<string, string>> = {}): readonly Mistake[] => mistakesOf(() => parse(text, files))
const brief = (mistakes: readonly Mistake[]): readonly string[] => mistakes.map((one) => `${one.line} ${one.path}: ${one.wrong}`)

const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
const sketch = `trustDomain: acme.example
listen: { proxy: 127.0.0.1:7070, baseUrl: 127.0.0.1:7071 }
egress: { proxy: "http://proxy.corp.example:3128", extraCa: corp.pem }
trustProviders: { prod-cluster: { oidc: { issuer: "https://cluster.acme.example" } } }
workloads:
  research-agent:                                # one agent
    groups: [research]
    labels: { stage: production }                # stated by you; what was proven stands under principal.proven
    identify: { process: { user: agent, systemUnit: research.service } }
  pod-agents:                                    # one rule, many agents
    path: "/ns/{namespace}/sa/{serviceAccount}"  # only from proven attributes; a missing one is a no
    groups: [pods]
    identify: { oidc: { issuer: prod-cluster, subject: { prefix: "system:serviceaccount:agents:" } } }
  coder: { run: { startedBy: [alice], custody: namespace } }
services:
  openai: {}                                     # known by the catalog
  docs-site: { hosts: [docs.acme.example], credential: none, methods: [GET, HEAD] }
  crm: { hosts: [crm.acme.example], slot: { header: X-Api-Key }, allowPrivateAddresses: true }
tunnels:
  - { host: updates.acme.example, reason: pins its certificate }
credentials:
  openai-research: { service: openai, for: [research], openai-federation: { provider: idp_1, serviceAccount: sa_1 } }
  openai-pods: { service: openai, for: [pods], static-key: { secret: openai-pods }, leaseMinutes: 15 }
conditions:
  businessHours: { time-window: { zone: Europe/Berlin, days: mon-fri, from: "08:00", to: "18:00" } }
policies: [policies/*.cedar]
`
const cedar = `@id("research may use models in business hours")
permit (principal in Group::"research", action in Action::"inference", resource == Service::"openai")
when { context.facts.businessHours && principal.labels.stage == "production" };
@id("nobody mints keys")
forbid (principal, action in Action::"mint", resource);
`

describe('what holds', () => {
  test('the sketch of the design parses as it stands', () => {
    const config = parse(sketch, { 'corp.pem': pem, 'policies/a.cedar': cedar })
    assert.deepEqual(config.listen, { proxy: { host: '127.0.0.1', port: 7070 }, baseUrl: { host: '127.0.0.1', port: 7071 }, metrics: null })
    assert.equal(config.audience, 'https://ostiary.acme.example')
    assert.deepEqual(config.egress.proxy, { host: 'proxy.corp.example', port: 3128 })
    const [research, pods, coder] = config.workloads
    assert.deepEqual(research?.identify, [
      { provider: 'process', kind: 'process', rule: { user: 'agent', systemUnit: 'research.service' } },
    ])
    assert.equal(research?.path, '/research-agent')
    assert.equal(pods?.identify[0]?.provider, 'prod-cluster')
    assert.deepEqual(coder?.run, { startedBy: ['alice'], custody: 'namespace', within: [] })
    const crm = config.services.find((one) => one.name === 'crm')
    assert.deepEqual(crm?.slots, [{ kind: 'header', name: 'x-api-key' }])
    assert.equal(config.services.find((one) => one.name === 'docs-site')?.credential, 'none')
    assert.deepEqual(
      config.credentials.map((one) => [one.name, one.kind, one.leaseMs]),
      [
        ['openai-research', 'openai-federation', 1_800_000],
        ['openai-pods', 'static-key', 900_000],
      ],
    )
    assert.deepEqual(
      config.trustProviders.map((one) => one.name),
      ['process', 'prod-cluster'],
    )
    assert.equal(config.policies[0]?.line, 1)
    assert.equal(config.files.length, 3)
    assert.ok(Object.isFrozen(config.workloads[0]?.groups))
  })

  test('no file at all is valid, and so is an empty set of policies', () => {
    const config = read(null)
    assert.deepEqual([config.policies, config.services, config.workloads, config.files], [[], [], [], []])
    assert.deepEqual(config.listen.proxy, { host: '127.0.0.1', port: 7070 })
    assert.equal(parse('trustDomain: a.example').policies.length, 0)
  })

  test('a directory of files is put together, each mistake in its own file', () => {
    const dir = place({
      'a.yaml': 'trustDomain: a.example\nservices:\n  openai: {}\npolicies:\n  - a.cedar\n',
      'b.yaml': 'services:\n  gemini: {}\npolicies:\n  - b.cedar\n',
      'c.txt': 'not read',
      'a.cedar': '',
      'b.cedar': '',
    })
    const config = read(dir)
    assert.deepEqual(
      config.services.map((one) => one.name),
      ['openai', 'gemini'],
    )
    assert.equal(config.policies.length, 2)
    writeFileSync(join(dir, 'c.yaml'), 'trustDomain: b.example\nservices:\n\n  gemini: {}\npolicies:\n  - none.cedar\n')
    const mistakes = mistakesOf(() => read(dir))
    assert.ok(mistakes.every((one) => one.file.endsWith('c.yaml')))
    assert.deepEqual(brief(mistakes), [
      '1 trustDomain: trustDomain stands in another file too',
      '4 services.gemini: gemini stands in another file too',
      '6 policies.2: none.cedar names no file',
    ])
    assert.match(mistakesOf(() => read(place({ 'x.txt': '' })))[0]?.wrong ?? '', /holds no \.yaml file/)
  })

  test('an inline policy is judged with the lines of the file', () => {
    const text =
      'trustDomain: a.example\npolicies:\n  - cedar: |\n      permit (principal, action, resource);\n      permit (principal, action, resource)\n      when { context.nothing };\n'
    const [mistake] = wrongWith(text)
    assert.ok(mistake !== undefined && mistake.line >= 5 && mistake.line <= 6, `${mistake?.line}`)
    assert.equal(wrongWith("trustDomain: a.example\npolicies:\n  - { cedar: 'permit (principal action);' }\n")[0]?.line, 3)
  })

  test('paths are relative to the file; an uploaded key set is read, and a named file is in custody', () => {
    const keys = JSON.stringify({ keys: [{ kty: 'EC', crv: 'P-256', x: 'a', y: 'b', kid: '1' }] })
    const dir = place({
      'o.yaml':
        'trustDomain: a.example\ntrustProviders: { ci: { oidc: { issuer: "https://ci.a.example", jwks: keys.json } } }\nconditions:\n  closed: { time-window: { zone: UTC, holidays: { file: days.txt } } }\n  patched: { posture: { file: ~/posture.json } }\n',
      'keys.json': keys,
    })
    const config = read(join(dir, 'o.yaml'))
    assert.deepEqual(config.trustProviders.find((one) => one.name === 'ci')?.config, {
      ...(config.trustProviders[1]?.config as object),
      jwks: JSON.parse(keys),
    })
    assert.deepEqual(config.files, [join(dir, 'o.yaml'), join(dir, 'keys.json')])
    assert.equal(config.believed[0], join(dir, 'days.txt'))
    assert.ok(config.believed[1]?.startsWith('/') && !config.believed[1].includes('~'))
  })

  test('the schema for editors knows the kinds', () => {
    const text = JSON.stringify(jsonSchema(kinds))
    for (const word of ['static-key', 'time-window', 'oidc', 'dangerouslyFixedAddresses']) assert.ok(text.includes(word), word)
  })
})

describe('all mistakes at once', () => {
  test('seven different ones, each with its line and what to write', () => {
    const mistakes = wrongWith(`trustDomain: Acme
listen: { proxy: 127.0.0.1:7070, baseUrl: 127.0.0.1:7070 }
workloads:
  coder:
    grups: [research]
    identify: { process: { executable: /usr/bin/python3 } }
  other: { run: { startedBy: [alice] } }
services:
  openai: {}
  crm: { hosts: [crm.acme.example] }
credentials:
  one: { service: openai, for: [coder, nobody], static-kee: { secret: a } }
  two: { service: opena, for: [coder], static-key: { secret: b } }
policies:
  - cedar: 'permit (principal == Workload::"codr", action, resource);'
`)
    assert.deepEqual(brief(mistakes), [
      '1 trustDomain: trustDomain is missing or not a host name',
      '2 listen.baseUrl: proxy listens on 127.0.0.1:7070 already',
      '5 workloads.coder.grups: grups is not known here',
      '6 workloads.coder.identify.process: The rule has no anchor: name a user, a systemUnit or a container. An executable or its hash only narrows a rule.',
      '10 services.crm: nothing says where its credential goes',
      '12 credentials.one.static-kee: static-kee is not a kind',
      '13 credentials.two.service: there is no service opena',
      '15 policies "o.yaml#1": there is no workload "codr"'.replace('"o.yaml#1"', mistakes.at(-1)?.path.slice(9) ?? ''),
    ])
    const writes = new Map(mistakes.map((one) => [one.path, one.write]))
    assert.equal(writes.get('workloads.coder.grups'), 'did you mean groups?')
    assert.equal(writes.get('credentials.one.static-kee'), 'did you mean static-key?')
    assert.equal(writes.get('credentials.two.service'), 'did you mean openai?')
    assert.ok(mistakes.every((one) => one.write !== '' && one.file.endsWith('o.yaml')))
  })

  test('a mistake in one entry is no mistake in those that name it', () => {
    const mistakes = wrongWith(`trustDomain: a.example
workloads:
  coder: { groups: [dev], identify: { procss: { user: a } } }
services:
  crm: {}
conditions:
  open: { time-windw: { zone: UTC } }
credentials:
  c: { service: crm, for: [coder, dev], static-key: { secret: s } }
policies:
  - cedar: 'permit (principal in Group::"dev", action, resource == Service::"crm") when { context.facts.open };'
`)
    assert.deepEqual(
      mistakes.map((one) => `${one.line} ${one.write}`),
      [
        '3 did you mean process?',
        '5 hosts: [api.crm.example], slot: { header: X-Api-Key }   or, of the catalog, one of: openai, anthropic, gemini, github, github-objects, aws',
        '7 did you mean time-window?',
      ],
    )
  })
})

const base = 'trustDomain: a.example\n'
const two = `${base}workloads:\n  a: { groups: [g], run: {} }\n  b: { groups: [g], run: {} }\nservices: { openai: {}, gemini: {} }\n`
const cases: readonly (readonly [what: string, text: string, line: number, wrong: RegExp])[] = [
  [
    'two credentials for one',
    `${two}credentials:\n  x: { service: openai, for: [g], static-key: { secret: s } }\n  y: { service: openai, for: [b], static-key: { secret: s } }`,
    8,
    /two credentials fit b at openai: x, y/,
  ],
  [
    'an unknown owner',
    `${two}credentials:\n  x: { service: openai, for: [c], static-key: { secret: s } }`,
    7,
    /neither a workload nor a group/,
  ],
  [
    'a service of the catalog that is not named',
    `${base}workloads: { a: { run: {} } }\ncredentials:\n  x: { service: openai, for: [a], static-key: { secret: s } }`,
    4,
    /no service openai/,
  ],
  [
    'a name for a workload and others',
    `${base}workloads:\n  a: { run: {} }\n  b: { groups: [a], run: {} }\nservices: { openai: {} }\ncredentials:\n  x: { service: openai, for: [a], static-key: { secret: s } }`,
    7,
    /a workload and a group of others/,
  ],
  [
    'a federation of another vendor',
    `${two}credentials:\n  x: { service: gemini, for: [a], openai-federation: { provider: p, serviceAccount: s } }`,
    7,
    /gets tokens of openai/,
  ],
  [
    'a lease that is too long',
    `${two}credentials:\n  x: { service: openai, for: [a], static-key: { secret: s }, leaseMinutes: 20 }`,
    7,
    /at most 15 minutes/,
  ],
  [
    'two kinds',
    `${two}credentials:\n  x: { service: openai, for: [a], static-key: { secret: s }, openai-federation: { provider: p, serviceAccount: s } }`,
    7,
    /several kinds/,
  ],
  ['no kind', `${two}credentials:\n  x: { service: openai, for: [a] }`, 7, /no kind is chosen/],
  ['a kind that lacks its key', `${two}credentials:\n  x: { service: openai, for: [a], static-key: {} }`, 7, /secret is missing/],
  [
    'hosts of two services',
    `${base}services:\n  openai: {}\n  mine: { hosts: [api.openai.com], slot: bearer }`,
    4,
    /belongs to openai already/,
  ],
  [
    'a tunnel to a managed host',
    `${base}services: { openai: {} }\ntunnels:\n  - { host: api.openai.com, reason: because }`,
    4,
    /never tunnelled/,
  ],
  ['one path for two', `${base}workloads:\n  a: { run: {} }\n  b: { run: {}, path: /a }`, 4, /has the path \/a already/],
  ['a path that is no SPIFFE path', `${base}workloads:\n  a: { run: {}, path: /a/../b }`, 3, /a path such as/],
  [
    'a provider that is not there',
    `${base}workloads:\n  a: { identify: { oidc: { issuer: c, subject: s } } }`,
    3,
    /no trust provider c of kind oidc/,
  ],
  [
    'several providers and none named',
    `${base}trustProviders: { p: { oidc: { issuer: "https://p.example" } }, q: { oidc: { issuer: "https://q.example" } } }\nworkloads:\n  a: { identify: { oidc: { subject: s } } }`,
    4,
    /several trust providers/,
  ],
  [
    'a rule of oidc without an anchor',
    `${base}trustProviders: { p: { oidc: { issuer: "https://p.example" } } }\nworkloads:\n  a: { identify: { p: {} } }`,
    4,
    /nothing that identifies/,
  ],
  ['a workload that nothing identifies', `${base}workloads:\n  a: {}`, 3, /nothing says how/],
  ["a vendor's audience", `${base}audience: https://api.openai.com/v1\nservices: { openai: {} }`, 2, /audience of a vendor/],
  ['an API server as audience', `${base}audience: https://kubernetes.default.svc`, 2, /API server/],
  [
    "a provider with a vendor's audience",
    `${base}trustProviders:\n  p: { oidc: { issuer: "https://p.example", audience: "https://api.anthropic.com" } }`,
    3,
    /vendor/,
  ],
  [
    'a provider with its issuer as audience',
    `${base}trustProviders:\n  p: { oidc: { issuer: "https://p.example", audience: "https://p.example" } }`,
    3,
    /issuer itself/,
  ],
  [
    'a fixed address past its date',
    `${base}egress:\n  dangerouslyFixedAddresses:\n    - { host: a.example, address: "127.0.0.1:1", reason: test, until: 2026-11-23 }`,
    4,
    /ended on 2026-11-23/,
  ],
  [
    'a fixed address that is a name',
    `${base}egress:\n  dangerouslyFixedAddresses:\n    - { host: a.example, address: "b.example:1", reason: test, until: 2027-01-01 }`,
    4,
    /no IP address/,
  ],
  [
    'a fixed address without a reason',
    `${base}egress:\n  dangerouslyFixedAddresses:\n    - { host: a.example, address: "127.0.0.1:1", until: 2027-01-01 }`,
    4,
    /./,
  ],
  ['a proxy with a login', `${base}egress:\n  proxy: http://alice:hunter2@corp.example:3128`, 3, /^a login stands in egress.proxy/],
  ['a proxy of SOCKS', `${base}egress:\n  proxy: socks5://corp.example:1080`, 3, /not by socks5:/],
  ['a proxy behind TLS', `${base}egress:\n  proxy: https://corp.example:3128`, 3, /not by https:/],
  ['a proxy that is no URL', `${base}egress:\n  proxy: "corp.example:"`, 3, /not by corp.example:/],
  ['a proxy with a path', `${base}egress:\n  proxy: http://corp.example/proxy.pac`, 3, /more than http:/],
  ['an exception that is a range', `${base}egress:\n  proxy: http://p.example:1\n  noProxy: [10.0.0.0/8]`, 4, /neither a name nor/],
  ['an exception without a proxy', `${base}egress:\n  noProxy: [corp.example]`, 3, /there is none/],
  ['a proxy that may read, and is none', `${base}egress:\n  inspects: true`, 3, /there is none/],
  ['a resolver that is a name', `${base}egress:\n  resolver: dns.example`, 3, /no address/],
  ['AWS without a host', `${base}services: { aws: {} }\n`, 2, /hosts in each of its regions, and none is named/],
  [
    'a host of no known region',
    `${base}services: { aws: { hosts: [api.example.com] } }\n`,
    2,
    /of api\.example\.com neither region nor service/,
  ],
  ['hosts for a service that is known by its own', `${base}services:\n  github: { hosts: [git.acme.example] }`, 3, /by its own hosts/],
  ['a credential in clear', `${base}services:\n  m: { hosts: [m.example], slot: bearer, scheme: http }`, 3, /in clear/],
  [
    'a slot that frames the message',
    `${base}services:\n  m: { hosts: [m.example], slot: { header: Content-Length } }`,
    3,
    /no credential goes into this field|Invalid input/,
  ],
  ['an empty list of methods', `${base}services:\n  m: { hosts: [m.example], credential: none, methods: [] }`, 3, /allows nothing/],
  ['a port that is none', `${base}listen:\n  proxy: 127.0.0.1:70000`, 3, /no port/],
  ['an extra CA that is none', `${base}egress:\n  extraCa: o.yaml`, 3, /holds no certificate/],
  ['a key set that is none', `${base}trustProviders:\n  p: { oidc: { issuer: "https://p.example", jwks: o.yaml } }`, 3, /not JSON/],
  ['a policy file that is a folder', `${base}policies:\n  - ../`, 3, /not a regular file/],
]

describe('each check', () => {
  for (const [what, text, line, wrong] of cases)
    test(what, () => {
      const mistakes = wrongWith(text)
      assert.equal(mistakes.length, 1, brief(mistakes).join('\n'))
      assert.match(mistakes[0]?.wrong ?? '', wrong)
      assert.equal(mistakes[0]?.line, line, brief(mistakes).join('\n'))
      assert.notEqual(mistakes[0]?.write, '')
    })
})

const attacks: readonly (readonly [what: string, text: string | Uint8Array, wrong: RegExp])[] = [
  ['a key that stands twice', `${base}log: info\nlog: debug`, /log stands here twice/],
  ['a nested key that stands twice', `${base}workloads:\n  a: { run: {} }\n  a: { run: {} }`, /a stands here twice/],
  [
    'a bomb of aliases',
    `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\ntrustDomain: *c`,
    /alias/i,
  ],
  ['an alias of nothing', `${base}log: *a`, /\*a names nothing/],
  ['an anchor within itself', `${base}services: &a { x: *a }`, /./],
  ['a tag that makes something', `${base}log: !!js/function "x"`, /tag/i],
  ['binary', `${base}log: !!binary aW5mbw==`, /tag/i],
  ['a merge key', `${base}x: &x { openai: {} }\nservices: { <<: *x }`, /./],
  ['a second document', `${base}---\ntrustDomain: b.example`, /not YAML/],
  ['broken text', `${base}services: { openai: {}`, /not YAML/],
  ['a tab', `${base}services:\n\topenai: {}`, /not YAML/],
  ['a key that is a list', `${base}? [a, b]\n: c`, /not text/],
  ['a number as a key', `${base}services: { 1: {} }`, /not text/],
  ['a prototype', `${base}__proto__: { trustDomain: evil }\nservices: { __proto__: { hosts: [a.example] } }`, /__proto__/],
  ['a name of Object', `${base}constructor: 1\ntoString: 2`, /not known here/],
  ['a list', '- a\n- b', /sections/],
  ['a word', 'hello', /sections/],
  ['nothing', '', /trustDomain/],
  ['bytes that are no UTF-8', new Uint8Array([0x61, 0x3a, 0x20, 0xff, 0xfe]), /not UTF-8/],
  ['too much', Buffer.alloc(4 * 1024 * 1024 + 1, '#'), /larger than/],
]

describe('attacks by YAML', () => {
  for (const [what, text, wrong] of attacks)
    test(what, () => {
      const mistakes = mistakesOf(() => read(join(place({ 'o.yaml': text }), 'o.yaml')))
      assert.ok(
        mistakes.some((one) => wrong.test(one.wrong)),
        brief(mistakes).join('\n'),
      )
    })

  test('a file that is none: absent, a device', () => {
    assert.match(mistakesOf(() => read(join(root, 'absent.yaml')))[0]?.wrong ?? '', /there is no file/)
    assert.match(mistakesOf(() => read('/dev/zero'))[0]?.wrong ?? '', /not a regular file/)
  })

  test('a key that stands twice hides no other mistake', () => {
    assert.deepEqual(
      wrongWith(`${base}log: info\nlog: debug\nservces: {}`).map((one) => one.line),
      [3, 4],
    )
  })

  test('whatever the text, it is a configuration or mistakes, never a defect', () => {
    const word = fc.constantFrom(
      'trustDomain',
      'services',
      'workloads',
      'policies',
      'credentials',
      'listen',
      'egress',
      'openai',
      'a',
      '*x',
      '&x',
      '__proto__',
    )
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        word,
        fc.constantFrom('1', 'null', '"', '~', '[]', '{}', 'true'),
        fc.array(tie('any'), { maxLength: 3 }).map((list) => `[${list.join(', ')}]`),
        fc
          .array(fc.tuple(word, tie('any')), { maxLength: 4 })
          .map((list) => `{ ${list.map(([key, inner]) => `${key}: ${inner}`).join(', ')} }`),
      ),
    })).any
    const file = join(place({ 'o.yaml': '' }), 'o.yaml')
    fc.assert(
      fc.property(fc.array(fc.tuple(word, value), { maxLength: 6 }), (pairs) => {
        writeFileSync(file, pairs.map(([key, inner]) => `${key}: ${inner}`).join('\n'))
        mistakesOf(() => read(file))
      }),
      { numRuns: 200 },
    )
  })
})

describe('custody', () => {
  test('a file that somebody else may write is named', { skip: process.getuid?.() !== 0 && 'needs root' }, () => {
    const dir = place({ 'o.yaml': 'trustDomain: a.example\npolicies: [a.cedar]\n', 'a.cedar': '' })
    const ours = (): readonly string[] =>
      custodyMistakes(read(join(dir, 'o.yaml')), [])
        .map((one) => one.wrong)
        .filter((wrong) => wrong.startsWith(dir))
    assert.deepEqual(ours(), [])
    chmodSync(join(dir, 'a.cedar'), 0o666)
    assert.deepEqual(ours(), [`${join(dir, 'a.cedar')} can be written by everybody`])
    chmodSync(join(dir, 'a.cedar'), 0o644)
    chownSync(dir, 12_345, 0)
    assert.match(ours()[0] ?? '', /belongs to uid 12345/)
    assert.ok(custodyWarnings(read(join(dir, 'o.yaml'))).some((one) => one.includes('12345')))
  })
})

describe('places', () => {
  test('named, then the environment, then the file, then the own', () => {
    const file = join(place({ 'o.yaml': 'trustDomain: a.example\ndataDir: here\n' }), 'o.yaml')
    assert.equal(placesOf({ config: file }, {}).dataDir, join(file, '..', 'here'))
    assert.equal(placesOf({ config: file }, { OSTIARY_DATA: '/d' }).dataDir, '/d')
    assert.equal(placesOf({ config: file, data: '/e' }, { OSTIARY_DATA: '/d' }).dataDir, '/e')
    assert.deepEqual(placesOf({}, { XDG_CONFIG_HOME: '/none', XDG_DATA_HOME: '/x' }), { configFile: null, dataDir: '/x/ostiary' })
    assert.equal(placesOf({}, { OSTIARY_CONFIG: '/absent.yaml' }).configFile, '/absent.yaml')
    assert.ok(!placesOf({}, { XDG_CONFIG_HOME: '.', XDG_DATA_HOME: 'x' }).dataDir.startsWith('x'))
  })

  test('the nearest word', () => {
    assert.equal(meant('workload', ['workloads', 'services']), 'did you mean workloads?')
    assert.equal(meant('zzzzzz', ['a', 'b']), 'one of: a, b')
  })
})

test('patterns are told, so that what comes to fit one is noticed', () => {
  const dir = place({ 'o.yaml': 'trustDomain: acme.example\npolicies: [p/*.cedar, one.cedar]\n', 'p/a.cedar': '', 'one.cedar': '' })
  assert.deepEqual(read(join(dir, 'o.yaml')).patterns, [join(dir, 'p/*.cedar')])
  const folder = place({ 'a.yaml': 'trustDomain: acme.example\n' })
  assert.deepEqual(read(folder).patterns, [join(folder, '*.{yaml,yml}')])
})

test('audit: how long it is kept and where its checkpoints go; a copy beside the log is none', () => {
  assert.deepEqual(parse('trustDomain: acme.example\n').audit, { keepDays: null, copies: [] })
  const dir = place({ 'o.yaml': 'trustDomain: acme.example\naudit: { keepDays: 90, copies: [there, /mnt/there] }\n' })
  assert.deepEqual(read(join(dir, 'o.yaml')).audit, { keepDays: 90, copies: [join(dir, 'there'), '/mnt/there'] })
  const beside = wrongWith('trustDomain: acme.example\ndataDir: data\naudit: { keepDays: 0, copies: [data/audit] }\n')
  assert.deepEqual(
    brief(beside)
      .map((one) => one.replace(/\/\S*\//, ''))
      .sort(),
    ['3 audit.copies.0: audit lies beside the log: who changes one changes both', '3 audit.keepDays: Too small: expected number to be >=1'],
  )
})
