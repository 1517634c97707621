// Requests that are signed for AWS, end to end: the agent signs with a placeholder, AWS gets a signature of the real pair, made by the
// scope of the host, over HTTP/1.1, HTTP/2 and the base URL; and no part of the pair stands anywhere else.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { appendFileSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { findSecret } from '../../examples/story/attacks.ts'
import { type Stage, setStage } from '../../examples/story/stage.ts'
import { createRootAuthority, issueLeaf } from '../../src/crypto/x509.ts'
import { type AwsHost, awsHosts, startAws } from '../fakes/aws-host.ts'
import { startWire, type Told, type Wire } from './wire.test-kit.ts'

let stage: Stage
let vendor: AwsHost
let wire: Wire
const sts = 'sts.eu-central-1.amazonaws.com'
const bedrock = 'bedrock-runtime.eu-central-1.amazonaws.com'
const bucket = 'a-bucket.s3.eu-central-1.amazonaws.com'
const key = { id: 'AKIAQZ7XWD4M2R8TYN5B', secret: randomBytes(30).toString('base64'), token: randomBytes(120).toString('base64') }
const asked = 'Action=GetCallerIdentity&Version=2011-06-15'

before(async () => {
  const now = Date.now()
  stage = await setStage(now)
  const ca = createRootAuthority({ commonName: 'Stand-in for AWS', now, years: 1 })
  const hosts = Object.keys(awsHosts)
  const leaf = issueLeaf(ca, hosts, now, 3_600_000)
  vendor = await startAws({ cert: leaf.certPem, key: leaf.keyPem }, () => key)
  appendFileSync(join(stage.dir, 'config', 'vendors-ca.pem'), `\n${ca.certPem}`)
  const until = new Date(now + 30 * 86_400_000).toISOString().slice(0, 10)
  const fixed = hosts.map((host) => `    - { host: ${host}, address: "127.0.0.1:${vendor.port}", reason: a stand-in, until: ${until} }\n`)
  const text = readFileSync(stage.configFile, 'utf8')
    .replace('dangerouslyFixedAddresses:\n', (line) => line + fixed.join(''))
    .replace('\nservices:\n', (line) => `${line}  aws: { hosts: [${[sts, bedrock, bucket].join(', ')}] }\n`)
    .replace('\ncredentials:\n', (line) => `${line}  aws-story: { service: aws, for: [story], static-key: { secret: aws-pair } }\n`)
    .replace(
      '  - cedar: |\n',
      (line) =>
        `${line}      permit (principal in Group::"story", action in [Action::"call", Action::"mint"], resource == Service::"aws");\n      forbid (principal, action == Action::"deferred", resource);\n`,
    )
  writeFileSync(stage.configFile, text, { mode: 0o600 })
  const loaded = await stage.admin('POST', '/reload')
  assert.equal(loaded.ok, true, JSON.stringify(loaded))
  const pair = JSON.stringify({ Version: 1, AccessKeyId: key.id, SecretAccessKey: key.secret, SessionToken: key.token }, null, 2)
  const stored = await stage.cli(['secret', 'set', 'aws-pair', '--for', 'aws', '--stdin'], `${pair}\n`)
  assert.equal(stored.code, 0, stored.err)
  wire = startWire(stage)
})
after(async () => {
  await wire?.end()
  await stage?.close()
  await vendor?.close()
})

function authorization(scope: string, id = 'PLACEHOLDER(AWS_ACCESS_KEY_ID)'): string {
  const day = new Date().toISOString().slice(0, 10).replaceAll('-', '')
  return `Authorization: AWS4-HMAC-SHA256 Credential=${id}/${day}/${scope}/aws4_request, SignedHeaders=host;x-amz-date, Signature=${'0a'.repeat(32)}`
}

function told(host: string, line: string, fields: readonly string[], body = '', more: Partial<Told> = {}): Told {
  const head = [`${line} HTTP/1.1`, `Host: ${more.via === 'base' ? 'BASEHOST' : host}`, ...fields]
  const framing = [`Content-Length: ${body.length}`, 'Connection: close']
  return { via: 'connect', host, raw: `${[...head, ...framing].join('\r\n')}\r\n\r\n${body}`, ...more }
}

const form = 'Content-Type: application/x-www-form-urlencoded; charset=utf-8'

test('a form to STS, over HTTP/1.1, HTTP/2 and the base URL, arrives with a signature that AWS takes', async () => {
  for (const more of [{}, { h2: true }, { via: 'base' }, { via: 'base', h2: true }] as const) {
    const path = 'via' in more ? 'POINTER/aws/' : '/'
    const heard = await wire.send(told(sts, `POST ${path}`, [authorization('eu-central-1/sts'), form], asked, more))
    assert.equal(heard.status, 200, `${JSON.stringify(more)} ${heard.text} ${heard.error}`)
    assert.match(heard.text, /<Account>123456789012</)
  }
  assert.deepEqual([...new Set(vendor.seen.map((one) => one.wrong))], [null])
})

test('a model of Bedrock, and objects of S3', async () => {
  const model = '/model/anthropic.claude-3-haiku-v1%3A0/converse'
  const json = ['Content-Type: application/json', 'Accept: application/json']
  const spoken = await wire.send(told(bedrock, `POST ${model}`, [authorization('eu-central-1/bedrock'), ...json], '{"messages":[]}'))
  assert.equal(spoken.status, 200, spoken.text)
  const s3 = authorization('eu-central-1/s3')
  const put = ['X-Amz-Content-Sha256: UNSIGNED-PAYLOAD', 'Content-Type: text/plain']
  const seen = vendor.seen.length
  const sent = await wire.send(told(bucket, 'PUT /a%20folder/b.txt', [s3, ...put], 'first, last'))
  assert.equal(sent.status, 200, sent.text)
  assert.equal(vendor.seen[seen]?.body.toString(), 'first, last')
  assert.equal((await wire.send(told(bucket, 'GET /a%20folder/b.txt?versionId=x&partNumber=1', [s3]))).status, 200)
})

