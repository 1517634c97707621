import assert from 'node:assert/strict'
import { test } from 'node:test'
import { egressFound } from './egress.ts'

test('what the shell says becomes lines of egress, with the exceptions that every program reads alike', () => {
  const { lines, said } = egressFound({
    HTTPS_PROXY: 'http://proxy.corp.example:3128/',
    NO_PROXY: 'localhost,127.0.0.1,::1,.corp.example *.lan.example,10.0.0.0/8,192.0.2.7,git:8080',
  })
  assert.equal(lines[0], 'egress:')
  assert.deepEqual(lines.slice(2), ['  proxy: http://proxy.corp.example:3128', '  noProxy: ["corp.example", "lan.example", "192.0.2.7"]'])
  assert.deepEqual(said, ['exceptions that are neither a name nor an address are left out of egress.noProxy: 10.0.0.0/8, git:8080'])
})

test('a login is never written, and what cannot be gone through is said', () => {
  const { lines, said } = egressFound({ https_proxy: 'alice:hunter2@proxy.corp.example:3128' })
  assert.ok(lines.includes('  proxy: http://proxy.corp.example:3128'))
  assert.match(said.join(), /login/)
  assert.ok(!JSON.stringify({ lines, said }).includes('hunter2'))
  for (const value of ['socks5://proxy.corp.example:1080', 'https://proxy.corp.example', 'http://', '%%']) {
    const found = egressFound({ ALL_PROXY: value })
    assert.deepEqual([found.lines.length, found.said.length], [0, 1], value)
  }
})

test('none where there is none, where everything is an exception, and where it is Ostiary itself', () => {
  const proxy = 'http://proxy.corp.example:3128'
  for (const environment of [
    {},
    { HTTPS_PROXY: '' },
    { HTTP_PROXY: proxy },
    { HTTPS_PROXY: proxy, NO_PROXY: '*' },
    { HTTPS_PROXY: proxy, OSTIARY_RUN: 'r1' },
    { HTTPS_PROXY: 'http://x:y@127.0.0.1:7070' },
  ])
    assert.deepEqual(egressFound(environment), { lines: [], said: [] })
})
