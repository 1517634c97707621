// Scrub behind the real forward step and real TLS: what an API gives back of the credential that it got.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import zlib from 'node:zlib'
import { bearer, ended, fakeApi, take } from '../forward/fake-api.ts'
import { writeResponseHead } from '../http/write-head.ts'
import type { Lease } from '../model/credential.ts'
import { limits } from '../model/limits.ts'
import { Secret } from '../model/secret.ts'
import { createScrub } from './scrub.ts'

const key = 'sk-proj-Zx81QmWv70KpLr52NtHs64JyGe33UoFiAq29Bd'

function lease(): Lease {
  const token = new Secret(key)
  return {
    credentialName: 'openai',
    credential: { kind: 'bearer', token },
    secrets: [token],
    revoked: new AbortController().signal,
  } as unknown as Lease
}

const chunk = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])

for (const [name, encode] of [
  ['identity', (plain: Buffer) => plain],
  ['gzip', zlib.gzipSync],
  ['br', zlib.brotliCompressSync],
  ['deflate', zlib.deflateSync],
  ['zstd', zlib.zstdCompressSync],
] as const)
  test(`${name}: echoed in head, body and trailer, in chunks of a few bytes`, async (context) => {
    const api = await fakeApi(context, async (socket, got) => {
      const echoed = /Authorization: (.*)\r\n/.exec(got)?.[1] ?? ''
      assert.equal(echoed, `Bearer ${key}`)
      const fields = `X-Echo: ${echoed}\r\nX-Basic: ${Buffer.from(`u:${key}`).toString('base64')}\r\nSet-Cookie: s=1\r\n`
      socket.write(`HTTP/1.1 200 ${key}\r\nContent-Encoding: ${name}\r\nTransfer-Encoding: chunked\r\n${fields}\r\n`)
      const body = encode(Buffer.from(JSON.stringify({ plain: echoed, hex: Buffer.from(key).toString('hex'), b64: btoa(echoed) })))
      for (let at = 0; at < body.length; at += 7) {
        socket.write(chunk(body.subarray(at, at + 7)))
        if (at % 5 === 0) await sleep(1)
      }
      socket.write(`0\r\nx-note: ${key}\r\n\r\n`)
    })
    const scrub = createScrub({ limits })
    const held = lease()
    const call = api.call({ method: 'POST' })
    const answer = await api.forward.forward(call, bearer(`Bearer ${key}`), held)
    const clean = scrub(answer, held, call)
    const head = writeResponseHead(answer.head, clean.edits, { kind: 'chunked' }, true).toString('latin1')
    const taken = await ended(take(clean.body))
    assert.equal(taken.failed, null)
    const seen = `${head}${taken.text}${JSON.stringify(taken.trailers)}`
    // Of the 38 characters that nobody knows, a stream in small pieces may show fifteen.
    for (const spelled of [
      key,
      Buffer.from(key).toString('hex'),
      btoa(`Bearer ${key}`).slice(12),
      Buffer.from(`u:${key}`).toString('base64').slice(4),
    ])
      assert.ok(!seen.includes(spelled.slice(0, Math.ceil((spelled.length * 24) / key.length))), seen)
    assert.ok(!head.includes('s=1') && !head.includes('Content-Encoding: gzip'))
    assert.ok(clean.found() >= 6)
    assert.equal(api.forward.open, 1, 'and the connection can be used again')
  })
