import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gemini } from '../catalog/gemini.ts'
import type { RequestMessage } from '../http/read-head.ts'
import { Refusal } from '../model/refusal.ts'
import { aimIntercepted } from './aim.ts'

const host = gemini.hosts[0] as string
const lookup = { find: () => gemini, byName: () => gemini, action: (_: unknown, __: string, path: string) => path }
const aimed = (target: string) =>
  aimIntercepted(
    { kind: 'origin', method: 'GET', host, target, get: () => undefined } as unknown as RequestMessage,
    { host, port: 443 },
    lookup,
  )

test("Live's path as Google's SDKs spell it is the documented one, for policy and for the vendor; no other is mended", () => {
  const { target } = aimed('//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=x')
  assert.equal(target.path, '/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent')
  assert.equal(target.action, target.path)
  assert.equal(target.query, '?key=x')
  for (const path of ['///ws/x', '//ws//x', '//ws/../v1beta/models', '//wss/x', '/v1beta//ws/x'])
    assert.throws(
      () => aimed(path),
      (error) => error instanceof Refusal && error.code === 'accept.ambiguous_path',
      path,
    )
})
