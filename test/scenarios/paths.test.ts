// The same checks on every way in. A way in that checks less is the way of an attack. Which check stands where is the table in
// paths.test-kit.ts; here each of its cells that says `here` is run.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { logsIn } from '../../src/audit/logs.ts'
import { probeSandbox } from '../../src/launch/sandbox.ts'
import { type PathsStage, setPathsStage } from './paths.stage.ts'
import { type CheckName, cellOf, checks, type Way, ways } from './paths.test-kit.ts'
import { type Heard, startWire, type Told, type Wire, type WireForm } from './wire.test-kit.ts'

const probe = probeSandbox(process.getuid?.() ?? 0, true)
const isolated = probe.custody === 'namespace'
const own = 'Authorization: Bearer PLACEHOLDER(OPENAI_API_KEY)'
const isTransparent = (way: Way): boolean => way.startsWith('transparent')
const isSocket = (way: Way): boolean => way.endsWith('websocket')

let paths: PathsStage
const wires = new Map<string, Promise<Wire>>()
const ended: Promise<void>[] = []
/** Attempts that alert; three in a minute suspend a run, so that each must fail for its own reason. */
let alerts = 0

before(async () => {
  paths = await setPathsStage()
})
after(async () => {
  renew()
  await Promise.all(ended)
  await paths?.close()
})

function wireFor(way: Way): Promise<Wire> {
  const form: WireForm = isTransparent(way) ? { isolate: true } : {}
  const name = JSON.stringify(form)
  const wire = wires.get(name) ?? Promise.resolve(startWire(paths.stage, form))
  wires.set(name, wire)
  return wire
}

/** Other runs from here on; the old ones may end meanwhile. */
function renew(): void {
  for (const wire of wires.values()) ended.push(wire.then((one) => one.end()))
  wires.clear()
  alerts = 0
}

interface Asked {
  readonly service?: 'openai' | 'gemini' | 'inside'
  readonly fields?: readonly string[]
  readonly path?: string
  /** In the body, or in a first message. */
  readonly model?: string
  readonly stream?: boolean
  /** What the stand-in of a WebSocket plays. */
  readonly play?: string
  /** Another name as Host, or as SNI of a tunnel. */
  readonly named?: string
}

const hosts = { openai: 'api.openai.com', gemini: 'generativelanguage.googleapis.com', inside: 'inside.example' } as const
const geminiSocket = '/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent'

/** A text message as a client sends it, under a mask of zeros. */
function frame(text: string): string {
  const size = text.length < 126 ? [0x80 | text.length] : [0x80 | 126, text.length >> 8, text.length & 0xff]
  return String.fromCharCode(0x81, ...size, 0, 0, 0, 0) + text
}

function build(way: Way, asked: Asked): Told {
  const { service = 'openai', fields = [own], model = 'gpt-5', stream = false } = asked
  if (way === 'tunnel') {
    const host = { openai: 'updates.example', gemini: 'forbidden.example', inside: 'inside-tunnel.example' }[service]
    const sni = asked.named === undefined ? {} : { sni: asked.named }
    return {
      via: 'connect',
      host,
      ...sni,
      insecure: true,
      raw: `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      ...(stream ? {} : { until: 'hi' }),
    }
  }
  if (way === 'absolute') {
    const host = { openai: 'clear.example', gemini: 'other.example', inside: 'inside-clear.example' }[service]
    const path = asked.path ?? (stream ? '/v1/slow' : model === 'moved' ? '/v1/moved' : `/v1/x-${model}`)
    const lines = [
      `GET http://${host}${path} HTTP/1.1`,
      `Host: ${asked.named ?? host}`,
      'PROXYAUTH',
      ...fields.filter((one) => one !== own),
    ]
    return { via: 'proxy', raw: `${[...lines, 'Connection: close'].join('\r\n')}\r\n\r\n` }
  }
  const [door, over] = way.split(' ') as ['connect' | 'base' | 'transparent', string | undefined]
  const host = hosts[service]
  const usual = service === 'gemini' ? (over === 'websocket' ? geminiSocket : '/v1beta/models/g:generateContent') : '/v1/responses'
  const path = asked.path ?? (over === 'websocket' && model === 'moved' ? '/v1/realtime?model=moved' : usual)
  const target = door === 'base' ? `POINTER/${service}${path}` : path
  const to = asked.named ?? (door === 'base' ? 'BASEHOST' : host)
  const told = { via: door, h2: over === 'h2', host } as const
  if (over === 'websocket') return { ...told, ...socket(target, to, fields, asked) }
  const body = JSON.stringify({ model, input: 'hi', ...(stream ? { stream: true } : {}) })
  const head = [`POST ${target} HTTP/1.1`, `Host: ${to}`, ...fields, 'Content-Type: application/json', 'Connection: close']
  return { ...told, raw: `${[...head, `Content-Length: ${body.length}`].join('\r\n')}\r\n\r\n${body}` }
}

