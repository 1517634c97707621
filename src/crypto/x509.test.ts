import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import tls from 'node:tls'
import fc from 'fast-check'
import { createRootAuthority, issueLeaf } from './x509.ts'

const now = Date.now()
const authority = createRootAuthority({ commonName: 'Ostiary test', now, years: 10 })

test('a leaf is for exactly its host, for at most a day, and for servers only', () => {
  const leaf = new X509Certificate(issueLeaf(authority, ['api.openai.com'], now, 86_400_000).certPem)
  const root = new X509Certificate(authority.certPem)
  assert.ok(leaf.verify(root.publicKey))
  assert.ok(leaf.checkIssued(root))
  assert.equal(leaf.checkHost('api.openai.com'), 'api.openai.com')
  assert.equal(leaf.checkHost('evil.openai.com'), undefined)
  assert.equal(leaf.ca, false)
  assert.ok(leaf.validToDate.getTime() - leaf.validFromDate.getTime() <= 86_400_000)
  assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1'])
})

test('OpenSSL verifies the chain strictly, IP literals included', () => {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-x509-'))
  writeFileSync(join(dir, 'ca.pem'), authority.certPem)
  for (const [host, flag] of [
    ['api.anthropic.com', '-verify_hostname'],
    ['127.0.0.1', '-verify_ip'],
    ['2001:db8::1', '-verify_ip'],
    [`${'a'.repeat(60)}.example.com`, '-verify_hostname'],
  ] as const) {
    writeFileSync(join(dir, 'leaf.pem'), issueLeaf(authority, [host], now, 3_600_000).certPem)
    const out = execFileSync(
      'openssl',
      ['verify', '-x509_strict', '-purpose', 'sslserver', flag, host, '-CAfile', join(dir, 'ca.pem'), join(dir, 'leaf.pem')],
      { encoding: 'utf8' },
    )
    assert.match(out, /OK/)
  }
  rmSync(dir, { recursive: true })
})

test('a real handshake accepts it', async () => {
  const { certPem, keyPem } = issueLeaf(authority, ['x.example'], now, 3_600_000)
  const server = tls.createServer({ cert: certPem, key: keyPem }, (socket) => socket.end('ok')).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  const client = tls.connect({ port, host: '127.0.0.1', servername: 'x.example', ca: authority.certPem })
  const text = await new Promise((resolve, reject) => client.on('data', (data) => resolve(data.toString())).on('error', reject))
  assert.equal(text, 'ok')
  server.close()
})

test('a leaf lives a day at most, and signs nothing; the root signs leaves only', () => {
  assert.throws(() => issueLeaf(authority, ['x.example'], now, 86_400_001), RangeError)
  assert.throws(() => issueLeaf(authority, ['x.example'], now, Number.NaN), RangeError)
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-x509-'))
  const file = (name: string, pem: string): string => {
    writeFileSync(join(dir, name), pem)
    return join(dir, name)
  }
  const root = file('ca.pem', authority.certPem)
  const text = execFileSync('openssl', ['x509', '-in', root, '-noout', '-ext', 'basicConstraints,keyUsage'], { encoding: 'utf8' })
  assert.match(text, /Basic Constraints: critical\s+CA:TRUE, pathlen:0/)
  assert.match(text, /Key Usage: critical\s+Certificate Sign, CRL Sign/)
  const leaf = issueLeaf(authority, ['x.example'], now, 3_600_000)
  const forged = issueLeaf({ certPem: leaf.certPem, key: createPrivateKey(leaf.keyPem), name: 'x.example' }, ['y.example'], now, 3_600_000)
  const args = ['verify', '-CAfile', root, '-untrusted', file('leaf.pem', leaf.certPem), file('forged.pem', forged.certPem)]
  assert.throws(() => execFileSync('openssl', args, { stdio: 'pipe' }))
  rmSync(dir, { recursive: true })
})

test('any name or address comes back from the certificate as it went in', () => {
  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/)
  const name = fc.tuple(fc.array(label, { minLength: 1, maxLength: 8 }), label).map(([parts, last]) => `${parts.join('.')}.x${last}`)
  fc.assert(
    fc.property(name, (host) => {
      const leaf = new X509Certificate(issueLeaf(authority, [host], now, 3_600_000).certPem)
      assert.equal(leaf.subjectAltName, `DNS:${host}`)
      assert.ok(leaf.checkIssued(new X509Certificate(authority.certPem)))
    }),
    { numRuns: 60 },
  )
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (address) => {
      const leaf = new X509Certificate(issueLeaf(authority, [address], now, 3_600_000).certPem)
      assert.equal(leaf.checkIP(address), address)
    }),
    { numRuns: 60 },
  )
})