test('a body of unknown length is read whole, and signed as it arrives', async () => {
  const { raw } = told(sts, 'POST /', [authorization('eu-central-1/sts'), form])
  const chunks = [asked.slice(0, 10), asked.slice(10)].map((part) => `${part.length.toString(16)}\r\n${part}\r\n`)
  const seen = vendor.seen.length
  const chunked = raw.replace('Content-Length: 0', 'Transfer-Encoding: chunked') + chunks.join('')
  const heard = await wire.send({ via: 'connect', host: sts, raw: `${chunked}0\r\n\r\n` })
  assert.equal(heard.status, 200, heard.text)
  assert.deepEqual([vendor.seen[seen]?.wrong, vendor.seen[seen]?.body.toString()], [null, asked])
})

test('policy is asked before a body is read: what it does not permit is not waited for', async () => {
  const { raw } = told(bedrock, 'POST /async-invoke', [authorization('eu-central-1/bedrock')])
  const heard = await wire.send({ via: 'connect', host: bedrock, raw: raw.replace('Content-Length: 0', 'Content-Length: 1000000') })
  assert.equal(heard.code, 'decide.forbidden', heard.text)
})

test('a body over the limit that nothing stands for is refused before it is waited for', async () => {
  const huge = { ...told(sts, 'POST /', [authorization('eu-central-1/sts'), form]) }
  const heard = await wire.send({ ...huge, raw: huge.raw.replace('Content-Length: 0', `Content-Length: ${64 * 1024 * 1024}`) })
  assert.equal(heard.code, 'decide.signed_body', heard.text)
})

test('attacks: another scope, a signed URL, a smuggled token, two signatures, a key of its own', async () => {
  const before = vendor.seen.length
  const own = authorization('eu-central-1/sts')
  const query = `?X-Amz-Credential=PLACEHOLDER(AWS_ACCESS_KEY_ID)%2F20260102%2Feu-central-1%2Fs3%2Faws4_request&X-Amz-Signature=${'0a'.repeat(32)}`
  for (const [fields, target, code] of [
    [[authorization('us-east-1/sts')], '/', 'inject.scope'],
    [[authorization('eu-central-1/bedrock')], '/', 'inject.scope'],
    [[], `/${query}`, 'inject.signature'],
    [[own, 'X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD'], '/', 'inject.signature'],
    [[own, 'X-Amz-Security-Token: IQoJb3JpZ2luX2VjEXAMPLE'], '/', 'inject.foreign_credential'],
    [[own, authorization('us-east-1/sts')], '/', 'inject.scope'],
    [[authorization('eu-central-1/sts', 'ASIAABCDEFGHIJKLMNOP')], '/', 'inject.foreign_credential'],
    [[], '/', 'inject.no_placeholder'],
    [[authorization('eu-central-1/sts', 'AKIAOst1aryofanotherrun000000000')], '/', 'inject.foreign_placeholder'],
  ] as const) {
    const heard = await wire.send(told(sts, `POST ${target}`, [...fields, form], asked))
    // A field that may stand once only is refused by the reader already.
    assert.ok(heard.code === code || (fields.length > 1 && heard.code === 'http.bad_head'), `${code}: ${heard.code} ${heard.text}`)
  }
  assert.equal(vendor.seen.length, before, 'none of them arrived')
})

test('the environment of the run has the placeholder in both halves, and nothing that leads past it', async () => {
  const environment = await wire.environment()
  assert.match(environment['AWS_ACCESS_KEY_ID'] ?? '', /^AKIAOst1ary/)
  assert.equal(environment['AWS_SECRET_ACCESS_KEY'], environment['AWS_ACCESS_KEY_ID'])
  assert.equal(environment['AWS_EC2_METADATA_DISABLED'], 'true')
  assert.equal(environment['AWS_SESSION_TOKEN'], undefined)
})

test('neither secret nor token stands in the log, in a file, or in what a command says', async () => {
  const secrets = [key.secret, key.token]
  const files = (path: string): readonly string[] =>
    statSync(path).isDirectory() ? readdirSync(path).flatMap((name) => files(join(path, name))) : statSync(path).isFile() ? [path] : []
  for (const path of [...files(stage.dataDir), ...files(`${stage.dataDir}.run`)])
    assert.equal(findSecret(readFileSync(path, 'latin1'), secrets), null, path)
  const { out } = await stage.cli(['audit', 'export', '--json'])
  assert.ok(out.includes('inject.scope') && out.includes('aws-story'))
  assert.equal(findSecret(out, secrets), null)
  assert.ok(!out.includes('AWS4-HMAC'))
})

test('what is no pair is not sealed, and is not shown', async () => {
  for (const value of [
    key.secret,
    `${key.id}:${key.secret}:${key.token}:x`,
    `{"AccessKeyId":"${key.id}","SecretAccessKey":["${key.secret}"]}`,
  ]) {
    const { code, out, err } = await stage.cli(['secret', 'set', 'other-pair', '--for', 'aws', '--stdin'], value)
    assert.notEqual(code, 0)
    assert.match(err, /this is no credential for aws/)
    assert.equal(findSecret(out + err, [key.secret, key.token]), null)
  }
})
