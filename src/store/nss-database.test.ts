import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createRootAuthority } from '../crypto/x509.ts'
import { writeNssDatabase } from './nss-database.ts'
import { plainDatabase } from './sqlite.ts'

const ca = createRootAuthority({ commonName: 'Ostiary 2026-11-24', now: Date.now(), years: 5 })

test('the database holds the certificate and what it is trusted with, and is made anew each time', (context) => {
  const dir = mkdtempSync(join(tmpdir(), 'ostiary-nss-'))
  context.after(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'cert9.db')
  writeFileSync(path, 'left behind by another start')
  writeNssDatabase(path, ca.certPem)
  const database = plainDatabase(path)
  const [certificate, trust] = database.prepare('SELECT * FROM nssPublic ORDER BY id').all()
  database.close()
  const { raw, serialNumber } = new X509Certificate(ca.certPem)
  const hex = (value: unknown): string => Buffer.from(value as Uint8Array).toString('hex')
  assert.equal(hex(certificate?.['a11']), raw.toString('hex'))
  assert.equal(hex(certificate?.['a82']).toUpperCase(), `0210${serialNumber}`)
  assert.equal(hex(trust?.['a81']), hex(certificate?.['a101']), 'issuer and subject of a root are one')
  assert.equal(hex(trust?.['ace536358']), 'ce534352')
  for (const other of ['ace536359', 'ace53635a', 'ace53635b']) assert.equal(hex(trust?.[other]), 'ce534353', other)
})