function socket(
  target: string,
  to: string,
  fields: readonly string[],
  { model, play, stream }: Asked,
): Pick<Told, 'raw' | 'later' | 'until'> {
  const key = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']
  const raw = `${[`GET ${target} HTTP/1.1`, `Host: ${to}`, ...fields, ...key].join('\r\n')}\r\n\r\n`
  if (stream === true) return { raw }
  // It stays open where it is permitted: then the head is all that is waited for.
  if (model === undefined || model === 'moved') return { raw, until: '\r\n\r\n' }
  const message = { type: 'response.create', model, ...(play === undefined ? {} : { metadata: { play } }) }
  return { raw, later: { until: '\r\n\r\n', raw: frame(JSON.stringify(message)) }, until: play === undefined ? 'response.done' : '"done"' }
}

const send = async (way: Way, asked: Asked = {}): Promise<Heard> => (await wireFor(way)).send(build(way, asked))

/** Answered as a well-formed call is. */
function assertWell(way: Way, heard: Heard): void {
  assert.equal(heard.status, isSocket(way) ? 101 : 200, JSON.stringify(heard))
}

/** Refused with this code, and nothing was sent to any host. */
async function refused(way: Way, asked: Asked, code: RegExp): Promise<Heard> {
  const before = paths.count()
  const heard = await send(way, asked)
  assert.match(heard.code ?? heard.text, code, JSON.stringify(heard))
  assert.ok(heard.status >= 400, JSON.stringify(heard))
  assert.equal(paths.count(), before, 'nothing was passed on')
  return heard
}

async function alerting(way: Way, asked: Asked): Promise<void> {
  if (alerts >= 2) renew()
  alerts++
  await refused(way, asked, /^inject\.foreign_placeholder$/)
}

/** Name and value of every field that the API got last. */
function lastHead(way: Way): readonly string[] {
  const { seen, upgraded } = paths.stage.vendors
  if (isSocket(way)) return Object.entries(upgraded.at(-1)?.headers ?? {}).map(([name, value]) => `${name}: ${value}`)
  return (seen.at(-1)?.raw ?? '').split('\r\n').slice(1)
}

function assertClean(text: string): void {
  const secrets = [...paths.stage.vendors.secrets]
  assert.ok(secrets.length > 0)
  for (const secret of secrets) {
    const tail = secret.slice(20)
    for (const form of [tail, Buffer.from(tail).toString('hex')]) assert.ok(!text.includes(form), 'the credential came back')
  }
}

/** The log as it lies on the disk now. */
function onDisk(): string {
  const files = logsIn(paths.stage.dataDir)
    .flatMap(({ dir }) => readdirSync(dir, { recursive: true, withFileTypes: true }))
    .filter((one) => one.isFile())
  return files
    .map((one) => {
      try {
        return readFileSync(join(one.parentPath, one.name), 'latin1')
      } catch {
        return '' // it was replaced meanwhile: what it held stands in another
      }
    })
    .join('\n')
}

