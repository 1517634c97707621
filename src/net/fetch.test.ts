import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import tls from 'node:tls'
import { createRootAuthority, issueLeaf } from '../crypto/x509.ts'
import { Refusal } from '../model/refusal.ts'
import { createDial } from './dial.ts'
import { createFetch } from './fetch.ts'

const now = Date.now()
const authority = createRootAuthority({ commonName: 'fetch test', now, years: 1 })
const other = createRootAuthority({ commonName: 'another', now, years: 1 })
const leaf = issueLeaf(authority, ['issuer.test'], now, 3_600_000)
const dial = createDial({
  resolve: async () => [],
  fixed: (host) => (host.endsWith('.test') ? { address: '127.0.0.1', port } : null),
  ownPorts: () => [],
})
let port = 0
const fetch = createFetch(dial, () => roots)
let roots: readonly string[] = [authority.certPem]
const bounds = { bytesMax: 1_000, timeoutMs: 5_000 }
const code = (wanted: string) => (error: unknown) => error instanceof Refusal && error.code === wanted

async function serve(context: TestContext, listener: RequestListener): Promise<void> {
  const server = createServer({ key: leaf.keyPem, cert: leaf.certPem }, listener)
  server.on('tlsClientError', () => {})
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  context.after(() => {
    server.closeAllConnections()
    server.close()
  })
  port = (server.address() as AddressInfo).port
}

test('a request goes out as it was asked for, the answer comes back bounded', async (context) => {
  const seen: string[] = []
  await serve(context, (request, response) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      seen.push(`${request.method} ${request.url} ${request.headers.host} ${request.headers['accept-encoding']} ${body}`)
      response.setHeader('x-a', 'b')
      response.end('{}')
    })
  })
  const answer = await fetch({ ...bounds, method: 'POST', url: 'https://issuer.test/token?x=1', body: Buffer.from('a=b') })
  assert.equal(answer.status, 200)
  assert.equal(answer.headers['x-a'], 'b')
  assert.equal(answer.body.toString(), '{}')
  assert.deepEqual(seen, ['POST /token?x=1 issuer.test identity a=b'])
})

test('a redirect is an answer, and nobody follows it', async (context) => {
  let requests = 0
  await serve(context, (_, response) => {
    requests++
    response.writeHead(302, { location: 'https://issuer.test/other' }).end()
  })
  const answer = await fetch({ ...bounds, method: 'GET', url: 'https://issuer.test/' })
  assert.equal(answer.status, 302)
  assert.equal(requests, 1)
})

test('too much, too late, cut short, given up', async (context) => {
  await serve(context, (request, response) => {
    if (request.url === '/much') response.end('x'.repeat(2_000))
    else if (request.url === '/short') {
      response.writeHead(200, { 'content-length': '100' }).write('x')
      setTimeout(() => response.destroy(), 20)
    } else if (request.url === '/drip') response.write('x')
  })
  await assert.rejects(fetch({ ...bounds, method: 'GET', url: 'https://issuer.test/much' }), code('forward.bad_answer'))
  await assert.rejects(fetch({ ...bounds, method: 'GET', url: 'https://issuer.test/short' }), code('forward.reset'))
  await assert.rejects(fetch({ ...bounds, timeoutMs: 100, method: 'GET', url: 'https://issuer.test/drip' }), code('forward.timeout'))
  await assert.rejects(fetch({ ...bounds, timeoutMs: 100, method: 'GET', url: 'https://issuer.test/silent' }), code('forward.timeout'))
  const given = new AbortController()
  const waits = fetch({ ...bounds, method: 'GET', url: 'https://issuer.test/silent', signal: given.signal })
  setTimeout(() => given.abort(), 20)
  await assert.rejects(waits, code('forward.timeout'))
  await assert.rejects(
    fetch({ ...bounds, method: 'GET', url: 'https://issuer.test/', signal: AbortSignal.abort() }),
    code('forward.timeout'),
  )
})

test('only https, only a certificate for this name under our roots, whatever the environment says', async (context) => {
  await serve(context, (_, response) => response.end('{}'))
  for (const url of ['http://issuer.test/', 'https://user:pw@issuer.test/', 'file:///etc/passwd', 'nonsense'])
    await assert.rejects(fetch({ ...bounds, method: 'GET', url }), code('forward.connect'))
  await assert.rejects(fetch({ ...bounds, method: 'GET', url: 'https://wrong.test/' }), code('forward.certificate'))
  roots = [other.certPem]
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  await assert.rejects(fetch({ ...bounds, method: 'GET', url: 'https://issuer.test/' }), code('forward.certificate'))
  delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
  roots = [authority.certPem]
  assert.equal((await fetch({ ...bounds, method: 'GET', url: 'https://issuer.test/' })).status, 200)
})

test('what is not HTTP is a bad answer', async (context) => {
  const server = tls.createServer({ key: leaf.keyPem, cert: leaf.certPem }, (socket) => {
    socket.on('error', () => {})
    socket.end('SSH-2.0-x\r\n')
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  context.after(() => server.close())
  port = (server.address() as AddressInfo).port
  await assert.rejects(fetch({ ...bounds, method: 'GET', url: 'https://issuer.test/' }), code('forward.bad_answer'))
})
