import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { javaTrustStore } from './java-store.ts'
import { createRootAuthority } from './x509.ts'

const now = Date.UTC(2026, 0, 2)
const pem = ['One', 'Two'].map((commonName) => createRootAuthority({ commonName, now, years: 1 }).certPem).join('# between\n')

test("Java's own keytool reads it, with its password and without", (context) => {
  if (spawnSync('keytool', ['-help']).error !== undefined) return context.skip('no Java on this machine')
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-java-'))
  context.after(() => rmSync(dir, { recursive: true, force: true }))
  const file = join(dir, 'trust.jks')
  writeFileSync(file, javaTrustStore(`${pem}\n-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n`, now))
  const listed = spawnSync('keytool', ['-list', '-v', '-keystore', file, '-storepass', 'changeit'], { encoding: 'utf8' }).stdout
  assert.match(listed, /Your keystore contains 2 entries/)
  assert.match(listed, /Owner: CN=One[\s\S]*Owner: CN=Two|Owner: CN=Two[\s\S]*Owner: CN=One/)
  const wrong = spawnSync('keytool', ['-list', '-keystore', file, '-storepass', 'another'], { encoding: 'utf8' })
  assert.match(wrong.stdout, /password was incorrect/)
})