// biome-ignore lint/suspicious/noExplicitAny: entries of the log as JSON
async function entries(): Promise<readonly any[]> {
  const { out } = await paths.stage.cli(['audit', 'export'])
  return out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** A tunnel is answered 200 before its hello can be read: then a cut and the record are what is left. */
async function cutFor(code: string, heard: Heard): Promise<void> {
  assert.ok(heard.text === '' && heard.error !== 'silent', JSON.stringify(heard))
  // What came again within a second follows later, as a count.
  const last = (await entries()).findLast((one) => one.count === null && (one.way === 'tunnel' || one.way === 'connect'))
  assert.equal(last.code, code, JSON.stringify(last))
}

const wayInRecord = (way: Way): string =>
  way === 'tunnel' || way === 'absolute' ? way : way.startsWith('base') ? 'base-url' : (way.split(' ')[0] as string)

type Check = (way: Way) => Promise<unknown>
/** What is done once for all ways, and then looked at for each. */
type Together = { readonly together: (here: readonly Way[]) => Promise<Check> }

const runs: Readonly<Record<CheckName, Check | Together>> = {
  identity: {
    async together() {
      const outside = startWire(paths.stage, { outside: await (await wireFor('connect')).environment() })
      return async (way) => {
        const before = paths.count()
        const heard = await outside.send(build(way, {}))
        assert.match(heard.code ?? '', /^identify\./, JSON.stringify(heard))
        assert.equal(paths.count(), before)
        if (way === 'tunnel') await outside.end()
      }
    },
  },
  'policy by action': (way) => refused(way, { path: way === 'absolute' ? '/other' : '/v1/files' }, /^decide\.(?:denied|socket)$/),
  'policy by host': (way) =>
    refused(
      way,
      { service: 'gemini', fields: ['X-Goog-Api-Key: PLACEHOLDER(GEMINI_API_KEY)'].slice(way === 'absolute' ? 1 : 0) },
      /^decide\./,
    ),
  'policy by model': async (way) => {
    if (!isSocket(way)) {
      await refused(way, { model: 'forbidden' }, /^decide\.forbidden$/)
      return
    }
    const heard = await send(way, { model: 'forbidden' })
    assert.match(heard.text, /decide\.forbidden/, JSON.stringify(heard))
    assert.deepEqual(paths.stage.vendors.upgraded.at(-1)?.messages, [])
  },
  'one slot filled': async (way) => {
    const also = ['Api-Key: PLACEHOLDER(OPENAI_API_KEY)', 'X_Api_Key:', 'Cookie: session=1', 'Proxy-Authorization: Basic eDp5']
    assertWell(way, await send(way, { fields: [own, ...also] }))
    const head = lastHead(way)
    const slots = head.filter((line) => /^(?:authorization|api-key|x.api.key|cookie|proxy-authorization|x-goog-api-key):/i.test(line))
    assert.equal(slots.length, 1, slots.join('; '))
    const token = /^authorization: Bearer (\S+)$/i.exec(slots[0] as string)?.[1]
    assert.ok(token !== undefined && paths.stage.vendors.secrets.has(token))
    assert.ok(!head.join().includes('Ost1ary'))
  },
  'placeholder needed': (way) => refused(way, { fields: [] }, /^inject\.no_placeholder$/),
  'foreign placeholder': async (way) => {
    if (way !== 'absolute') await alerting(way, { fields: ['Authorization: Bearer PLACEHOLDER(ANTHROPIC_API_KEY)'] })
    await alerting(way, { fields: [own, 'X-Debug: PLACEHOLDER(OPENAI_API_KEY)'] })
    await alerting(way, { path: '/v1/responses?k=PLACEHOLDER(OPENAI_API_KEY)' })
  },
  'foreign credential': async (way) => {
    const key = `sk-proj-${'A'.repeat(40)}`
    await refused(way, { fields: [`Authorization: Bearer ${key}`] }, /^inject\.foreign_credential$/)
    await refused(way, { fields: [own, `X-Api-Key: ${key}`] }, /^inject\.foreign_credential$/)
    await refused(way, { path: `/v1/responses?api_key=${key}` }, /^inject\.foreign_credential$/)
  },
  'ambiguous path': async (way) => {
    for (const path of ['/v1/%2e%2e/responses', '/v1//responses', '/v1/responses%2fx', '/v1/responses;x', '/v1/./responses'])
      await refused(way, { path }, /^accept\.ambiguous_path$/)
  },
  'authority disagreement': async (way) => {
    const before = paths.count()
    const heard = await send(way, { named: 'api.anthropic.com' })
    if (way !== 'tunnel') assert.deepEqual([heard.status, heard.code?.startsWith('accept.')], [421, true], JSON.stringify(heard))
    // It was answered 200 before its hello could be read: then only a cut is left.
    else await cutFor('accept.not_tls', heard)
    assert.equal(paths.count(), before)
  },
  'private address': async (way) => {
    const before = paths.count()
    const heard = await send(way, { service: 'inside', fields: [], path: '/x' })
    if (way !== 'tunnel') assert.equal(heard.code, 'forward.address_refused', JSON.stringify(heard))
    else await cutFor('forward.address_refused', heard)
    assert.equal(paths.count(), before)
  },
  'method override': async (way) => {
    for (const name of ['X-HTTP-Method-Override', 'X_HTTP_Method'])
      await refused(way, { fields: [own, `${name}: DELETE`] }, /^decide\.method$/)
  },
  'answer scrubbed': async (way) => {
    const socketPlays = ['text', 'binary', 'fragments', 'messages'].map((play) => ({ model: 'gpt-5', play }))
    for (const asked of isSocket(way) ? socketPlays : ['echo', 'echo-plain', 'echo-split'].map((model) => ({ model, stream: false }))) {
      const heard = await send(way, asked)
      assertWell(way, heard)
      assertClean(heard.text)
      assert.ok(heard.text.split('*').length > 8, `something was masked: ${heard.text}`)
    }
  },
  'intent before effect': async (way) => {
    const mark = `mark-${way.replaceAll(' ', '-')}`
    let durable: boolean | null = null
    paths.arrived((what) => {
      if (way === 'tunnel') durable = onDisk().includes('updates.example')
      else if (what.includes(mark)) durable = onDisk().includes(mark)
    })
    await send(way, { model: mark })
    paths.arrived(() => {})
    assert.equal(durable, true)
  },
  revocation: {
    async together(here) {
      const open = new Map<Way, Promise<{ readonly heard: Heard; readonly afterMs: number }>>()
      let cutAt = Number.NaN
      const before = paths.count()
      for (const way of here) {
        const wire = await wireFor(way)
        const told = { ...build(way, { model: 'slow', stream: true }), waitMs: 20_000 }
        open.set(
          way,
          wire.send(told).then((heard) => ({ heard, afterMs: performance.now() - cutAt })),
        )
      }
      for (let tries = 0; tries < 200 && paths.count() < before + here.length; tries++)
        await new Promise((resolve) => setTimeout(resolve, 50))
      assert.equal(paths.count(), before + here.length, 'all of them are under way')
      cutAt = performance.now()
      await paths.production(false)
      const over = new Map(await Promise.all([...open].map(async ([way, one]) => [way, await one] as const)))
      const denied = new Map<Way, Heard>()
      for (const way of here) denied.set(way, await send(way))
      await paths.production(true)
      return async (way) => {
        const { heard, afterMs } = over.get(way) as { heard: Heard; afterMs: number }
        assert.notEqual(heard.error, 'silent', JSON.stringify(heard))
        // Generous for a busy machine: the bound of the product is a second.
        assert.ok(afterMs < 3_000, `${afterMs} ms`)
        assert.equal(denied.get(way)?.code, 'decide.forbidden', JSON.stringify(denied.get(way)))
      }
    },
  },
  suspension: {
    async together(here) {
      renew()
      const doors: readonly Way[] = isolated && here.some(isTransparent) ? ['connect', 'transparent'] : ['connect']
      for (const way of doors) for (let trip = 0; trip < 5; trip++) await send(way, { path: '/v1/responses?k=PLACEHOLDER(OPENAI_API_KEY)' })
      const heard = new Map<Way, Heard>()
      for (const way of here) heard.set(way, await send(way))
      renew()
      return async (way) => assert.equal(heard.get(way)?.code, 'identify.suspended', JSON.stringify(heard.get(way)))
    },
  },
  limits: async (way) => {
    const before = paths.count()
    const heard = await send(way, { fields: [own, `X-Long: ${'x'.repeat(70_000)}`] })
    assert.ok(heard.code === 'http.head_too_large' || (way.endsWith('h2') && heard.status === 0), JSON.stringify(heard))
    assert.equal(paths.count(), before)
  },
  'no redirect': async (way) => {
    const before = paths.count()
    const heard = await send(way, { model: 'moved' })
    assert.equal(heard.status, 302, JSON.stringify(heard))
    assert.ok(paths.count() <= before + 1, 'nobody went there')
    assert.ok(!paths.stage.vendors.seen.some((one) => one.vendor === 'anthropic'))
  },
  'web page': async (way) => {
    for (const field of ['Origin: https://evil.example', 'Sec-Fetch-Site: cross-site']) {
      const heard = await refused(way, { fields: [own, field] }, /^accept\.browser$/)
      assert.doesNotMatch(heard.text, /access-control/i)
    }
  },
  'problem document': async (way) => {
    const heard = await refused(way, { service: 'gemini', fields: [] }, /^decide\./)
    assert.match(heard.text, /application\/problem\+json/i)
    const said = JSON.parse(/\{"type".*?\}/.exec(heard.text)?.[0] ?? '{}')
    assert.deepEqual([said.type, said.status], [`urn:ostiary:refusal:${said.code}`, heard.status])
    assert.match(said.id, /^[0-9A-Za-z_-]{16,}$/)
  },
  'record complete': {
    async together(here) {
      const since = (await entries()).length
      const order: Way[] = []
      for (const way of here) {
        await send(way, isSocket(way) ? {} : { model: 'gpt-5' })
        order.push(way)
      }
      // A socket and a tunnel end with their run.
      renew()
      await Promise.all(ended)
      const known = (await entries()).slice(since)
      // The count of refusals of the checks before comes up to a second behind them.
      const records = known.filter((one) => one.kind === 'call' && one.count === null)
      return async (way) => {
        const record = records[order.indexOf(way)]
        assert.ok(record !== undefined)
        assert.equal(record.way, wayInRecord(way), JSON.stringify(record))
        const credential = way === 'tunnel' || way === 'absolute' ? null : 'openai-story'
        assert.equal(record.workload, 'story-agent')
        assert.match(record.run, /^run-/)
        assert.ok(typeof record.host === 'string' && record.port > 0 && record.custody !== undefined)
        assert.deepEqual(
          [record.action, record.credential],
          [way === 'tunnel' ? 'tunnel' : 'inference', credential],
          JSON.stringify(record),
        )
        assert.deepEqual(record.policies, [way === 'tunnel' ? 'one tunnel' : 'the story may use models'])
        assert.match(record.policyVersion, /^[0-9a-f]{64}$/)
        assert.deepEqual([record.outcome, record.status], ['answered', way === 'tunnel' ? null : isSocket(way) ? 101 : 200])
        assert.ok(record.durationMs >= 0 && record.bytesOut >= 0, JSON.stringify(record))
      }
    },
  },
}

test('a well-formed call is answered on every way in', async (t) => {
  for (const way of ways)
    await t.test(way, async (one) => {
      if (isTransparent(way) && !isolated) return one.skip(`no namespaces here: ${probe.why}`)
      assertWell(way, await send(way))
    })
})

for (const name of Object.keys(checks) as CheckName[])
  test(name, async (t) => {
    const run = runs[name]
    const here = ways.filter((way) => cellOf(name, way) === 'here' && (isolated || !isTransparent(way)))
    const check = typeof run === 'function' ? run : await run.together(here)
    for (const way of ways) {
      if (cellOf(name, way) !== 'here') continue
      await t.test(way, async (one) => {
        if (isTransparent(way) && !isolated) return one.skip(`no namespaces here: ${probe.why}`)
        await check(way)
      })
    }
  })
